//! Layers that make files, and layers that try to do something else.

use super::super::format::Compression;
use super::*;
use crate::image::{Descriptor, Digest, ImageConfig, Platform};
use flate2::write::GzEncoder;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A tar file that is made as a test says, whatever the crate thinks of it.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, kind: EntryType, name: &str, link: &str, contents: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o6755);
        header.set_uid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(contents.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(contents);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, contents: &str) -> Self {
        self.entry(EntryType::Regular, name, "", contents.as_bytes())
    }

    fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    fn pax(self, fields: &[(&str, &str)]) -> Self {
        let field = |(key, value): &(&str, &str)| {
            let rest = format!(" {key}={value}\n");
            let mut len = rest.len() + 1;
            while format!("{len}{rest}").len() != len {
                len += 1;
            }
            format!("{len}{rest}")
        };
        let text: String = fields.iter().map(field).collect();
        self.entry(EntryType::XHeader, "pax", "", text.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A store in a folder of its own, with something beside it that nobody may touch.
struct Setup {
    folder: TempDir,
    store: ImageStore,
    lease: crate::image::Lease,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), "untouched").unwrap();
        let store = ImageStore::open(&folder.path().join("images")).unwrap();
        let lease = store.lease().unwrap();
        Self { folder, store, lease }
    }

    async fn image(&self, layers: &[(Compression, Vec<u8>)]) -> Image {
        let mut made = Vec::new();
        for (compression, bytes) in layers {
            let descriptor = self.store.put(&self.lease, "layer", bytes.clone().into()).await.unwrap();
            made.push(Layer { descriptor, compression: *compression, diff_id: None });
        }
        let manifest = Descriptor::of("manifest", format!("{made:?}").as_bytes());
        Image {
            digest: manifest.digest,
            config_descriptor: manifest.clone(),
            manifest,
            config: ImageConfig::default(),
            platform: Platform::default(),
            contents: Contents::RootFileSystem(made),
        }
    }

    async fn unpack(&self, layers: Vec<Vec<u8>>) -> Result<PathBuf> {
        let layers: Vec<_> = layers.into_iter().map(|layer| (Compression::None, layer)).collect();
        let image = self.image(&layers).await;
        Ok(image.root_file_system(&self.store)?.unwrap().path().to_path_buf())
    }

    /// Nothing outside of the store was written, and nothing half made is left in it.
    fn check(&self) {
        assert_eq!(fs::read_to_string(self.folder.path().join("outside/secret")).unwrap(), "untouched");
        let secret = fs::metadata(self.folder.path().join("outside/secret")).unwrap();
        assert_eq!(secret.nlink(), 1);
        assert_eq!(fs::read_dir(self.folder.path().join("outside")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(self.folder.path()).unwrap().count(), 2);
        let partial = fs::read_dir(self.store.path("rootfs"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("partial"));
        assert_eq!(partial.count(), 0);
    }
}

/// Everything beneath a directory: its paths, with what files and links hold.
fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                found.push(format!("{name}/"));
                waiting.push(path);
            } else if kind.is_symlink() {
                found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else {
                found.push(format!("{name}: {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn lists(root: &Path, expected: &[&str]) {
    assert_eq!(listing(root), expected);
}

#[tokio::test]
async fn layers_make_files_directories_and_links() {
    let setup = Setup::new();
    let layer = Tar::default().dir("./").dir("bin/").file("bin/app.wasm", "app").symlink("app", "/bin/app.wasm");
    let layer = layer.link("bin/twin", "bin/app.wasm").file("/deep/er/file", "x").end();
    let root = setup.unpack(vec![layer]).await.unwrap();
    lists(&root, &["app -> /bin/app.wasm", "bin/", "bin/app.wasm: app", "bin/twin: app", "deep/", "deep/er/", "deep/er/file: x"]);
    let app = fs::metadata(root.join("bin/app.wasm")).unwrap();
    // No set-id bits, no foreign owner; the time stays, since interpreters compare it.
    assert_eq!((app.permissions().mode() & 0o7777, app.mtime()), (0o755, 1_000_000_000));
    assert_eq!(app.uid(), rustix::process::geteuid().as_raw());
    setup.check();
}

#[tokio::test]
async fn every_compression_is_read() {
    let setup = Setup::new();
    let tar = Tar::default().file("file", &"text ".repeat(100_000)).end();
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    let (first, second) = tar.split_at(1000);
    // zstd:chunked ends in a frame to be skipped.
    let chunked = [zstd(first), zstd(second), b"\x50\x2a\x4d\x18\x04\0\0\0toc!".to_vec()].concat();
    let layers = [
        (Compression::None, tar.clone()),
        (Compression::Gzip, gzip(&tar)),
        (Compression::Gzip, [gzip(first), gzip(second)].concat()),
        (Compression::Zstd, zstd(&tar)),
        (Compression::Zstd, chunked),
    ];
    for (compression, layer) in layers {
        let mut image = setup.image(&[(compression, layer)]).await;
        let Contents::RootFileSystem(layers) = &mut image.contents else { panic!("it has files") };
        layers[0].diff_id = Some(Digest::of(&tar));
        let root = image.root_file_system(&setup.store).unwrap().unwrap();
        assert_eq!(fs::metadata(root.path().join("file")).unwrap().len(), 500_000);
    }
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_config_says_is_refused() {
    let setup = Setup::new();
    let mut image = setup.image(&[(Compression::None, Tar::default().file("a", "a").end())]).await;
    let Contents::RootFileSystem(layers) = &mut image.contents else { panic!("it has files") };
    layers[0].diff_id = Some(Digest::of(b"other"));
    assert!(image.root_file_system(&setup.store).unwrap_err().to_string().contains("as the image's config says"));
    setup.check();
}

#[tokio::test]
async fn whiteouts_are_about_the_layers_below() {
    let setup = Setup::new();
    let below =
        Tar::default().file("keep", "1").file("gone", "1").file("dir/old", "1").file("dir/sub/old", "1").file("tree/a/b", "1");
    // The opaque mark stands behind what the same layer puts there, and so does the whiteout of a file that it makes anew.
    let above = Tar::default().file("dir/new", "2").file("dir/.wh..wh..opq", "").file(".wh.gone", "").file(".wh.tree", "");
    let above = above.file("made", "2").file(".wh.made", "").file("absent/.wh.x", "").file(".wh..wh.plnk", "");
    let root = setup.unpack(vec![below.end(), above.end()]).await.unwrap();
    lists(&root, &["dir/", "dir/new: 2", "keep: 1", "made: 2"]);
}

#[tokio::test]
async fn a_higher_layer_replaces_and_follows_links_inside() {
    let setup = Setup::new();
    let below = Tar::default().dir("usr/lib").symlink("lib", "/usr/lib").file("file", "1").dir("dir").file("dir/x", "1");
    let above = Tar::default().file("lib/a", "2").dir("file").file("file/y", "2").file("dir", "2");
    let root = setup.unpack(vec![below.end(), above.end()]).await.unwrap();
    lists(&root, &["dir: 2", "file/", "file/y: 2", "lib -> /usr/lib", "usr/", "usr/lib/", "usr/lib/a: 2"]);
}

/// The cases of containerd's `TestBreakouts`, and what else was used to get out of tar files: each writes inside or fails.
#[tokio::test]
async fn nothing_gets_out() {
    let tar = Tar::default;
    let up = "../../../../../../../../outside";
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("a parent", vec![tar().file("../../../outside/evil", "x").end()]),
        ("a parent in the middle", vec![tar().dir("a").file("a/../../../../outside/evil", "x").end()]),
        ("a whiteout of a parent", vec![tar().end(), tar().file("../.wh.outside", "").end()]),
        ("a whiteout named ..", vec![tar().end(), tar().file("a/.wh...", "").end()]),
        ("a whiteout of the root", vec![tar().end(), tar().file(".wh..", "").end()]),
        ("a link out, then a file through it", vec![tar().symlink("l", up).file("l/secret", "x").end()]),
        ("the same over two layers", vec![tar().symlink("l", up).end(), tar().file("l/secret", "x").end()]),
        ("a link to a link out", vec![tar().symlink("m", up).symlink("l", "m").file("l/secret", "x").end()]),
        ("a link to / and a file through it", vec![tar().symlink("l", "/").file("l/secret", "x").end()]),
        ("a link to itself", vec![tar().symlink("l", "l").file("l/x", "x").end()]),
        ("a file over a link out", vec![tar().symlink("l", &format!("{up}/secret")).file("l", "x").end()]),
        ("a directory over a link out", vec![tar().symlink("l", up).dir("l").file("l/secret", "x").end()]),
        ("chmod through a link to a directory", vec![tar().symlink("l", up).entry(EntryType::Directory, "l/", "", b"").end()]),
        ("a hard link out", vec![tar().link("h", &format!("{up}/secret")).file("h", "x").end()]),
        ("a hard link through a link out", vec![tar().symlink("l", up).link("h", "l/secret").file("h", "x").end()]),
        ("a hard link to a link out", vec![tar().symlink("l", &format!("{up}/secret")).link("h", "l").file("h", "x").end()]),
        ("a hard link to a directory", vec![tar().dir("d").link("h", "d").end()]),
        ("a hard link to itself", vec![tar().file("a", "1").link("a", "a").end()]),
        ("a hard link to the root", vec![tar().link("h", "/").end()]),
        ("a whiteout through a link out", vec![tar().symlink("l", up).end(), tar().file("l/.wh.secret", "").end()]),
        ("an opaque mark through a link out", vec![tar().symlink("l", up).end(), tar().file("l/.wh..wh..opq", "").end()]),
        ("an opaque root", vec![tar().file("a", "1").end(), tar().file(".wh..wh..opq", "").end()]),
        ("a long name that leads out", vec![tar().pax(&[("path", "../../../outside/evil")]).file("a", "x").end()]),
        (
            "a GNU name that leads out",
            vec![tar().entry(EntryType::GNULongName, "././@LongLink", "", b"../../../outside/evil\0").file("a", "x").end()],
        ),
        ("a long link that leads out", vec![tar().pax(&[("linkpath", &format!("{up}/secret"))]).link("h", "a").end()]),
        ("a name with a NUL", vec![tar().pax(&[("path", "a\0/../../x")]).file("a", "x").end()]),
        ("magic links", vec![tar().symlink("l", "/proc/self/cwd").file("l/evil", "x").end()]),
        ("the store itself", vec![tar().symlink("l", "../../blobs").file("l/sha256/evil", "x").end()]),
    ];
    for (what, layers) in cases {
        let setup = Setup::new();
        let blobs = fs::read_dir(setup.store.path("blobs/sha256")).unwrap().count();
        let count = layers.iter().collect::<std::collections::HashSet<_>>().len();
        let outcome = setup.unpack(layers).await;
        setup.check();
        assert_eq!(fs::read_dir(setup.store.path("blobs/sha256")).unwrap().count(), blobs + count, "{what}");
        if let Ok(root) = outcome {
            assert!(listing(&root).iter().all(|line| !line.contains("untouched")), "{what}");
        }
    }
}

#[tokio::test]
async fn what_has_no_place_in_a_layer_is_named() {
    let tar = Tar::default;
    for (layer, complaint) in [
        (tar().entry(EntryType::Char, "dev/null", "", b""), "the layer has a device"),
        (tar().entry(EntryType::Block, "dev/sda", "", b""), "the layer has a device"),
        (tar().entry(EntryType::Fifo, "pipe", "", b""), "the layer has a pipe"),
        (tar().entry(EntryType::GNUSparse, "sparse", "", b""), "the layer has a sparse file"),
        (tar().entry(EntryType::new(b'V'), "volume", "", b""), "the layer has an entry of the unknown type 'V'"),
        (tar().pax(&[("GNU.sparse.major", "1")]).file("a", "x"), "the layer has a sparse file"),
        (tar().pax(&[("size", "0")]).file("a", "x"), "the layer gives a file two sizes"),
        (tar().pax(&[("size", "x")]).file("a", "x"), "a size is not a number"),
        (tar().file("../a", "x"), "which leads out of the image"),
        (tar().symlink("l", ""), "the layer has a link to nothing"),
        (tar().link("h", "absent"), "the layer has h, which cannot be made"),
        (tar().file("a", "1").file("a/b", "2"), "the layer has a/b, which cannot be made"),
        (tar().pax(&[("path", &"d/".repeat(65))]).dir("d"), "more than 64 directories inside each other"),
    ] {
        let setup = Setup::new();
        let error = setup.unpack(vec![layer.end()]).await.unwrap_err();
        assert!(error.to_string().contains(complaint), "{error}");
        setup.check();
    }
}

#[tokio::test]
async fn depth_is_limited_through_links_too() {
    let setup = Setup::new();
    let mut layer = Tar::default().dir(&"d/".repeat(40)).symlink("l", "d/".repeat(40).trim_end_matches('/'));
    layer = layer.dir(&format!("l/{}", "e/".repeat(40)));
    let error = setup.unpack(vec![layer.end()]).await.unwrap_err();
    assert!(error.chain().contains("too many directories inside each other"), "{}", error.chain());
    setup.check();
}

#[tokio::test]
async fn damaged_layers_are_refused() {
    let setup = Setup::new();
    let whole = Tar::default().file("a", &"x".repeat(5000)).end();
    let mut wrong_sum = whole.clone();
    wrong_sum[0] = b'b';
    for layer in [whole[..3000].to_vec(), wrong_sum, b"not a tar file at all".repeat(100)] {
        assert_eq!(setup.unpack(vec![layer]).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    for compression in [Compression::Gzip, Compression::Zstd] {
        let image = setup.image(&[(compression, whole.clone())]).await;
        assert_eq!(image.root_file_system(&setup.store).unwrap_err().kind(), ErrorKind::Invalid);
    }
    setup.check();
}

/// One file of `mebibytes` zeroes, compressed by gzip to a thousandth.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = Header::new_gnu();
    header.set_size(mebibytes as u64 * (1 << 20));
    header.set_mode(0o644);
    let zeroes = io::Read::take(io::repeat(0), mebibytes as u64 * (1 << 20));
    builder.append_data(&mut header, "zeroes", zeroes).unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

#[tokio::test]
async fn bombs_are_cut_off() {
    let setup = Setup::new();
    let image = setup.image(&[(Compression::Gzip, bomb(80))]).await;
    let error = image.root_file_system(&setup.store).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("unpacks to more than 200 times its size"), "{error}");
    setup.check();
    // Below the free bytes nobody minds.
    let image = setup.image(&[(Compression::Gzip, bomb(8))]).await;
    image.root_file_system(&setup.store).unwrap();
}

#[tokio::test]
async fn too_many_entries_are_cut_off() {
    let setup = Setup::new();
    let mut layer = Vec::new();
    let one = Tar::default().file("same", "").0;
    for _ in 0..=crate::limits::UNPACKED_ENTRIES_MAX {
        layer.extend_from_slice(&one);
    }
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&layer).unwrap();
    let image = setup.image(&[(Compression::Gzip, encoder.finish().unwrap())]).await;
    assert_eq!(image.root_file_system(&setup.store).unwrap_err().kind(), ErrorKind::Limit);
    setup.check();
}

#[tokio::test]
async fn an_extended_header_is_not_read_into_memory_whatever_its_size() {
    let setup = Setup::new();
    let layer = Tar::default().entry(EntryType::XHeader, "pax", "", &vec![b'x'; 2 << 20]).file("a", "x").end();
    let error = setup.unpack(vec![layer]).await.unwrap_err();
    assert!(error.to_string().contains("an extended header of 2097152 bytes"), "{error}");
}

#[tokio::test]
async fn a_zstd_window_is_limited() {
    let setup = Setup::new();
    // A frame that asks for a window of 64 MiB: descriptor without flags, window exponent 16.
    let frame = b"\x28\xb5\x2f\xfd\x00\x80\x01\0\0".to_vec();
    let image = setup.image(&[(Compression::Zstd, frame)]).await;
    assert!(image.root_file_system(&setup.store).is_err());
}

#[tokio::test]
async fn an_image_is_unpacked_once_and_pruned_with_it() {
    let setup = Setup::new();
    let image = setup.image(&[(Compression::None, Tar::default().file("a", "1").end())]).await;
    // A process that died has left something.
    let Contents::RootFileSystem(layers) = &image.contents else { panic!("it has files") };
    let id = layers_id(layers.iter().map(|layer| &layer.descriptor)).hex();
    fs::create_dir_all(setup.store.path(&format!("rootfs/partial-{id}/left"))).unwrap();
    let roots: Vec<PathBuf> = std::thread::scope(|scope| {
        let unpack = || image.root_file_system(&setup.store).unwrap().unwrap().path().to_path_buf();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(unpack)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
    lists(&roots[0], &["a: 1"]);
    setup.check();
    // No manifest in the store leads to these layers.
    assert_eq!(setup.store.prune().unwrap().root_file_systems, 1);
    assert!(!roots[0].exists());
}

#[tokio::test]
async fn the_program_is_found_as_a_process_would() {
    let setup = Setup::new();
    let wasm = "\0asm\x01\0\0\0";
    let layer = Tar::default().file("srv/app.wasm", wasm).symlink("run", "/srv/app.wasm").file("bin/sh", "\x7fELF").dir("dir");
    let layer = layer.symlink("out", "../../../outside/secret").end();
    let mut image = setup.image(&[(Compression::None, layer)]).await;
    image.config.working_dir = Some("/srv".to_owned());
    let module = |program: &str| image.module(&setup.store, &[program.to_owned()]);
    for program in ["/srv/app.wasm", "app.wasm", "./app.wasm", "srv/app.wasm", "/run"] {
        assert_eq!(module(program).unwrap().digest, Digest::of(wasm.as_bytes()), "{program}");
    }
    for (program, complaint) in [
        ("/bin/sh", "this is not WebAssembly: it is a native program"),
        ("/absent", "the image has no such file to run"),
        ("/dir", "the image's program is a directory"),
        ("/out", "the image has no such file to run"),
        ("../../../../outside/secret", "the image has no such file to run"),
    ] {
        let error = module(program).unwrap_err();
        assert!(error.to_string().contains(complaint), "{error}");
    }
    assert!(image.module(&setup.store, &[]).unwrap_err().to_string().contains("names no program to run"));
}
