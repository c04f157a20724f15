//! What is an image to run and what is not, by its documents.

use super::*;
use crate::image::store::{BlobBody, BlobSource};
use crate::image::{Descriptor, Digest, ImageStore, Lease, Platform};
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::StreamExt as _;
use serde_json::{Value, json};
use std::collections::HashMap;
use tempfile::TempDir;

const WASM: &[u8] = b"\0asm\x01\0\0\0";

/// A registry in memory.
#[derive(Default)]
struct Blobs(HashMap<Digest, Bytes>);

impl Blobs {
    fn add(&mut self, media_type: &str, bytes: impl Into<Bytes>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(media_type, &bytes);
        self.0.insert(descriptor.digest, bytes);
        descriptor
    }

    fn manifest(&mut self, config: &Descriptor, layers: &[Descriptor], more: Value) -> Descriptor {
        let mut manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.add(MANIFEST, manifest.to_string())
    }

    fn index(&mut self, manifests: &[Descriptor]) -> Descriptor {
        self.add(INDEX, json!({ "schemaVersion": 2, "manifests": manifests }).to_string())
    }

    /// An artifact of one layer.
    fn artifact(&mut self, config: &str, layer: &str, bytes: &[u8]) -> Descriptor {
        let (config, layer) = (self.add(config, "{}"), self.add(layer, Bytes::copy_from_slice(bytes)));
        self.manifest(&config, &[layer], json!({}))
    }

    /// An ordinary image; its one layer is not looked at.
    fn ordinary(&mut self, config: Value, more: Value) -> Descriptor {
        let config = self.add(CONFIG_IMAGE, config.to_string());
        let layer = self.add("application/vnd.oci.image.layer.v1.tar", vec![0; 1024]);
        self.manifest(&config, &[layer], more)
    }
}

#[async_trait]
impl BlobSource for Blobs {
    async fn open(&self, descriptor: &Descriptor, _: u64) -> Result<BlobBody> {
        let bytes = self.0.get(&descriptor.digest).cloned().ok_or_else(|| Error::not_found("no such blob"))?;
        Ok(BlobBody { offset: 0, chunks: futures::stream::iter([Ok(bytes)]).boxed() })
    }
}

fn setup() -> (TempDir, ImageStore, Lease) {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&folder.path().join("images")).unwrap();
    let lease = store.lease().unwrap();
    (folder, store, lease)
}

async fn pull(blobs: &Blobs, top: &Descriptor) -> Result<Image> {
    let (_folder, store, lease) = setup();
    let image = store.fetch_image(&lease, top, blobs, &|_, _| {}).await?;
    assert_eq!(store.image(top).unwrap(), image);
    Ok(image)
}

/// Why an image is refused, and what would work.
async fn refusal(blobs: &Blobs, top: &Descriptor) -> String {
    let error = pull(blobs, top).await.unwrap_err();
    format!("{} | {}", error.chain().replace(&format!("{}: ", top.digest), ""), error.advice().unwrap_or("-"))
}

/// Every way in which WebAssembly stands in a registry as one layer: config and layer.
const ARTIFACTS: [(&str, &str); 7] = [
    (CONFIG_WASM, LAYER_WASM),
    (CONFIG_IMAGE, LAYER_WASM),
    (CONFIG_IMAGE, "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"),
    ("application/vnd.wasm.config.v1+json", "application/vnd.wasm.content.layer.v1+wasm"),
    ("application/vnd.wasmcloud.actor.archive.config", "application/vnd.module.wasm.content.layer.v1+wasm"),
    ("application/vnd.oci.empty.v1+json", LAYER_WASM),
    ("application/vnd.acme.whatever", LAYER_WASM),
];

#[tokio::test]
async fn webassembly_is_accepted_under_every_media_type_it_has() {
    for (config, layer) in ARTIFACTS {
        let mut blobs = Blobs::default();
        let top = blobs.artifact(config, layer, WASM);
        let image = pull(&blobs, &top).await.unwrap();
        assert_eq!(image.module_digest(), Some(Digest::of(WASM)), "{config} {layer}");
    }
}

