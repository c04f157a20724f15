//! The compiler program: WebAssembly on standard input, an artifact on standard output, one line on standard error when it fails.
//!
//! `wasmpod` starts it; it is not meant to be started by hand. It limits itself before it reads the first byte, so that a module made
//! to exhaust the compiler exhausts this process alone; and it ends with the program that started it.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io::{Read, Write};
use std::process::ExitCode;
use wasmpod::engine::compile::{self, exit};
use wasmpod::engine::config::compatibility_key;

/// Other programs come first, by so much: `nice` as seen by the kernel.
const NICENESS: i32 = 10;
/// After this much more CPU time the kernel kills what did not end at the limit.
const CPU_SECONDS_SPARE: u64 = 5;

/// The stack of the thread that waits for the end of the program that started this one.
const WATCH_STACK_BYTES: usize = 64 << 10;

/// What the command line says.
#[derive(Debug, Default)]
struct Arguments {
    key: String,
    memory_bytes_max: Option<u64>,
    cpu_seconds_max: Option<u64>,
}

/// Compiles, and says by the exit status how that went.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err((status, message)) => {
            // Nobody is left to tell when this fails too.
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::from(status)
        }
    }
}

fn run() -> Result<(), (u8, String)> {
    let arguments = arguments().map_err(|message| (exit::USAGE, message))?;
    if arguments.key != compatibility_key() {
        return Err((exit::USAGE, "this compiler is of another version than the program that started it".to_owned()));
    }
    let failed = |doing: &str, error: std::io::Error| (exit::INPUT_OUTPUT, format!("cannot {doing}: {error}"));
    limit(&arguments).map_err(|error| failed("limit the compiler", error))?;
    end_with_parent().map_err(|error| failed("watch the program that started the compiler", error))?;
    let mut wasm = Vec::new();
    std::io::stdin().lock().read_to_end(&mut wasm).map_err(|error| failed("read the module", error))?;
    let artifact = compile::precompile(&wasm).map_err(|error| (exit::INVALID, error.chain()))?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&artifact).and_then(|()| stdout.flush()).map_err(|error| failed("write the artifact", error))
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value =
            words.next().ok_or_else(|| format!("{word} needs a value; wasmpod starts this program, nobody else needs to"))?;
        let number = || value.parse().map_err(|_| format!("{word} {value}: not a number"));
        match word.as_str() {
            "--key" => arguments.key = value,
            "--memory-bytes-max" => arguments.memory_bytes_max = Some(number()?),
            "--cpu-seconds-max" => arguments.cpu_seconds_max = Some(number()?),
            _ => return Err(format!("unknown argument {word}; wasmpod starts this program, nobody else needs to")),
        }
    }
    Ok(arguments)
}

/// Lowers priority, limits and privileges before anything is read.
fn limit(arguments: &Arguments) -> std::io::Result<()> {
    rustix::process::nice(NICENESS)?;
    // If the machine runs out of memory, let it be this process that the kernel ends. Not every system has the file.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let set =
        |resource, soft: u64, hard: u64| rustix::process::setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) });
    set(Resource::Core, 0, 0)?;
    if let Some(bytes) = arguments.memory_bytes_max {
        // What is written to counts, not what is merely reserved.
        set(Resource::Data, bytes, bytes)?;
    }
    if let Some(seconds) = arguments.cpu_seconds_max {
        set(Resource::Cpu, seconds, seconds.saturating_add(CPU_SECONDS_SPARE))?;
    }
    // Even where root starts it: it needs no privilege, and what it reads may be hostile.
    rustix::thread::set_no_new_privs(true)?;
    let nothing = CapabilitySet::empty();
    let sets = CapabilitySets { effective: nothing, permitted: nothing, inheritable: nothing };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Ends this process when nobody reads its standard error any more: the program that started it is gone, by whatever it was killed, and
/// with it everybody who waits for the artifact.
fn end_with_parent() -> std::io::Result<()> {
    let watch = || {
        let stderr = std::io::stderr();
        // Nothing is waited for but that the other end is closed, which is always told.
        let mut watched = [PollFd::new(&stderr, PollFlags::empty())];
        while let Ok(0) | Err(Errno::INTR) = poll(&mut watched, None) {}
        if watched.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP)) {
            // At once, whatever the other threads do: nothing is left to be put in order.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    };
    std::thread::Builder::new().name("parent".to_owned()).stack_size(WATCH_STACK_BYTES).spawn(watch).map(drop)
}
