//! Images from registries, as users meet them; and registries that are not to be trusted.

use crate::guests;
use crate::harness::registry::{
    Answer, Artifact, Asked, Body, DockerRegistry, FakeRegistry, PASSWORD, USER, digest, pod, refusal, store_files, without_port,
};
use crate::harness::{Finished, Folder, Program, finish};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs `wasmpod ARGS` to its end.
fn wasmpod(folder: &Folder, args: &[&str]) -> Finished {
    finish(Program::spawn(&mut folder.wasmpod(args)))
}

/// The same, which must succeed.
fn done(folder: &Folder, args: &[&str]) -> Finished {
    let finished = wasmpod(folder, args);
    assert_eq!(finished.status, 0, "wasmpod {args:?}: {}", finished.stderr);
    finished
}

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[test]
fn what_is_pushed_is_pulled_by_tag_and_digest_and_runs() {
    let registry = DockerRegistry::plain();
    let maker = Folder::new().with("one.wat", guests::writes(1, "one\n", 0)).with("two.wat", guests::writes(1, "two\n", 0));
    let (one, two) = (format!("{}/acme/one:1", registry.host()), format!("{}/acme/deep/two:1", registry.host()));
    done(&maker, &["push", "one.wat", &one]);
    let pushed = done(&maker, &["push", "two.wat", &two, "-o", "json"]);
    let pushed: serde_json::Value = serde_json::from_str(&pushed.stdout).unwrap();
    let by_digest = pushed["id"].as_str().unwrap();

    let user = Folder::new().with("pod.yaml", pod(&[&one, by_digest], ""));
    let pulled = done(&user, &["pull", &one, by_digest, "-o", "json"]);
    let pulled: serde_json::Value = serde_json::from_str(&pulled.stdout).unwrap();
    assert_eq!(pulled[1]["digest"], pushed["digest"]);
    let finished = done(&user, &["run", "pod.yaml", "-o", "json", "--pull", "never"]);
    let object: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(object["status"]["containerStatuses"][1]["imageID"], by_digest);
    assert!(finished.stderr.contains("one\n") && finished.stderr.contains("two\n"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("compiled"), "a pull leaves the artifact compiled: {}", finished.stderr);
    assert_eq!(done(&Folder::new(), &["run", &one]).stdout, "one\n");
}

#[test]
fn arguments_reach_a_registrys_image() {
    let registry = DockerRegistry::plain();
    let folder = Folder::new().with("show.wat", guests::ARGS_ENV);
    let image = format!("{}/acme/show:1", registry.host());
    done(&folder, &["push", "show.wat", &image]);
    let finished = done(&folder, &["run", &image, "--env", "COLOUR=blue", "--", "one", "two words"]);
    assert!(finished.stdout.contains("two words") && finished.stdout.contains("COLOUR=blue"), "{}", finished.stdout);
}

#[test]
fn an_image_that_is_not_here_is_not_run_under_never() {
    let folder = Folder::new();
    let finished = wasmpod(&folder, &["run", "registry.example/acme/app:1", "--pull", "never"]);
    insta::assert_snapshot!(format!("{}exit status {}", finished.stderr, finished.status));
}

#[test]
fn a_password_opens_a_registry_and_is_never_shown() {
    let registry = DockerRegistry::with_user();
    let folder = Folder::new().with("out.wat", guests::writes(1, "secret program\n", 0));
    let host = registry.host();
    let port = host.rsplit(':').next().unwrap().parse().unwrap();
    let image = format!("{host}/acme/app:1");
    let mut shown = String::new();
    let mut run = |args: &[&str], input: &str| {
        let mut command = folder.wasmpod(&[args, &["--authfile", "auth.json", "-vvv"]].concat());
        let mut child = Program::spawn(command.stdin(Stdio::piped()));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let finished = finish(child);
        shown.push_str(&finished.stdout);
        shown.push_str(&finished.stderr);
        let last: String = finished
            .stderr
            .lines()
            .filter(|line| line.starts_with("error:") || line.starts_with("hint:"))
            .collect::<Vec<_>>()
            .join("\n");
        (finished.status, without_port(&last, port))
    };
    let (status, text) = run(&["push", "out.wat", &image], "");
    insta::assert_snapshot!("without_a_credential", format!("{text}\nexit status {status}"));
    let (status, text) = run(&["login", &host, "-u", USER, "--password-stdin"], "hunter3-wrong\n");
    insta::assert_snapshot!("with_a_wrong_password", format!("{text}\nexit status {status}"));
    assert_eq!(run(&["login", &host, "-u", USER, "--password-stdin"], &format!("{PASSWORD}\n")).0, 0);
    assert_eq!(run(&["push", "out.wat", &image], "").0, 0);
    assert_eq!(run(&["pull", &image], "").0, 0);
    assert_eq!(run(&["run", &image, "--pull", "always"], "").0, 0);
    let auth = std::fs::read(folder.path().join("auth.json")).unwrap();
    assert_eq!(run(&["logout", &host], "").0, 0);
    assert_eq!(run(&["pull", &image], "").0, 1);
    // The same credential in a Secret of the manifest.
    let secret = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: regcred}}\ntype: kubernetes.io/dockerconfigjson\nstringData:\n  .dockerconfigjson: '{}'\n",
        serde_json::from_slice::<serde_json::Value>(&auth).unwrap()
    );
    let manifest = pod(&[&image], "  imagePullSecrets: [{name: regcred}]\n") + &secret;
    std::fs::write(folder.path().join("pod.yaml"), manifest).unwrap();
    let (status, text) = run(&["run", "pod.yaml", "--pull", "always"], "");
    assert_eq!(status, 0, "{text}");
    let encoded = serde_json::from_slice::<serde_json::Value>(&auth).unwrap()["auths"][&host]["auth"].as_str().unwrap().to_owned();
    assert!(
        shown.contains("secret program") && !shown.contains(PASSWORD) && !shown.contains("hunter3") && !shown.contains(&encoded)
    );
}

