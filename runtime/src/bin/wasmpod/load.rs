//! `wasmpod load`: images from an archive.

use super::args::LoadArgs;
use super::image_store;
use std::path::Path;
use std::process::ExitCode;
use wasmpod::Result;
use wasmpod::image::archive;

/// Loads everything in the archive and says its names.
pub(crate) fn run(args: &LoadArgs, root: Option<&Path>) -> Result<ExitCode> {
    let name = args.name.as_deref().map(image_store::registry_reference).transpose()?;
    let store = image_store::open(root)?;
    let loaded = image_store::block_on(archive::load(&store, &args.archive, name.as_ref(), &|_, _| {}))?;
    for name in loaded.iter().flat_map(|loaded| &loaded.names) {
        image_store::print(&format!("loaded {name}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
