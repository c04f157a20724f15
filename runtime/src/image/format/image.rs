//! An image, understood: what its program is and what its process is given.

use super::super::{Descriptor, Digest, ImageStore, Platform};
use super::choose::is_annotated;
use super::config::{self, ImageConfig};
use super::document::Manifest;
use super::media_type::{LayerKind, is_image_config, known_stranger, layer_kind};
use crate::limits::{IMAGE_BYTES_MAX, IMAGE_MANIFEST_BYTES_MAX};
use crate::{Error, Result};
use bytes::Bytes;
use std::io::Read as _;

/// An image that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest by which the image is known: that of the index, if its reference led to one, else the manifest's.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Descriptor,
    /// The config's descriptor.
    pub config_descriptor: Descriptor,
    /// What the config says about the process.
    pub config: ImageConfig,
    /// The platform that the config names.
    pub platform: Platform,
    /// The program and its files.
    pub contents: Contents,
}

/// What an image holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// One module or component, without files.
    Module(Descriptor),
    /// The layers of a root file system, the lowest first; the program is a file in it.
    RootFileSystem(Vec<Layer>),
}

/// One layer of a root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The blob.
    pub descriptor: Descriptor,
    /// How the tar file in it is compressed.
    pub compression: Compression,
    /// The digest of the tar file, where the config says it.
    pub diff_id: Option<Digest>,
}

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `gzip`.
    Gzip,
    /// `zstd`.
    Zstd,
}

/// The program of an image.
#[derive(Clone)]
pub struct ImageModule {
    /// WebAssembly in its binary form; at least its first four bytes say so.
    pub bytes: Bytes,
    /// The SHA-256 of the bytes.
    pub digest: Digest,
}

impl std::fmt::Debug for ImageModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageModule").field("len", &self.bytes.len()).field("digest", &self.digest).finish()
    }
}

/// What every error about a Linux image advises.
const HOW_TO_BUILD: &str = "wasmpod runs WebAssembly: build the program for wasm32-wasip1 or wasm32-wasip2, then push the .wasm file \
                            with wasmpod push, or build an image FROM scratch for the platform wasi/wasm whose entrypoint is the .wasm file";

impl Image {
    /// Understands a manifest and, if it has read it, its config.
    pub(super) fn new(digest: Digest, descriptor: Descriptor, manifest: Manifest, config: Option<&[u8]>) -> Result<Self> {
        let at = |error: Error| if error.subject().is_some() { error } else { error.at(descriptor.digest.to_string()) };
        let read = config.map(config::read).transpose().map_err(at)?.unwrap_or_default();
        let contents = contents(&manifest, &descriptor, &read).map_err(at)?;
        let Manifest { config: config_descriptor, .. } = manifest;
        Ok(Self { digest, manifest: descriptor, config_descriptor, config: read.process, platform: read.platform, contents })
    }

    /// The blobs that hold the program and its files.
    pub fn layers(&self) -> Vec<&Descriptor> {
        match &self.contents {
            Contents::Module(module) => vec![module],
            Contents::RootFileSystem(layers) => layers.iter().map(|layer| &layer.descriptor).collect(),
        }
    }

    /// Bytes of the manifest, the config and the layers, compressed as they are kept.
    pub fn size(&self) -> u64 {
        let layers: u64 = self.layers().iter().map(|layer| layer.size).sum();
        layers + self.manifest.size + self.config_descriptor.size
    }

    /// The digest of the program where it is known without reading it: that of the one layer of WebAssembly.
    pub fn module_digest(&self) -> Option<Digest> {
        match &self.contents {
            Contents::Module(module) => Some(module.digest),
            Contents::RootFileSystem(_) => None,
        }
    }

