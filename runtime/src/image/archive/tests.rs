//! Layouts and archives, made here and elsewhere.

use super::*;
use crate::image::format::{CONFIG_WASM, LAYER_WASM, MANIFEST};
use crate::image::store::TaggedImage;
use crate::image::{Descriptor, ImageReference, ImageStore, RegistryReference};
use crate::{ErrorKind, Result};
use serde_json::json;
use std::fs;
use std::path::Path;
use tar::{Builder, Header};
use tempfile::TempDir;

const WASM: &[u8] = b"\0asm\x01\0\0\0";

fn store(folder: &TempDir, name: &str) -> ImageStore {
    ImageStore::open(&folder.path().join(name)).unwrap()
}

/// An artifact in the store, tagged.
async fn image(store: &ImageStore, name: &str, wasm: &'static [u8]) -> TaggedImage {
    let lease = store.lease().unwrap();
    let config = store.put(&lease, CONFIG_WASM, "{}".into()).await.unwrap();
    let layer = store.put(&lease, LAYER_WASM, wasm.into()).await.unwrap();
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] }).to_string();
    let descriptor = store.put(&lease, MANIFEST, manifest.into()).await.unwrap();
    store.tag(name, &descriptor).unwrap();
    TaggedImage { name: name.to_owned(), descriptor }
}

/// A tar file of these files.
fn tar(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut builder = Builder::new(fs::File::create(path).unwrap());
    for (name, contents) in files {
        let mut header = Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, contents.as_slice()).unwrap();
    }
    builder.finish().unwrap();
}

/// Reads an `oci:` or `oci-archive:` reference into a new store.
async fn read(folder: &TempDir, reference: &str) -> Result<crate::image::Digest> {
    let reference = ImageReference::parse(reference, Some(folder.path()))?;
    let (layout, top) = LocalLayout::open(&reference)?;
    let other = store(folder, "other");
    let lease = other.lease()?;
    Ok(other.fetch_image(&lease, &top, &layout, &|_, _| {}).await?.digest)
}

#[tokio::test]
async fn what_is_saved_is_loaded_again_and_always_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let from = store(&folder, "from");
    let images = [image(&from, "reg.example/a:1", WASM).await, image(&from, "reg.example/b:2", b"\0asm\x02").await];
    let (mut once, mut again) = (Vec::new(), Vec::new());
    save(&from, &images, &mut once).unwrap();
    save(&from, &images, &mut again).unwrap();
    assert_eq!(once, again);
    let path = folder.path().join("images.tar");
    fs::write(&path, once).unwrap();
    let to = store(&folder, "to");
    let loaded = load(&to, &path, None, &|_, _| {}).await.unwrap();
    assert_eq!(loaded.len(), 2);
    assert_eq!(to.list().unwrap(), from.list().unwrap());
    assert_eq!(read(&folder, "oci-archive:images.tar:2").await.unwrap(), images[1].descriptor.digest);
}

#[tokio::test]
async fn the_store_itself_is_a_layout() {
    let folder = tempfile::tempdir().unwrap();
    let from = store(&folder, "from");
    let one = image(&from, "reg.example/a:1", WASM).await;
    assert_eq!(read(&folder, "oci:from").await.unwrap(), one.descriptor.digest);
    image(&from, "reg.example/b:2", WASM).await;
    for (reference, complaint) in [
        ("oci:from", "the layout holds 2 images | name one of them behind a colon: reg.example/a:1, reg.example/b:2"),
        ("oci:from:3", "the layout holds no image \"3\" | it holds reg.example/a:1, reg.example/b:2"),
        ("oci:absent", "there is no such directory | -"),
        ("oci:from/index.json", "this is a file, not a directory | write oci-archive: for a layout in a tar file"),
        (
            "oci:from/blobs",
            "this is no OCI image layout: there is no index.json in it | make one with wasmpod save, or with skopeo copy",
        ),
        ("oci-archive:absent.tar", "there is no such archive | -"),
        ("oci-archive:from", "the archive is no regular file | -"),
        ("oci-archive:from/index.json", "this is no tar file, or a damaged one | -"),
    ] {
        let error = read(&folder, reference).await.unwrap_err();
        assert_eq!(error.reason(), Some("ErrImagePull"), "{reference}");
        let told = format!("{} | {}", error, error.advice().unwrap_or("-"));
        assert!(told.ends_with(complaint), "{told}");
    }
    assert_eq!(read(&folder, "oci:from:reg.example/b:2").await.unwrap(), one.descriptor.digest);
}

