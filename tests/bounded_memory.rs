//! What a guest writes costs the host nothing, however much it is (GHSA-5m8g-xhq4-4h93 in other hosts).

use crate::guests;
use crate::harness::{Folder, peak_memory_kib};
use std::process::Stdio;
use std::time::Duration;

/// What the host may use more for a guest that floods than for one that says a word.
const OVERHEAD_KIB_MAX: u64 = 8 << 10;

/// The most memory that `wasmpod run ARGS` had at any time, in KiB, with its output thrown away.
fn peak_memory(folder: &Folder, args: &[&str]) -> u64 {
    let mut command = folder.wasmpod(&[&["run"], args].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(peak_memory_kib(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    peak
}

/// Compares the flood with the same program writing one byte, both compiled beforehand.
fn check(flood: &str, extra: &[&str]) {
    let folder = Folder::new().with("quiet.wat", guests::floods(1, 1)).with("flood.wat", flood);
    let wasmpod = |args: &[&str]| peak_memory(&folder, args);
    wasmpod(&["quiet.wat"]);
    wasmpod(&["flood.wat", "--timeout", "1ms"]);
    let quiet = wasmpod(&["quiet.wat"]);
    let flood = wasmpod(&[&["flood.wat"], extra].concat());
    assert!(quiet > 0 && flood <= quiet + OVERHEAD_KIB_MAX, "{flood} KiB against {quiet} KiB");
}

#[test]
fn a_gibibyte_of_output_is_not_kept() {
    check(guests::STDOUT_FLOOD, &[]);
}

#[test]
fn ten_million_empty_writes_are_not_kept() {
    check(guests::EMPTY_WRITES, &[]);
}

#[test]
fn a_line_without_end_is_not_kept() {
    check(guests::ENDLESS_LINE, &[]);
}

#[test]
fn datagrams_that_nobody_receives_are_dropped() {
    check(guests::UDP_FLOOD, &["--timeout", "2s"]);
}

#[test]
fn a_connection_that_nobody_reads_blocks_its_writer() {
    check(guests::TCP_FLOOD, &["--timeout", "2s"]);
}
