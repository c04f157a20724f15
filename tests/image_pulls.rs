//! Pulls as a part of a pod's life: what its status and its events say of them, what is tried again, what goes on side by side.

use crate::guests;
use crate::harness::registry::{Answer, Artifact, Body, DockerRegistry, FakeRegistry, digest, pod, refusal, without_port};
use crate::harness::{Finished, Folder, Program, interrupt, pseudo_terminal, read_terminal, wait_for};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An artifact that prints one line.
fn says(text: &str) -> Artifact {
    Artifact::new(&wat::parse_str(guests::writes(1, text, 0)).unwrap())
}

/// A registry that is away for the first so many questions for a manifest.
fn away_at_first(questions: usize, artifact: Artifact) -> FakeRegistry {
    let asked_so_far = AtomicUsize::new(0);
    FakeRegistry::start(move |asked| {
        let away = asked.path.contains("/manifests/") && asked_so_far.fetch_add(1, Ordering::Relaxed) < questions;
        if away { refusal(503, "UNAVAILABLE", "down for maintenance") } else { artifact.answer(asked) }
    })
}

/// The Pod that `wasmpod run pod.yaml -o json` ends with.
fn object(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("no object: {}", finished.stderr))
}

/// The events that `--events` shows, without their times: `TYPE REASON OBJECT MESSAGE`.
fn events(finished: &Finished, port: u16) -> String {
    let is_event = |line: &&str| line.contains("  pod/");
    let words = |line: &str| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = finished.stderr.lines().filter(is_event).map(words).collect();
    let text = without_port(&lines.join("\n"), port);
    // How long it took, and how long one came after the other.
    blanked(&blanked(&text, "\" in ", ". Image"), " over ", ")")
}

/// A text in which what stands between two others is left out.
fn blanked(text: &str, after: &str, before: &str) -> String {
    let mut parts = text.split(after);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| format!("{shown}{after}TIME{}", &part[part.find(before).unwrap()..]))
}

#[test]
fn a_registry_that_is_away_is_asked_again_until_it_is_back() {
    // A head and a document for each try.
    let registry = away_at_first(4, says("back again\n"));
    let image = format!("{}/acme/app:1", registry.host());
    let folder = Folder::new().with("pod.yaml", pod(&[&image], ""));
    let finished = folder.run(&["pod.yaml", "--events", "--restart-backoff-initial", "20ms"]);
    assert_eq!((finished.status, finished.stdout.as_str()), (0, "back again\n"), "{}", finished.stderr);
    let failure =
        "container c0 of pod test: 127.0.0.1:PORT/acme/app:1: the registry answers 503 Service Unavailable: down for maintenance";
    let told: Vec<String> = finished
        .stderr
        .lines()
        .filter(|line| line.starts_with("warning:"))
        .map(|line| without_port(line, registry.port()))
        .collect();
    let again = |wait| format!("warning: {failure}; trying again in {wait} (ImagePullBackOff)");
    assert_eq!(told, [again("0.02s"), again("0.04s")]);
    insta::assert_snapshot!("a_registry_that_comes_back", events(&finished, registry.port()));
}

#[test]
fn a_pod_runs_on_while_one_of_its_images_is_awaited_and_can_be_stopped() {
    let registry = FakeRegistry::start(|_| Answer::new(503, "{}"));
    let image = format!("{}/acme/app:1", registry.host());
    let folder =
        Folder::new().with("ready.wat", guests::says_ready_then_waits()).with("pod.yaml", pod(&["./ready.wat", &image], ""));
    let mut program = folder.start(&["pod.yaml", "-o", "json"]);
    let mut stderr = BufReader::new(program.stderr.take().unwrap());
    let (mut is_running, mut is_told, mut line) = (false, false, String::new());
    while !(is_running && is_told) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
        is_running |= line.contains("ready");
        is_told |= line.contains("trying again in 10s (ImagePullBackOff)");
    }
    interrupt(&program);
    let mut text = String::new();
    program.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(130));
    let object: Value = serde_json::from_str(&text).unwrap();
    let waiting = &object["status"]["containerStatuses"][1]["state"]["waiting"];
    assert_eq!(waiting["reason"], "ImagePullBackOff");
    let message = without_port(waiting["message"].as_str().unwrap(), registry.port());
    let image = "127.0.0.1:PORT/acme/app:1";
    assert_eq!(
        message,
        format!("Back-off pulling image \"{image}\": ErrImagePull: {image}: the registry answers 503 Service Unavailable")
    );
}