#[tokio::test]
async fn forged_precompiled_code_is_refused_under_every_media_type() {
    // What wasmtime writes is an ELF file; whatever is in it, nobody looks.
    let mut forged = b"\x7fELF\x02\x01\x01\xc8".to_vec();
    forged.extend_from_slice(b".wasmtime.engine");
    for (config, layer) in ARTIFACTS {
        let mut blobs = Blobs::default();
        let top = blobs.artifact(config, layer, &forged);
        let told = refusal(&blobs, &top).await;
        assert!(told.contains("this is not WebAssembly: it is a native program, or WebAssembly that somebody compiled"), "{told}");
        let (_folder, store, lease) = setup();
        store.fetch_image(&lease, &top, &blobs, &|_, _| {}).await.unwrap_err();
        // The blob is what the registry said it is; it is no program all the same.
        let error = store.image(&top).unwrap().module(&store, &[]).unwrap_err();
        assert!(error.to_string().contains("this is not WebAssembly"), "{error}");
    }
}

#[tokio::test]
async fn the_text_form_is_for_files_alone() {
    let mut blobs = Blobs::default();
    let top = blobs.artifact(CONFIG_WASM, LAYER_WASM, b"(module (func (export \"_start\")))");
    assert!(refusal(&blobs, &top).await.contains("this is not WebAssembly"));
}

#[tokio::test]
async fn runwasi_images_have_a_process() {
    let mut blobs = Blobs::default();
    let config = json!({ "architecture": "wasm", "os": "wasip1",
        "config": { "Entrypoint": ["/app.wasm"], "Cmd": null, "Env": ["A=1", "B=x=y", "broken"], "WorkingDir": "/srv" } });
    let (config, layer) = (blobs.add(CONFIG_IMAGE, config.to_string()), blobs.add(LAYER_WASM, WASM));
    let top = blobs.manifest(&config, &[layer], json!({}));
    let image = pull(&blobs, &top).await.unwrap();
    assert_eq!(
        image.config,
        ImageConfig {
            entrypoint: vec!["/app.wasm".to_owned()],
            cmd: Vec::new(),
            env: vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())],
            working_dir: Some("/srv".to_owned()),
        }
    );
}

#[test]
fn command_and_args_replace_as_in_kubernetes() {
    let list = |words: &str| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let config = ImageConfig { entrypoint: list("entry"), cmd: list("cmd"), ..ImageConfig::default() };
    let argv = |command: &str, args: &str| config.argv(&list(command), &list(args)).join(" ");
    assert_eq!(argv("", ""), "entry cmd");
    assert_eq!(argv("", "args"), "entry args");
    assert_eq!(argv("command", ""), "command");
    assert_eq!(argv("command", "args"), "command args");
}

#[tokio::test]
async fn ordinary_images_are_told_by_platform_annotation_or_entrypoint() {
    let linux = json!({ "architecture": "amd64", "os": "linux", "config": { "Entrypoint": ["/bin/app"] } });
    let accepted = [
        (json!({ "architecture": "wasm", "os": "wasi" }), json!({})),
        (json!({ "architecture": "wasm", "os": "linux" }), json!({})),
        (json!({ "architecture": "amd64", "os": "wasip1" }), json!({})),
        (json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["app.wasm"] } }), json!({})),
        (linux.clone(), json!({ "annotations": { "module.wasm.image/variant": "compat-smart" } })),
        (linux.clone(), json!({ "annotations": { "run.oci.handler": "wasm" } })),
    ];
    for (config, more) in accepted {
        let mut blobs = Blobs::default();
        let top = blobs.ordinary(config.clone(), more);
        assert!(matches!(pull(&blobs, &top).await.unwrap().contents, Contents::RootFileSystem(_)), "{config}");
    }
    let mut blobs = Blobs::default();
    let top = blobs.ordinary(linux, json!({}));
    insta::assert_snapshot!("a_linux_image", refusal(&blobs, &top).await);
}

#[tokio::test]
async fn a_linux_image_is_refused_before_its_layers_are_asked_for() {
    let mut blobs = Blobs::default();
    let config = json!({ "architecture": "arm64", "os": "linux", "config": { "Entrypoint": ["/bin/sh"] } });
    let config = blobs.add(CONFIG_DOCKER, config.to_string());
    let layer = Descriptor::new("application/vnd.docker.image.rootfs.diff.tar.gzip", Digest::of(b"not there"), 1000);
    let top = blobs.manifest(&config, &[layer], json!({}));
    assert!(
        refusal(&blobs, &top).await.starts_with("the image is not WebAssembly: it is made for linux/arm64 and runs \"/bin/sh\"")
    );
}

