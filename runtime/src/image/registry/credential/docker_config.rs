//! docker's `config.json` and the containers' `auth.json`: two names of one format.
//!
//! ```json
//! { "auths": { "ghcr.io": { "auth": "<base64 of user:password>" } },
//!   "credHelpers": { "gcr.io": "gcloud" }, "credsStore": "secretservice" }
//! ```
//! The keys of `auths` are hosts, as podman writes them, also with a path (`quay.io/acme`), or the URLs that docker wrote for its own
//! registry (`https://index.docker.io/v1/`). Everything else that the file holds is left as it is.

use super::{Credential, Secret, helper};
use crate::limits::{CREDENTIAL_FILE_BYTES_MAX, CREDENTIAL_HELPER_OUTPUT_BYTES_MAX};
use crate::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// The key under which docker keeps the credential of Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// Docker Hub, as references name it.
const DOCKER_HUB: &str = "docker.io";

/// One file with credentials.
#[derive(Clone)]
pub struct DockerConfig {
    /// Where it came from, for messages.
    source: String,
    /// `auths`, by host or host and path.
    auths: BTreeMap<String, Credential>,
    /// `credHelpers`, by host.
    helpers: BTreeMap<String, String>,
    /// `credsStore`.
    store: Option<String>,
    /// The whole file, to write it back without loss.
    document: Map<String, Value>,
}

impl std::fmt::Debug for DockerConfig {
    /// The registries, not what opens them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let registries: Vec<&str> = self.auths.keys().map(String::as_str).collect();
        f.debug_struct("DockerConfig").field("source", &self.source).field("registries", &registries).finish_non_exhaustive()
    }
}

