//! Registries that lie: each lie is an error that names the cause, and costs neither memory nor disk.
//!
//! A pull is watched while it runs: its peak of memory against that of a pull from an honest registry, and what it has on the disk
//! against what the manifest declares.

use crate::guests;
use crate::harness::registry::{Answer, Artifact, Asked, Body, FakeRegistry, digest, refusal, without_port};
use crate::harness::{Finished, Folder, Program, finish_within, peak_memory_kib};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a lie may cost: the bound that is promised.
const GROWTH_KIB_MAX: u64 = 16 << 10;

/// A pull that has ended, and the most that it had meanwhile.
struct Pull {
    finished: Finished,
    memory_kib: u64,
    /// Of blobs and downloads.
    disk_bytes: u64,
}

/// Pulls `acme/app:1`, watched from its start to its end.
fn pull(registry: &FakeRegistry) -> Pull {
    let folder = Folder::new();
    let program = Program::spawn(&mut folder.wasmpod(&["pull", &format!("{}/acme/app:1", registry.host())]));
    let (pid, store, ended) = (program.id(), folder.path().join("root/images"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut memory_kib, mut disk_bytes) = (0, 0);
            loop {
                let is_last = ended.load(Ordering::Acquire);
                memory_kib = memory_kib.max(peak_memory_kib(pid).unwrap_or(0));
                disk_bytes = disk_bytes.max(held(&store));
                if is_last {
                    return (memory_kib, disk_bytes);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let finished = finish_within(program, Duration::from_secs(200));
        ended.store(true, Ordering::Release);
        let (memory_kib, disk_bytes) = watch.join().unwrap();
        Pull { finished, memory_kib, disk_bytes }
    })
}

/// Bytes of everything that came from a registry.
fn held(store: &Path) -> u64 {
    let dirs = ["blobs/sha256", "ingest", "rootfs"].map(|dir| std::fs::read_dir(store.join(dir)));
    dirs.into_iter().flatten().flatten().flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

/// The peak of memory of an honest pull, in KiB.
fn honest_memory_kib() -> u64 {
    static HONEST: OnceLock<u64> = OnceLock::new();
    *HONEST.get_or_init(|| {
        let artifact = Artifact::new(&wat::parse_str(guests::writes(1, "honest\n", 0)).unwrap());
        let declared = declared(&artifact);
        let Pull { finished, memory_kib, disk_bytes } = pull(&FakeRegistry::start(move |asked| artifact.answer(asked)));
        assert_eq!(finished.status, 0, "{}", finished.stderr);
        assert!(memory_kib > 0 && disk_bytes == declared, "{memory_kib} KiB, {disk_bytes} bytes");
        memory_kib
    })
}

fn honest() -> Artifact {
    Artifact::new(&wat::parse_str("(module)").unwrap())
}

/// The size of an artifact by its manifest, the manifest included.
fn declared(artifact: &Artifact) -> u64 {
    [&artifact.manifest, &artifact.config, &artifact.layer].into_iter().map(|blob| blob.len() as u64).sum()
}

/// What the pull of an image of this registry says when it fails, without the port and the digests. It has cost nothing: no memory, and
/// on the disk no more than what an honest image declares, and the documents of this one are longer.
fn refused(registry: &FakeRegistry, longer: u64) -> String {
    let (Pull { finished, memory_kib, disk_bytes }, honest_kib) = (pull(registry), honest_memory_kib());
    assert!(memory_kib > 0 && memory_kib <= honest_kib + GROWTH_KIB_MAX, "{memory_kib} KiB, {honest_kib} of an honest pull");
    let declared = declared(&honest()) + longer;
    assert!(disk_bytes <= declared, "{disk_bytes} bytes on the disk, and {declared} declared");
    format!("{}exit status {}", without_port(&finished.stderr, registry.port()), finished.status)
}

/// A pull from a registry that lies in one way.
macro_rules! lies {
    ($($name:ident $(longer by $longer:literal)?: $registry:expr;)*) => {
        $(#[test] fn $name() { insta::assert_snapshot!(stringify!($name), refused(&$registry, 0 $(+ $longer)?)); })*
    };
}

lies! {
    a_layer_with_another_digest: lying(|asked, honest| {
        asked.path.ends_with(&digest(&honest.layer)).then(|| Answer::new(200, vec![b'x'; honest.layer.len()]))
    });
    a_layer_of_another_size longer by 1: {
        let layer = honest().layer;
        let artifact = Artifact::with_layer_size(&layer, layer.len() as u64 + 1);
        FakeRegistry::start(move |asked| artifact.answer(asked))
    };
    a_layer_without_end: lying(|asked, honest| {
        let endless = Body::Endless(honest.layer.clone(), 64 << 20);
        asked.path.ends_with(&digest(&honest.layer)).then(|| Answer { status: 200, headers: Vec::new(), body: endless })
    });
    a_manifest_of_more_than_4_mib: lying(|asked, _| manifest(asked, vec![b' '; (4 << 20) + 1]));
    a_manifest_without_end: lying(|asked, _| {
        let body = Body::Endless(Vec::new(), 64 << 20);
        asked.path.contains("/manifests/").then(|| Answer { status: 200, headers: Vec::new(), body })
    });
    a_manifest_with_another_digest: lying(|asked, honest| {
        (asked.method == "GET" && asked.path.contains("/manifests/")).then(|| Answer::new(200, vec![b'x'; honest.manifest.len()]))
    });
    a_manifest_of_deep_json longer by 200_000: lying(|asked, _| manifest(asked, format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))));
    a_digest_in_capitals: lying(|asked, honest| {
        let text = String::from_utf8(honest.manifest.clone()).unwrap().replace(&digest(&honest.layer), &digest(&honest.layer).to_uppercase());
        manifest(asked, text)
    });
    a_digest_of_sha1: lying(|asked, honest| {
        let text = String::from_utf8(honest.manifest.clone()).unwrap();
        manifest(asked, text.replace(&digest(&honest.layer), "sha1:a9993e364706816aba3e25717850c26c9cd0d89d"))
    });
    indexes_inside_each_other longer by 2_000: FakeRegistry::start(nested_index);
    a_registry_that_redirects_in_circles: lying(|asked, _| {
        asked.path.contains("/blobs/").then(|| Answer::new(307, "").with("location", &asked.path))
    });
    a_redirect_to_an_unsafe_place: lying(|asked, _| {
        asked.path.contains("/blobs/").then(|| Answer::new(307, "").with("location", "http://192.0.2.1/blob"))
    });
    a_token_service_that_is_not_safe: FakeRegistry::start(|_| {
        Answer::new(401, "{}").with("www-authenticate", "Bearer realm=\"http://token.example/\",service=\"x\"")
    });
    status_401: FakeRegistry::start(|_| refusal(401, "UNAUTHORIZED", "authentication required"));
    status_403: FakeRegistry::start(|_| refusal(403, "DENIED", "requested access to the resource is denied"));
    status_404: FakeRegistry::start(|_| refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"));
    status_429: FakeRegistry::start(|_| refusal(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.").with("retry-after", "60"));
    status_503: FakeRegistry::start(|_| Answer::new(503, "<html>\u{1b}[31mbusy</html>"));
    an_image_that_was_compiled_beforehand longer by 16: {
        let artifact = Artifact::new(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        FakeRegistry::start(move |asked| artifact.answer(asked))
    };
}

/// A registry of an honest artifact, but for where `lie` has another answer.
fn lying(lie: impl Fn(&Asked, &Artifact) -> Option<Answer> + Send + Sync + 'static) -> FakeRegistry {
    let honest = honest();
    FakeRegistry::start(move |asked| lie(asked, &honest).unwrap_or_else(|| honest.answer(asked)))
}

fn manifest(asked: &Asked, bytes: impl Into<Vec<u8>>) -> Option<Answer> {
    let bytes = bytes.into();
    let digest = digest(&bytes);
    let answer = || Answer::new(200, bytes).with("content-type", "application/vnd.oci.image.manifest.v1+json");
    asked.path.contains("/manifests/").then(|| answer().with("docker-content-digest", &digest))
}

/// Ten indexes, each in the one before; the outermost has the tag, and each is asked for by its digest.
fn nested_index(asked: &Asked) -> Answer {
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let mut documents = vec![br#"{"schemaVersion":2,"manifests":[]}"#.to_vec()];
    for _ in 0..10 {
        let inner = documents.last().unwrap();
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
            { "mediaType": INDEX, "digest": digest(inner), "size": inner.len(), "platform": { "architecture": "wasm", "os": "wasip1" } }
        ]});
        documents.push(index.to_string().into_bytes());
    }
    let wanted =
        documents.iter().find(|document| asked.path.ends_with(&digest(document))).or_else(|| documents.last()).unwrap().clone();
    let digest = digest(&wanted);
    Answer::new(200, wanted).with("content-type", INDEX).with("docker-content-digest", &digest)
}

/// A registry that says nothing, and one whose layer comes a byte a second, with the real limit of 30 s: only with `WASMPOD_SLOW=1`. The
/// library's own tests have the same with a paused clock.
#[test]
fn a_registry_that_is_too_slow_is_left_after_30_seconds() {
    if std::env::var_os("WASMPOD_SLOW").is_none() {
        return;
    }
    let silent = FakeRegistry::start(|_| Answer { status: 200, headers: Vec::new(), body: Body::Silence });
    let artifact = Artifact::with_layer_size(&honest().layer, 1 << 20);
    let trickles = FakeRegistry::start(move |asked| match asked.path.ends_with(&digest(&artifact.layer)) {
        true => Answer { status: 200, headers: Vec::new(), body: Body::Trickle },
        false => artifact.answer(asked),
    });
    // What stalls is asked for again, a few times.
    let cases = [(silent, "did not answer within 30 s", 30), (trickles, "the download stalled", 4 * 30)];
    std::thread::scope(|scope| {
        for (registry, error, seconds) in &cases {
            scope.spawn(move || {
                let started = Instant::now();
                let Pull { finished, memory_kib, disk_bytes } = pull(registry);
                let took = started.elapsed().as_secs();
                eprintln!("{error}: {took} s, {memory_kib} KiB, {disk_bytes} bytes on the disk");
                assert!(finished.stderr.contains(error), "{}", finished.stderr);
                assert!(memory_kib <= honest_memory_kib() + GROWTH_KIB_MAX && disk_bytes < 2048);
                assert!((*seconds..seconds + 20).contains(&took), "{took} s");
            });
        }
    });
}
