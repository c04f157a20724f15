//! `wasmpod login` and `wasmpod logout`: credentials, kept where podman and docker keep theirs.

use super::args::{LoginArgs, LogoutArgs};
use super::{image_store, registries, report};
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;
use wasmpod::image::registry::{Credential, DockerConfig, Secret, check_login};
use wasmpod::limits::CREDENTIAL_FILE_BYTES_MAX;
use wasmpod::{Error, Result};

/// The name by which docker's tools hand over a refresh token in place of a password.
const TOKEN_USER: &str = "<token>";

/// Asks the registry whether the credential is good, then keeps it.
pub(crate) fn log_in(args: &LoginArgs) -> Result<ExitCode> {
    let host = registry(&args.host)?;
    let path = registries::auth_file(&args.registry)?;
    let config = registries::config(&args.registry)?;
    let credential = ask(args, host)?;
    image_store::block_on(async {
        check_login(&config, host, &credential).await?;
        DockerConfig::read(&path)?.log_in(&path, host, &credential).await
    })?;
    report::note(&format!("logged in to {host}"));
    Ok(ExitCode::SUCCESS)
}

/// Forgets a credential.
pub(crate) fn log_out(args: &LogoutArgs) -> Result<ExitCode> {
    let host = registry(&args.host)?;
    let path = registries::auth_file(&args.registry)?;
    let forgotten = image_store::block_on(async { DockerConfig::read(&path)?.log_out(&path, host).await })?;
    if !forgotten {
        return Err(Error::not_found(format!("there is no credential for {host}")).at(path.display().to_string()));
    }
    report::note(&format!("removed the credential for {host}"));
    Ok(ExitCode::SUCCESS)
}

/// A registry's host, as references name it.
fn registry(text: &str) -> Result<&str> {
    let wrong = |hint: &str| Err(Error::invalid("this is not a registry's host").at(text).hint(hint));
    match text {
        "https://index.docker.io/v1/" | "index.docker.io" | "registry-1.docker.io" => Ok("docker.io"),
        _ if text.contains("://") => wrong("leave the scheme away: ghcr.io"),
        _ if text.contains('/') => wrong("leave the path away: ghcr.io"),
        host => Ok(host),
    }
}

fn ask(args: &LoginArgs, host: &str) -> Result<Credential> {
    let username = match &args.username {
        Some(name) => name.clone(),
        None => ask_username(args, host)?,
    };
    let password = if args.password_stdin { read_password()? } else { ask_password()? };
    if password.is_empty() {
        return Err(Error::invalid("the password is empty"));
    }
    let password = Secret::new(password);
    Ok(if username == TOKEN_USER { Credential::IdentityToken(password) } else { Credential::Basic { username, password } })
}

fn ask_username(args: &LoginArgs, host: &str) -> Result<String> {
    if args.password_stdin || !std::io::stdin().is_terminal() {
        return Err(Error::invalid("the user's name is missing").hint("give it by --username"));
    }
    let failed = |error| Error::io("cannot ask for the user's name", error);
    write!(std::io::stderr().lock(), "Username for {host}: ").map_err(failed)?;
    let mut name = String::new();
    std::io::stdin().lock().read_line(&mut name).map_err(failed)?;
    match name.trim() {
        "" => Err(Error::invalid("the user's name is empty")),
        name => Ok(name.to_owned()),
    }
}

/// All of standard input, without the newline that `echo` adds.
fn read_password() -> Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(CREDENTIAL_FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Error::io("cannot read the password", error).at("standard input"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn ask_password() -> Result<String> {
    rpassword::prompt_password("Password: ").map_err(|error| {
        Error::io("cannot ask for the password: there is no terminal", error)
            .hint("write it to standard input and give --password-stdin")
    })
}
