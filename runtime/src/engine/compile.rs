//! Running the compiler: as a child program with bounded memory and time, or in this process.
//!
//! ```text
//!   this process                                   wasmpod-compile
//!   ────────────                                   ───────────────
//!   wasm ── memory file ──────────────────▶ stdin  limits itself (nice, memory, CPU time), then compiles
//!   temporary file of the cache ◀───────── stdout  writes the artifact
//!   message ◀────────────── pipe ───────── stderr  says in one line what is wrong with the module;
//!   kills it after `wall_time_max`,                ends when the pipe is closed: this process is gone
//!   or when the caller gives up            status  0, or one of [`exit`]
//! ```
//!
//! Compiling is where WebAssembly can cost the most: a file of some kilobytes can ask for gigabytes and hours. In a child this costs
//! one child, and so does a bug of the compiler.

use super::config::compatibility_key;
use crate::limits::{
    COMPILE_CPU_TIME_MAX, COMPILE_MEMORY_BYTES_MAX, COMPILE_MESSAGE_BYTES_MAX, COMPILE_PARALLEL_MAX, COMPILE_WALL_TIME_MAX,
};
use crate::observe::{self, Phase};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;

/// The name of the compiler program.
pub const PROGRAM: &str = "wasmpod-compile";

/// The exit statuses by which the compiler program says what went wrong; its standard error says the rest.
pub mod exit {
    /// The arguments are wrong, or the program is of another version than the one that started it.
    pub const USAGE: u8 = 64;
    /// The module is not valid.
    pub const INVALID: u8 = 65;
    /// Reading, writing or setting the limits failed.
    pub const INPUT_OUTPUT: u8 = 74;
}

/// What compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// The program `wasmpod-compile` at this path: a bomb or a compiler bug costs a child, and this process carries no compiler.
    Program(PathBuf),
    /// This process, with a limit on how many at once but none on memory and time: for embedders who trust their modules.
    #[cfg(feature = "compiler")]
    InProcess,
}

impl Compiler {
    /// The compiler program that is installed in the same directory as `program`.
    pub fn beside(program: &Path) -> Self {
        Self::Program(program.with_file_name(PROGRAM))
    }
}

/// What one compilation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Memory of the child in bytes.
    pub memory_bytes_max: u64,
    /// CPU time of the child, over all its threads; whole seconds.
    pub cpu_time_max: Duration,
    /// Time until it is killed.
    pub wall_time_max: Duration,
    /// How many compilations run at once; the others wait.
    pub parallel_max: usize,
}

impl CompileLimits {
    /// Those of [`limits`](crate::limits).
    pub const STANDARD: Self = Self {
        memory_bytes_max: COMPILE_MEMORY_BYTES_MAX,
        cpu_time_max: COMPILE_CPU_TIME_MAX,
        wall_time_max: COMPILE_WALL_TIME_MAX,
        parallel_max: COMPILE_PARALLEL_MAX,
    };
}

/// News of a compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileProgress {
    /// It starts now.
    Started {
        /// As given to [`Engine::load`](super::Engine::load).
        name: String,
        /// The size of the WebAssembly.
        wasm_bytes: u64,
    },
    /// It is over.
    Finished {
        /// As given to [`Engine::load`](super::Engine::load).
        name: String,
        /// The size of the artifact; none when it failed or was given up.
        artifact_bytes: Option<u64>,
        /// How long it took.
        took: Duration,
    },
}

/// Whoever wants to know of compilations. It is called from within async code and must not block.
pub type CompileObserver = Arc<dyn Fn(&CompileProgress) + Send + Sync>;

/// The compiler with its queue.
pub(super) struct Compilation {
    compiler: Compiler,
    limits: CompileLimits,
    observer: Option<CompileObserver>,
    turns: Semaphore,
}

