//! Linux containers by runc and WebAssembly containers by this shim, side by side under one containerd: time to the first byte of
//! `ctr run --rm`, time of `ctr run --detach`, memory of a pod of three. The floor is a sandbox of this shim, which runs nothing.
//!
//! Needs root, containerd and runc. `cargo bench -p containerd-shim-wasmpod --bench containers`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    unused_crate_dependencies,
    reason = "a benchmark"
)]
#![allow(dead_code, reason = "it shares the harness of the tests")]

#[path = "../tests/containerd/harness.rs"]
mod harness;
#[path = "../tests/containerd/image.rs"]
mod image;

use harness::{Containerd, RUNTIME, SHIM, can_run, eventually, guest, repository};
use image::Image;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 30;
const RUNC: &str = "io.containerd.runc.v2";
const WASM_IMAGE: &str = "localhost/hello:1";
const LINUX_IMAGE: &str = "localhost/linux:1";
const SANDBOX: &str = "io.kubernetes.cri.container-type=sandbox";
const MEMBER: &str = "io.kubernetes.cri.container-type=container";

fn main() {
    if !can_run() {
        return;
    }
    let programs = Path::new(SHIM).parent().unwrap().to_owned();
    let containerd = Containerd::start_with(programs, Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"), "");
    let hello = repository("examples/hello/hello.wasm");
    let files = [("hello.wasm", hello), ("sleep.wat", guest("block-in-sleep"))];
    containerd.import("default", Image::of_files(WASM_IMAGE, "/hello.wasm", &files));
    let linux: Vec<(String, Vec<u8>)> = with_libraries(&["/bin/echo", "/bin/sleep"]);
    let linux: Vec<(&str, Vec<u8>)> = linux.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    containerd.import("default", Image::of_files(LINUX_IMAGE, "/bin/echo", &linux));

    println!("| median of {ROUNDS} | runc | wasmpod | sandbox of wasmpod (floor) |\n|---|---|---|---|");
    let (mut first, mut detached) = ([vec![], vec![]], [vec![], vec![], vec![]]);
    for round in 0..ROUNDS {
        first[0].push(first_byte(&containerd, &["--runtime", RUNC, LINUX_IMAGE, &format!("r{round}"), "/bin/echo", "hello"]));
        first[1].push(first_byte(&containerd, &["--runtime", RUNTIME, WASM_IMAGE, &format!("w{round}")]));
        detached[0].push(detach(&containerd, "d", &["--runtime", RUNC, LINUX_IMAGE, "d", "/bin/sleep", "1000"]));
        detached[1].push(detach(&containerd, "d", &["--runtime", RUNTIME, WASM_IMAGE, "d", "/sleep.wat"]));
        detached[2].push(detach(&containerd, "d", &["--runtime", RUNTIME, "--annotation", SANDBOX, WASM_IMAGE, "d"]));
    }
    let [runc, wasm] = first.map(median);
    println!("| `ctr run --rm`, first byte | {runc:.1?} | {wasm:.1?} | |");
    let [runc, wasm, floor] = detached.map(median);
    println!("| `ctr run --detach` | {runc:.1?} | {wasm:.1?} | {floor:.1?} |");
    let runc = pod_memory(&containerd, RUNC, LINUX_IMAGE, &["/bin/sleep", "1000"]);
    let wasm = pod_memory(&containerd, RUNTIME, WASM_IMAGE, &["/sleep.wat"]);
    println!("| memory (PSS) of a pod of three | {runc} KiB | {wasm} KiB | |");
    println!("| size of the shim | | {} KiB | |", std::fs::metadata(SHIM).unwrap().len() / 1024);
    println!("| `-v`: start of the program | | {:.2?} | |", median((0..ROUNDS).map(|_| version()).collect()));
}

/// Programs of the machine with what they are linked against, as files of an image.
fn with_libraries(programs: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<String> = programs.iter().map(|program| (*program).to_owned()).collect();
    for program in programs {
        let said = Command::new("ldd").arg(program).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        paths.extend(said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
    }
    paths.sort_unstable();
    paths.dedup();
    paths.iter().map(|path| (path.trim_start_matches('/').to_owned(), std::fs::read(path).unwrap())).collect()
}

fn first_byte(containerd: &Containerd, args: &[&str]) -> Duration {
    let started = Instant::now();
    let mut run = containerd.spawn_ctr(&[&["run", "--rm"], args].concat());
    let mut byte = [0];
    run.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    let took = started.elapsed();
    assert!(run.wait_with_output().unwrap().status.success());
    took
}

fn detach(containerd: &Containerd, id: &str, args: &[&str]) -> Duration {
    let started = Instant::now();
    containerd.ctr(&[&["run", "--detach"], args].concat()).ok();
    let took = started.elapsed();
    containerd.finish(id);
    eventually("it is gone", || containerd.shims().is_empty());
    took
}

fn version() -> Duration {
    let started = Instant::now();
    assert!(Command::new(SHIM).arg("-v").output().unwrap().status.success());
    started.elapsed()
}

/// The memory of a sandbox and three containers that sleep, with their shim, in KiB.
fn pod_memory(containerd: &Containerd, runtime: &str, image: &str, command: &[&str]) -> u64 {
    let ids = ["s", "c0", "c1", "c2"];
    for id in ids {
        let kind = if id == "s" { SANDBOX } else { MEMBER };
        let mut args = vec!["run", "--detach", "--runtime", runtime, "--annotation", kind];
        args.extend(["--annotation", "io.kubernetes.cri.sandbox-id=s", image, id]);
        args.extend(command);
        containerd.ctr(&args).ok();
    }
    std::thread::sleep(Duration::from_millis(500));
    let mut pids = containerd.shims();
    let table = containerd.ctr(&["task", "ls"]).ok();
    pids.extend(table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse::<u32>().ok()));
    pids.sort_unstable();
    pids.dedup();
    let memory = pids.iter().map(|pid| pss(*pid)).sum();
    for id in ["c0", "c1", "c2", "s"] {
        containerd.finish(id);
    }
    memory
}

fn pss(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