impl DockerConfig {
    /// Reads the text of such a file; `source` says in messages which.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is not such a file. No message quotes from it.
    pub fn parse(text: &[u8], source: &str) -> Result<Self> {
        let wrong = |message: &str| {
            Error::invalid(message).at(source).hint("it should be JSON as `docker login` or `podman login` writes it")
        };
        if text.len() as u64 > CREDENTIAL_FILE_BYTES_MAX {
            return Err(
                Error::limit(format!("the file of credentials is larger than {CREDENTIAL_FILE_BYTES_MAX} bytes")).at(source)
            );
        }
        let document = match text.trim_ascii() {
            [] => Map::new(),
            text => serde_json::from_slice(text).map_err(|error| {
                // The error's own text names a position and what was expected, never a value of a string.
                wrong(&format!("cannot read the credentials: not JSON, line {} column {}", error.line(), error.column()))
            })?,
        };
        let mut config = Self {
            source: source.to_owned(),
            auths: BTreeMap::new(),
            helpers: strings(document.get("credHelpers")),
            store: document.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned),
            document,
        };
        if let Some(auths) = config.document.get("auths") {
            let auths = auths.as_object().ok_or_else(|| wrong("auths is not an object"))?;
            for (key, entry) in auths {
                let credential = credential(entry).map_err(|problem| wrong(&format!("auths[{key:?}]: {problem}")))?;
                config.auths.extend(credential.map(|credential| (normalised(key), credential)));
            }
        }
        match config.helpers.values().chain(&config.store).find(|name| !helper::is_name(name)) {
            Some(name) => Err(wrong(&format!("{name:?} cannot be the name of a credential helper"))),
            None => Ok(config),
        }
    }

    /// One credential, which is in no file yet.
    pub(crate) fn of(registry: &str, credential: Credential) -> Self {
        Self {
            source: "login".to_owned(),
            auths: BTreeMap::from([(registry.to_owned(), credential)]),
            helpers: BTreeMap::new(),
            store: None,
            document: Map::new(),
        }
    }

    /// Reads the file at `path`; one that does not exist has no credentials.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and when it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let source = path.display().to_string();
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::parse(b"", &source),
            Err(error) => return Err(Error::io("cannot read the credentials", error).at(source)),
        };
        let mut text = Vec::new();
        file.take(CREDENTIAL_FILE_BYTES_MAX + 1)
            .read_to_end(&mut text)
            .map_err(|error| Error::io("cannot read the credentials", error).at(&source))?;
        Self::parse(&text, &source)
    }

    /// Where it came from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The same without the programs that it names.
    #[must_use]
    pub fn without_helpers(self) -> Self {
        Self { helpers: BTreeMap::new(), store: None, ..self }
    }

    /// The credential for a repository: of the helper for its host, of the longest key that is a prefix of it, or of the store.
    pub(super) async fn credential(&self, registry: &str, repository: &str) -> Result<Option<Credential>> {
        if let Some(helper) = self.helpers.get(registry) {
            return helper::get(helper, server(registry)).await;
        }
        let mut name = format!("{registry}/{repository}");
        loop {
            if let Some(found) = self.auths.get(&name) {
                return Ok(Some(found.clone()));
            }
            match name.rfind('/') {
                Some(slash) => name.truncate(slash),
                None => break,
            }
        }
        match &self.store {
            Some(helper) => helper::get(helper, server(registry)).await,
            None => Ok(None),
        }
    }

    /// Keeps a credential for `registry`: with the helper that the file names for it, or in the file at `path`, which is replaced as a
    /// whole, with mode 0600.
    ///
    /// # Errors
    /// The helper's, or when the file cannot be written.
    pub async fn log_in(mut self, path: &Path, registry: &str, credential: &Credential) -> Result<()> {
        if let Some(helper) = self.helpers.get(registry).or(self.store.as_ref()) {
            return helper::store(helper, server(registry), credential).await;
        }
        let entry = match credential {
            Credential::Basic { username, password } => {
                serde_json::json!({ "auth": BASE64.encode(format!("{username}:{}", password.reveal())) })
            }
            Credential::IdentityToken(token) => serde_json::json!({ "identitytoken": token.reveal() }),
            Credential::RegistryToken(token) => serde_json::json!({ "registrytoken": token.reveal() }),
        };
        let auths = self.document.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(auths) = auths {
            auths.retain(|key, _| normalised(key) != registry);
            auths.insert(server(registry).to_owned(), entry);
        }
        self.write(path)
    }

    /// Forgets the credential for `registry`; false when there was none.
    ///
    /// # Errors
    /// As [`log_in`](Self::log_in).
    pub async fn log_out(mut self, path: &Path, registry: &str) -> Result<bool> {
        if let Some(helper) = self.helpers.get(registry).or(self.store.as_ref()) {
            return helper::erase(helper, server(registry)).await;
        }
        let Some(Value::Object(auths)) = self.document.get_mut("auths") else { return Ok(false) };
        let before = auths.len();
        auths.retain(|key, _| normalised(key) != registry);
        if auths.len() == before {
            return Ok(false);
        }
        self.write(path)?;
        Ok(true)
    }

    /// Replaces the file, so that a reader sees the old one or the new one.
    fn write(&self, path: &Path) -> Result<()> {
        let failed = |error: io::Error| Error::io("cannot write the credentials", error).at(path.display().to_string());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let mut text = serde_json::to_vec_pretty(&self.document).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let file = tempfile::Builder::new().prefix(".auth-").permissions(Permissions::from_mode(0o600)).tempfile_in(folder);
        let mut file = file.map_err(failed)?;
        file.write_all(&text).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// What helpers and the file call a registry.
fn server(registry: &str) -> &str {
    if registry == DOCKER_HUB { DOCKER_HUB_KEY } else { registry }
}

/// A key of `auths` as `host[/path]`: without scheme, without the paths of the registry's own interface.
fn normalised(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let name = match bare {
        // Of a URL, only the host counts.
        Some(url) => url.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/'),
    };
    match name {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        name => name.to_owned(),
    }
}

/// The members of an object that are strings.
fn strings(value: Option<&Value>) -> BTreeMap<String, String> {
    let members = value.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(key, value)| Some((normalised(key), value.as_str()?.to_owned()))).collect()
}

/// One entry of `auths`; an empty one says that a helper has the credential.
fn credential(entry: &Value) -> Result<Option<Credential>, &'static str> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credential::IdentityToken(Secret::new(token))));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credential::RegistryToken(Secret::new(token))));
    }
    if let Some(auth) = text("auth") {
        let decoded = BASE64.decode(auth.trim()).map_err(|_| "auth is not base64")?;
        let decoded = String::from_utf8(decoded).map_err(|_| "auth is not base64 of text")?;
        let (username, password) = decoded.split_once(':').ok_or("auth is not base64 of user:password")?;
        // Old versions of docker padded with zero bytes.
        return Ok(Some(basic(username, password.trim_end_matches('\0'))));
    }
    Ok(text("username").zip(text("password")).map(|(username, password)| basic(username, password)))
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.to_owned(), password: Secret::new(password) }
}

