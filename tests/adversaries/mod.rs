//! Attacks that must fail. Each test is named after its row in `docs/threat-model.md` and what it does.
//!
//! A: a guest denies service. B: a guest leaves its pod. C: images and caches. E: manifests and the network's model (those stand
//! beside what they attack: `manifest::tests::hostile`, `net_differential`, `pod::state::properties`).
//! `WASMPOD_SLOW=1` makes the long ones run in full.

mod caches;
mod denial;
mod escape;
mod exhaustion;
mod guest;
mod isolation;
mod manifests;
mod modules;
mod output;
mod race;
mod storage;
mod table;

use crate::guests;
use crate::harness::{Finished, Folder, Program, finish};
use std::fs;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

/// Whether the long forms are to run.
fn is_slow() -> bool {
    std::env::var_os("WASMPOD_SLOW").is_some()
}

/// How often to do something: seldom in the normal run, as often as the threat model says with `WASMPOD_SLOW=1`.
fn times(quick: usize, full: usize) -> usize {
    if is_slow() { full } else { quick }
}

/// What `wasmpod run ARGS` has of memory at most, in KiB, and how it ended.
fn peak_memory(folder: &Folder, args: &[&str]) -> (u64, Finished) {
    let child = folder.start(args);
    let watched = watch_memory(&child);
    let finished = finish(child);
    (watched.join().unwrap(), finished)
}

/// The same with its output thrown away, however much that is.
fn peak_memory_discarding(folder: &Folder, args: &[&str]) -> u64 {
    let mut command = folder.wasmpod(&[&["run"], args].concat());
    let mut child = Program::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let watched = watch_memory(&child);
    child.wait().unwrap();
    watched.join().unwrap()
}

/// A guest that does nothing, for runs to compare with: it lives long enough to be looked at once it has all that it takes.
fn quiet_guest() -> String {
    guests::rests(200)
}

/// Looks at a process' highest use of memory until it ends.
fn watch_memory(child: &Program) -> JoinHandle<u64> {
    let status_file = format!("/proc/{}/status", child.id());
    std::thread::spawn(move || {
        let mut peak = 0;
        while let Ok(status) = fs::read_to_string(&status_file) {
            // A process that has ended and was not waited for has no memory any more.
            let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { break };
            peak = peak.max(line.trim().trim_end_matches(" kB").parse().unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    })
}
