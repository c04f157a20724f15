//! The store under concurrency, under sources that lie, and under collection.

use super::*;
use crate::image::Descriptor;
use crate::image::format::{LAYER_WASM, MANIFEST};
use crate::limits::FETCH_STALL_TIMEOUT;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::time::Instant;

/// A source that sends what it is told, in chunks, and counts.
struct Source {
    body: Vec<Bytes>,
    /// What comes after the body.
    end: End,
    /// Whether it can begin in the middle.
    resumes: bool,
    opened: AtomicUsize,
    offsets: Mutex<Vec<u64>>,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Closes,
    Breaks,
    Hangs,
    /// Repeats its last chunk for ever.
    Repeats,
    /// Sends empty chunks for ever.
    Nothing,
    /// Sends a byte a second.
    Trickles,
}

impl Source {
    fn new(body: &[u8], end: End) -> Self {
        let body = body.chunks(1000).map(Bytes::copy_from_slice).collect();
        Self { body, end, resumes: true, opened: AtomicUsize::new(0), offsets: Mutex::default() }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    fn offsets(&self) -> Vec<u64> {
        self.offsets.lock().unwrap().clone()
    }
}

#[async_trait]
impl BlobSource for Source {
    async fn open(&self, _: &Descriptor, offset: u64) -> Result<BlobBody> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.offsets.lock().unwrap().push(offset);
        let offset = if self.resumes { offset } else { 0 };
        let whole: Vec<u8> = self.body.concat();
        let rest: Vec<Result<Bytes>> =
            whole[usize::try_from(offset).unwrap()..].chunks(1000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let last = self.body.last().cloned().unwrap_or_default();
        let end = match self.end {
            End::Closes => stream::empty().boxed(),
            End::Breaks => stream::iter([Err(Error::new(ErrorKind::Unavailable, "connection reset"))]).boxed(),
            End::Hangs => stream::pending().boxed(),
            End::Repeats => stream::repeat_with(move || Ok(last.clone())).boxed(),
            End::Nothing => stream::repeat_with(|| Ok(Bytes::new())).boxed(),
            End::Trickles => stream::unfold((), |()| async {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                Some((Ok(Bytes::from_static(b"x")), ()))
            })
            .boxed(),
        };
        Ok(BlobBody { offset, chunks: stream::iter(rest).chain(end).boxed() })
    }
}

fn setup() -> (TempDir, ImageStore, Lease) {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&folder.path().join("images")).unwrap();
    let lease = store.lease().unwrap();
    (folder, store, lease)
}

