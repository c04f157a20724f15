//! How registries are reached: credentials of helper programs and tokens, pull secrets, proxies. What is secret is never shown.

use crate::guests;
use crate::harness::registry::{Answer, Artifact, DockerRegistry, FakeProxy, FakeRegistry, PASSWORD, TLS_NAME, USER, refusal};
use crate::harness::{Finished, Folder, Program, finish};
use serde_json::json;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

/// Keeps one credential in the file `$0.store`, as docker defines its helpers, and writes down what it is asked.
const HELPER: &str = r#"#!/bin/sh
read -r input
echo "$1 $input" >> "$0.asked"
case $1 in
    store) printf '%s' "$input" > "$0.store" ;;
    erase) rm "$0.store" ;;
    get) cat "$0.store" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
esac
"#;

/// A folder with the helper `docker-credential-test` and this docker configuration.
fn with_helper(config: &serde_json::Value) -> Folder {
    let folder = Folder::new().with("bin/docker-credential-test", HELPER).with("docker/config.json", config.to_string());
    std::fs::set_permissions(folder.path().join("bin/docker-credential-test"), PermissionsExt::from_mode(0o755)).unwrap();
    folder.with("out.wat", guests::writes(1, "opened\n", 0))
}

/// What the helper was asked, a line each.
fn asked_of_helper(folder: &Folder) -> Vec<String> {
    let text = std::fs::read_to_string(folder.path().join("bin/docker-credential-test.asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Runs `wasmpod ARGS` with docker's configuration of the folder, everything traced.
fn traced(folder: &Folder, args: &[&str], input: &str, env: &[(&str, &str)]) -> Finished {
    let mut command = folder.wasmpod(&[args, &["-vvv"]].concat());
    let path = format!("{}:/usr/bin:/bin", folder.path().join("bin").display());
    command.env("PATH", path).env("DOCKER_CONFIG", folder.path().join("docker")).envs(env.iter().copied());
    let mut child = Program::spawn(command.stdin(Stdio::piped()));
    // A program that does not read its input is fine.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let finished = finish(child);
    for secret in [PASSWORD, IDENTITY, ACCESS] {
        assert!(!finished.stderr.contains(secret) && !finished.stdout.contains(secret), "{secret} is shown: {}", finished.stderr);
    }
    finished
}

/// An identity token and the access token that it is exchanged for.
const IDENTITY: &str = "identity-token-of-gopher";
const ACCESS: &str = "access-token-for-a-minute";

#[test]
fn a_helper_keeps_the_credential_from_login_to_logout() {
    let registry = DockerRegistry::with_user();
    let host = registry.host();
    let image = format!("{host}/acme/app:1");
    let folder = with_helper(&json!({ "credHelpers": { &host: "test" } }));
    let run = |args: &[&str], input: &str| traced(&folder, args, input, &[]);
    assert_eq!(run(&["push", "out.wat", &image], "").status, 1, "it has no credential yet");
    let login = run(&["login", &host, "-u", USER, "--password-stdin"], PASSWORD);
    assert_eq!(login.status, 0, "{}", login.stderr);
    assert_eq!(run(&["push", "out.wat", &image], "").status, 0);
    assert_eq!(run(&["run", &image, "--pull", "always"], "").stdout, "opened\n");
    let kept = std::fs::read_to_string(folder.path().join("docker/config.json")).unwrap();
    assert!(!kept.contains(PASSWORD) && !kept.contains("auths"), "{kept}");
    assert_eq!(run(&["logout", &host], "").status, 0);
    assert_eq!(run(&["pull", &image], "").status, 1);
    let asked = asked_of_helper(&folder);
    let stored = json!({ "ServerURL": host, "Username": USER, "Secret": PASSWORD });
    assert!(
        asked
            .iter()
            .any(|line| line.strip_prefix("store ").is_some_and(|entry| entry.parse::<serde_json::Value>().unwrap() == stored)),
        "{asked:?}"
    );
    assert!(asked.contains(&format!("erase {host}")) && asked.contains(&format!("get {host}")), "{asked:?}");
}

#[test]
fn a_store_of_credentials_is_asked_for_every_registry() {
    let registry = DockerRegistry::with_user();
    let image = format!("{}/acme/app:1", registry.host());
    let folder = with_helper(&json!({ "credsStore": "test" }));
    let entry = json!({ "Username": USER, "Secret": PASSWORD }).to_string();
    let folder = folder.with("bin/docker-credential-test.store", entry);
    let pushed = traced(&folder, &["push", "out.wat", &image], "", &[]);
    assert_eq!(pushed.status, 0, "{}", pushed.stderr);
}

#[test]
fn a_helper_that_fails_is_named_and_what_it_says_is_not_shown() {
    let registry = DockerRegistry::with_user();
    let host = registry.host();
    let image = format!("{host}/acme/app:1");
    let folder = with_helper(&json!({ "credHelpers": { &host: "test" } }));
    let broken = format!("#!/bin/sh\necho {PASSWORD}; echo {PASSWORD} >&2; exit 3\n");
    std::fs::write(folder.path().join("bin/docker-credential-test"), broken).unwrap();
    let failed = traced(&folder, &["pull", &image], "", &[]);
    assert_eq!(failed.status, 1);
    assert!(failed.stderr.contains("docker-credential-test: the credential helper could not do `get`"), "{}", failed.stderr);
    std::fs::remove_file(folder.path().join("bin/docker-credential-test")).unwrap();
    let missing = traced(&folder, &["pull", &image], "", &[]);
    assert!(missing.stderr.contains("is it installed and in PATH?"), "{}", missing.stderr);
}

/// A registry whose token service takes only refresh tokens, as those of clouds do.
fn with_identity_tokens() -> FakeRegistry {
    let artifact = Artifact::new(&wat::parse_str(guests::writes(1, "opened\n", 0)).unwrap());
    FakeRegistry::start(move |asked| {
        if asked.path == "/token" {
            let granted = asked.method == "POST" && asked.body.contains(&format!("refresh_token={IDENTITY}"));
            return if granted {
                Answer::new(200, json!({ "access_token": ACCESS }).to_string())
            } else {
                refusal(401, "UNAUTHORIZED", "who?")
            };
        }
        match asked.headers.get("authorization") {
            Some(bearer) if bearer == &format!("Bearer {ACCESS}") => artifact.answer(asked),
            _ => {
                let realm = format!("Bearer realm=\"http://{}/token\",service=\"test\"", asked.headers["host"]);
                Answer::new(401, "{}").with("www-authenticate", &realm)
            }
        }
    })
}

#[test]
fn an_identity_token_is_exchanged_for_access() {
    let registry = with_identity_tokens();
    let image = format!("{}/acme/app:1", registry.host());
    let folder = with_helper(&json!({ "auths": { registry.host(): { "auth": "", "identitytoken": IDENTITY } } }));
    let finished = traced(&folder, &["run", &image], "", &[]);
    assert_eq!(finished.stdout, "opened\n", "{}", finished.stderr);
    let exchanged: Vec<String> =
        registry.asked().into_iter().filter(|asked| asked.path == "/token").map(|asked| asked.body).collect();
    let form = "service=test&scope=repository%3Aacme%2Fapp%3Apull&client_id=wasmpod&grant_type=refresh_token&refresh_token=";
    assert_eq!(exchanged, [format!("{form}{IDENTITY}")]);
}

#[test]
fn a_helper_may_hand_out_an_identity_token() {
    let registry = with_identity_tokens();
    let image = format!("{}/acme/app:1", registry.host());
    let folder = with_helper(&json!({ "credsStore": "test" }));
    let entry = json!({ "Username": "<token>", "Secret": IDENTITY }).to_string();
    let folder = folder.with("bin/docker-credential-test.store", entry);
    assert_eq!(traced(&folder, &["run", &image], "", &[]).stdout, "opened\n");
}

#[test]
fn the_secret_of_a_pod_comes_before_the_users_own_credential_and_runs_no_program() {
    let registry = DockerRegistry::with_user();
    let host = registry.host();
    let image = format!("{host}/acme/app:1");
    let folder = with_helper(&json!({ "auths": { &host: { "username": USER, "password": PASSWORD } } }));
    assert_eq!(traced(&folder, &["push", "out.wat", &image], "", &[]).status, 0);
    let manifest = |config: serde_json::Value| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: test}}\nspec:\n  restartPolicy: Never\n  imagePullSecrets: [{{name: regcred}}]\n  \
             containers: [{{name: app, image: '{image}', imagePullPolicy: Always}}]\n---\napiVersion: v1\nkind: Secret\n\
             metadata: {{name: regcred}}\ntype: kubernetes.io/dockerconfigjson\nstringData: {{.dockerconfigjson: '{config}'}}\n"
        )
    };
    let run = |name: &str, config| {
        std::fs::write(folder.path().join(name), manifest(config)).unwrap();
        traced(&folder, &["run", name], "", &[])
    };
    let wrong = run("wrong.yaml", json!({ "auths": { &host: { "username": USER, "password": "not-it" } } }));
    assert_eq!(wrong.status, 1, "the first that has a credential decides: {}", wrong.stderr);
    assert!(wrong.stderr.contains("error: container app of pod test: ") && !wrong.stderr.contains("not-it"), "{}", wrong.stderr);
    // A helper that the Secret names is not run, and the user's own credential serves.
    let helper = run("helper.yaml", json!({ "credHelpers": { &host: "test" }, "credsStore": "test" }));
    assert_eq!(helper.stdout, "opened\n", "{}", helper.stderr);
    assert!(asked_of_helper(&folder).is_empty());
}

