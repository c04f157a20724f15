//! What the pure parts cost: a manifest from text to spec, one life of a pod in the state machine, output on its way to a log.
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a benchmark that cannot be set up has no result")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::io;
use std::time::Duration;
use wasmpod::log::{LineSink, Lines, LogLine, OutputSink as _, Stream, deliver, pipe};
use wasmpod::manifest::{LowerContext, Manifest};
use wasmpod::pod::backoff::BackoffPolicy;
use wasmpod::pod::state::{Action, ContainerExit, Event, PodState};
use wasmpod_bench::Bench;

const MANIFEST: &str = include_str!("../../examples/http/pod.yaml");
const LINE: &[u8] = b"2026-01-01T00:00:00Z INFO served GET /greeting for 10.0.0.7 in 213 microseconds\n";
const LINES: usize = 10_000;

fn manifest(criterion: &mut Criterion) {
    criterion.bench_function("manifest: text to spec", |bencher| {
        bencher.iter(|| Manifest::parse(black_box(MANIFEST), "bench").unwrap().lower(|_| LowerContext::new("uid")).unwrap());
    });
}

fn state_machine(criterion: &mut Criterion) {
    for containers in [2, 10] {
        let spec = Bench::plain_spec(containers);
        criterion.bench_function(&format!("state machine: {containers} containers, start to end"), |bencher| {
            bencher.iter(|| {
                let mut state = PodState::new(&spec, BackoffPolicy::KUBELET);
                let mut actions = state.step(Event::Begin, Duration::ZERO).actions;
                while let Some(action) = actions.pop() {
                    if let Action::Start { container, attempt } = action {
                        actions.extend(state.step(Event::Started { container, attempt }, Duration::ZERO).actions);
                        let exit = ContainerExit::exited(0);
                        actions.extend(state.step(Event::Exited { container, attempt, exit }, Duration::ZERO).actions);
                    }
                }
                assert!(state.is_finished());
            });
        });
    }
}

/// Counts what it is shown.
struct Count(usize);

impl LineSink for Count {
    fn line(&mut self, line: LogLine<'_>) -> io::Result<()> {
        self.0 += line.text.len();
        Ok(())
    }
}

/// From the call of a guest to a line of a log, on one thread: a pipe's fill of output at a time.
fn log(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Bytes((LINE.len() * LINES) as u64));
    group.bench_function("10,000 lines through the pipe", |bencher| {
        bencher.iter_batched(
            pipe,
            |(writer, reader)| {
                let mut lines = Lines::new(Count(0));
                runtime.block_on(async {
                    let write = async {
                        let stdout = writer.stream(Stream::Stdout);
                        for _ in 0..LINES {
                            let mut rest = LINE;
                            while !rest.is_empty() {
                                let taken = stdout.try_write(rest);
                                rest = rest.get(taken..).unwrap_or_default();
                                if taken == 0 {
                                    std::future::poll_fn(|cx| stdout.poll_ready(cx)).await;
                                }
                            }
                        }
                        drop((stdout, writer));
                    };
                    tokio::join!(write, deliver(reader, &mut lines)).1.unwrap();
                });
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, manifest, state_machine, log);
criterion_main!(benches);