/// Tells the observer that a compilation is over, also when its future is dropped.
struct Report<'a> {
    name: &'a str,
    observer: Option<&'a CompileObserver>,
    started: Instant,
    artifact_bytes: Option<u64>,
}

impl Compilation {
    pub(super) fn new(compiler: Compiler, limits: CompileLimits, observer: Option<CompileObserver>) -> Self {
        Self { compiler, limits, observer, turns: Semaphore::new(limits.parallel_max.max(1)) }
    }

    /// Compiles `wasm` into `output`, an empty file, when its turn has come. Dropping the future kills the child.
    #[tracing::instrument(target = "wasmpod::engine", level = "debug", skip_all, fields(name, wasm_bytes = wasm.len()))]
    pub(super) async fn compile(&self, name: &str, wasm: Bytes, output: &File) -> Result<()> {
        let _turn = self.turns.acquire().await.map_err(|_| Error::internal("the queue of the compiler is closed"))?;
        let _phase = observe::span(Phase::Compile);
        let mut report = Report::start(name, wasm.len() as u64, self.observer.as_ref());
        match &self.compiler {
            Compiler::Program(program) => self.run(program, wasm, output).await?,
            #[cfg(feature = "compiler")]
            Compiler::InProcess => in_process(wasm, output).await?,
        }
        report.artifact_bytes = output.metadata().map(|metadata| metadata.len()).ok();
        Ok(())
    }

    async fn run(&self, program: &Path, wasm: Bytes, output: &File) -> Result<()> {
        let hand_over = |error| Error::io("cannot hand the module to the compiler", error);
        let input = memory_file(&wasm).map_err(hand_over)?;
        drop(wasm);
        let mut child = tokio::process::Command::new(program)
            // A `wasmpod` that carries a compiler is told by this name to be one.
            .arg0(PROGRAM)
            .args(["--key", &compatibility_key()])
            .args(["--memory-bytes-max", &self.limits.memory_bytes_max.to_string()])
            .args(["--cpu-seconds-max", &self.limits.cpu_time_max.as_secs().max(1).to_string()])
            // Of the environment it needs nothing, and with RUST_BACKTRACE it can hang when it runs out of memory.
            // Ctrl-C is for this process to hear; it kills the child then.
            .process_group(0)
            .env_clear()
            .current_dir("/")
            .stdin(input)
            .stdout(output.try_clone().map_err(hand_over)?)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| not_started(program, error))?;
        let stderr = child.stderr.take();
        let end = async {
            let message = match stderr {
                Some(stderr) => read_message(stderr).await,
                None => String::new(),
            };
            (child.wait().await, message)
        };
        // On a timeout the future is dropped; the child is killed with `child` below.
        let Ok((status, message)) = tokio::time::timeout(self.limits.wall_time_max, end).await else {
            let _ = child.kill().await;
            return Err(self.too_slow(self.limits.wall_time_max));
        };
        let status = status.map_err(|error| Error::io("cannot wait for the compiler", error))?;
        if status.success() { Ok(()) } else { Err(self.failure(program, status, &message)) }
    }

    /// What an unsuccessful end of the child means.
    fn failure(&self, program: &Path, status: ExitStatus, message: &str) -> Error {
        const SIGKILL: i32 = 9;
        const SIGXCPU: i32 = 24;
        // What Rust says when the allocator fails, what Cranelift says, and what the system says when a thread or a mapping fails.
        let out_of_memory =
            ["memory allocation of", "out of memory", "Cannot allocate memory"].iter().any(|words| message.contains(words));
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        match (code, status.signal()) {
            (Some(exit::INVALID), _) => Error::invalid(message),
            (Some(exit::USAGE), _) => Error::new(ErrorKind::Unavailable, message)
                .at(program.display().to_string())
                .hint(format!("install {PROGRAM} and wasmpod from the same build")),
            (Some(exit::INPUT_OUTPUT), _) => Error::new(ErrorKind::Unavailable, message),
            (_, Some(SIGXCPU)) => self.too_slow(self.limits.cpu_time_max),
            _ if out_of_memory => {
                Error::limit(format!("compiling took more than {} MiB of memory", self.limits.memory_bytes_max >> 20))
                    .hint("the module is made to be hard to compile, or far too big: split it")
            }
            (_, Some(SIGKILL)) => Error::new(ErrorKind::Unavailable, "the compiler was killed")
                .hint("the machine may be out of memory: see the kernel's log"),
            _ => Error::new(
                ErrorKind::Unavailable,
                format!("the compiler crashed ({status}): {}", message.lines().next().unwrap_or_default()),
            )
            .hint("this is a bug in the compiler: please report it with the module"),
        }
    }

    fn too_slow(&self, limit: Duration) -> Error {
        Error::limit(format!("compiling took longer than {} s", limit.as_secs_f64()))
            .hint("the module is made to be hard to compile, or far too big: split it")
    }
}

