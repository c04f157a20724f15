//! The controllers, in seconds of a clock that the test moves.

use super::*;
use crate::workload::spec::{JobSpec, WorkloadKind};

/// A controller with its clock, and what it asked for so far.
struct Bench {
    controller: Controller,
    now: Duration,
    wake_at: Option<Duration>,
    created: Vec<(Serial, String)>,
    deleted: Vec<Serial>,
}

impl Bench {
    fn new(kind: WorkloadKind, controller: ControllerSpec) -> Self {
        let spec = WorkloadSpec {
            kind,
            name: "web".to_owned(),
            namespace: "default".to_owned(),
            uid: "uid".to_owned(),
            template_hash: "hash".to_owned(),
            controller,
        };
        let controller = Controller::new(spec, ReplacePolicy::KUBERNETES);
        let mut bench = Self { controller, now: Duration::ZERO, wake_at: None, created: Vec::new(), deleted: Vec::new() };
        bench.tell(Event::Begin);
        bench
    }

    fn job(change: impl FnOnce(&mut JobSpec)) -> Self {
        let mut job = JobSpec {
            completions: Some(1),
            parallelism: 1,
            backoff_limit: 6,
            active_deadline: None,
            indexed: false,
            suspended: false,
        };
        change(&mut job);
        Self::new(WorkloadKind::Job, ControllerSpec::Job(job))
    }

    fn tell(&mut self, event: Event) {
        let step = self.controller.step(event, self.now);
        self.wake_at = step.wake_at;
        for action in step.actions {
            match action {
                Action::Create { serial, replica } => self.created.push((serial, replica.name)),
                Action::Delete { serial } => self.deleted.push(serial),
                Action::Finish(_) => {}
            }
        }
    }

    fn ended(&mut self, serial: Serial, exit_code: i32) {
        self.tell(Event::Ended { serial, succeeded: exit_code == 0, exit_code });
    }

    /// Lets time pass until the controller wants to be told of it; how long that took.
    fn sleep(&mut self) -> u64 {
        let before = self.now;
        self.now = self.wake_at.expect("nothing to wait for");
        self.tell(Event::Tick);
        (self.now - before).as_secs()
    }

    fn live(&self) -> usize {
        self.controller.live.len()
    }

    fn outcome(&self) -> (bool, i32, Option<&'static str>) {
        let outcome = self.controller.outcome().expect("not over");
        (outcome.succeeded, outcome.exit_code, outcome.reason)
    }
}

#[test]
fn a_bare_pod_runs_once() {
    let mut bench = Bench::new(WorkloadKind::Pod, ControllerSpec::Once);
    assert_eq!(bench.created, [(0, "web".to_owned())]);
    bench.ended(0, 3);
    assert_eq!((bench.created.len(), bench.outcome()), (1, (false, 3, None)));
}

#[test]
fn replicas_are_replaced_at_once_and_then_later_and_later() {
    let mut bench = Bench::new(WorkloadKind::Deployment, ControllerSpec::Replicas { replicas: 3 });
    assert_eq!((bench.live(), bench.wake_at), (3, None));
    bench.ended(1, 1);
    assert_eq!((bench.live(), bench.created.len()), (3, 4), "the first replacement comes at once");
    let mut waits = Vec::new();
    for serial in 3..7 {
        bench.ended(serial, 1);
        waits.push(bench.sleep());
    }
    assert_eq!((waits, bench.live()), (vec![10, 20, 40, 80], 3));
    bench.now += crate::limits::REPLACE_RESET_AFTER;
    bench.ended(7, 1);
    assert_eq!(bench.live(), 3, "a pod that ran for long begins anew");
}

#[test]
fn replicas_run_until_they_are_stopped() {
    let mut bench = Bench::new(WorkloadKind::Deployment, ControllerSpec::Replicas { replicas: 2 });
    bench.tell(Event::Stop);
    assert_eq!(bench.deleted, [0, 1]);
    bench.ended(1, 143);
    bench.ended(0, 143);
    assert_eq!((bench.created.len(), bench.outcome()), (2, (true, 0, None)));
}

#[test]
fn what_cannot_be_made_is_given_up_and_the_others_run_on() {
    let mut bench = Bench::new(WorkloadKind::ReplicaSet, ControllerSpec::Replicas { replicas: 2 });
    bench.tell(Event::NotMade { serial: 0, exit_code: 2 });
    assert_eq!((bench.live(), bench.controller.outcome()), (1, None));
    bench.tell(Event::NotMade { serial: 1, exit_code: 2 });
    assert_eq!(bench.outcome(), (false, 2, None));
}

#[test]
fn nothing_to_keep_is_over_at_once() {
    let bench = Bench::new(WorkloadKind::Deployment, ControllerSpec::Replicas { replicas: 0 });
    assert_eq!(bench.outcome(), (true, 0, None));
}