fn wasm(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

async fn fetch(store: &ImageStore, lease: &Lease, descriptor: &Descriptor, source: &Source) -> Result<()> {
    store.fetch(lease, descriptor, source, &|_, _| {}).await
}

fn names(store: &ImageStore, dir: &str) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(store.path(dir)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Bytes under `ingest/`.
fn ingested(store: &ImageStore) -> u64 {
    fs::read_dir(store.path("ingest")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn a_blob_is_verified_and_then_visible() {
    let (_folder, store, lease) = setup();
    let bytes = wasm(2_500_000);
    let descriptor = Descriptor::of(LAYER_WASM, &bytes);
    let seen = Mutex::new(Vec::new());
    let observer = |_: &Descriptor, progress| seen.lock().unwrap().push(progress);
    store.fetch(&lease, &descriptor, &Source::new(&bytes, End::Closes), &observer).await.unwrap();
    assert_eq!(store.read(&descriptor, u64::MAX).unwrap(), bytes);
    assert_eq!(names(&store, "blobs/sha256"), [descriptor.digest.hex()]);
    assert!(names(&store, "ingest").is_empty());
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.first(), Some(&FetchProgress::Received(0)));
    assert_eq!(seen.last_chunk(), Some(&[FetchProgress::Received(descriptor.size), FetchProgress::Stored]));
}

#[tokio::test]
async fn everything_in_the_store_is_its_users_alone() {
    let (_folder, store, lease) = setup();
    let descriptor = store.put(&lease, MANIFEST, Bytes::from_static(b"{}")).await.unwrap();
    store.tag("reg.example/a:1", &descriptor).unwrap();
    let mode = |name: &str| fs::metadata(store.path(name)).unwrap().permissions().mode() & 0o777;
    for dir in ["", "blobs", "blobs/sha256", "ingest", "leases", "rootfs"] {
        assert_eq!(mode(dir), 0o700, "{dir}");
    }
    for file in [&format!("blobs/sha256/{}", descriptor.digest.hex()), "index.json", "oci-layout", "prune.lock"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    fs::set_permissions(store.root(), fs::Permissions::from_mode(0o770)).unwrap();
    assert_eq!(ImageStore::open(store.root()).unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_hundred_fetches_at_once_open_the_source_once() {
    let (_folder, store, lease) = setup();
    let bytes = wasm(700_000);
    let descriptor = Descriptor::of(LAYER_WASM, &bytes);
    let source = Source::new(&bytes, End::Closes);
    // As many handles as processes would have.
    let stores: Vec<ImageStore> = (0..10).map(|_| ImageStore::open(store.root()).unwrap()).collect();
    let fetches = (0..100).map(|index| fetch(&stores[index % 10], &lease, &descriptor, &source));
    for result in futures::future::join_all(fetches).await {
        result.unwrap();
    }
    assert_eq!(source.opened(), 1);
    assert!(names(&store, "ingest").is_empty());
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_ended() {
    let (_folder, store, lease) = setup();
    let bytes = wasm(10_500);
    let descriptor = Descriptor::of(LAYER_WASM, &bytes);
    let error = fetch(&store, &lease, &descriptor, &Source::new(&bytes[..4000], End::Breaks)).await.unwrap_err();
    assert_eq!(error.to_string(), "connection reset");
    let error = fetch(&store, &lease, &descriptor, &Source::new(&bytes[..5000], End::Closes)).await.unwrap_err();
    assert!(error.to_string().ends_with("the download ended after 5000 of 10500 bytes"), "{error}");
    assert_eq!(names(&store, "ingest"), [descriptor.digest.hex()]);
    let source = Source::new(&bytes, End::Closes);
    fetch(&store, &lease, &descriptor, &source).await.unwrap();
    assert_eq!(source.offsets(), [5000]);
}

#[tokio::test]
async fn a_source_that_cannot_resume_begins_again() {
    let (_folder, store, lease) = setup();
    let bytes = wasm(10_500);
    let descriptor = Descriptor::of(LAYER_WASM, &bytes);
    fetch(&store, &lease, &descriptor, &Source::new(&bytes[..4000], End::Breaks)).await.unwrap_err();
    let source = Source { resumes: false, ..Source::new(&bytes, End::Closes) };
    fetch(&store, &lease, &descriptor, &source).await.unwrap();
    assert_eq!((source.offsets(), store.read(&descriptor, u64::MAX).unwrap().len()), (vec![4000], bytes.len()));
}

#[tokio::test]
async fn what_an_earlier_try_left_is_believed_nothing() {
    let (_folder, store, lease) = setup();
    let bytes = wasm(10_500);
    let descriptor = Descriptor::of(LAYER_WASM, &bytes);
    let path = store.path("ingest").join(descriptor.digest.hex());
    for (left, asked) in [(vec![7; 3000], vec![3000, 0]), (vec![7; 10_500], vec![0]), (vec![7; 20_000], vec![0])] {
        fs::write(&path, left).unwrap();
        let source = Source::new(&bytes, End::Closes);
        fetch(&store, &lease, &descriptor, &source).await.unwrap();
        assert_eq!(source.offsets(), asked);
        fs::remove_file(store.blob_path(descriptor.digest)).unwrap();
    }
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing() {
    let (_folder, store, lease) = setup();
    let mut bytes = wasm(5000);
    let descriptor = Descriptor::of(LAYER_WASM, &bytes);
    bytes[4999] ^= 1;
    let error = fetch(&store, &lease, &descriptor, &Source::new(&bytes, End::Closes)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.to_string(), format!("{}: what was downloaded has the digest {}", descriptor.digest, Digest::of(&bytes)));
    assert!(names(&store, "ingest").is_empty() && names(&store, "blobs/sha256").is_empty());
}

#[tokio::test]
async fn a_body_that_is_too_long_is_cut_off_before_it_is_written() {
    let (_folder, store, lease) = setup();
    let bytes = wasm(5000);
    let descriptor = Descriptor::of(LAYER_WASM, &bytes);
    for source in [Source::new(&wasm(5001), End::Closes), Source::new(&bytes, End::Repeats)] {
        let error = fetch(&store, &lease, &descriptor, &source).await.unwrap_err();
        assert!(error.to_string().ends_with("the source sends more than the 5000 bytes that are declared"), "{error}");
        assert!(names(&store, "ingest").is_empty() && names(&store, "blobs/sha256").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_given_up_and_kept() {
    let (_folder, store, lease) = setup();
    let bytes = wasm(5000);
    let descriptor = Descriptor::of(LAYER_WASM, &bytes);
    let started = Instant::now();
    let error = fetch(&store, &lease, &descriptor, &Source::new(&bytes[..2000], End::Hangs)).await.unwrap_err();
    let message = "the download stalled at byte 2000 of 5000: too little came for 30 seconds";
    assert_eq!(error.to_string(), format!("{}: {message}", descriptor.digest));
    assert_eq!(started.elapsed().as_secs(), FETCH_STALL_TIMEOUT.as_secs());
    assert_eq!(ingested(&store), 2000);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_given_up_too() {
    let (_folder, store, lease) = setup();
    let descriptor = Descriptor::new(LAYER_WASM, Digest::of(b""), 1_000_000);
    let started = Instant::now();
    let error = fetch(&store, &lease, &descriptor, &Source::new(&[], End::Trickles)).await.unwrap_err();
    assert!(error.to_string().contains("stalled"), "{error}");
    assert!(started.elapsed() <= FETCH_STALL_TIMEOUT * 2);
}

#[tokio::test]
async fn empty_chunks_are_no_progress() {
    // The clock stands still here but for what passes: a stream of nothing must end by its time limit and not hold up the thread.
    tokio::time::pause();
    let (_folder, store, lease) = setup();
    let descriptor = Descriptor::new(LAYER_WASM, Digest::of(b""), 1000);
    let source = Source::new(&[], End::Nothing);
    let fetching = fetch(&store, &lease, &descriptor, &source);
    let passing = async {
        loop {
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        result = fetching => assert!(result.unwrap_err().to_string().contains("stalled")),
        () = passing => {}
    }
}

#[tokio::test]
async fn a_blob_that_is_too_large_is_not_even_asked_for() {
    let (_folder, store, lease) = setup();
    let descriptor = Descriptor::new(LAYER_WASM, Digest::of(b""), crate::limits::BLOB_BYTES_MAX + 1);
    let source = Source::new(b"", End::Closes);
    assert_eq!(fetch(&store, &lease, &descriptor, &source).await.unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(source.opened(), 0);
}

#[tokio::test]
async fn one_digest_has_one_size() {
    let (_folder, store, lease) = setup();
    let descriptor = store.put(&lease, MANIFEST, Bytes::from_static(b"{}")).await.unwrap();
    let other = Descriptor { size: 3, ..descriptor.clone() };
    let error = fetch(&store, &lease, &other, &Source::new(b"{} ", End::Closes)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{}: the blob has 2 bytes, not the 3 that are declared", descriptor.digest));
}

#[tokio::test]
async fn a_fetch_that_is_dropped_frees_the_download() {
    let (_folder, store, lease) = setup();
    let bytes = wasm(5000);
    let descriptor = Descriptor::of(LAYER_WASM, &bytes);
    let hanging = Source::new(&bytes[..3000], End::Hangs);
    let arrived = tokio::sync::Notify::new();
    let observer = |_: &Descriptor, _| arrived.notify_one();
    tokio::select! {
        _ = store.fetch(&lease, &descriptor, &hanging, &observer) => panic!("it hangs"),
        () = arrived.notified() => {}
    }
    fetch(&store, &lease, &descriptor, &Source::new(&bytes, End::Closes)).await.unwrap();
}

#[tokio::test]
async fn a_blob_that_was_damaged_on_the_disk_is_removed() {
    let (_folder, store, lease) = setup();
    let bytes = wasm(100);
    let descriptor = store.put(&lease, LAYER_WASM, bytes.clone().into()).await.unwrap();
    let mut damaged = bytes.clone();
    damaged[50] ^= 1;
    fs::write(store.blob_path(descriptor.digest), damaged).unwrap();
    assert_eq!(store.read(&descriptor, 100).unwrap_err().kind(), ErrorKind::Unavailable);
    fetch(&store, &lease, &descriptor, &Source::new(&bytes, End::Closes)).await.unwrap();
    assert_eq!(store.read(&descriptor, 100).unwrap(), bytes);
}

/// An image of one layer, in the store.
async fn image(store: &ImageStore, lease: &Lease, layer: &[u8]) -> (Descriptor, Descriptor) {
    let layer = store.put(lease, LAYER_WASM, Bytes::copy_from_slice(layer)).await.unwrap();
    let config = store.put(lease, "application/vnd.wasm.config.v0+json", Bytes::from_static(b"{}")).await.unwrap();
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let manifest = store.put(lease, MANIFEST, manifest.to_string().into()).await.unwrap();
    (manifest, layer)
}

#[tokio::test]
async fn tags_name_images_until_they_are_taken_away() {
    let (_folder, store, lease) = setup();
    let (one, _) = image(&store, &lease, b"\0asm1").await;
    let (two, _) = image(&store, &lease, b"\0asm2").await;
    store.tag("reg.example/b:1", &one).unwrap();
    store.tag("reg.example/a:1", &one).unwrap();
    store.tag("reg.example/b:1", &two).unwrap();
    let listed: Vec<_> = store.list().unwrap().into_iter().map(|image| (image.name, image.descriptor.digest)).collect();
    assert_eq!(listed, [("reg.example/a:1".to_owned(), one.digest), ("reg.example/b:1".to_owned(), two.digest)]);
    assert_eq!(store.untag("reg.example/b:1").unwrap().unwrap().digest, two.digest);
    assert_eq!(store.resolve("reg.example/b:1").unwrap(), None);
    assert_eq!(store.untag("reg.example/b:1").unwrap(), None);
    let absent = Descriptor::of(MANIFEST, b"never fetched");
    assert_eq!(store.tag("reg.example/c:1", &absent).unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn tags_set_at_once_are_all_there() {
    let (_folder, store, lease) = setup();
    let (manifest, _) = image(&store, &lease, b"\0asm").await;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, manifest) = (ImageStore::open(store.root()).unwrap(), &manifest);
            scope.spawn(move || (0..5).for_each(|tag| store.tag(&format!("reg.example/a:{thread}-{tag}"), manifest).unwrap()));
        }
    });
    assert_eq!(store.list().unwrap().len(), 40);
}

#[tokio::test]
async fn prune_removes_what_neither_a_tag_nor_a_lease_reaches() {
    let (_folder, store, lease) = setup();
    let (tagged, tagged_layer) = image(&store, &lease, b"\0asm tagged").await;
    let (gone, gone_layer) = image(&store, &lease, b"\0asm gone").await;
    store.tag("reg.example/a:1", &tagged).unwrap();
    // Another process prunes while the lease holds everything.
    let other = ImageStore::open(store.root()).unwrap();
    assert_eq!(other.prune().unwrap(), Pruned::default());
    // A pod that holds the manifest holds what it points at.
    let pod = store.lease().unwrap();
    pod.hold(gone.digest).await.unwrap();
    drop(lease);
    assert_eq!(other.prune().unwrap(), Pruned::default());
    drop(pod);
    assert_eq!(other.prune().unwrap().blobs, 2);
    assert!(store.contains(&tagged).unwrap() && store.contains(&tagged_layer).unwrap());
    assert!(!store.contains(&gone).unwrap() && !store.contains(&gone_layer).unwrap());
    store.untag("reg.example/a:1").unwrap();
    assert_eq!(other.prune().unwrap().blobs, 3);
    assert!(names(&store, "blobs/sha256").is_empty() && names(&store, "leases").is_empty());
}

#[tokio::test]
async fn prune_takes_what_dead_processes_left_and_leaves_what_is_under_way() {
    let (_folder, store, lease) = setup();
    let bytes = wasm(5000);
    let descriptor = Descriptor::of(LAYER_WASM, &bytes);
    fs::write(store.path("ingest/dead"), "partial").unwrap();
    fs::write(store.path("leases/dead"), format!("{}\n", descriptor.digest)).unwrap();
    fs::create_dir_all(store.path("rootfs/partial-dead/dir")).unwrap();
    let hanging = Source::new(&bytes[..3000], End::Hangs);
    // The first word of a download comes when its file is locked; the file itself is there a moment before.
    let begun = tokio::sync::Notify::new();
    let observer = |_: &Descriptor, _| begun.notify_one();
    tokio::select! {
        result = store.fetch(&lease, &descriptor, &hanging, &observer) => panic!("it hangs, but {result:?}"),
        () = async {
            begun.notified().await;
            let pruned = ImageStore::open(store.root()).unwrap().prune().unwrap();
            assert_eq!(pruned, Pruned { blobs: 0, downloads: 1, root_file_systems: 1, bytes: 7 });
        } => {}
    }
    assert_eq!(names(&store, "ingest"), [descriptor.digest.hex()]);
    assert!(names(&store, "rootfs").is_empty());
    assert_eq!(names(&store, "leases").len(), 1);
}

#[test]
fn a_damaged_index_is_named() {
    let (_folder, store, _lease) = setup();
    fs::write(store.path("index.json"), "{\"schemaVersion\":2,\"manifests\":[{").unwrap();
    let error = store.list().unwrap_err();
    assert!(error.to_string().ends_with("index.json: the image store is damaged: index.json cannot be read"), "{error}");
}