// An identity token that a helper printed must fit the file that it may be moved to.
const _: () = assert!(CREDENTIAL_HELPER_OUTPUT_BYTES_MAX <= CREDENTIAL_FILE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> DockerConfig {
        DockerConfig::parse(text.as_bytes(), "test").unwrap()
    }

    async fn user(config: &DockerConfig, registry: &str, repository: &str) -> Option<String> {
        config.credential(registry, repository).await.unwrap().map(|credential| match credential {
            Credential::Basic { username, password } => format!("{username}:{}", password.reveal()),
            other => format!("{other:?}"),
        })
    }

    #[tokio::test]
    async fn the_longest_key_decides() {
        let config = parse(
            r#"{"auths": {"quay.io": {"auth": "YTox"}, "quay.io/acme": {"auth": "Yjoy"}, "quay.io/acme/app": {"username": "c", "password": "3"}}}"#,
        );
        assert_eq!(user(&config, "quay.io", "other/app").await.as_deref(), Some("a:1"));
        assert_eq!(user(&config, "quay.io", "acme/other").await.as_deref(), Some("b:2"));
        assert_eq!(user(&config, "quay.io", "acme/app").await.as_deref(), Some("c:3"));
        assert_eq!(user(&config, "quay.io", "acme/app/more").await.as_deref(), Some("c:3"));
        assert_eq!(user(&config, "quay.io:444", "acme/app").await, None);
        assert_eq!(user(&config, "evil-quay.io", "acme/app").await, None);
    }

    #[tokio::test]
    async fn docker_hub_has_the_key_that_docker_gave_it() {
        let config =
            parse(r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "https://ghcr.io/v2/": {"auth": "Zzpo"}}}"#);
        assert_eq!(user(&config, "docker.io", "library/nginx").await.as_deref(), Some("u:p"));
        assert_eq!(user(&config, "ghcr.io", "acme/app").await.as_deref(), Some("g:h"));
    }

    #[tokio::test]
    async fn tokens_are_told_from_passwords() {
        let config =
            parse(r#"{"auths": {"a": {"auth": "PHRva2VuPjo=", "identitytoken": "i"}, "b": {"registrytoken": "r"}, "c": {}}}"#);
        assert_eq!(config.credential("a", "x").await.unwrap(), Some(Credential::IdentityToken(Secret::new("i"))));
        assert_eq!(config.credential("b", "x").await.unwrap(), Some(Credential::RegistryToken(Secret::new("r"))));
        assert_eq!(config.credential("c", "x").await.unwrap(), None);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_secrets() {
        let refusal = |text: &str| DockerConfig::parse(text.as_bytes(), "f").unwrap_err().to_string();
        assert_eq!(refusal("{\"auths\": hunter2"), "f: cannot read the credentials: not JSON, line 1 column 11");
        assert_eq!(refusal(r#"{"auths": {"a": {"auth": "hunter2!"}}}"#), "f: auths[\"a\"]: auth is not base64");
        assert_eq!(refusal(r#"{"credsStore": "../sh"}"#), "f: \"../sh\" cannot be the name of a credential helper");
        let debug = format!("{:?} {:?}", parse(r#"{"auths": {"a": {"auth": "YTpodW50ZXIy"}}}"#), Secret::new("hunter2"));
        assert!(!debug.contains("hunter2") && !debug.contains("YTpodW50ZXIy"), "{debug}");
    }

    #[tokio::test]
    async fn logging_in_and_out_leaves_the_rest_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/auth.json");
        let credential = basic("me", "s3cret");
        DockerConfig::read(&path).unwrap().log_in(&path, "ghcr.io", &credential).await.unwrap();
        let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        document["psFormat"] = "kept".into();
        fs::write(&path, document.to_string()).unwrap();
        DockerConfig::read(&path).unwrap().log_in(&path, "docker.io", &credential).await.unwrap();
        let config = DockerConfig::read(&path).unwrap();
        assert_eq!(config.credential("docker.io", "x").await.unwrap(), Some(credential.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(config.log_out(&path, "docker.io").await.unwrap());
        assert!(!DockerConfig::read(&path).unwrap().log_out(&path, "docker.io").await.unwrap());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("ghcr.io") && text.contains("kept") && !text.contains("index.docker.io"), "{text}");
    }
}