#[test]
fn registries_are_reached_by_way_of_the_proxy() {
    let registry = DockerRegistry::with_tls();
    let proxy = FakeProxy::start(registry.port());
    let folder = with_helper(&json!({}));
    let image = format!("{TLS_NAME}/acme/app:1");
    let (ca, url) = (registry.path("ca.crt"), format!("http://{USER}:{PASSWORD}@127.0.0.1:{}", proxy.port()));
    let env = [("HTTPS_PROXY", url.as_str())];
    let pushed = traced(&folder, &["push", "out.wat", &image, "--ca-file", &ca], "", &env);
    assert_eq!(pushed.status, 0, "{}", pushed.stderr);
    assert_eq!(traced(&folder, &["run", &image, "--ca-file", &ca, "--pull", "always"], "", &env).stdout, "opened\n");
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.path == format!("{TLS_NAME}:443")), "{asked:?}");
    assert!(asked[0].headers["proxy-authorization"].starts_with("Basic "));
    // Not where the network says so, and never to the loopback.
    let direct = traced(&folder, &["pull", &image, "--ca-file", &ca], "", &[("HTTPS_PROXY", &url), ("NO_PROXY", ".example")]);
    assert!(direct.stderr.contains("the registry cannot be reached"), "{}", direct.stderr);
    let loopback = format!("{}/acme/app:1", registry.host());
    assert_eq!(traced(&folder, &["pull", &loopback, "--ca-file", &ca], "", &[("ALL_PROXY", &url)]).status, 0);
    assert_eq!(proxy.asked().len(), asked.len());
}

