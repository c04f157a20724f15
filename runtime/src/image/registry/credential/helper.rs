//! Credential helpers: programs called `docker-credential-NAME` that keep credentials in a key ring or get them from a cloud.
//!
//! The protocol is docker's (docker-credential-helpers): the verb is the argument, the registry comes on standard input, the answer is
//! JSON on standard output.

use super::{Credential, Secret};
use crate::limits::{CREDENTIAL_HELPER_OUTPUT_BYTES_MAX, CREDENTIAL_HELPER_TIME_MAX};
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// The answer to `get` and what `store` is told.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default, rename = "ServerURL")]
    server_url: String,
    username: String,
    secret: String,
}

/// The user name that says that the secret is an identity token.
const IDENTITY_TOKEN_USER: &str = "<token>";
/// How helpers say that they have nothing for this registry.
const NOT_FOUND: &str = "credentials not found";

/// Asks the helper `name` for the credential of `server`; none when it has none.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credential>> {
    let Answer { success, output } = run(name, "get", server.as_bytes()).await?;
    if !success {
        let said = String::from_utf8_lossy(&output);
        // Whatever else it printed may hold a secret.
        return if said.contains(NOT_FOUND) { Ok(None) } else { Err(failed(name, "get")) };
    }
    // The cause would quote what could not be read.
    let entry: Entry = serde_json::from_slice(&output)
        .map_err(|_| Error::invalid("the credential helper's answer is not the JSON that docker defines").at(program(name)))?;
    Ok(Some(match entry {
        Entry { username, secret, .. } if username == IDENTITY_TOKEN_USER => Credential::IdentityToken(Secret::new(secret)),
        Entry { username, secret, .. } => Credential::Basic { username, password: Secret::new(secret) },
    }))
}

/// Hands a credential to the helper `name`, to keep it for `server`.
pub(super) async fn store(name: &str, server: &str, credential: &Credential) -> Result<()> {
    let (username, secret) = match credential {
        Credential::Basic { username, password } => (username.as_str(), password),
        Credential::IdentityToken(token) | Credential::RegistryToken(token) => (IDENTITY_TOKEN_USER, token),
    };
    let entry = Entry { server_url: server.to_owned(), username: username.to_owned(), secret: secret.reveal().to_owned() };
    let input = serde_json::to_vec(&entry).map_err(|_| Error::internal("cannot write a credential as JSON"))?;
    if run(name, "store", &input).await?.success { Ok(()) } else { Err(failed(name, "store")) }
}

/// Has the helper `name` forget `server`; false when it knew nothing of it.
pub(super) async fn erase(name: &str, server: &str) -> Result<bool> {
    let known = get(name, server).await?.is_some();
    if known && !run(name, "erase", server.as_bytes()).await?.success {
        return Err(failed(name, "erase"));
    }
    Ok(known)
}

/// Whether `name` can be the end of a program's name: a path would start any program there is.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

fn failed(name: &str, verb: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the credential helper could not do `{verb}`"))
        .at(program(name))
        .hint("run it by hand to see what it says; its output is not shown here because it may hold a secret")
}

struct Answer {
    success: bool,
    output: Vec<u8>,
}

/// Runs the helper with `input`; kills it when it takes too long. Its standard error is thrown away: it may hold a secret.
async fn run(name: &str, verb: &str, input: &[u8]) -> Result<Answer> {
    let program = program(name);
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Error::io("cannot start the credential helper", error).at(&program).hint("is it installed and in PATH?")
        })?;
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input answers for itself.
            drop(stdin.write_all(input).await);
        }
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(CREDENTIAL_HELPER_OUTPUT_BYTES_MAX + 1).read_to_end(&mut output).await?;
        }
        if output.len() as u64 > CREDENTIAL_HELPER_OUTPUT_BYTES_MAX {
            return Ok(None);
        }
        let status = child.wait().await?;
        Ok(Some(Answer { success: status.success(), output }))
    };
    let slow = || Error::limit(format!("the credential helper did not answer within {CREDENTIAL_HELPER_TIME_MAX:?}")).at(&program);
    let outcome = tokio::time::timeout(CREDENTIAL_HELPER_TIME_MAX, talk).await.map_err(|_| slow())?;
    let long = || Error::limit(format!("the credential helper printed more than {CREDENTIAL_HELPER_OUTPUT_BYTES_MAX} bytes"));
    outcome
        .map_err(|error: std::io::Error| Error::io("cannot talk to the credential helper", error).at(&program))?
        .ok_or_else(|| long().at(&program))
}
