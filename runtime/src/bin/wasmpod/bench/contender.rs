//! What is measured beside wasmpod, and what of the same work it does.

use super::linux::Bundle;
use super::process::output_of;
use super::subject::{SingleProgram, Subject, Traits};
use crate::args::Mode;
use crate::environment;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use wasmpod::Result;

/// `--against`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Against {
    /// The same WebAssembly, compiled beforehand.
    Wasmtime,
    /// A Linux program that says hello, by itself.
    Native,
    /// A Linux container.
    Linux(LinuxRuntime),
    /// What the user says; `{}` stands for the target.
    Command(Vec<String>),
}

/// A program that runs Linux containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinuxRuntime {
    Runc,
    Crun,
    Podman,
}

impl LinuxRuntime {
    /// The name of its program.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Podman => "podman",
        }
    }
}

impl FromStr for Against {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "wasmtime" => return Ok(Self::Wasmtime),
            "native" => return Ok(Self::Native),
            "runc" => return Ok(Self::Linux(LinuxRuntime::Runc)),
            "crun" => return Ok(Self::Linux(LinuxRuntime::Crun)),
            "podman" => return Ok(Self::Linux(LinuxRuntime::Podman)),
            _ => {}
        }
        let words = shlex::split(text).filter(|words| !words.is_empty()).ok_or("its quotes do not match")?;
        if words.len() == 1 && !text.contains(['/', '{']) {
            return Err(format!(
                "{text:?} is none of wasmtime, native, runc, crun and podman; a command has a path, a space or {{}} in it"
            ));
        }
        Ok(Self::Command(words))
    }
}

/// A contender that is ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contender {
    pub(super) name: String,
    /// What it does, for the reader.
    pub(super) does: String,
    program: PathBuf,
    /// With places for the number of the run and for a port.
    args: Vec<String>,
}

/// Stands in an argument for a number that no other run has.
const RUN: &str = "{run}";
/// Stands in an argument for a port of the machine.
const PORT: &str = "{port}";

impl Contender {
    /// The command of the run with this number.
    pub(super) fn command(&self, run: u32, port: Option<u16>) -> Command {
        let mut command = Command::new(&self.program);
        let run = format!("{}-{run}", std::process::id());
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        command.args(self.args.iter().map(|arg| arg.replace(RUN, &run).replace(PORT, &port)));
        command
    }
}

/// What is at hand to make contenders of.
pub(super) struct Bench<'a> {
    pub(super) subject: &'a Subject,
    pub(super) traits: &'a Traits,
    /// `--linux-command`.
    pub(super) linux_command: Option<&'a str>,
    /// A place for what has to be made before.
    pub(super) dir: &'a Path,
}

/// A contender, or why there is none.
pub(super) enum Entry {
    Contender(Contender),
    Skipped(String),
}