#[test]
fn a_proxy_that_is_no_url_is_an_error_without_its_password() {
    let folder = with_helper(&json!({}));
    let wrong = format!("http://{USER}:{PASSWORD}@[");
    let failed = traced(&folder, &["pull", &format!("{TLS_NAME}/acme/app:1")], "", &[("https_proxy", &wrong)]);
    assert_eq!(failed.status, 2, "{}", failed.stderr);
    assert!(failed.stderr.contains("HTTPS_PROXY or HTTP_PROXY: the proxy is not a URL"), "{}", failed.stderr);
}

#[test]
fn an_authority_for_one_host_is_trusted_for_no_other() {
    let registry = DockerRegistry::with_tls();
    let other = DockerRegistry::with_tls();
    let folder = with_helper(&json!({}));
    let authority = Path::new("config/containers/certs.d").join(registry.host()).join("ca.crt");
    let folder = folder.with(authority.to_str().unwrap(), std::fs::read(registry.path("ca.crt")).unwrap());
    let config = folder.path().join("config").display().to_string();
    let push =
        |host: String| traced(&folder, &["push", "out.wat", &format!("{host}/acme/app:1")], "", &[("XDG_CONFIG_HOME", &config)]);
    assert_eq!(push(registry.host()).status, 0);
    let refused = push(other.host());
    assert!(refused.status == 1 && refused.stderr.contains("the registry's certificate is not trusted"), "{}", refused.stderr);
}
