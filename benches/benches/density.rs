//! What an idle container costs in memory: many pods of one container that waits, and what the process has taken for them.
//!
//! No time is measured, so criterion has no part in it: `cargo bench --bench density -- PODS` prints a line.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot be set up has no result; this one prints it")]

use std::sync::Arc;
use std::time::Instant;
use wasmpod::engine::EngineMode;
use wasmpod_bench::output::Output;
use wasmpod_bench::{Bench, IDLE, is_measured};

/// Pods of a measurement when nobody says how many.
const PODS: usize = 10_000;
/// Pods that show that the benchmark works.
const PODS_TRIED: usize = 5;
/// What the guest itself has touched: one page of its memory.
const GUEST_BYTES: u64 = 4096;

fn main() {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let pods = asked.unwrap_or_else(|| if is_measured() { PODS } else { PODS_TRIED });
    let bench = Bench::for_pods(EngineMode::Node, 1);
    let image = bench.image(IDLE);
    let (before, start) = (resident_bytes(), Instant::now());
    let idle = bench.runtime.block_on(async {
        let mut idle = Vec::with_capacity(pods);
        for _ in 0..pods {
            let output = Arc::new(Output::new(1));
            let pod = bench.start(Bench::plain_spec(1), &image, Arc::clone(&output) as _).await;
            output.all_started(start).await;
            idle.push(pod);
        }
        idle
    });
    let each = resident_bytes().saturating_sub(before) / u64::try_from(pods).unwrap();
    assert_eq!(bench.engine.live_instances(), u64::try_from(pods).unwrap());
    println!(
        "{pods} idle pods of one container, started in {:.2} s: {:.1} KiB each, {:.1} KiB of them beyond the guest's own pages",
        start.elapsed().as_secs_f64(),
        each as f64 / 1024.0,
        each.saturating_sub(GUEST_BYTES) as f64 / 1024.0
    );
    bench.runtime.block_on(async {
        for pod in &idle {
            pod.kill().await;
        }
        for pod in idle {
            pod.finished().await.unwrap();
        }
    });
    assert_eq!(bench.engine.live_instances(), 0);
}

/// The memory that the process has: `VmRSS`.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