impl Bench<'_> {
    /// Makes everything ready that a contender needs; none, with the reason, where it is not installed or has nothing to compare.
    pub(super) fn enter(&self, against: &Against, mode: Mode) -> Result<Entry> {
        let name = match against {
            Against::Wasmtime => "wasmtime",
            Against::Native => "native",
            Against::Linux(runtime) => runtime.name(),
            Against::Command(words) => words.first().map(String::as_str).unwrap_or_default(),
        };
        let skipped = |why: &str| Ok(Entry::Skipped(format!("{name} was skipped: {why}")));
        let program = match against {
            Against::Native => Some(PathBuf::new()),
            _ => environment::find_program(name),
        };
        let Some(program) = program else { return skipped("it is not installed") };
        match (against, mode) {
            (_, Mode::Warm | Mode::Throughput | Mode::Density) => {
                skipped("it is compared where each run is a process: in the modes process, first and ready")
            }
            (Against::Wasmtime, mode) => match &self.traits.program {
                Some(file) => self.wasmtime(program, file, mode).map(Entry::Contender),
                None => skipped("it runs one WebAssembly file, and this is something else"),
            },
            (Against::Linux(_) | Against::Native, Mode::First | Mode::Ready) => {
                skipped("its program has nothing to pull, nothing to compile and nothing to serve")
            }
            (Against::Native, _) => self.native().map(Entry::Contender),
            (Against::Linux(runtime), _) => self.linux(program, *runtime).map(Entry::Contender),
            (Against::Command(words), Mode::Ready) if !words.iter().any(|word| word.contains(PORT)) => {
                skipped("in the mode ready its command needs {port}, the port that is asked for a byte")
            }
            (Against::Command(words), _) => Ok(Entry::Contender(self.user_command(program, words))),
        }
    }

    fn wasmtime(&self, program: PathBuf, file: &SingleProgram, mode: Mode) -> Result<Contender> {
        let mut args: Vec<String> = Vec::new();
        let does = match mode {
            Mode::First => {
                args.extend(["run", "-C", "cache=n"].map(str::to_owned));
                format!("wasmtime run -C cache=n {}", file.file.display())
            }
            _ => {
                let compiled = self.dir.join("wasmtime.cwasm");
                let mut compile = Command::new(&program);
                compile.arg("compile").arg("-o").arg(&compiled).arg(&file.file);
                output_of(compile)?;
                let verb = if file.serves_http { "serve" } else { "run" };
                args.extend([verb, "--allow-precompiled"].map(str::to_owned));
                if file.serves_http {
                    args.extend(["--addr".to_owned(), format!("127.0.0.1:{PORT}"), "-S".to_owned(), "cli".to_owned()]);
                }
                format!("wasmtime {verb} of the same file, compiled beforehand by wasmtime compile")
            }
        };
        args.extend(file.env.iter().flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")]));
        let compiled = self.dir.join("wasmtime.cwasm");
        let runs = if mode == Mode::First { &file.file } else { &compiled };
        args.push(runs.to_string_lossy().into_owned());
        args.extend(file.args.iter().cloned());
        Ok(Contender { name: "wasmtime".to_owned(), does, program, args })
    }

    fn native(&self) -> Result<Contender> {
        let bundle = Bundle::without_config(&self.dir.join("native"), self.linux_command)?;
        let does = format!("{}, without a container", bundle.what);
        let args = bundle.command.iter().skip(1).cloned().collect();
        Ok(Contender { name: "native".to_owned(), does, program: bundle.program(), args })
    }

    fn linux(&self, program: PathBuf, runtime: LinuxRuntime) -> Result<Contender> {
        let bundle = Bundle::make(&self.dir.join(runtime.name()), runtime, &program, self.linux_command)?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        let id = format!("wasmpod-bench-{RUN}");
        let (args, line): (Vec<String>, String) = match runtime {
            LinuxRuntime::Podman => {
                let rootfs = bundle.rootfs().to_string_lossy().into_owned();
                let mut args = ["run", "--rm", "--name", &id, "--rootfs", &rootfs].map(str::to_owned).to_vec();
                args.extend(bundle.command.iter().cloned());
                (args, "podman run --rm --rootfs".to_owned())
            }
            LinuxRuntime::Runc | LinuxRuntime::Crun => {
                (["run", "--bundle", &dir, &id].map(str::to_owned).to_vec(), format!("{} run --bundle", runtime.name()))
            }
        };
        let does = format!("{line} of a root file system with nothing but {}", bundle.what);
        Ok(Contender { name: runtime.name().to_owned(), does, program, args })
    }

    fn user_command(&self, program: PathBuf, words: &[String]) -> Contender {
        let target = self.subject.target().to_string_lossy();
        let args = words.iter().skip(1).map(|word| word.replace("{}", &target)).collect();
        let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Contender { name, does: words.join(" "), program, args }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_has_a_name_and_a_command_has_words() {
        let against = |text: &str| text.parse::<Against>();
        assert_eq!(against("crun"), Ok(Against::Linux(LinuxRuntime::Crun)));
        let words = |words: &[&str]| Ok(Against::Command(words.iter().map(|word| (*word).to_owned()).collect()));
        assert_eq!(against("wasmer run '{}' --quiet"), words(&["wasmer", "run", "{}", "--quiet"]));
        assert_eq!(against("/bin/true"), words(&["/bin/true"]));
        insta::assert_snapshot!(against("runk").unwrap_err(), @r#""runk" is none of wasmtime, native, runc, crun and podman; a command has a path, a space or {} in it"#);
        assert!(against("say 'hello").is_err());
    }

    #[test]
    fn every_run_has_a_name_of_its_own() {
        let contender = Contender {
            name: "x".to_owned(),
            does: String::new(),
            program: "/bin/echo".into(),
            args: vec!["{run}".to_owned(), "--port={port}".to_owned()],
        };
        let args =
            |run| contender.command(run, Some(81)).get_args().map(|arg| arg.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_ne!(args(1)[0], args(2)[0]);
        assert_eq!(args(1)[1], "--port=81");
    }
}
