//! The image store as processes use it: several at once, killed at any moment, beside other tools; and the verbs about it.

use crate::guests;
use crate::harness::{Finished, Folder, Program, finish};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wasmpod::image::format::{CONFIG_IMAGE, CONFIG_WASM, LAYER_WASM, MANIFEST};
use wasmpod::image::store::TaggedImage;
use wasmpod::image::{Descriptor, Digest, ImageStore, archive};

/// Runs the program to its end.
fn wasmpod(folder: &Folder, args: &[&str]) -> Finished {
    finish(Program::spawn(&mut folder.wasmpod(args)))
}

/// What it said, all of it, for a snapshot.
fn told(folder: &Folder, args: &[&str]) -> String {
    let finished = wasmpod(folder, args);
    let text = format!("$ wasmpod {}\n{}{}", args.join(" "), finished.stdout, finished.stderr);
    let text = if finished.status == 0 { text } else { format!("{text}exit status {}\n", finished.status) };
    text.replace(&folder.path().display().to_string(), "FOLDER")
}

/// What it printed; it must succeed.
fn ok(folder: &Folder, args: &[&str]) -> String {
    let finished = wasmpod(folder, args);
    assert_eq!((finished.status, finished.stderr.as_str()), (0, ""), "{args:?}");
    finished.stdout
}

/// An archive with one image, made by the library in a store of its own.
fn saved(folder: &Folder, archive_name: &str, name: &str, config: (&str, String), layers: &[(&str, Vec<u8>)]) -> PathBuf {
    let store = ImageStore::open(&folder.path().join(format!("making-{archive_name}"))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let descriptor = runtime.block_on(async {
        let lease = store.lease().unwrap();
        let config = store.put(&lease, config.0, config.1.into()).await.unwrap();
        let mut pointers: Vec<Descriptor> = Vec::new();
        for (media_type, bytes) in layers {
            pointers.push(store.put(&lease, media_type, bytes.clone().into()).await.unwrap());
        }
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": pointers });
        let manifest = store.put(&lease, MANIFEST, manifest.to_string().into()).await.unwrap();
        store.tag(name, &manifest).unwrap();
        manifest
    });
    let path = folder.path().join(archive_name);
    let image = TaggedImage { name: name.to_owned(), descriptor };
    archive::save(&store, &[image], std::fs::File::create(&path).unwrap()).unwrap();
    path
}

/// An archive with a CNCF artifact.
pub(crate) fn artifact(folder: &Folder, archive_name: &str, name: &str, wasm: Vec<u8>) -> PathBuf {
    let config = json!({ "architecture": "wasm", "os": "wasip1" }).to_string();
    saved(folder, archive_name, name, (CONFIG_WASM, config), &[(LAYER_WASM, wasm)])
}

fn hello() -> Vec<u8> {
    wat::parse_str(guests::writes(1, "hello\n", 0)).unwrap()
}

/// An ordinary image with one file, as a tar layer.
fn ordinary(folder: &Folder, archive_name: &str, name: &str, file: &str, contents: &[u8]) -> PathBuf {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len() as u64);
    header.set_mode(0o755);
    layer.append_data(&mut header, file, contents).unwrap();
    let layer = layer.into_inner().unwrap();
    let config = json!({ "architecture": "wasm", "os": "wasi", "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer)] },
        "config": { "Entrypoint": [format!("/{file}")], "Cmd": ["--all"], "Env": ["COLOUR=\u{1b}[31mred"], "WorkingDir": "/srv" } });
    saved(folder, archive_name, name, (CONFIG_IMAGE, config.to_string()), &[("application/vnd.oci.image.layer.v1.tar", layer)])
}

#[test]
fn images_are_listed_named_and_removed() {
    let folder = Folder::new();
    artifact(&folder, "hello.tar", "reg.example/hello:1", hello());
    ordinary(&folder, "files.tar", "docker.io/library/files:latest", "app.wasm", &hello());
    let session: String = [
        &["images"][..],
        &["load", "hello.tar"],
        &["load", "files.tar"],
        &["tag", "files", "reg.example/files:2"],
        &["images"],
        &["images", "-o", "json"],
        &["rmi", "reg.example/hello:1", "reg.example/absent:1"],
        &["rmi", "reg.example/hello:1"],
        &["rmi", "files"],
        &["rmi", "reg.example/files:2"],
        &["prune"],
        &["images"],
    ]
    .into_iter()
    .map(|args| told(&folder, args))
    .collect();
    insta::assert_snapshot!("images_are_listed_named_and_removed", session);
}