    /// The program that runs for `argv` (see [`ImageConfig::argv`]): the one layer of WebAssembly, whatever `argv` is, or the file that
    /// `argv` begins with, in the root file system. Blocking; unpacks the layers where that was not done yet.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not WebAssembly, when there is no `argv` to tell the file by, and what
    /// unpacking answers.
    pub fn module(&self, store: &ImageStore, argv: &[String]) -> Result<ImageModule> {
        let bytes = match &self.contents {
            Contents::Module(module) => store.read(module, IMAGE_BYTES_MAX).and_then(|bytes| {
                check_webassembly(&bytes).map_err(|error| error.at(module.digest.to_string()))?;
                Ok(bytes)
            })?,
            Contents::RootFileSystem(_) => self.program_file(store, argv)?,
        };
        let digest = self.module_digest().unwrap_or_else(|| Digest::of(&bytes));
        Ok(ImageModule { bytes, digest })
    }

    fn program_file(&self, store: &ImageStore, argv: &[String]) -> Result<Bytes> {
        let program = argv.first().filter(|program| !program.is_empty()).ok_or_else(|| {
            Error::invalid("the image names no program to run: it has neither an entrypoint nor a command")
                .at(self.manifest.digest.to_string())
                .hint("set the container's command to the .wasm file's path")
        })?;
        let root = self.root_file_system(store)?.ok_or_else(|| Error::internal("the image has no files"))?;
        let bytes = root.read_program(program, self.config.working_dir.as_deref())?;
        let at = |error: Error| error.at(format!("{program:?} of image {}", self.manifest.digest));
        check_webassembly(&bytes).map_err(at)?;
        Ok(bytes)
    }

    /// Checks by the first bytes of a layer of WebAssembly that it is that, so that a pull already says so. Blocking.
    pub(super) fn check_module(&self, store: &ImageStore) -> Result<()> {
        let Contents::Module(module) = &self.contents else { return Ok(()) };
        let mut start = Vec::new();
        let read = store.open_blob(module)?.take(START_BYTES).read_to_end(&mut start);
        read.map_err(|error| Error::io("cannot read a blob", error).at(module.digest.to_string()))?;
        check_webassembly(&start).map_err(|error| error.at(module.digest.to_string()))
    }
}

/// Bytes that tell what a file is.
const START_BYTES: u64 = 8;

/// Whether bytes of an image are WebAssembly in its binary form, by their beginning. Anything else ends here, before any call to the
/// engine: in particular native code, compiled beforehand by whomever.
fn check_webassembly(bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(b"\0asm") {
        return Ok(());
    }
    let what = if bytes.starts_with(b"\x7fELF") {
        "a native program, or WebAssembly that somebody compiled beforehand"
    } else if bytes.starts_with(b"#!") {
        "a script"
    } else if bytes.is_empty() {
        "empty"
    } else {
        "something else"
    };
    Err(Error::invalid(format!("this is not WebAssembly: it is {what}")).hint(HOW_TO_BUILD))
}

fn contents(manifest: &Manifest, descriptor: &Descriptor, config: &config::ReadConfig) -> Result<Contents> {
    let kinds: Vec<LayerKind> = manifest.layers.iter().map(|layer| layer_kind(&layer.media_type)).collect();
    let types = [manifest.artifact_type.as_deref(), Some(manifest.config.media_type.as_str())];
    let all_types = types.into_iter().flatten().chain(manifest.layers.iter().map(|layer| layer.media_type.as_str()));
    // What its layers are counts before what its config says: wasmCloud's configs are all its own.
    if !kinds.contains(&LayerKind::Wasm)
        && let Some((what, hint)) = all_types.clone().find_map(known_stranger)
    {
        return Err(Error::invalid(format!("this is {what}, not an image to run")).hint(hint));
    }
    match (kinds.as_slice(), manifest.layers.as_slice()) {
        ([], _) => Err(Error::invalid("the image has no layers").hint(HOW_TO_BUILD)),
        ([LayerKind::Wasm], [module]) => {
            module.check_size_below(IMAGE_BYTES_MAX)?;
            Ok(Contents::Module(module.clone()))
        }
        (kinds, _) if kinds.contains(&LayerKind::Wasm) => {
            let wasm = kinds.iter().filter(|kind| **kind == LayerKind::Wasm).count();
            Err(Error::invalid(format!("the image has {} layers, {wasm} of them WebAssembly; it must have one", kinds.len()))
                .hint("compose the components into one, or put several files into an ordinary image FROM scratch"))
        }
        (_, layers) if kinds.contains(&LayerKind::Unknown) => {
            let unknown = layers.iter().find(|layer| layer_kind(&layer.media_type) == LayerKind::Unknown);
            let media_type = unknown.map(|layer| layer.media_type.escape_debug().to_string()).unwrap_or_default();
            Err(Error::invalid(format!("the image has a layer of the unknown type {media_type}")).hint(
                "a WebAssembly image has one layer of the type application/wasm, or is an ordinary image that holds a .wasm file",
            ))
        }
        (_, layers) => root_file_system(manifest, descriptor, config, layers),
    }
}

