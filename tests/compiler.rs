//! The compiler's program ends with the one that started it, however that ends.

use crate::harness::{Folder, Program, wait_for};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use wasmpod::engine::config::compatibility_key;

#[test]
fn a_compiler_whose_words_nobody_reads_ends_at_once() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmpod-compile"));
    command.args(["--key", &compatibility_key()]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut compiler = Program::spawn(&mut command);
    // It waits for its module, which never comes; only the end of its reader can end it.
    let module = compiler.stdin.take();
    drop(compiler.stderr.take());
    let status = wait_for("the end of the compiler", || compiler.try_wait().unwrap());
    assert_eq!(status.signal(), Some(9));
    drop(module);
}

/// The process that `parent` started, as the kernel knows it.
fn child_of(parent: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Whether a process is there and not merely waiting to be buried.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A module that takes the compiler a while: functions without number, each different.
fn big() -> String {
    let function = |number: usize| {
        format!(
            "(func (param i64) (result i64) {} (local.get 0))",
            "(local.set 0 (i64.mul (local.get 0) (i64.const 77)))".repeat(40 + number % 7)
        )
    };
    let functions: String = (0..2_000).map(function).collect();
    format!("(module (func (export \"_start\")) {functions})")
}

/// `kill -9` in the midst of a compilation.
#[test]
fn a_killed_wasmpod_leaves_no_compiler_behind() {
    let folder = Folder::new().with("big.wat", big());
    let cache = folder.path().join("cache").display().to_string();
    let mut program = folder.start(&["big.wat", "--cache-dir", &cache]);
    let compiler = wait_for("the compiler", || child_of(program.id()));
    program.kill().unwrap();
    program.wait().unwrap();
    wait_for("the end of the compiler", || (!lives(compiler)).then_some(()));
    assert_eq!(written(&folder.path().join("cache")), 0, "it ended because it was ready");
}

/// Bytes of all files below a directory.
fn written(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { written(&path) } else { path.metadata().unwrap().len() }).sum()
}