impl<'a> Report<'a> {
    fn start(name: &'a str, wasm_bytes: u64, observer: Option<&'a CompileObserver>) -> Self {
        if let Some(observer) = observer {
            observer(&CompileProgress::Started { name: name.to_owned(), wasm_bytes });
        }
        Self { name, observer, started: Instant::now(), artifact_bytes: None }
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        tracing::info!(target: "wasmpod::engine", name = self.name, ?took, artifact_bytes = self.artifact_bytes, "compiled");
        if let Some(observer) = self.observer {
            observer(&CompileProgress::Finished { name: self.name.to_owned(), artifact_bytes: self.artifact_bytes, took });
        }
    }
}

/// A file without a name that holds `wasm`, positioned at its beginning.
fn memory_file(wasm: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("wasm", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(wasm)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// All that the child says, cut to a bearable length.
async fn read_message(mut stderr: tokio::process::ChildStderr) -> String {
    let mut message = Vec::new();
    // A failure to read leaves the message shorter; the exit status says the main thing.
    let _ = (&mut stderr).take(COMPILE_MESSAGE_BYTES_MAX).read_to_end(&mut message).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&message).trim().to_owned()
}

fn not_started(program: &Path, error: std::io::Error) -> Error {
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let message = if missing { "the compiler is not installed here" } else { "the compiler cannot be started" };
    let hint = if missing {
        format!("build it with `cargo build --release -p wasmpod --features compiler --bin {PROGRAM}` and put it beside wasmpod")
    } else {
        "check that it is an executable file for this machine".to_owned()
    };
    Error::new(ErrorKind::Unavailable, message).at(program.display().to_string()).because(error).hint(hint)
}

/// Compiles on a thread of this process.
#[cfg(feature = "compiler")]
async fn in_process(wasm: Bytes, output: &File) -> Result<()> {
    let mut output = output.try_clone().map_err(|error| Error::io("cannot write the artifact", error))?;
    let compiled = tokio::task::spawn_blocking(move || {
        let artifact = precompile(&wasm)?;
        output.write_all(&artifact).map_err(|error| Error::io("cannot write the artifact", error))
    });
    compiled.await.map_err(|error| Error::new(ErrorKind::Unavailable, "the compiler panicked").because(error))?
}

/// Compiles a module or a component, with the settings that the engines which run guests expect.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid), with wasmparser's message in one line, when it is not valid.
#[cfg(feature = "compiler")]
pub fn precompile(wasm: &[u8]) -> Result<Vec<u8>> {
    let engine = super::config::compiler()?;
    let component = wasmparser::Parser::is_component(wasm);
    let compiled = if component { engine.precompile_component(wasm) } else { engine.precompile_module(wasm) };
    compiled.map_err(|error| {
        let cause = error.root_cause().to_string().replace('\n', " ");
        Error::invalid(format!("this is not valid WebAssembly: {}", cause.trim_start_matches("Invalid input WebAssembly code ")))
    })
}