/// The layers of an ordinary image, if it is one for WebAssembly: by its platform, by an annotation, or by its entrypoint.
fn root_file_system(
    manifest: &Manifest,
    descriptor: &Descriptor,
    config: &config::ReadConfig,
    layers: &[Descriptor],
) -> Result<Contents> {
    if !is_image_config(&manifest.config.media_type) {
        let media_type = manifest.config.media_type.escape_debug();
        return Err(Error::invalid(format!("the image has files, but its config is of the unknown type {media_type}"))
            .hint("an ordinary image has a config of the type application/vnd.oci.image.config.v1+json"));
    }
    let chosen_as_wasm = descriptor.platform.as_ref().is_some_and(|platform| platform.architecture.starts_with("wasm"));
    let program = config.process.argv(&[], &[]).first().cloned().unwrap_or_default();
    let is_wasm = chosen_as_wasm
        || config.platform.architecture.starts_with("wasm")
        || config.platform.os.starts_with("wasi")
        || is_annotated(&manifest.annotations)
        || is_annotated(&descriptor.annotations)
        || program.ends_with(".wasm");
    if !is_wasm {
        let runs = if program.is_empty() {
            String::new()
        } else {
            format!(" and runs {:?}", program.chars().take(80).collect::<String>())
        };
        return Err(
            Error::invalid(format!("the image is not WebAssembly: it is made for {}{runs}", config.platform)).hint(HOW_TO_BUILD)
        );
    }
    if !config.diff_ids.is_empty() && config.diff_ids.len() != layers.len() {
        return Err(Error::invalid(format!(
            "the image has {} layers, but its config speaks of {}",
            layers.len(),
            config.diff_ids.len()
        )));
    }
    let diff_ids = config.diff_ids.iter().copied().map(Some).chain(std::iter::repeat(None));
    let layer = |(descriptor, diff_id): (&Descriptor, Option<Digest>)| {
        let LayerKind::Files(compression) = layer_kind(&descriptor.media_type) else { return None };
        Some(Layer { descriptor: descriptor.clone(), compression, diff_id })
    };
    let layers: Option<Vec<Layer>> = layers.iter().zip(diff_ids).map(layer).collect();
    layers.map(Contents::RootFileSystem).ok_or_else(|| Error::internal("a layer is not what it was"))
}

/// Reads a config only when it describes a process; what artifacts say in theirs is for others.
pub(super) fn reads_config(manifest: &Manifest) -> bool {
    is_image_config(&manifest.config.media_type) && manifest.config.size <= IMAGE_MANIFEST_BYTES_MAX
}

/// The name of the root file system that these layers make: the digest of the list of their digests. OCI's chain id is made from what a
/// config says about the layers; this one is made from what was verified.
pub(in super::super) fn layers_id<'a>(layers: impl IntoIterator<Item = &'a Descriptor>) -> Digest {
    let list: String = layers.into_iter().map(|layer| format!("{}\n", layer.digest)).collect();
    Digest::of(list.as_bytes())
}