#[test]
fn a_stateful_set_starts_in_order_and_stops_in_reverse() {
    let mut bench =
        Bench::new(WorkloadKind::StatefulSet, ControllerSpec::Ordered { replicas: 3, first_ordinal: 0, parallel: false });
    assert_eq!((bench.live(), bench.wake_at), (1, None), "the second waits for the first");
    bench.tell(Event::Ready { serial: 0, ready: true });
    bench.tell(Event::Ready { serial: 1, ready: true });
    bench.ended(0, 1);
    assert_eq!(bench.created.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["web-0", "web-1", "web-2", "web-0"]);
    bench.tell(Event::Stop);
    assert_eq!(bench.deleted, [2]);
    bench.ended(2, 143);
    bench.ended(1, 143);
    assert_eq!(bench.deleted, [2, 1, 3]);
    bench.ended(3, 143);
    assert_eq!(bench.outcome(), (true, 0, None));
}

#[test]
fn a_parallel_stateful_set_starts_and_stops_at_once() {
    let mut bench =
        Bench::new(WorkloadKind::StatefulSet, ControllerSpec::Ordered { replicas: 2, first_ordinal: 7, parallel: true });
    assert_eq!(bench.created, [(0, "web-7".to_owned()), (1, "web-8".to_owned())]);
    bench.tell(Event::Stop);
    assert_eq!(bench.deleted, [1, 0]);
}

#[test]
fn a_job_makes_as_many_pods_at_once_as_it_may_and_no_more_than_it_needs() {
    let mut bench = Bench::job(|job| (job.completions, job.parallelism) = (Some(5), 2));
    let mut most = 0;
    for serial in 0..5 {
        most = most.max(bench.live());
        assert_eq!(bench.controller.outcome(), None);
        bench.ended(serial, 0);
    }
    assert_eq!((most, bench.created.len(), bench.outcome()), (2, 5, (true, 0, None)));
}

#[test]
fn a_jobs_failures_back_off_up_to_its_limit() {
    let mut bench = Bench::job(|job| job.backoff_limit = 2);
    let mut waits = Vec::new();
    for serial in 0..2 {
        bench.ended(serial, 4);
        waits.push(bench.sleep());
    }
    assert_eq!(waits, [10, 20]);
    bench.ended(2, 5);
    assert_eq!((bench.created.len(), bench.outcome()), (3, (false, 4, Some("BackoffLimitExceeded"))));
}

#[test]
fn a_jobs_back_off_is_capped_and_a_success_ends_it() {
    let mut bench = Bench::job(|job| (job.completions, job.backoff_limit) = (Some(2), 100));
    let waits: Vec<u64> = (0..8)
        .map(|serial| {
            bench.ended(serial, 1);
            bench.sleep()
        })
        .collect();
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 360, 360]);
    bench.ended(8, 0);
    assert_eq!((bench.live(), bench.created.len()), (1, 10), "the next pod comes at once");
}

#[test]
fn a_failed_job_stops_the_pods_that_still_run() {
    let mut bench = Bench::job(|job| (job.completions, job.parallelism, job.backoff_limit) = (Some(3), 3, 0));
    bench.ended(1, 9);
    assert_eq!(bench.deleted, [0, 2]);
    bench.ended(0, 143);
    bench.ended(2, 143);
    assert_eq!(bench.outcome(), (false, 9, Some("BackoffLimitExceeded")));
}

#[test]
fn containers_that_restart_count_against_the_limit() {
    let mut bench = Bench::job(|job| job.backoff_limit = 3);
    bench.tell(Event::Restarted { serial: 0, restarts: 2 });
    assert!(bench.deleted.is_empty());
    bench.tell(Event::Restarted { serial: 0, restarts: 3 });
    bench.ended(0, 143);
    assert_eq!(bench.outcome(), (false, 1, Some("BackoffLimitExceeded")));
}

#[test]
fn the_deadline_of_a_job_ends_it() {
    let mut bench = Bench::job(|job| job.active_deadline = Some(Duration::from_secs(30)));
    assert_eq!(bench.sleep(), 30);
    assert_eq!(bench.deleted, [0]);
    bench.ended(0, 143);
    assert_eq!(bench.outcome(), (false, 1, Some("DeadlineExceeded")));
}

#[test]
fn each_index_of_a_job_succeeds_once() {
    let mut bench = Bench::job(|job| (job.completions, job.parallelism, job.indexed) = (Some(3), 2, true));
    bench.ended(0, 1);
    assert_eq!(bench.sleep(), 10);
    bench.ended(1, 0);
    bench.ended(2, 0);
    bench.ended(3, 0);
    let indexes: Vec<&str> = bench.created.iter().filter_map(|(_, name)| name.split('-').nth(1)).collect();
    assert_eq!(indexes, ["0", "1", "0", "2"]);
    assert_eq!((bench.controller.job_progress().completed_indexes, bench.outcome().0), (vec![0, 1, 2], true));
}

#[test]
fn a_work_queue_is_done_when_one_pod_has_succeeded_and_all_have_ended() {
    let mut bench = Bench::job(|job| (job.completions, job.parallelism) = (None, 2));
    bench.ended(1, 0);
    assert_eq!((bench.live(), bench.controller.outcome()), (1, None));
    bench.ended(0, 0);
    assert_eq!((bench.created.len(), bench.outcome()), (2, (true, 0, None)));
}

#[test]
fn a_job_that_may_make_no_pod_is_over_at_once() {
    assert!(Bench::job(|job| job.suspended = true).outcome().0);
    assert!(Bench::job(|job| job.completions = Some(0)).outcome().0);
    assert!(Bench::job(|job| job.parallelism = 0).outcome().0);
}