#[test]
fn a_certificate_must_be_vouched_for() {
    let registry = DockerRegistry::with_tls();
    let folder = Folder::new().with("out.wat", guests::writes(1, "over TLS\n", 0));
    let image = format!("{}/acme/app:1", registry.host());
    let refused = wasmpod(&folder, &["push", "out.wat", &image]);
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("the registry's certificate is not trusted"), "{}", refused.stderr);
    done(&folder, &["push", "out.wat", &image, "--ca-file", &registry.path("ca.crt")]);
    done(&folder, &["pull", &image, "--insecure-registry", &registry.host()]);
    let certs = format!("config/containers/certs.d/{}/ca.crt", registry.host());
    let folder = folder.with(&certs, std::fs::read(registry.path("ca.crt")).unwrap());
    let mut pull = folder.wasmpod(&["pull", &image]);
    let pulled = finish(Program::spawn(pull.env("XDG_CONFIG_HOME", folder.path().join("config"))));
    assert_eq!(pulled.status, 0, "{}", pulled.stderr);
    // A file of authorities that cannot be read ends everything before the first request.
    let broken = wasmpod(&folder, &["pull", &image, "--ca-file", "out.wat"]);
    assert!(broken.status == 2 && broken.stderr.contains("there is no certificate in the file"), "{}", broken.stderr);
}