/// What a pod with this image comes to, which can never be had: its status and what is printed.
fn hopeless(image: &str, more: &[&str]) -> (Value, Finished) {
    let folder = Folder::new().with("pod.yaml", pod(&[image], ""));
    let finished = folder.run(&[&["pod.yaml", "-o", "json", "--events"], more].concat());
    (object(&finished)["status"].clone(), finished)
}

#[test]
fn what_no_wait_can_mend_fails_the_pod_at_once() {
    let registry = FakeRegistry::start(|_| refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"));
    let unknown = format!("{}/acme/app:1", registry.host());
    let cases: [(&str, &str, &[&str]); 3] = [
        ("unknown", &unknown, &[]),
        ("never", "registry.example/acme/app:1", &["--pull", "never"]),
        ("misspelt", "Registry.example/ACME/app:1", &[]),
    ];
    for (name, image, more) in cases {
        let (status, finished) = hopeless(image, more);
        let waiting = &status["containerStatuses"][0]["state"]["waiting"];
        let errors: Vec<&str> = finished.stderr.lines().filter(|line| !line.contains("  pod/")).collect();
        let text = format!(
            "exit status {}\nphase {}: {}\nwaiting: {}: {}\n{}\n{}",
            finished.status,
            status["phase"],
            status["reason"],
            waiting["reason"],
            waiting["message"],
            errors.join("\n"),
            events(&finished, registry.port())
        );
        insta::assert_snapshot!(format!("an_image_that_is_{name}"), without_port(&text, registry.port()));
    }
}

#[test]
fn a_deployment_makes_no_further_pod_of_an_image_that_is_refused() {
    let registry = FakeRegistry::start(|_| refusal(403, "DENIED", "not yours"));
    let manifest = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" }, "spec": {
        "selector": { "matchLabels": { "app": "web" } },
        "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [
            { "name": "web", "image": format!("{}/acme/app:1", registry.host()) }
        ] } },
    } });
    let folder = Folder::new().with("web.json", manifest.to_string());
    let finished = folder.run(&["web.json"]);
    assert_eq!(finished.status, 1, "{}", finished.stderr);
    assert_eq!(finished.stderr.matches("the registry denies access: not yours").count(), 1, "{}", finished.stderr);
}

#[test]
fn images_are_pulled_and_compiled_side_by_side() {
    let folder = Folder::new();
    let cache = folder.path().join("cache");
    // Each of the two is held back until the other is asked for; then the second until the first is compiled.
    let (first, second) = (Arc::new(says("first\n")), Arc::new(says("second\n")));
    let layers = [digest(&first.layer), digest(&second.layer)];
    let begun: Arc<[AtomicUsize; 2]> = Arc::default();
    let compiled = cache.clone();
    let registry = FakeRegistry::start(move |asked| {
        let artifact = if asked.path.contains("/first/") { &first } else { &second };
        if let Some(at) = layers.iter().position(|layer| asked.path.ends_with(layer)) {
            begun[at].fetch_add(1, Ordering::Relaxed);
            wait_for("the other image's download", || (begun[1 - at].load(Ordering::Relaxed) > 0).then_some(()));
            if at == 1 {
                wait_for("the first image's artifact", || has_artifact(&compiled).then_some(()));
            }
        }
        artifact.answer(asked)
    });
    let images = ["first", "second"].map(|name| format!("{}/{name}/app:1", registry.host()));
    let folder = folder.with("pod.yaml", pod(&[&images[0], &images[1]], ""));
    let cache = cache.display().to_string();
    let finished = folder.run(&["pod.yaml", "--cache-dir", &cache]);
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    assert!(finished.stdout.contains("first\n") && finished.stdout.contains("second\n"), "{}", finished.stdout);
    // Without a terminal, a line for each.
    for image in images {
        assert!(finished.stderr.contains(&format!("pulled {image}: sha256:")), "{}", finished.stderr);
        assert!(finished.stderr.contains(&format!("compiled {image} in ")), "{}", finished.stderr);
    }
}

/// Whether there is a compiled artifact anywhere below a directory.
fn has_artifact(dir: &Path) -> bool {
    let mut entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.any(|path| path.extension().is_some_and(|extension| extension == "cwasm") || (path.is_dir() && has_artifact(&path)))
}

