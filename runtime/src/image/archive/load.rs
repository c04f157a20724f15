//! Archives into the store.

use super::super::store::{FetchObserver, blocking, name_of};
use super::super::{Descriptor, Image, ImageStore, RegistryReference};
use super::docker;
use super::layout::{Files, LocalLayout};
use super::tarball::Tarball;
use crate::{Error, Result};
use std::path::Path;

/// The annotation by which containerd names an image whole, where `ref.name` is a tag alone.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// An image that was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The names that it was given.
    pub names: Vec<String>,
    /// The image.
    pub image: Image,
}

/// Brings every image of an archive (an OCI archive, or one by `docker save` or `podman save`) into the store and tags them: by the
/// names in the archive, or, when it holds one image, by `name`.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for what is no such archive, for images that are not WebAssembly, and for images without a
/// name when none is given. What was loaded before an error stays, tagged.
pub async fn load(
    store: &ImageStore,
    path: &Path,
    name: Option<&RegistryReference>,
    observer: &FetchObserver<'_>,
) -> Result<Vec<Loaded>> {
    let opened = path.to_path_buf();
    let files = blocking(move || Tarball::open(&opened).map(Files::Tarball)).await?;
    let in_archive = |error: Error| error.within(&path.display().to_string());
    let docker = if files.find("index.json")?.is_some() { None } else { docker::images(&files).map_err(in_archive)? };
    let loaded = match docker {
        Some(images) => load_docker(store, &files, &images, name, observer).await,
        None => load_layout(store, &LocalLayout::with_files(files, path)?, name, observer).await,
    };
    loaded.map_err(in_archive)
}

async fn load_layout(
    store: &ImageStore,
    layout: &LocalLayout,
    name: Option<&RegistryReference>,
    observer: &FetchObserver<'_>,
) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for top in layout.images() {
        let written =
            top.annotations.get(CONTAINERD_NAME).map(String::as_str).or_else(|| name_of(top).filter(|name| name.contains('/')));
        let written: Vec<String> = written.into_iter().map(str::to_owned).collect();
        let names = names(name, &written, layout.images().len())?;
        let lease = store.lease()?;
        let image = store.fetch_image(&lease, top, layout, observer).await?;
        loaded.push(tag(store, names, top, image)?);
    }
    Ok(loaded)
}

async fn load_docker(
    store: &ImageStore,
    files: &Files,
    images: &[docker::DockerImage],
    name: Option<&RegistryReference>,
    observer: &FetchObserver<'_>,
) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for docker_image in images {
        let names = names(name, &docker_image.repo_tags, images.len())?;
        let lease = store.lease()?;
        let top = docker::fetch(store, &lease, files, docker_image, observer).await?;
        let image = store.image(&top)?;
        loaded.push(tag(store, names, &top, image)?);
    }
    Ok(loaded)
}

fn tag(store: &ImageStore, names: Vec<String>, top: &Descriptor, image: Image) -> Result<Loaded> {
    names.iter().try_for_each(|name| store.tag(name, top))?;
    Ok(Loaded { names, image })
}

/// The names that an image gets: the one that is asked for, or those in the archive.
fn names(asked: Option<&RegistryReference>, written: &[String], images: usize) -> Result<Vec<String>> {
    match asked {
        Some(name) if images == 1 => Ok(vec![name.to_string()]),
        Some(_) => Err(Error::invalid(format!("the archive holds {images} images, which cannot all have one name"))
            .hint("load it without a name, or use oci-archive:FILE:TAG where an image is named")),
        None if written.is_empty() => {
            Err(Error::invalid("the image in the archive has no name").hint("give it one: --name REFERENCE"))
        }
        None => written.iter().map(|name| Ok(RegistryReference::parse(name)?.to_string())).collect(),
    }
}