fn skopeo(args: &[&str]) -> String {
    let output = Command::new("skopeo").args(args).output().unwrap();
    assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn skopeo_reads_what_we_push_and_what_it_copies_runs() {
    let registry = DockerRegistry::plain();
    let folder = Folder::new().with("out.wat", guests::writes(1, "well travelled\n", 0));
    let image = format!("{}/acme/app:1", registry.host());
    done(&folder, &["push", "out.wat", &image]);
    let manifest: serde_json::Value =
        serde_json::from_str(&skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{image}")])).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let layout = folder.path().join("layout").display().to_string();
    skopeo(&["copy", "--quiet", "--src-tls-verify=false", &format!("docker://{image}"), &format!("oci:{layout}:v1")]);
    assert_eq!(done(&Folder::new(), &["run", &format!("oci:{layout}:v1")]).stdout, "well travelled\n");
    let copied = format!("{}/other/app:2", registry.host());
    skopeo(&["copy", "--quiet", "--dest-tls-verify=false", &format!("oci:{layout}:v1"), &format!("docker://{copied}")]);
    assert_eq!(done(&Folder::new(), &["run", &copied]).stdout, "well travelled\n");
}

#[test]
fn mirrors_are_asked_first_and_the_registry_when_they_fail() {
    let artifact = Arc::new(Artifact::new(&wasm(&guests::writes(1, "mirrored\n", 0))));
    let served = Arc::clone(&artifact);
    let mirror = FakeRegistry::start(move |asked| served.answer(asked));
    let broken = FakeRegistry::start(|_| Answer::new(404, "{}"));
    let conf = format!(
        "[[registry]]\nprefix = 'registry.example/acme'\nlocation = 'registry.invalid/acme'\n\
         [[registry.mirror]]\nlocation = '{}/first'\n[[registry.mirror]]\nlocation = '{}/second'\n",
        broken.host(),
        mirror.host()
    );
    let folder = Folder::new().with("registries.conf", conf);
    let mut command = folder.wasmpod(&["run", "registry.example/acme/app:1"]);
    command.env("CONTAINERS_REGISTRIES_CONF", folder.path().join("registries.conf"));
    let finished = finish(Program::spawn(&mut command));
    assert_eq!(finished.stdout, "mirrored\n", "{}", finished.stderr);
    assert!(broken.count("HEAD", "/v2/first/app/manifests/1") == 1 && mirror.count("HEAD", "/v2/second/app/manifests/1") == 1);
}

#[test]
fn a_redirect_to_another_host_carries_no_credential() {
    let artifact = Arc::new(Artifact::new(&wasm(&guests::writes(1, "from afar\n", 0))));
    let stored = Arc::clone(&artifact);
    let storage = FakeRegistry::start(move |asked| stored.answer(asked));
    let elsewhere = format!("http://localhost:{}", storage.port());
    let registry = FakeRegistry::start(move |asked| match asked.headers.get("authorization") {
        None => Answer::new(401, "{}").with("www-authenticate", "Basic realm=\"test\""),
        Some(_) if asked.path.contains("/blobs/") => Answer::new(307, "").with("location", &format!("{elsewhere}{}", asked.path)),
        Some(_) => artifact.answer(asked),
    });
    let auth = serde_json::json!({ "auths": { registry.host(): { "username": USER, "password": PASSWORD } } });
    let folder = Folder::new().with("auth.json", auth.to_string());
    let finished = done(&folder, &["run", &format!("{}/acme/app:1", registry.host()), "--authfile", "auth.json"]);
    assert_eq!(finished.stdout, "from afar\n");
    assert!(registry.asked().iter().any(|asked| asked.headers.contains_key("authorization")));
    assert!(
        storage.count("GET", "/blobs/") == 2 && storage.asked().iter().all(|asked| !asked.headers.contains_key("authorization"))
    );
}

#[test]
fn a_token_is_got_for_the_credential_and_the_repository() {
    let artifact = Artifact::new(&wasm(&guests::writes(1, "by token\n", 0)));
    let registry = FakeRegistry::start(move |asked| {
        let host = &asked.headers["host"];
        if asked.path.starts_with("/token?") {
            return Answer::new(200, r#"{"token":"t0ken"}"#);
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some("Bearer t0ken") => artifact.answer(asked),
            _ => Answer::new(401, "{}").with(
                "www-authenticate",
                &format!("Bearer realm=\"http://{host}/token\",service=\"test\",scope=\"repository:acme/app:pull\""),
            ),
        }
    });
    let auth = serde_json::json!({ "auths": { registry.host(): { "auth": "Z29waGVyOnB3" } } });
    let folder = Folder::new().with("auth.json", auth.to_string());
    let finished = done(&folder, &["run", &format!("{}/acme/app:1", registry.host()), "--authfile", "auth.json", "-vvv"]);
    assert_eq!(finished.stdout, "by token\n");
    let asked = registry.asked();
    let tokens: Vec<&Asked> = asked.iter().filter(|asked| asked.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1, "one token for the whole pull");
    assert_eq!(tokens[0].path, "/token?service=test&scope=repository%3Aacme%2Fapp%3Apull");
    assert_eq!(tokens[0].headers["authorization"], "Basic Z29waGVyOnB3");
    assert!(!finished.stderr.contains("t0ken") && !finished.stderr.contains("Z29waGVyOnB3"), "{}", finished.stderr);
}

#[test]
fn a_registry_that_repeats_a_credential_does_not_get_it_shown() {
    let registry = FakeRegistry::start(|asked| match asked.headers.get("authorization") {
        None => Answer::new(401, "{}").with("www-authenticate", "Basic realm=\"test\""),
        Some(authorization) => refusal(403, "DENIED", &format!("{authorization} is {USER}:{PASSWORD}")),
    });
    let auth = serde_json::json!({ "auths": { registry.host(): { "username": USER, "password": PASSWORD } } });
    let folder = Folder::new().with("auth.json", auth.to_string());
    let finished = wasmpod(&folder, &["pull", &format!("{}/acme/app:1", registry.host()), "--authfile", "auth.json"]);
    assert_eq!(finished.status, 1);
    assert!(finished.stderr.contains("Basic … is gopher:…"), "{}", finished.stderr);
}

#[test]
fn a_broken_download_goes_on_where_it_ended() {
    let artifact = Artifact::new(&wasm("(module)"));
    let layer = digest(&artifact.layer);
    let registry = FakeRegistry::start(move |asked| {
        let honest = artifact.answer(asked);
        match honest.body {
            Body::Bytes(bytes) if asked.path.ends_with(&layer) && !asked.headers.contains_key("range") => {
                Answer { body: Body::Cut(bytes[..5].to_vec(), bytes.len()), ..honest }
            }
            body => Answer { body, ..honest },
        }
    });
    let finished = wasmpod(&Folder::new(), &["pull", &format!("{}/acme/app:1", registry.host())]);
    let ranges: Vec<String> = registry.asked().iter().filter_map(|asked| asked.headers.get("range").cloned()).collect();
    assert_eq!(ranges, ["bytes=5-"], "{}", finished.stderr);
}

#[test]
fn a_hundred_pulls_make_one_download_of_each_blob() {
    let artifact = Arc::new(Artifact::new(&wasm(&guests::writes(1, "once\n", 0))));
    let (layer, config) = (digest(&artifact.layer), digest(&artifact.config));
    let registry = FakeRegistry::start(move |asked| {
        let honest = artifact.answer(asked);
        match honest.body {
            Body::Bytes(bytes) if asked.path.contains("/blobs/") => Answer { body: Body::Slow(bytes), ..honest },
            body => Answer { body, ..honest },
        }
    });
    let folder = Folder::new();
    let images: Vec<String> = (0..20).map(|tag| format!("{}/acme/app:{tag}", registry.host())).collect();
    let args: Vec<&str> = ["pull"].into_iter().chain(images.iter().map(String::as_str)).collect();
    let pulls: Vec<Program> = (0..5).map(|_| Program::spawn(&mut folder.wasmpod(&args))).collect();
    for pull in pulls {
        let finished = finish(pull);
        assert_eq!(finished.status, 0, "{}", finished.stderr);
    }
    assert_eq!((registry.count("GET", &layer), registry.count("GET", &config)), (1, 1));
    assert!(store_files(&folder, "ingest").is_empty() && store_files(&folder, "leases").is_empty());
}

#[test]
fn killed_pulls_leave_nothing_that_is_in_the_way() {
    let kills = if std::env::var_os("WASMPOD_SLOW").is_some() { 500 } else { 25 };
    // Big enough to be killed in the midst.
    let module = wasm(&format!(
        "(module (memory (export \"memory\") 20) (func (export \"_start\")) (data (i32.const 0) \"{}\"))",
        "x".repeat(600_000)
    ));
    let artifact = Arc::new(Artifact::new(&module));
    let layer = digest(&artifact.layer);
    let registry = FakeRegistry::start(move |asked| {
        let honest = artifact.answer(asked);
        match honest.body {
            Body::Bytes(bytes) if asked.path.contains("/blobs/") => Answer { body: Body::Slow(bytes), ..honest },
            body => Answer { body, ..honest },
        }
    });
    let image = format!("{}/acme/app:1", registry.host());
    let folder = Folder::new();
    let started = Instant::now();
    done(&Folder::new(), &["pull", &image]);
    let whole = started.elapsed().min(Duration::from_secs(2));
    for kill in 0..kills {
        let mut child = Program::spawn(&mut folder.wasmpod(&["pull", &image]));
        std::thread::sleep(whole * kill / kills);
        child.kill().unwrap();
        child.wait().unwrap();
        for (name, _) in store_files(&folder, "blobs/sha256") {
            let bytes = std::fs::read(folder.path().join("root/images/blobs/sha256").join(&name)).unwrap();
            assert_eq!(digest(&bytes), format!("sha256:{name}"), "a blob that can be seen is whole");
        }
        assert!(store_files(&folder, "ingest").len() <= 3, "{:?}", store_files(&folder, "ingest"));
    }
    done(&folder, &["pull", &image]);
    assert!(store_files(&folder, "blobs/sha256").iter().any(|(name, _)| layer.ends_with(name)));
    assert!(store_files(&folder, "ingest").is_empty(), "{:?}", store_files(&folder, "ingest"));
    assert!(store_files(&folder, "leases").is_empty(), "{:?}", store_files(&folder, "leases"));
}

#[test]
fn an_unreachable_registry_is_said_with_kubernetes_word_for_waiting() {
    let port = crate::harness::free_port();
    let image = format!("127.0.0.1:{port}/acme/app:1");
    let pulled = wasmpod(&Folder::new(), &["pull", &image]);
    insta::assert_snapshot!(
        "an_unreachable_registry",
        format!("{}exit status {}", without_port(&pulled.stderr, port), pulled.status)
    );
    // A foreground pod waits for it, as long as its user has said, who sees why at once.
    let waiting = wasmpod(&Folder::new(), &["run", &image, "--timeout", "1s"]);
    assert_eq!(waiting.status, 124, "{}", waiting.stderr);
    assert!(waiting.stderr.contains("the registry cannot be reached") && waiting.stderr.contains("trying again in 10s"));
}

#[test]
fn the_store_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let artifact = Artifact::new(&wasm("(module)"));
    let registry = FakeRegistry::start(move |asked| artifact.answer(asked));
    let folder = Folder::new();
    wasmpod(&folder, &["pull", &format!("{}/acme/app:1", registry.host())]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = folder.path().join("root/images");
    assert_eq!((mode(&store), mode(&store.join("blobs/sha256"))), (0o700, 0o700));
    assert!(std::fs::read_dir(store.join("blobs/sha256")).unwrap().flatten().all(|blob| mode(&blob.path()) == 0o600));
}
