//! What is measured: a target, how `wasmpod run` is told to run it, and what kind of thing it is.

use super::pods::Pods;
use crate::args::{Args, BenchArgs, Mode, RunArgs, Verb};
use crate::{environment, report};
use bytes::Bytes;
use clap::Parser as _;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use wasmpod::engine::{EngineMode, binary_form};
use wasmpod::image::ImageReference;
use wasmpod::limits::HTTP_PORT_DEFAULT;
use wasmpod::pod::spec::{ContainerRole, ContainerSpec, PodSpec, Protocol, RestartPolicy};
use wasmpod::{Error, Result};

/// What is measured when nothing is named.
const HELLO: &[u8] = include_bytes!("hello.wat");
/// The same where it has to stay.
const IDLE: &[u8] = include_bytes!("idle.wat");
const IDLE_POD: &[u8] = include_bytes!("idle.yaml");

/// One target.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// As the user named it.
    pub(super) name: String,
    pub(super) modes: Vec<Mode>,
    target: PathBuf,
    /// The arguments behind `--`.
    args: Vec<String>,
    /// The flags for `wasmpod run` that the user gave, without those of [`Places`].
    flags: Vec<OsString>,
    places: Places,
}

/// Where a run finds images and artifacts; where nothing is said, the user's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) root: Option<PathBuf>,
    pub(super) cache_dir: Option<PathBuf>,
}

/// What kind of thing a target is, as far as measuring it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// Whether its pods end by themselves.
    pub(super) ends: bool,
    /// How many pods of it are to become ready.
    pub(super) pods: usize,
    /// Where it serves HTTP.
    pub(super) http: Option<HttpPort>,
    /// The one program that it is, when it is one WebAssembly file.
    pub(super) program: Option<SingleProgram>,
}

/// A port that can be asked for a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HttpPort {
    pub(super) container: u16,
    /// The port of the machine that leads to it, where the manifest has one.
    pub(super) host: Option<u16>,
}

/// One WebAssembly file with its arguments and variables: what other runtimes can run too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SingleProgram {
    pub(super) file: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) serves_http: bool,
}

/// The subjects that the command line names; what is built in is written into `dir`.
pub(super) fn subjects(args: &BenchArgs, root: Option<&Path>, dir: &TempDir) -> Result<Vec<Subject>> {
    let places = Places { root: root.map(Path::to_path_buf), cache_dir: args.cache_dir.clone() };
    let subject = |name: String, target: &Path, modes: Vec<Mode>| Subject {
        name,
        modes,
        target: target.to_path_buf(),
        args: args.args.clone(),
        flags: flags(args),
        places: places.clone(),
    };
    if !args.targets.is_empty() {
        let named = |target: &PathBuf| subject(target.display().to_string(), target, args.mode.clone());
        if args.targets.iter().any(|target| target == Path::new("-")) {
            return Err(Error::invalid("standard input can be read once only").at("-").hint("write the manifest into a file"));
        }
        return Ok(args.targets.iter().map(named).collect());
    }
    // In the binary form: to read text is not what is measured, and wasmtime is not measured at it either.
    let programs = [("hello.wasm", binary_form(Bytes::from_static(HELLO))?), ("idle.wasm", binary_form(Bytes::from_static(IDLE))?)];
    for (name, contents) in programs.into_iter().chain([("idle.yaml", Bytes::from_static(IDLE_POD))]) {
        let written = std::fs::write(dir.path().join(name), contents);
        written.map_err(|error| Error::io("cannot write what is to be measured", error).at(dir.path().display().to_string()))?;
    }
    let stays = |mode: &Mode| matches!(mode, Mode::Ready | Mode::Density);
    let (idle, hello): (Vec<Mode>, Vec<Mode>) = args.mode.iter().partition(|mode| stays(mode));
    let mut subjects = Vec::new();
    if !hello.is_empty() || idle.is_empty() {
        subjects.push(subject("hello (built in)".to_owned(), &dir.path().join("hello.wasm"), hello));
    }
    if !idle.is_empty() {
        subjects.push(subject("idle (built in)".to_owned(), &dir.path().join("idle.yaml"), idle));
    }
    Ok(subjects)
}

/// The flags that `wasmpod bench` hands on, written out again.
fn flags(args: &BenchArgs) -> Vec<OsString> {
    let mut flags: Vec<OsString> = Vec::new();
    let mut flag = |name: &str, value: OsString| flags.extend([OsString::from(name), value]);
    for env in &args.env {
        let value = env.value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
        flag("--env", format!("{}{value}", env.name).into());
    }
    for volume in &args.volume {
        let mut dirs = volume.host.clone().into_os_string();
        dirs.push(format!(":{}{}", volume.container, if volume.read_only { ":ro" } else { "" }));
        flag("--volume", dirs);
    }
    for host in &args.registry.insecure_registry {
        flag("--insecure-registry", host.into());
    }
    for file in &args.registry.ca_file {
        flag("--ca-file", file.into());
    }
    if let Some(file) = &args.registry.authfile {
        flag("--authfile", file.into());
    }
    flags
}