#[tokio::test]
async fn strangers_are_named() {
    let mut told = String::new();
    for (config, layer) in [
        ("application/vnd.fermyon.spin.application.v1+config", "application/vnd.fermyon.spin.layer.v1+data"),
        ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
        (CONFIG_IMAGE, "application/vnd.in-toto+json"),
        ("application/vnd.acme.config", "application/vnd.acme.layer"),
        ("application/vnd.acme.config", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ] {
        let mut blobs = Blobs::default();
        let top = blobs.artifact(config, layer, WASM);
        told.push_str(&refusal(&blobs, &top).await);
        told.push('\n');
    }
    let mut blobs = Blobs::default();
    let (config, one, two) = (blobs.add(CONFIG_WASM, "{}"), blobs.add(LAYER_WASM, WASM), blobs.add(LAYER_WASM, "\0asm2"));
    for layers in [vec![one.clone(), two], vec![]] {
        let top = blobs.manifest(&config, &layers, json!({}));
        told.push_str(&refusal(&blobs, &top).await);
        told.push('\n');
    }
    insta::assert_snapshot!("strangers", told);
}

/// An image of an index with these platforms: which was chosen.
fn chosen(platforms: &[(&str, &str)]) -> Result<usize> {
    let manifest = |(at, (os, architecture)): (usize, &(&str, &str))| {
        let mut descriptor = Descriptor::of(MANIFEST, &at.to_le_bytes());
        let platform = Platform { os: (*os).to_owned(), architecture: (*architecture).to_owned(), variant: None };
        descriptor.platform = (!os.is_empty()).then_some(platform);
        descriptor
    };
    let index = Index { manifests: platforms.iter().enumerate().map(manifest).collect() };
    let chosen = index.choose()?;
    Ok(index.manifests.iter().position(|manifest| manifest == chosen).unwrap())
}

#[test]
fn the_platform_for_webassembly_is_chosen() {
    assert_eq!(chosen(&[("linux", "amd64"), ("wasi", "wasm")]).unwrap(), 1);
    assert_eq!(chosen(&[("linux", "amd64"), ("anything", "wasm")]).unwrap(), 1);
    assert_eq!(chosen(&[("wasi", "wasm"), ("wasip1", "wasm"), ("wasip2", "wasm")]).unwrap(), 2);
    assert_eq!(chosen(&[("linux", "wasm"), ("wasip1", "wasm"), ("unknown", "unknown")]).unwrap(), 1);
    assert_eq!(chosen(&[("wasip1", "amd64")]).unwrap(), 0);
    assert_eq!(chosen(&[("", "")]).unwrap(), 0);
    let error = chosen(&[("linux", "arm64"), ("linux", "amd64"), ("unknown", "unknown")]).unwrap_err();
    assert_eq!(error.to_string(), "the image is not WebAssembly: it is made for linux/amd64, linux/arm64, unknown/unknown");
    assert_eq!(chosen(&[]).unwrap_err().to_string(), "the image index lists no image");
}

#[tokio::test]
async fn indexes_lead_to_an_image_but_not_for_ever() {
    let mut blobs = Blobs::default();
    let mut top = blobs.artifact(CONFIG_WASM, LAYER_WASM, WASM);
    let manifest = top.digest;
    for _ in 0..crate::limits::IMAGE_INDEX_DEPTH_MAX {
        top = blobs.index(&[top]);
    }
    let image = pull(&blobs, &top).await.unwrap();
    assert_eq!((image.digest, image.manifest.digest), (top.digest, manifest));
    let deeper = blobs.index(&[top]);
    assert_eq!(pull(&blobs, &deeper).await.unwrap_err().kind(), ErrorKind::Limit);
}

#[tokio::test]
async fn documents_that_are_two_things_or_none_are_refused() {
    let mut blobs = Blobs::default();
    let config = blobs.add(CONFIG_WASM, "{}");
    let deep = "[".repeat(100_000);
    let mut told = String::new();
    for (media_type, text) in [
        (MANIFEST, json!({ "schemaVersion": 2, "config": config, "layers": [], "manifests": [] }).to_string()),
        (MANIFEST, json!({ "schemaVersion": 2 }).to_string()),
        (MANIFEST, json!({ "schemaVersion": 2, "manifests": [] }).to_string()),
        (INDEX, json!({ "schemaVersion": 2, "mediaType": MANIFEST, "manifests": [] }).to_string()),
        (MANIFEST, json!({ "schemaVersion": 1, "fsLayers": [] }).to_string()),
        (MANIFEST, json!({ "config": config, "layers": [] }).to_string()),
        (MANIFEST, "{".to_owned()),
        (MANIFEST, deep.clone()),
        (MANIFEST, format!("{{\"schemaVersion\":2,\"config\":{deep}")),
        (
            MANIFEST,
            json!({ "schemaVersion": 2, "config": config, "layers": [{ "mediaType": LAYER_WASM, "size": 1,
                "digest": "sha1:a9993e364706816aba3e25717850c26c9cd0d89d" }] })
            .to_string(),
        ),
        (
            MANIFEST,
            json!({ "schemaVersion": 2, "config": config, "layers": [{ "mediaType": LAYER_WASM, "size": -1,
                "digest": config.digest }] })
            .to_string(),
        ),
    ] {
        let descriptor = Descriptor::of(media_type, text.as_bytes());
        let error = Document::parse(&descriptor, text.as_bytes()).unwrap_err();
        told.push_str(&error.chain().replace(&descriptor.digest.to_string(), "DIGEST"));
        told.push('\n');
    }
    insta::assert_snapshot!("documents", told);
}

#[test]
fn documents_have_limits() {
    let child = Descriptor::of(MANIFEST, b"");
    let index = json!({ "schemaVersion": 2, "manifests": vec![child; 1001] }).to_string();
    let descriptor = Descriptor::of(INDEX, index.as_bytes());
    assert_eq!(Document::parse(&descriptor, index.as_bytes()).unwrap_err().kind(), ErrorKind::Limit);
    let long = vec![b' '; (4 << 20) + 1];
    assert_eq!(Document::parse(&Descriptor::of(INDEX, &long), &long).unwrap_err().kind(), ErrorKind::Limit);
}

#[tokio::test]
async fn a_manifest_that_is_too_large_is_not_asked_for() {
    let top = Descriptor::new(MANIFEST, Digest::of(b""), (4 << 20) + 1);
    assert_eq!(pull(&Blobs::default(), &top).await.unwrap_err().kind(), ErrorKind::Limit);
    let mut blobs = Blobs::default();
    let (config, layer) = (Descriptor::new(CONFIG_IMAGE, Digest::of(b""), (4 << 20) + 1), blobs.add(LAYER_WASM, WASM));
    let top = blobs.manifest(&config, &[layer], json!({}));
    assert_eq!(pull(&blobs, &top).await.unwrap_err().kind(), ErrorKind::Limit);
}

/// CVE-2026-53488's class: what a config says beside its process changes nothing.
#[tokio::test]
async fn an_image_cannot_ask_for_more_than_its_process() {
    let process = json!({ "Entrypoint": ["/app.wasm"], "Env": ["A=1"] });
    let mut greedy = process.clone();
    greedy.as_object_mut().unwrap().extend(
        json!({
            "User": "0:0", "StopSignal": "SIGKILL", "Memory": 1_u64 << 40, "CpuShares": 100_000,
            "Volumes": { "/etc": {}, "/": {} }, "ExposedPorts": { "22/tcp": {} },
            "Labels": { "wasmpod.dev/egress": "*", "io.kubernetes.pod.terminationGracePeriod": "9999999" },
        })
        .as_object()
        .unwrap()
        .clone(),
    );
    let mut blobs = Blobs::default();
    let annotated = json!({ "annotations": { "wasmpod.dev/egress": "*" } });
    let modest = blobs.ordinary(json!({ "architecture": "wasm", "os": "wasi", "config": process }), json!({}));
    let greedy = blobs.ordinary(json!({ "architecture": "wasm", "os": "wasi", "config": greedy }), annotated);
    let (modest, greedy) = (pull(&blobs, &modest).await.unwrap(), pull(&blobs, &greedy).await.unwrap());
    assert_eq!(modest.config, greedy.config);
    assert_eq!(modest.contents, greedy.contents);
}

#[tokio::test]
async fn configs_have_limits() {
    for config in [
        json!({ "architecture": "wasm", "config": { "Env": [format!("A={}", "x".repeat(3 << 20))] } }),
        json!({ "architecture": "wasm", "config": { "Entrypoint": ["a\0b"] } }),
        json!({ "architecture": "wasm", "config": { "Entrypoint": "sh -c" } }),
        json!({ "architecture": "wasm", "rootfs": { "diff_ids": ["sha256:zz"] } }),
        json!({ "architecture": "wasm", "rootfs": { "diff_ids": [Digest::of(b"a"), Digest::of(b"b")] } }),
    ] {
        let mut blobs = Blobs::default();
        let top = blobs.ordinary(config, json!({}));
        assert!(pull(&blobs, &top).await.is_err());
    }
}
