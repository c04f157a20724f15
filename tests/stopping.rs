//! Stopping: nothing that a guest does keeps it alive, and its neighbours notice nothing.

use crate::guests;
use crate::harness::Folder;
use crate::harness::pods::TestPod;
use std::time::{Duration, Instant};
use wasmpod::pod::state::ExitCause;

/// How quickly a pod is gone once its containers are to end.
const STOPPED_WITHIN: Duration = Duration::from_millis(200);

/// One container in a busy loop, one in `sock_accept`, one in a read from a connection that nobody writes to, one
/// asleep.
const STUBBORN: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  containers:
  - {name: busy, image: file:./busy.wat}
  - {name: accepting, image: file:./accept.wat, ports: [{containerPort: 7001}]}
  - {name: reading, image: file:./read.wat}
  - {name: sleeping, image: file:./sleep.wat}
"#;

/// A pod that counts requests to itself, to be disturbed.
const NEIGHBOUR: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: neighbour}
spec:
  restartPolicy: Never
  containers:
  - {name: steady, image: file:./steady.wat}
"#;

fn stubborn() -> Folder {
    Folder::new()
        .with("busy.wat", guests::says_ready_and_spins())
        .with("accept.wat", guests::BLOCK_IN_ACCEPT)
        .with("read.wat", guests::BLOCK_IN_READ)
        .with("sleep.wat", guests::BLOCK_IN_SLEEP)
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_loops_and_blocked_calls_end_at_once() {
    // The machine may be busy with something else just then; the pod may not be slow every time.
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let pod = TestPod::start(stubborn(), STUBBORN).await;
        pod.prints(0, "ready").await;
        pod.pod.wait_until(|state| state.containers().iter().all(|container| container.is_started())).await;
        let asked = Instant::now();
        pod.pod.stop(None).await;
        pod.pod.finished().await.unwrap();
        fastest = fastest.min(asked.elapsed());
        for container in pod.pod.state().containers() {
            let ended = container.latest_termination().unwrap();
            assert!(matches!(ended.exit.cause, ExitCause::Signalled(_)), "{ended:?}");
            assert_eq!(ended.exit.code, 143);
        }
    }
    assert!(fastest <= STOPPED_WITHIN, "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_pod_leaves_its_neighbour_alone() {
    let neighbour = TestPod::start(Folder::new().with("steady.wat", guests::says_ready_then_waits()), NEIGHBOUR).await;
    neighbour.prints(0, "ready").await;
    for _ in 0..20 {
        let pod = TestPod::start(stubborn(), STUBBORN).await;
        pod.prints(0, "ready").await;
        pod.pod.kill().await;
        pod.pod.finished().await.unwrap();
    }
    let state = neighbour.pod.state();
    let steady = &state.containers()[0];
    assert!(steady.is_alive() && steady.restart_count() == 0, "{steady:?}");
}
