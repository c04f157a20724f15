//! Linux containers by runc, WebAssembly containers by this shim, and a shim that does nothing (`idle.rs`, the floor), side by side
//! under one containerd: the time to the first byte, by `ctr run --rm`, by containerd's own API and by the CRI, and the memory of a
//! pod of three.
//!
//! ```text
//!   cargo bench -p containerd-shim-wasmpod --bench containers      as root, with containerd, runc and the CNI plugins
//!   cargo test  -p containerd-shim-wasmpod --bench containers      one round of each, with the shim of the tests
//! ```
//!
//! The runtimes take turns, round by round. runc runs programs of a few dozen instructions, so that what is measured is runc.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has no result, and it shares the harness of the tests"
)]

mod api;
mod memory;
mod programs;
#[path = "../../tests/containerd/harness.rs"]
mod harness;
#[path = "../../tests/containerd/image.rs"]
mod image;
#[path = "../../tests/containerd/kubelet.rs"]
mod kubelet;

use api::Api;
use harness::{Containerd, SHIM, can_run, guest, repository};
use image::Image;
use kubelet::Kubelet;
use std::io::Read as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// One of what is compared.
pub(crate) struct Runtime {
    /// Its name, and that of its handler in the CRI.
    name: &'static str,
    /// containerd's name for it.
    kind: &'static str,
    /// An image that prints something.
    image: &'static str,
    /// The command that prints something and ends.
    hello: &'static str,
    /// The command that does nothing for ever.
    sleep: &'static str,
}

const WASM_IMAGE: &str = "localhost/wasm:1";
const LINUX_IMAGE: &str = "localhost/linux:1";
const RUNTIMES: [Runtime; 3] = [
    Runtime { name: "runc", kind: "io.containerd.runc.v2", image: LINUX_IMAGE, hello: "/hello", sleep: "/sleep" },
    Runtime { name: "wasmpod", kind: harness::RUNTIME, image: WASM_IMAGE, hello: "/hello.wasm", sleep: "/sleep.wasm" },
    Runtime { name: "idle", kind: "io.containerd.idle.v1", image: WASM_IMAGE, hello: "/hello.wasm", sleep: "/sleep.wasm" },
];

/// How often each is measured.
struct Rounds {
    ctr: usize,
    api: usize,
    cri: usize,
}

fn main() {
    if !can_run() || !cfg!(target_arch = "x86_64") {
        return;
    }
    // As criterion has it: cargo says whether this is to measure or only to work.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let rounds = if measures { Rounds { ctr: 40, api: 60, cri: 20 } } else { Rounds { ctr: 1, api: 1, cri: 1 } };
    if measures {
        build_what_is_installed();
    }
    let shims = tempfile::tempdir().unwrap();
    // Of the whole workspace: with the features of this package alone, everything would be compiled once more.
    let example = ["--workspace", "--example", "containerd-shim-idle-v1"];
    let idle = harness::build("examples/containerd-shim-idle-v1", &example);
    std::os::unix::fs::symlink(SHIM, shims.path().join("containerd-shim-wasmpod-v1")).unwrap();
    std::os::unix::fs::symlink(idle, shims.path().join("containerd-shim-idle-v1")).unwrap();
    let mut kubelet = Kubelet::start_with(shims.path().to_owned(), programs::sleep());
    for namespace in ["default", "k8s.io"] {
        let sleep = wat::parse_bytes(&guest("block-in-sleep")).unwrap().into_owned();
        let files = [("hello.wasm", repository("examples/hello/hello.wasm")), ("sleep.wasm", sleep)];
        kubelet.containerd.import(namespace, Image::of_files(WASM_IMAGE, "/hello.wasm", &files));
        let files = [("hello", programs::hello()), ("sleep", programs::sleep())];
        kubelet.containerd.import(namespace, Image::of_files(LINUX_IMAGE, "/hello", &files));
    }
    let table = Table { rows: vec![] };
    let table = ctr(table, &kubelet.containerd, rounds.ctr);
    let table = api(table, &kubelet, rounds.api);
    let table = cri(table, &mut kubelet, rounds.cri);
    table.show();
    memory::show(&mut kubelet);
    let size = std::fs::metadata(SHIM).unwrap().len() / 1024;
    let starts = (0..rounds.api).map(|_| version()).collect();
    println!("\nThe shim is a program of {size} KiB; `-v` takes {:.2?} (median of {}).", median(starts), rounds.api);
}

