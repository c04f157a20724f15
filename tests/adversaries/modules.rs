//! B9: modules that nobody wrote, and examples that were damaged: each runs, ends or is refused, and the host goes on. (The fuzz
//! targets make still others.)

use super::{is_slow, times};
use crate::fuzzing::targets::preview1::{FUNCTIONS, imports};
use crate::guests;
use crate::harness::Folder;
use crate::harness::sandbox::TestSandbox;
use std::path::Path;
use std::time::Duration;
use wasmpod::container::Program;
use wasmpod::engine::{CompileLimits, Compiler, Engine, EngineConfig, EngineMode};
use wasmpod::pod::ContainerImage;
use wasmpod::pod::state::Signal;

/// Numbers at which something often goes wrong: descriptors, alignments, the ends of memory and of the types.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    16,
    24,
    100,
    1024,
    4095,
    65_532,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff8,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
];

/// A sequence of random numbers: the same one for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// A number that is likely to hurt, seldom any number.
    fn number(&mut self) -> u64 {
        if self.below(8) == 0 { self.next() } else { NUMBERS[self.below(NUMBERS.len())] }
    }
}

/// A module that nobody wrote: calls of the host with whatever numbers, over a memory full of others.
fn unwritten(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    // What ends the guest would hide the calls behind it.
    let functions: Vec<_> = FUNCTIONS.iter().filter(|(name, _)| !name.starts_with("proc_")).collect();
    let imports = imports();
    let memory: String = (0..1024)
        .map(|_| u32::try_from(random.number() & 0xffff_ffff).unwrap())
        .flat_map(u32::to_le_bytes)
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    let calls: String = (0..64)
        .map(|_| {
            let (name, types) = functions[random.below(functions.len())];
            let arguments: String = types
                .chars()
                .map(|kind| match kind {
                    'i' => format!("(i32.const {}) ", random.number() & 0xffff_ffff),
                    _ => format!("(i64.const {}) ", random.number()),
                })
                .collect();
            format!("(drop (call ${name} {arguments}))\n")
        })
        .collect();
    let module = format!(
        "(module {imports} (memory (export \"memory\") 1) (data (i32.const 0) \"{memory}\") (func (export \"_start\") {calls}))"
    );
    wat::parse_str(module).unwrap()
}

/// `good` with a few bytes changed, taken out or put in: often still a module, seldom the same one.
fn damaged(good: &[u8], seed: u64) -> Vec<u8> {
    let (mut damaged, mut random) = (good.to_vec(), Random::new(seed));
    for _ in 0..=random.below(4) {
        // The header stays: without it there is nothing more to see.
        let at = 8 + random.below(damaged.len() - 8);
        let value = u8::try_from(random.below(256)).unwrap();
        match random.below(8) {
            0 => drop(damaged.remove(at)),
            1 => damaged.insert(at, value),
            2 => damaged[at] = value,
            _ => damaged[at] ^= 1 << (value % 8),
        }
    }
    damaged
}

/// An engine that compiles here: a bug of the compiler would be seen, and a hundred thousand children would take hours.
fn engine(folder: &Folder) -> Engine {
    Engine::new(EngineConfig {
        mode: EngineMode::Run,
        cache_dir: folder.path().join("cache"),
        compiler: Compiler::InProcess,
        compile_limits: CompileLimits::STANDARD,
        on_compile: None,
        guest_threads: None,
    })
    .unwrap()
}

/// How many were refused, ran to an end, and had to be stopped.
#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    ended: usize,
    stopped: usize,
}

async fn run(pod: &TestSandbox, engine: &Engine, wasm: Vec<u8>, tally: &mut Tally) {
    let linked = match engine.load("module", wasm.into()).await {
        Ok(artifact) => Program::link(&artifact),
        Err(error) => Err(error),
    };
    let program = match linked {
        Ok(program) => program,
        Err(error) => {
            assert!(!error.chain().contains("panic"), "{}", error.chain());
            return tally.refused += 1;
        }
    };
    let image = ContainerImage::of_program(program, "sha256:0", "module");
    let mut run = pod.start_program(0, &image);
    let ended = tokio::time::timeout(Duration::from_millis(30), run.end()).await;
    let exit = match ended {
        Ok(exit) => exit,
        Err(_) => {
            tally.stopped += 1;
            run.container().signal(Signal::Kill);
            run.end().await
        }
    };
    tally.ended += 1;
    if let Ok(exit) = exit {
        assert!(!exit.message.contains("bug of wasmpod"), "{}", exit.message);
    }
}

/// A pod on an engine of its own, with a volume.
async fn pod() -> (TestSandbox, Engine) {
    let manifest =
        "{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {containers: [{name: module, image: 'file:./x.wat'}]}}";
    let folder = Folder::new().with("x.wat", guests::exits(0));
    let engine = engine(&folder);
    (TestSandbox::on(&engine, folder, manifest).await, engine)
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_modules_that_nobody_wrote() {
    let (pod, engine) = pod().await;
    let mut tally = Tally::default();
    for seed in 0..times(300, 100_000) {
        run(&pod, &engine, unwritten(seed as u64), &mut tally).await;
        if is_slow() && seed % 1000 == 0 {
            std::fs::remove_dir_all(pod.folder.path().join("cache")).unwrap();
        }
    }
    eprintln!("{tally:?}");
    assert!(tally.ended > tally.refused, "most of them run: {tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_examples_that_were_damaged() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let text = |text: &str| wat::parse_str(text).unwrap();
    let mut good = vec![text(guests::STDOUT_FLOOD), text(guests::ARGS_ENV), text(guests::UDP_FLOOD), text(&guests::echoes())];
    if is_slow() {
        good.extend(
            ["hello/hello.wasm", "init-volume/app.wasm", "preview1-server/caller.wasm"]
                .map(|path| std::fs::read(examples.join(path)).unwrap()),
        );
    }
    let (pod, engine) = pod().await;
    let mut tally = Tally::default();
    for seed in 0..times(200, 10_000) {
        let good = &good[seed % good.len()];
        let damaged = damaged(good, seed as u64);
        run(&pod, &engine, damaged, &mut tally).await;
        if is_slow() && seed % 1000 == 0 {
            std::fs::remove_dir_all(pod.folder.path().join("cache")).unwrap();
        }
    }
    eprintln!("{tally:?}");
    assert!(tally.ended > 0, "{tally:?}");
}