impl Subject {
    /// The command line behind `wasmpod`, with `extra` flags for the verb.
    fn line(&self, places: &Places, verb: &[&str], extra: &[OsString]) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        if let Some(root) = &places.root {
            line.extend(["--root".into(), root.into()]);
        }
        line.extend(verb.iter().map(OsString::from));
        line.extend(self.flags.iter().chain(extra).cloned());
        if let Some(cache_dir) = &places.cache_dir {
            line.extend(["--cache-dir".into(), cache_dir.into()]);
        }
        line.push(self.target.clone().into());
        if !self.args.is_empty() {
            line.push("--".into());
            line.extend(self.args.iter().map(OsString::from));
        }
        line
    }

    /// `wasmpod run`, with `extra` flags.
    pub(super) fn run_command(&self, places: &Places, extra: &[OsString]) -> Result<Command> {
        self.command(places, &["run"], extra)
    }

    /// `wasmpod bench`, to fill a process with pods of this.
    pub(super) fn fill_command(&self, pods: u32) -> Result<Command> {
        let extra = ["--pods".into(), pods.to_string().into()];
        self.command(&self.places, &["bench", "--fill", "--mode", "density"], &extra)
    }

    fn command(&self, places: &Places, verb: &[&str], extra: &[OsString]) -> Result<Command> {
        let program = environment::program().ok_or_else(|| Error::internal("cannot tell where this program is"))?;
        let mut command = Command::new(program);
        command.args(self.line(places, verb, extra));
        Ok(command)
    }

    /// Where images and artifacts are.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// The file that the user named, if it is one.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// What `wasmpod run` is told, as it reads it itself.
    fn run_args(&self) -> Result<RunArgs> {
        let line = std::iter::once(OsString::from("wasmpod")).chain(self.line(&self.places, &["run"], &[]));
        match Args::try_parse_from(line) {
            Ok(Args { verb: Verb::Run(run), .. }) => Ok(run.into_inner()),
            Ok(_) => Err(Error::internal("another verb was read than was written")),
            Err(error) => Err(Error::invalid(error.to_string())),
        }
    }

    /// What kind of thing it is; says what is not worth failing for. Its artifacts are in the cache then.
    pub(super) async fn examine(&self) -> Result<Traits> {
        let pods = Pods::assemble(&self.run_args()?, self.places.root.as_deref(), EngineMode::Run, report::warn).await?;
        Traits::of(&pods).await
    }

    /// Its pods, in this process.
    pub(super) async fn pods(&self, mode: EngineMode) -> Result<Pods> {
        // What there is to say was said when it was examined.
        Pods::assemble(&self.run_args()?, self.places.root.as_deref(), mode, |_| ()).await
    }
}

impl Traits {
    /// Looks at what was loaded.
    async fn of(pods: &Pods) -> Result<Self> {
        let prepared = pods.prepare().await?;
        let mut traits = Self { ends: true, pods: 0, http: None, program: None };
        traits.pods = pods.kit().manifest().workloads().map(|workload| workload.pods_at_once() as usize).sum();
        for (prepared, images) in &prepared {
            let spec: &PodSpec = prepared.sandbox.spec();
            traits.ends &= spec.restart_policy != RestartPolicy::Always;
            let containers = spec.containers.iter().zip(images);
            for (container, image) in containers.filter(|(container, _)| container.role != ContainerRole::Init) {
                if image.program.serves_http() {
                    traits.ends = false;
                    traits.http.get_or_insert_with(|| http_port(container));
                }
            }
        }
        if let [(only, images)] = &prepared[..]
            && let ([container], [image]) = (&only.sandbox.spec().containers[..], &images[..])
        {
            traits.program = program(container, image.program.serves_http(), pods.kit().base());
        }
        Ok(traits)
    }
}

/// Where a `wasi:http` container listens: at the first TCP port that it declares.
fn http_port(container: &ContainerSpec) -> HttpPort {
    let declared = container.ports.iter().find(|port| port.protocol == Protocol::Tcp);
    declared.map_or(HttpPort { container: HTTP_PORT_DEFAULT, host: None }, |port| HttpPort {
        container: port.container_port,
        host: port.host_port,
    })
}

fn program(container: &ContainerSpec, serves_http: bool, base: &Path) -> Option<SingleProgram> {
    let Ok(ImageReference::File(file)) = ImageReference::parse(&container.image, Some(base)) else { return None };
    // The first word of a command is the program's name.
    let args = container.command.iter().skip(1).chain(&container.args).cloned().collect();
    Some(SingleProgram { file, args, env: container.env.clone(), serves_http })
}
