//! What the pure parts cost: a manifest from text to spec, and one life of a pod in the state machine.
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a benchmark that cannot be set up has no result")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use wasmpod::manifest::{LowerContext, Manifest};
use wasmpod::pod::backoff::BackoffPolicy;
use wasmpod::pod::state::{Action, ContainerExit, Event, PodState};
use wasmpod_bench::Bench;

const MANIFEST: &str = include_str!("../../examples/http/pod.yaml");

fn manifest(criterion: &mut Criterion) {
    criterion.bench_function("manifest: text to spec", |bencher| {
        bencher.iter(|| Manifest::parse(black_box(MANIFEST), "bench").unwrap().lower(|_| LowerContext::new("uid")).unwrap());
    });
}

fn state_machine(criterion: &mut Criterion) {
    let spec = Bench::spec(2);
    criterion.bench_function("state machine: two containers, start to end", |bencher| {
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

criterion_group!(benches, manifest, state_machine);
criterion_main!(benches);
