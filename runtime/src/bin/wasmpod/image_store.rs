//! The image store of the command line: where it is, and how images are found in it by what people type.

use super::environment;
use super::harmless::harmless_on_terminal;
use serde::Serialize;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use wasmpod::image::store::TaggedImage;
use wasmpod::image::{ImageReference, ImageStore, RegistryReference};
use wasmpod::{Error, Result};

/// Opens the store below `--root`, or below the user's data directory.
pub(crate) fn open(root: Option<&Path>) -> Result<ImageStore> {
    ImageStore::open(&self::root(root)?.join("images"))
}

/// The directory of what outlives a pod: images and claimed volumes.
pub(crate) fn root(root: Option<&Path>) -> Result<PathBuf> {
    let default = || environment::data_dir().map(|dir| dir.join("wasmpod"));
    root.map(Path::to_path_buf).or_else(default).ok_or_else(|| {
        Error::invalid("there is no directory for images: neither HOME nor XDG_DATA_HOME is set").hint("give one by --root")
    })
}

/// An image of the store by its name: short, whole, or by its digest.
pub(crate) fn find(store: &ImageStore, text: &str) -> Result<TaggedImage> {
    let wanted = registry_reference(text)?;
    let name = wanted.to_string();
    let same_repository = format!("{}/{}", wanted.registry(), wanted.repository());
    let is_wanted = |image: &TaggedImage| {
        let by_digest = wanted.digest() == Some(image.descriptor.digest)
            && image.name.strip_prefix(&same_repository).is_some_and(|rest| rest.starts_with([':', '@']));
        image.name == name || by_digest
    };
    store.list()?.into_iter().find(is_wanted).ok_or_else(|| {
        Error::not_found("there is no such image here")
            .at(name)
            .hint("wasmpod images lists those that are, wasmpod pull brings others")
    })
}

/// A name that an image of the store can have.
pub(crate) fn registry_reference(text: &str) -> Result<RegistryReference> {
    match ImageReference::parse(text, None)? {
        ImageReference::Registry(reference) => Ok(reference),
        other => Err(Error::invalid("this is no name of an image in the store").at(other.to_string())),
    }
}

/// Runs what waits for downloads or files.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::io("cannot start the event loop", error))?.block_on(work)
}

/// Prints to standard output; what of it comes from an image or a manifest commands no terminal.
pub(crate) fn print(text: &str) -> Result<()> {
    let text = harmless_on_terminal(text, &io::stdout());
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Error::io("cannot print", error)),
    }
}

/// Prints JSON for programs.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::internal("cannot print JSON").because(error))?;
    print(&(text + "\n"))
}