#[tokio::test]
async fn a_layout_that_lies_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let from = store(&folder, "from");
    image(&from, "reg.example/a:1", WASM).await;
    let blob = folder.path().join("from/blobs/sha256").join(crate::image::Digest::of(WASM).hex());
    fs::write(&blob, b"\0asm\x01\0\0\x01").unwrap();
    assert!(read(&folder, "oci:from").await.unwrap_err().to_string().contains("what was downloaded has the digest"));
    fs::remove_file(&blob).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &blob, rustix::fs::Mode::RWXU).unwrap();
    assert!(read(&folder, "oci:from").await.unwrap_err().to_string().contains("no regular file"));
    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &blob).unwrap();
    assert!(read(&folder, "oci:from").await.unwrap_err().to_string().contains("no regular file"));
}

#[tokio::test]
async fn docker_archives_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let mut layer = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(WASM.len() as u64);
    layer.append_data(&mut header, "app.wasm", WASM).unwrap();
    let layer = layer.into_inner().unwrap();
    let diff_id = crate::image::Digest::of(&layer);
    let config = json!({ "architecture": "wasm", "os": "wasi", "config": { "Entrypoint": ["/app.wasm"] },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] } });
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["reg.example/a:1", "a:2"], "Layers": ["abc/layer.tar"] }]);
    let path = folder.path().join("docker.tar");
    let files = [
        ("abc/layer.tar", layer),
        ("config.json", config.to_string().into_bytes()),
        ("manifest.json", manifest.to_string().into_bytes()),
    ];
    tar(&path, &files);
    let to = store(&folder, "to");
    let loaded = load(&to, &path, None, &|_, _| {}).await.unwrap();
    assert_eq!(loaded[0].names, ["reg.example/a:1", "docker.io/library/a:2"]);
    let image = &loaded[0].image;
    assert_eq!(image.module(&to, &image.config.argv(&[], &[])).unwrap().bytes, WASM);
}

#[tokio::test]
async fn an_image_without_a_name_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    let from = store(&folder, "from");
    let mut one = image(&from, "reg.example/a:1", WASM).await;
    // As skopeo writes it: the tag alone.
    one.name = "1.0".to_owned();
    let mut archive = Vec::new();
    save(&from, &[one], &mut archive).unwrap();
    let path = folder.path().join("images.tar");
    fs::write(&path, archive).unwrap();
    let to = store(&folder, "to");
    let error = load(&to, &path, None, &|_, _| {}).await.unwrap_err();
    assert!(error.to_string().ends_with("the image in the archive has no name"), "{error}");
    let name = RegistryReference::parse("reg.example/b").unwrap();
    load(&to, &path, Some(&name), &|_, _| {}).await.unwrap();
    assert_eq!(to.list().unwrap()[0].name, "reg.example/b:latest");
}

#[tokio::test]
async fn what_is_no_archive_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let to = store(&folder, "to");
    let path = folder.path().join("x.tar");
    let mut told = Vec::new();
    for contents in [&b"\x1f\x8b\x08\0"[..], b"\x28\xb5\x2f\xfd", b"hello", b""] {
        fs::write(&path, contents).unwrap();
        let error = load(&to, &path, None, &|_, _| {}).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound));
        let text = format!("{} | {}", error.chain(), error.advice().unwrap_or("-"));
        told.push(text.replace(&folder.path().display().to_string(), "FOLDER"));
    }
    insta::assert_snapshot!("no_archive", told.join("\n"));
}

#[tokio::test]
async fn a_name_in_an_archive_leads_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    fs::write(folder.path().join("secret.json"), "{}").unwrap();
    let manifest = json!([{ "Config": "../secret.json", "RepoTags": ["a:1"], "Layers": [] }]).to_string();
    tar(&path, &[("manifest.json", manifest.into_bytes())]);
    let error = load(&store(&folder, "to"), &path, None, &|_, _| {}).await.unwrap_err();
    assert!(error.to_string().ends_with("../secret.json: the file is missing in the archive"), "{error}");
}

#[tokio::test]
async fn a_manifest_of_a_layout_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let absent = Descriptor::of(MANIFEST, b"absent");
    let index = json!({ "schemaVersion": 2, "manifests": [absent] }).to_string();
    fs::write(folder.path().join("empty/index.json"), index).unwrap();
    let error = read(&folder, "oci:empty").await.unwrap_err();
    assert!(error.to_string().ends_with("the blob is missing in the layout"), "{error}");
}