#[test]
fn an_image_is_inspected() {
    let folder = Folder::new();
    artifact(&folder, "hello.tar", "reg.example/hello:1", hello());
    let text = r#"(component (import "wasi:sockets/tcp@0.2.3" (instance)) (import "wasi:keyvalue/store@0.2.0" (instance))
        (component $nothing) (instance $run (instantiate $nothing)) (export "wasi:cli/run@0.2.0" (instance $run)))"#;
    ordinary(&folder, "files.tar", "reg.example/files:1", "app.wasm", &wat::parse_str(text).unwrap());
    ordinary(&folder, "native.tar", "reg.example/native:1", "app.wasm", b"\x7fELF");
    let folder = folder.with("hello.wat", guests::writes(1, "hello\n", 0));
    for archive in ["hello.tar", "files.tar", "native.tar"] {
        ok(&folder, &["load", archive]);
    }
    let session: String = [
        &["inspect", "reg.example/hello:1"][..],
        &["inspect", "reg.example/files:1"],
        &["inspect", "reg.example/native:1"],
        &["inspect", "oci-archive:hello.tar", "-o", "json"],
        &["inspect", "./hello.wat"],
        &["inspect", "absent"],
        &["inspect", "oci:absent"],
    ]
    .into_iter()
    .map(|args| told(&folder, args))
    .collect();
    insta::assert_snapshot!("an_image_is_inspected", session);
}

#[test]
fn an_image_is_found_by_its_digest() {
    let folder = Folder::new();
    artifact(&folder, "hello.tar", "reg.example/hello:1", hello());
    ok(&folder, &["load", "hello.tar"]);
    let listed: serde_json::Value = serde_json::from_str(&ok(&folder, &["images", "-o", "json"])).unwrap();
    let digest = listed[0]["digest"].as_str().unwrap();
    ok(&folder, &["inspect", &format!("reg.example/hello@{digest}")]);
    assert_eq!(wasmpod(&folder, &["inspect", &format!("reg.example/other@{digest}")]).status, 2);
}

