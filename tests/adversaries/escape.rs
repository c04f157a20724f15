//! B1: no path leads out of a container's directories, whatever the guest calls and however the kernel resolves it.

use crate::harness::{Finished, Folder, Program, finish};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

/// What `openat2` is on every architecture of Linux.
const OPENAT2: i64 = 437;

/// How the kernel answers `openat2`, with which paths are resolved in one call.
#[derive(Clone, Copy)]
pub(super) enum Openat2 {
    Works,
    /// As under a seccomp filter that has never heard of it: paths are then resolved step by step.
    Refused(rustix::io::Errno),
}

#[test]
fn b1_paths_of_preview_1() {
    nothing_leads_out("intruder-p1.wasm", Openat2::Works);
}

#[test]
fn b1_paths_of_wasi_0_2() {
    nothing_leads_out("intruder-p2.wasm", Openat2::Works);
}

#[test]
fn b1_paths_of_preview_1_without_openat2() {
    nothing_leads_out("intruder-p1.wasm", Openat2::Refused(rustix::io::Errno::NOSYS));
}

#[test]
fn b1_paths_of_wasi_0_2_without_openat2() {
    nothing_leads_out("intruder-p2.wasm", Openat2::Refused(rustix::io::Errno::PERM));
}

/// Runs the intruder with a directory that it may write and one that it may only read, between links that lead out.
fn nothing_leads_out(guest: &str, openat2: Openat2) {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/intruder");
    let folder = Folder::new()
        .with("outside/secret.txt", "CANARY: nobody inside may read this")
        .with("outside/dir/secret.txt", "CANARY")
        .with("writable/file", "anybody may read this")
        .with("writable/sub/file", "and this")
        .with("readable/file", "this too")
        .with("readable/sub/file", "and this, but change nothing")
        .with("intruder.wasm", fs::read(guests.join(guest)).unwrap());
    for inside in ["writable", "readable"] {
        plant_links(&folder.path().join(inside), &folder.path().join("outside"));
    }
    let outside = folder.path().join("outside").display().to_string();
    let before = [tree(&folder.path().join("outside")), tree(&folder.path().join("readable"))];
    let mounts = ["--volume", &mount(&folder, "writable", ""), "--volume", &mount(&folder, "readable", ":ro")].map(str::to_owned);
    let mut command = folder.wasmpod(&["run", "intruder.wasm"]);
    command.args(&mounts).args(["--", &outside]);
    let finished = run(command, openat2);
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    assert!(!finished.stdout.contains("LEAK"), "{}", finished.stdout);
    let tally: Vec<u64> = finished.stdout.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // It did try, and what it may do in its own directories it could do.
    assert!(tally[0] > 5000 && tally[1] > 300, "{}", finished.stdout);
    let after = [tree(&folder.path().join("outside")), tree(&folder.path().join("readable"))];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
}

fn mount(folder: &Folder, name: &str, mode: &str) -> String {
    format!("{}:/{name}{mode}", folder.path().join(name).display())
}

/// Links as an image, an earlier container or the machine's user may have left them.
fn plant_links(inside: &Path, outside: &Path) {
    let outside_text = outside.display().to_string();
    let link = |target: &str, name: &str| symlink(target, inside.join(name)).unwrap();
    link("../outside", "out");
    link("../outside/", "out-slash");
    link(&outside_text, "absolute-dir");
    link(&format!("{outside_text}/secret.txt"), "absolute");
    link(&format!("{outside_text}/"), "absolute-slash");
    link("../outside/new", "dangling");
    link("../outside/new-dir", "dangling-dir");
    link("loop", "loop");
    link("..", "up");
    link("out", "chain");
    link("../../outside", "sub/deep");
    link("/proc", "proc");
    link("/proc/self/cwd/outside", "magic");
    link("sub", "inner");
}

/// Starts the command, under a filter if need be: it holds for the thread that starts a program and for that program.
pub(super) fn run(mut command: Command, openat2: Openat2) -> Finished {
    let started = std::thread::spawn(move || {
        if let Openat2::Refused(errno) = openat2 {
            let refuse = SeccompAction::Errno(u32::try_from(errno.raw_os_error()).unwrap());
            let rules = BTreeMap::from([(OPENAT2, Vec::new())]);
            let architecture = std::env::consts::ARCH.try_into().unwrap();
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).unwrap();
            let program: BpfProgram = filter.try_into().unwrap();
            apply_filter(&program).unwrap();
            let resolve = rustix::fs::ResolveFlags::BENEATH;
            let refused = rustix::fs::openat2(rustix::fs::CWD, ".", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty(), resolve);
            assert_eq!(refused.unwrap_err(), errno);
        }
        Program::spawn(&mut command)
    });
    finish(started.join().unwrap())
}

/// All that can be known of a tree: kinds, modes, times, link counts and contents.
pub(super) fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).chain([folder.clone()]) {
            let meta = fs::symlink_metadata(&path).unwrap();
            let contents = if meta.is_file() { format!("{:x}", Sha256::digest(fs::read(&path).unwrap())) } else { String::new() };
            let facts = format!("{:o} {} {}.{} {contents}", meta.mode(), meta.nlink(), meta.mtime(), meta.mtime_nsec());
            let is_new = found.insert(path.display().to_string(), facts).is_none();
            if meta.is_dir() && is_new && path != folder {
                folders.push(path);
            }
        }
    }
    found
}
