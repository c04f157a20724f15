//! The conformance suite: how pods live on Kubernetes, case by case, after the end-to-end tests of its kubelet.
//!
//! The cases are those of `test/e2e/common/node` and `test/e2e_node` that are about the life of a pod; `docs/conformance.md` lists them
//! with the tests here, and those that cannot apply with the reason. As in their `container_lifecycle_test.go`, a pod writes a log of who
//! starts and who ends, and a test asserts what comes before what. Time is virtual: containers are played by a simulator against the
//! state machine that every pod of wasmpod has. The cases of `live` run WebAssembly in a whole pod.

#[path = "../../runtime/src/pod/state/simulator.rs"]
#[expect(dead_code, reason = "the library's own tests use the rest")]
mod simulator;

mod hooks;
mod init;
mod live;
mod log;
mod probes;
mod restarts;
mod sidecars;
mod status;
mod table;
mod termination;

use simulator::Run::{self, Exit, Forever};
use std::time::Duration;
use wasmpod::pod::spec::Probe;

/// A container that ends well at once, as most init containers.
const DONE: Run = Exit(1, 0);
/// A container that fails at once.
const FAILED: Run = Exit(1, 1);
/// A container that serves.
const SERVES: Run = Forever;

/// A probe that is asked every so many seconds, after a delay, and fails the container after so many failures.
fn probe(delay: u64, period: u64, failure_threshold: u32) -> Probe {
    let seconds = Duration::from_secs;
    Probe { initial_delay: seconds(delay), period: seconds(period), failure_threshold, ..simulator::every_second() }
}