/// A layout with an ordinary image `FROM scratch` of these files, which names its program and a variable.
fn ordinary_image(folder: &Folder, files: &[(&str, &[u8])]) {
    let mut layer = tar::Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o755);
        layer.append_data(&mut header, name, *contents).unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let config = json!({ "architecture": "wasm", "os": "wasip1", "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        "config": { "Entrypoint": ["/toolbox.wasm"], "Env": ["COLOUR=red"] } });
    let config = config.to_string().into_bytes();
    let blob = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() });
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", &config),
        "layers": [blob("application/vnd.oci.image.layer.v1.tar", &layer)] });
    let manifest = manifest.to_string().into_bytes();
    let index = json!({ "schemaVersion": 2, "manifests": [blob("application/vnd.oci.image.manifest.v1+json", &manifest)] });
    let layout = folder.path().join("layout");
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    for bytes in [&layer, &config, &manifest] {
        std::fs::write(layout.join("blobs").join(digest(bytes).replace(':', "/")), bytes).unwrap();
    }
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// An ordinary image and an image volume, from a real registry, in one pod: what each of them says and holds is seen by the guest.
#[test]
fn ordinary_images_and_image_volumes_come_from_a_registry() {
    let registry = DockerRegistry::plain();
    let maker = Folder::new();
    ordinary_image(&maker, &[("toolbox.wasm", guests::TOOLBOX), ("etc/motto", b"per aspera\n"), ("data/weights/a", b"0.5\n")]);
    let image = format!("{}/acme/tools:1", registry.host());
    let copy = std::process::Command::new("skopeo")
        .args([
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
            &format!("oci:{}", maker.path().join("layout").display()),
            &format!("docker://{image}"),
        ])
        .output()
        .unwrap();
    assert!(copy.status.success(), "{}", String::from_utf8_lossy(&copy.stderr));
    let container = |name: &str, args: &str, more: &str| format!("  - {{name: {name}, image: '{image}', args: [{args}]{more}}}\n");
    let mounts = |mount: &str| format!(", volumeMounts: [{{name: models, mountPath: /models{mount}}}]");
    let manifest = [
        "apiVersion: v1\nkind: Pod\nmetadata: {name: test}\nspec:\n  restartPolicy: Never\n  volumes:\n".to_owned(),
        format!("  - {{name: models, image: {{reference: '{image}', pullPolicy: IfNotPresent}}}}\n  containers:\n"),
        container("own", "cat, /etc/motto", ""),
        container("env", "env, COLOUR", ""),
        container("volume", "cat, /models/data/weights/a", &mounts("")),
        container("part", "cat, /models/a", &mounts(", subPath: data/weights")),
        container("writes", "write, /models/x, y", &mounts("")),
    ];
    let folder = Folder::new().with("pod.yaml", manifest.concat());
    let finished = folder.run(&["pod.yaml", "--events", "-o", "json"]);
    // Into a pipe all goes as it comes: the beginning of another container's line may stand before one.
    let printed = |text: &str| finished.stderr.lines().filter(|line| line.ends_with(text)).count();
    assert_eq!((printed("per aspera"), printed("red"), printed("0.5")), (1, 1, 2), "{}", finished.stderr);
    let statuses = object(&finished)["status"]["containerStatuses"].clone();
    let codes: Vec<Option<i64>> = (0..5).map(|at| statuses[at]["state"]["terminated"]["exitCode"].as_i64()).collect();
    assert!(matches!(codes[..], [Some(0), Some(0), Some(0), Some(0), Some(code)] if code != 0), "{codes:?}");
    assert!(finished.stderr.matches("compiled ").count() <= 1, "{}", finished.stderr);
    let count = |name: &str| std::fs::read_dir(folder.path().join("root/images").join(name)).unwrap().count();
    assert_eq!((count("rootfs"), count("leases")), (1, 0), "unpacked once, and let go at the end");
}

/// What a terminal gets to see of a pull or a push: bars, and nothing of them on standard output.
#[test]
fn a_terminal_shows_bars() {
    let artifact = Arc::new(says("x\n"));
    let slow = Arc::clone(&artifact);
    let registry = FakeRegistry::start(move |asked| {
        let honest = slow.answer(asked);
        match honest.body {
            Body::Bytes(bytes) if asked.path.contains("/blobs/") => Answer { body: Body::Slow(bytes), ..honest },
            body => Answer { body, ..honest },
        }
    });
    let folder = Folder::new();
    let image = format!("{}/acme/app:1", registry.host());
    let (terminal, theirs) = pseudo_terminal();
    let mut command = folder.wasmpod(&["pull", &image, "-o", "json"]);
    let mut program = Program::spawn(command.env("TERM", "xterm").stderr(theirs));
    drop(command);
    let shown = read_terminal(terminal);
    let mut printed = String::new();
    program.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(program.wait().unwrap().success());
    let shown = shown.join().unwrap();
    let bar = format!("pulling {}", &digest(&artifact.layer)[.."sha256:".len() + 12]);
    assert!(shown.contains(&bar) && shown.contains(['█', '░']), "{shown:?}");
    let result: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&result[0]["reference"], result[0]["size"].as_u64().is_some()), (&json!(image), true));
}
