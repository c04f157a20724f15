//! `containerd-shim-wasmpod-v1`: containerd runs it, and through it runs pods of WebAssembly containers.
//!
//! ```text
//!   containerd ── `… start` ──▶ start ── binds the socket, leaves a server behind ──▶ serve
//!              ── `… delete` ─▶ delete ── removes what a dead server left            │
//!              ── `… -info` ──▶ info                                                 ▼
//!              ══ ttrpc (Task v2 and v3) ══════════════════▶ service ──▶ pod ──▶ task ──▶ process
//!                                                                         │        │        │
//!                                                  network, engine, cache ┘  bundle, rootfs └─ stdio, wasmpod::container
//! ```
//!
//! containerd runs the program twice for each pod beside the server itself, so `start`, `delete` and `-info` make neither an engine
//! nor threads. Whatever they print is read by containerd: `start` prints one line, on failure too.

mod address;
mod arguments;
mod bundle;
mod cgroup;
mod delete;
mod environment;
mod events;
mod info;
mod limits;
mod log;
mod metrics;
mod module;
mod network;
mod pod;
mod privileges;
mod process;
mod rootfs;
mod serve;
mod service;
mod start;
mod stdio;
mod surroundings;
mod task;
mod terminal;

use arguments::{Action, Arguments};
use std::io::Write as _;
use std::process::ExitCode;
use wasmpod::Result;

fn main() -> ExitCode {
    let done = Arguments::parse(environment::arguments()).and_then(|arguments| run(&arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: containerd shows it as the reason why the pod does not start.
            let line = error.chain().replace('\n', " ");
            let _ = writeln!(std::io::stderr(), "containerd-shim-wasmpod-v1: {line}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    match arguments.action {
        Action::Start => start::run(arguments),
        Action::Delete => delete::run(arguments),
        Action::Serve => serve::run(arguments),
        Action::Info => info::run(),
        Action::Version => info::version(),
    }
}