#[test]
fn what_wasmpod_saves_is_read_by_skopeo_and_the_other_way_round() {
    let folder = Folder::new();
    artifact(&folder, "made.tar", "reg.example/hello:1", hello());
    ordinary(&folder, "files-made.tar", "reg.example/files:1", "app.wasm", &hello());
    ok(&folder, &["load", "made.tar"]);
    ok(&folder, &["load", "files-made.tar"]);
    ok(&folder, &["save", "reg.example/hello:1", "-o", "hello.tar"]);
    ok(&folder, &["save", "reg.example/files:1", "-o", "files.tar"]);
    let skopeo = |args: &[&str]| {
        let output = Command::new("skopeo").args(args).current_dir(folder.path()).output().expect("skopeo is installed");
        assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let manifest: serde_json::Value = serde_json::from_str(&skopeo(&["inspect", "--raw", "oci-archive:hello.tar"])).unwrap();
    assert_eq!(manifest["layers"][0]["mediaType"], LAYER_WASM);
    let inspected: serde_json::Value = serde_json::from_str(&skopeo(&["inspect", "oci-archive:files.tar"])).unwrap();
    assert_eq!(inspected["Architecture"], "wasm");
    // Layouts and archives in skopeo's hand, with its names: tags alone.
    skopeo(&["copy", "oci-archive:hello.tar", "oci:layout:1.0"]);
    skopeo(&["copy", "oci-archive:files.tar", "oci:layout:2.0"]);
    skopeo(&["copy", "oci:layout:1.0", "oci-archive:again.tar:1.0"]);
    skopeo(&["copy", "--override-os", "wasi", "oci-archive:files.tar", "docker-archive:docker.tar:reg.example/docker:1"]);
    let program = |args: &[&str]| {
        let described: serde_json::Value = serde_json::from_str(&ok(&folder, args)).unwrap();
        described["program"]["digest"].as_str().unwrap().to_owned()
    };
    let hello = Digest::of(&hello()).to_string();
    assert_eq!(program(&["inspect", "oci:layout:1.0", "-o", "json"]), hello);
    assert_eq!(program(&["inspect", "oci:layout:2.0", "-o", "json"]), hello);
    assert_eq!(program(&["inspect", "oci-archive:again.tar", "-o", "json"]), hello);
    ok(&folder, &["load", "docker.tar"]);
    assert_eq!(program(&["inspect", "reg.example/docker:1", "-o", "json"]), hello);
    ok(&folder, &["load", "again.tar", "--name", "again"]);
    assert_eq!(program(&["inspect", "again", "-o", "json"]), hello);
}

/// A module of some size: a data segment that is nowhere twice the same.
pub(crate) fn large(mebibytes: usize) -> Vec<u8> {
    let mut wasm = hello();
    let (mut state, mut data) = (0x9e37_79b9_7f4a_7c15_u64, Vec::with_capacity(mebibytes << 20));
    while data.len() < mebibytes << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    // A custom section: its id, its length, its name.
    let name = b"\x04data";
    let mut length = name.len() + data.len();
    wasm.push(0);
    while length >= 0x80 {
        wasm.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    wasm.push(u8::try_from(length).unwrap());
    wasm.extend_from_slice(name);
    wasm.extend_from_slice(&data);
    wasm
}

fn files(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

/// Every blob that can be seen is whole.
pub(crate) fn check_blobs(images: &Path) {
    for blob in files(&images.join("blobs/sha256")) {
        let digest = Digest::of(&std::fs::read(&blob).unwrap()).hex();
        assert_eq!(blob.file_name().unwrap().to_str(), Some(digest.as_str()), "a blob is not what its name says");
    }
}

#[test]
fn processes_that_load_the_same_image_agree() {
    let folder = Folder::new();
    artifact(&folder, "large.tar", "reg.example/large:1", large(8));
    let programs: Vec<Program> = (0..6).map(|_| Program::spawn(&mut folder.wasmpod(&["load", "large.tar"]))).collect();
    for program in programs {
        let finished = finish(program);
        assert_eq!((finished.status, finished.stderr.as_str()), (0, ""));
    }
    let images = folder.path().join("root/images");
    check_blobs(&images);
    assert_eq!(files(&images.join("blobs/sha256")).len(), 3);
    assert!(files(&images.join("ingest")).is_empty() && files(&images.join("leases")).is_empty());
}

/// How often the program is killed; more with `WASMPOD_SLOW=1`.
fn kills() -> u32 {
    #[allow(clippy::disallowed_methods, reason = "a test asks how thorough it is to be")]
    let slow = std::env::var_os("WASMPOD_SLOW").is_some();
    if slow { 500 } else { 25 }
}

#[test]
fn a_process_killed_at_any_moment_leaves_a_good_store() {
    let folder = Folder::new();
    artifact(&folder, "large.tar", "reg.example/large:1", large(24));
    let images = folder.path().join("root/images");
    let started = Instant::now();
    ok(&folder, &["load", "large.tar"]);
    let whole = started.elapsed();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..kills() {
        // Once everything is there the next one begins anew; it may have been killed just before it set the tag.
        if files(&images.join("blobs/sha256")).len() == 3 {
            if ok(&folder, &["images", "-o", "json"]) != "[]\n" {
                ok(&folder, &["rmi", "reg.example/large:1"]);
            }
            ok(&folder, &["prune"]);
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let moment = whole.mul_f64((state % 1000) as f64 / 1000.0);
        let mut command = folder.wasmpod(&["load", "large.tar"]);
        let mut program = Program::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        // The moment is what is tested: no event to wait for.
        std::thread::sleep(moment.min(Duration::from_secs(5)));
        program.kill().unwrap();
        program.wait().unwrap();
        check_blobs(&images);
        assert!(files(&images.join("ingest")).len() <= 1, "downloads pile up");
        assert!(files(&images.join("leases")).len() <= 1, "leases pile up");
        let index = std::fs::read_to_string(images.join("index.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&index).unwrap();
        assert!(files(&images).iter().filter(|file| file.extension().is_some_and(|ending| ending == "new")).count() <= 1);
    }
    ok(&folder, &["load", "large.tar"]);
    check_blobs(&images);
    assert_eq!(files(&images.join("blobs/sha256")).len(), 3);
    assert!(files(&images.join("ingest")).is_empty() && files(&images.join("leases")).is_empty());
    assert_eq!(ok(&folder, &["prune"]), "nothing to prune\n");
}
