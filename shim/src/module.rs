//! From a bundle to a program: the `.wasm` that the entrypoint names in the root file system, or the layer of a Wasm artifact.

mod content;

pub(crate) use content::ContentStore;

use crate::bundle::{Plan, ProcessPlan};
use crate::limits::MODULE_BYTES_MAX;
use crate::rootfs::RootFs;
use bytes::Bytes;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use wasmpod::container::Program;
use wasmpod::engine::{Artifact, Engine};
use wasmpod::{Error, ErrorKind, Result};

/// Finds and links what the container runs.
///
/// # Errors
/// Reason `CreateContainerError`: the image holds no such file and is no Wasm artifact, or what it holds cannot be run.
pub(crate) async fn load(engine: &Engine, root: &RootFs, plan: &Plan, store: &ContentStore) -> Result<Program> {
    let artifact = match open(root, &plan.process)? {
        Some((name, file)) => load_file(engine, &name, file).await?,
        None => load_layer(engine, plan, store).await?,
    };
    Program::link(&artifact)
}

/// Finds and links what `process`, an `exec`, runs: a file of its own if it names WebAssembly; none when it does not.
///
/// # Errors
/// It is there and cannot be run.
pub(crate) async fn load_other(engine: &Engine, root: &RootFs, process: &ProcessPlan) -> Result<Option<Program>> {
    let Some((name, file)) = open(root, process)? else { return Ok(None) };
    Program::link(&load_file(engine, &name, file).await?).map(Some)
}

/// The file that the first argument names, found as execvp(3) would find it.
fn open(root: &RootFs, process: &ProcessPlan) -> Result<Option<(String, File)>> {
    let Some(command) = process.args.first().filter(|command| !command.is_empty()) else {
        return Err(Error::invalid("the container has no command").hint("give the image an entrypoint, or the container a command"));
    };
    for path in candidates(command, process) {
        match root.open_file(&path) {
            Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_file()) => {
                return Ok(Some((path.display().to_string(), file)));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // A component of the path that is no directory.
            Err(error) => tracing::debug!(error = error.chain(), "not the program"),
        }
    }
    Ok(None)
}

fn candidates(command: &str, process: &ProcessPlan) -> Vec<PathBuf> {
    let cwd = PathBuf::from(&process.cwd);
    if command.contains('/') {
        return vec![cwd.join(command)];
    }
    let path = process.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str()).unwrap_or_default();
    let dirs = path.split(':').filter(|dir| dir.starts_with('/')).map(PathBuf::from);
    // Images of WebAssembly have their module at the root, and often name it without a path.
    dirs.chain([PathBuf::from("/"), cwd]).map(|dir| dir.join(command)).collect()
}

async fn load_file(engine: &Engine, name: &str, file: File) -> Result<Artifact> {
    let read = tokio::task::spawn_blocking(move || read(file)).await;
    let bytes = read.map_err(|error| Error::internal("reading a file ended in a panic").because(error))?;
    engine.load(name, bytes.map_err(|error| error.at(name))?).await
}

fn read(file: File) -> Result<Bytes> {
    let mut bytes = Vec::new();
    let read = file.take(MODULE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::io("cannot read the program", error))?;
    if bytes.len() as u64 > MODULE_BYTES_MAX {
        return Err(Error::limit(format!("the program is larger than {} MiB", MODULE_BYTES_MAX >> 20)));
    }
    Ok(bytes.into())
}

async fn load_layer(engine: &Engine, plan: &Plan, store: &ContentStore) -> Result<Artifact> {
    let command = plan.process.args.first().map(String::as_str).unwrap_or_default();
    let missing = |why: Error| {
        Error::not_found(format!("there is no file {command:?} in the image, and the image is no Wasm artifact"))
            .because(why)
            .hint("let the image's entrypoint, or the container's command, name its .wasm file")
            .with_reason("CreateContainerError")
    };
    let layer = store.find_layer(plan.image.as_deref(), command).await.map_err(missing)?;
    if let Some(digest) = layer.sha256()
        && let Some(artifact) = engine.cached(&digest).await?
    {
        return Ok(artifact);
    }
    engine.load(&layer.image, store.read(&layer).await?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_where_a_shell_would_and_at_the_root() {
        let process = ProcessPlan {
            args: vec![],
            env: vec![("PATH".to_owned(), "/usr/bin:relative:/bin".to_owned())],
            cwd: "/srv".to_owned(),
        };
        let paths = |command| candidates(command, &process).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(paths("app.wasm"), ["/usr/bin/app.wasm", "/bin/app.wasm", "/app.wasm", "/srv/app.wasm"]);
        assert_eq!(paths("/opt/app.wasm"), ["/opt/app.wasm"]);
        assert_eq!(paths("bin/app.wasm"), ["/srv/bin/app.wasm"]);
    }
}