/// Puts the shim that docs/kubernetes.md has people build in the place of the one that cargo has made for this benchmark, which is not
/// optimised as a whole and has a compiler in it: in one build of all packages they share their dependencies' features.
fn build_what_is_installed() {
    let built = Command::new(env!("CARGO")).args(["build", "--release", "--package", env!("CARGO_PKG_NAME")]).status();
    assert!(built.unwrap().success());
}

/// The times of each runtime, for one thing that was measured.
struct Row {
    what: &'static str,
    times: [Vec<Duration>; 3],
}

struct Table {
    rows: Vec<Row>,
}

impl Table {
    fn add<const N: usize>(mut self, names: [&'static str; N], samples: Vec<[[Duration; N]; 3]>) -> Self {
        for (index, what) in names.into_iter().enumerate() {
            let of = |runtime: usize| samples.iter().map(|sample| sample[runtime][index]).collect();
            self.rows.push(Row { what, times: [of(0), of(1), of(2)] });
        }
        self
    }

    fn show(self) {
        println!("| median (10th to 90th percentile), ms | runc | wasmpod | floor | to the floor | to runc | rounds |");
        println!("|---|---|---|---|---|---|---|");
        for Row { what, times } in self.rows {
            let rounds = times[0].len();
            let [runc, wasmpod, floor] = times.each_ref().map(|times| median(times.clone()).as_secs_f64());
            let cells = times.map(cell).join(" | ");
            println!("| {what} | {cells} | {:.2} | {:.2} | {rounds} |", wasmpod / floor, wasmpod / runc);
        }
    }
}

fn cell(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |tenths: usize| times[(times.len() - 1) * tenths / 10].as_secs_f64() * 1000.0;
    format!("{:.1} ({:.1}–{:.1})", at(5), at(1), at(9))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) / 2]
}

/// As people do it by hand.
fn ctr(table: Table, containerd: &Containerd, rounds: usize) -> Table {
    let run = |runtime: &Runtime, id: &str| {
        let started = Instant::now();
        let mut run = containerd.spawn_ctr(&["run", "--rm", "--runtime", runtime.kind, runtime.image, id, runtime.hello]);
        let mut byte = [0];
        let read = run.stdout.as_mut().unwrap().read_exact(&mut byte);
        let took = started.elapsed();
        let output = run.wait_with_output().unwrap();
        assert!(read.is_ok() && output.status.success(), "{}: {}", runtime.name, String::from_utf8_lossy(&output.stderr));
        [took]
    };
    // Compiles, and fills the page cache.
    for runtime in &RUNTIMES {
        run(runtime, "warm");
    }
    let samples = (0..rounds).map(|round| RUNTIMES.each_ref().map(|runtime| run(runtime, &format!("c{round}"))));
    table.add(["`ctr run --rm`: first byte"], samples.collect())
}

/// As a client of containerd does it, without the start of `ctr`.
fn api(table: Table, kubelet: &Kubelet, rounds: usize) -> Table {
    let api = Api::connect(&kubelet.containerd, &kubelet.runtime);
    for runtime in &RUNTIMES {
        api.run(runtime, "warm");
    }
    let samples = (0..rounds).map(|round| RUNTIMES.each_ref().map(|runtime| api.run(runtime, &format!("a{round}"))));
    table.add(["containerd's API: first byte", "of it until `Create` answers", "of it from `Start` on"], samples.collect())
}

/// As the kubelet does it.
fn cri(table: Table, kubelet: &mut Kubelet, rounds: usize) -> Table {
    let mut run = |runtime: &Runtime, round: usize| {
        kubelet.handler = runtime.name;
        let log = format!("{}-{round}", runtime.name);
        let started = Instant::now();
        kubelet.run_sandbox();
        let sandbox = started.elapsed();
        let container = kubelet.create_with_command(&log, runtime.image, &[runtime.hello], &[], vec![]);
        let created = started.elapsed();
        kubelet.start_container(&container);
        while kubelet.log(&log).is_empty() {
            std::thread::sleep(Duration::from_micros(100));
        }
        let total = started.elapsed();
        assert_eq!(kubelet.wait_for_exit(&container), 0);
        kubelet.remove_sandbox();
        [total, sandbox, created - sandbox, total - created]
    };
    for runtime in &RUNTIMES {
        run(runtime, rounds);
    }
    let samples = (0..rounds).map(|round| RUNTIMES.each_ref().map(|runtime| run(runtime, round))).collect();
    let names =
        ["the CRI: first byte of the log", "of it `RunPodSandbox`", "of it `CreateContainer`", "of it from `StartContainer` on"];
    table.add(names, samples)
}

fn version() -> Duration {
    let started = Instant::now();
    assert!(Command::new(SHIM).arg("-v").output().unwrap().status.success());
    started.elapsed()
}
