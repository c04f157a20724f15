//! Exec: which program it is, and what it can see.

use super::{ContainerImage, LatestRun, Sandbox};
use crate::container::{Container, ContainerEvent, ExecConfig, ExecStart, Program};
use crate::engine::Engine;
use crate::limits::WASM_BYTES_MAX;
use crate::pod::spec::EXEC_IMAGE_ANNOTATION;
use crate::pod::state::ContainerIndex;
use crate::volume::ContainerFiles;
use crate::wasi::{Directories, WasiConfig};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

impl Sandbox {
    /// Runs something in a container that runs: a further instance in its network, its mounts and its environment, which counts against
    /// its limits. Dropping the handle kills it; the end of the container does too. `report` is called on the guest threads and must
    /// not block.
    ///
    /// What it is: [`ExecConfig::program`]; or else the module that the first argument names, when that is the path of a `.wasm` file
    /// in the container; or else [`ContainerImage::exec_program`]; or else the program of `image`,
    /// the container's own.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the container does not run, [`Invalid`](ErrorKind::Invalid) when there is no command, or
    /// nothing that could be run from start to end. What goes wrong later is reported.
    pub fn exec(
        &self,
        index: ContainerIndex,
        image: &ContainerImage,
        exec: ExecConfig,
        report: impl FnMut(ContainerEvent) + Send + 'static,
    ) -> Result<Container> {
        let spec = image.configured(self.container(index)?);
        let about = |error: Error| error.at(format!("container {:?}", spec.name));
        let Some(command) = exec.command.first() else { return Err(about(Error::invalid("there is no command to exec"))) };
        let latest = self.runs().get(&index).cloned();
        let alive = |run: LatestRun| Some((run.group.upgrade().filter(|group| !group.is_over())?, run.files.upgrade()?, run.env));
        let Some((group, files, env)) = latest.and_then(alive) else {
            return Err(about(Error::new(ErrorKind::Conflict, "it does not run, so nothing can be exec'd into it")));
        };
        let own = image.exec_program.as_ref().unwrap_or(&image.program);
        let program = choose(&exec, command, &files, own).map_err(about)?;
        let program = program.linked(&self.engine, &self.runtime);
        let wasi = WasiConfig {
            env: merged(env.to_vec(), exec.env),
            args: exec.command,
            working_dir: exec.working_dir.or_else(|| spec.working_dir.clone()),
            directories: Directories::none(),
            stdin: exec.stdin,
            stdout: exec.stdout,
            stderr: exec.stderr,
            net: self.network.container(&spec.name),
            listeners: Vec::new(),
            on_open: None,
            tls: None,
        };
        Ok(Container::exec(&self.engine, ExecStart { wasi, files, group }, program, report))
    }
}

/// Where the program of an exec comes from.
enum Source {
    Linked(Program),
    /// A file of the container.
    File {
        path: String,
        file: File,
    },
}

fn choose(exec: &ExecConfig, command: &str, files: &Arc<ContainerFiles>, own: &Program) -> Result<Source> {
    if let Some(program) = &exec.program {
        return Ok(Source::Linked(program.clone()));
    }
    if command.ends_with(".wasm") {
        let path = absolute(command, exec.working_dir.as_deref());
        if let Some(file) = files.open_file(&path)? {
            return Ok(Source::File { path, file });
        }
    }
    if own.serves_http() {
        return Err(Error::invalid(format!(
            "there is nothing to exec as {command:?}: the container serves wasi:http, which has no command"
        ))
        .hint(format!("name a .wasm file that the container can see, or an image by the annotation {EXEC_IMAGE_ANNOTATION}")));
    }
    Ok(Source::Linked(own.clone()))
}

impl Source {
    /// The program, ready to run. A file is read and compiled on `runtime`, as that is not the guest's work.
    fn linked(self, engine: &Engine, runtime: &tokio::runtime::Handle) -> impl Future<Output = Result<Program>> + Send + use<> {
        let (engine, runtime) = (engine.clone(), runtime.clone());
        async move {
            let (path, file) = match self {
                Self::Linked(program) => return Ok(program),
                Self::File { path, file } => (path, file),
            };
            let load = async move {
                let name = path.clone();
                let read = tokio::task::spawn_blocking(move || read(&name, &file)).await;
                let bytes = read.unwrap_or_else(|_| Err(Error::internal("the module could not be read")))?;
                Program::link(&engine.load(&path, bytes).await?)
            };
            // Aborted with the exec: the compiler ends then.
            AbortOnDropHandle::new(runtime.spawn(load))
                .await
                .unwrap_or_else(|_| Err(Error::internal("the module could not be loaded")))
        }
    }
}

fn read(path: &str, file: &File) -> Result<Bytes> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(WASM_BYTES_MAX).unwrap_or(u64::MAX);
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| Error::io("cannot read the module", error).at(path))?;
    if bytes.len() > WASM_BYTES_MAX {
        return Err(Error::limit(format!("the module has more than {WASM_BYTES_MAX} bytes")).at(path));
    }
    Ok(bytes.into())
}

fn absolute(path: &str, working_dir: Option<&str>) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", working_dir.unwrap_or("/")) }
}

/// `env` with `more`, of which each replaces a variable of its name.
fn merged(mut env: Vec<(String, String)>, more: Vec<(String, String)>) -> Vec<(String, String)> {
    env.retain(|(name, _)| !more.iter().any(|(replaced, _)| replaced == name));
    env.extend(more);
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_the_exec_replaces_the_containers() {
        let pairs = |env: &[(&str, &str)]| env.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
        let env = merged(pairs(&[("A", "1"), ("B", "2")]), pairs(&[("B", "3"), ("C", "4")]));
        assert_eq!(env, pairs(&[("A", "1"), ("B", "3"), ("C", "4")]));
    }

    #[test]
    fn relative_paths_start_at_the_working_directory() {
        assert_eq!(absolute("tools/x.wasm", Some("/app")), "/app/tools/x.wasm");
        assert_eq!(absolute("x.wasm", None), "//x.wasm");
        assert_eq!(absolute("/x.wasm", Some("/app")), "/x.wasm");
    }
}
