//! The layers of an ordinary image, unpacked: tar files, compressed or not, damaged or not. Nothing outside of the root file system is
//! written, and what cannot be unpacked leaves nothing behind.

use super::folder::{Folder, names};
use super::{block_on, check_error, tar_file};
use arbitrary::{Result, Unstructured};
use flate2::write::GzEncoder;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use wasmpod::image::format::{Compression, Layer};
use wasmpod::image::{Contents, Descriptor, Image, ImageConfig, ImageStore, Platform};

pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    if let Ok(layers) = layers(&mut input) {
        block_on(unpack(layers));
    }
}

fn layers(input: &mut Unstructured<'_>) -> Result<Vec<(Compression, Vec<u8>)>> {
    let mut layers = Vec::new();
    for _ in 0..=input.int_in_range(0..=2)? {
        let compression = *input.choose(&[Compression::None, Compression::Gzip, Compression::Zstd])?;
        // Bytes as they are, for the decoders and the reader of tar files; or an archive made for what comes behind them.
        if input.ratio(1, 3)? {
            let rest = input.len();
            layers.push((compression, input.bytes(rest)?.to_vec()));
            break;
        }
        let mut blob = compress(compression, &tar_file::make(input)?);
        if input.ratio(1, 8)? && !blob.is_empty() {
            let at = input.int_in_range(0..=blob.len() - 1)?;
            blob[at] ^= input.arbitrary::<u8>()?;
        }
        layers.push((compression, blob));
    }
    Ok(layers)
}

fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
    }
}

async fn unpack(blobs: Vec<(Compression, Vec<u8>)>) {
    let folder = Folder::new();
    let store = ImageStore::open(&folder.path("store")).unwrap();
    let lease = store.lease().unwrap();
    let mut layers = Vec::new();
    for (compression, blob) in blobs {
        let descriptor = store.put(&lease, "layer", blob.into()).await.unwrap();
        layers.push(Layer { descriptor, compression, diff_id: None });
    }
    let manifest = Descriptor::of("manifest", b"");
    let image = Image {
        digest: manifest.digest,
        config_descriptor: manifest.clone(),
        manifest,
        config: ImageConfig::default(),
        platform: Platform::default(),
        contents: Contents::RootFileSystem(layers),
    };
    match image.root_file_system(&store) {
        Ok(root) => {
            let root = root.unwrap();
            check_files(root.path());
            // It is there, and is not unpacked again.
            assert_eq!(image.root_file_system(&store).unwrap().unwrap(), root);
            assert_eq!(names(&store.root().join("rootfs")).len(), 1);
            for program in ["a", "b/../a", "/a/b", "../../outside/secret"] {
                if let Err(error) = image.module(&store, &[program.to_owned()]) {
                    check_error(&error);
                }
            }
        }
        Err(error) => {
            check_error(&error);
            assert_eq!(names(&store.root().join("rootfs")), [""; 0], "{}", error.chain());
        }
    }
    folder.check(&["store"]);
}

/// There are files, directories and links only, of this user, without set-id bits.
fn check_files(directory: &Path) {
    for name in std::fs::read_dir(directory).unwrap() {
        let path = name.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink(), "{kind:?}");
        assert!(kind.is_symlink() || metadata.mode() & 0o7000 == 0, "{:o}", metadata.mode());
        if kind.is_dir() {
            check_files(&path);
        }
    }
}
