//! The controllers, in seconds of a clock that the test moves.

use super::*;
use crate::workload::spec::{FailureAction, FailureRule, Failures, IndexLimits, JobSpec, SuccessRule, WorkloadKind};

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
            per_index: None,
            active_deadline: None,
            indexed: false,
            suspended: false,
            failure_rules: Vec::new(),
            success_rules: Vec::new(),
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
        let containers = vec![("main".to_owned(), exit_code)];
        let end = PodEnd { succeeded: exit_code == 0, exit_code, containers, conditions: Vec::new() };
        self.tell(Event::Ended { serial, end });
    }

    /// Lets time pass until the controller wants to be told of it; how long that took.
    fn sleep(&mut self) -> u64 {
        let before = self.now;
        self.now = self.wake_at.expect("nothing to wait for");
        self.tell(Event::Tick);
        (self.now - before).as_secs()
    }

    /// The completion indexes of the pods that were made, in their order.
    fn indexes(&self) -> Vec<&str> {
        self.created.iter().filter_map(|(_, name)| name.split('-').nth(1)).collect()
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
    assert_eq!((most, bench.created.len(), bench.outcome()), (2, 5, (true, 0, Some("CompletionsReached"))));
    assert_eq!(bench.controller.job_progress().conditions, ["SuccessCriteriaMet", "Complete"]);
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
    assert_eq!(bench.controller.job_progress().conditions, ["FailureTarget", "Failed"]);
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
    assert_eq!(bench.indexes(), ["0", "1", "0", "2"]);
    assert_eq!((bench.controller.job_progress().completed_indexes, bench.outcome().0), (vec![0, 1, 2], true));
}

#[test]
fn a_work_queue_is_done_when_one_pod_has_succeeded_and_all_have_ended() {
    let mut bench = Bench::job(|job| (job.completions, job.parallelism) = (None, 2));
    bench.ended(1, 0);
    assert_eq!((bench.live(), bench.controller.outcome()), (1, None));
    bench.ended(0, 0);
    assert_eq!((bench.created.len(), bench.outcome()), (2, (true, 0, Some("CompletionsReached"))));
}

#[test]
fn a_job_that_may_make_no_pod_is_over_at_once() {
    assert_eq!(Bench::job(|job| job.suspended = true).outcome(), (true, 0, Some("JobSuspended")));
    assert_eq!(Bench::job(|job| job.completions = Some(0)).outcome(), (true, 0, Some("CompletionsReached")));
    assert_eq!(Bench::job(|job| job.parallelism = 0).outcome(), (true, 0, None));
}

/// A rule for pods one of whose containers ended with this status.
fn on_exit(code: i32, action: FailureAction) -> FailureRule {
    FailureRule { action, failures: Failures::ExitCodes { container: None, inverted: false, codes: vec![code] } }
}

#[test]
fn a_failure_for_which_a_rule_fails_the_job_ends_it_at_once() {
    let mut bench = Bench::job(|job| {
        (job.completions, job.parallelism) = (Some(9), 3);
        job.failure_rules = vec![on_exit(1, FailureAction::Count), on_exit(42, FailureAction::FailJob)];
    });
    bench.ended(2, 1);
    assert_eq!((bench.sleep(), bench.live()), (10, 3), "that one counts, and is tried again");
    bench.ended(1, 42);
    assert_eq!(bench.deleted, [0, 3]);
    bench.ended(0, 143);
    bench.ended(3, 143);
    assert_eq!(bench.outcome(), (false, 1, Some("PodFailurePolicy")));
    let failed =
        format!("Container main for pod default/{} failed with exit code 42 matching FailJob rule at index 1", bench.created[1].1);
    assert_eq!(bench.controller.outcome().unwrap().message.as_deref(), Some(failed.as_str()));
}

#[test]
fn a_failure_that_a_rule_ignores_does_not_count_but_backs_off() {
    let mut bench = Bench::job(|job| (job.backoff_limit, job.failure_rules) = (0, vec![on_exit(143, FailureAction::Ignore)]));
    bench.ended(0, 143);
    bench.sleep();
    bench.ended(1, 143);
    assert_eq!((bench.sleep(), bench.controller.job_progress().failed), (20, 0));
    bench.ended(2, 7);
    assert_eq!(bench.outcome(), (false, 7, Some("BackoffLimitExceeded")), "the status is that of the failure that counts");
}

/// Three indexes, each with one retry.
fn with_index_limits(failed_indexes_max: Option<u32>) -> Bench {
    Bench::job(|job| {
        (job.completions, job.parallelism, job.indexed, job.backoff_limit) = (Some(3), 3, true, u32::MAX);
        job.per_index = Some(IndexLimits { backoff_limit: 1, failed_indexes_max });
        job.failure_rules = vec![on_exit(42, FailureAction::FailIndex), on_exit(143, FailureAction::Ignore)];
    })
}

#[test]
fn each_index_has_failures_of_its_own() {
    let mut bench = with_index_limits(None);
    bench.ended(1, 5);
    bench.ended(0, 0);
    assert_eq!((bench.sleep(), bench.indexes()), (10, vec!["0", "1", "2", "1"]));
    bench.ended(3, 5);
    assert_eq!((bench.wake_at, bench.live()), (None, 1), "index 1 has failed, index 2 runs on");
    bench.ended(2, 0);
    assert_eq!(bench.outcome(), (false, 5, Some("FailedIndexes")));
    let progress = bench.controller.job_progress();
    assert_eq!((progress.completed_indexes, progress.failed_indexes), (vec![0, 2], Some(vec![1])));
}

#[test]
fn an_index_waits_for_its_own_back_off_and_a_rule_can_fail_it_at_once() {
    let mut bench = with_index_limits(Some(1));
    bench.ended(0, 143);
    assert_eq!(bench.sleep(), 10);
    bench.ended(3, 143);
    bench.ended(1, 5);
    assert_eq!((bench.sleep(), bench.sleep()), (10, 10), "index 1 after 10 s, index 0 after 20 s");
    assert_eq!(bench.indexes(), ["0", "1", "2", "0", "1", "0"]);
    bench.ended(2, 42);
    assert_eq!(bench.controller.job_progress().failed_indexes, Some(vec![2]));
    assert!(bench.deleted.is_empty());
    bench.ended(4, 42);
    assert_eq!(bench.deleted, [5], "two indexes are more than may fail");
    bench.ended(5, 143);
    assert_eq!(bench.outcome(), (false, 5, Some("MaxFailedIndexesExceeded")));
}

#[test]
fn a_job_that_has_what_it_wanted_stops_the_rest() {
    let mut bench = Bench::job(|job| {
        (job.completions, job.parallelism, job.indexed) = (Some(5), 5, true);
        let leader = SuccessRule { indexes: Some([0].into()), count: None };
        job.success_rules = vec![leader, SuccessRule { indexes: None, count: Some(2) }];
    });
    bench.ended(4, 0);
    assert!(bench.deleted.is_empty());
    bench.ended(3, 0);
    assert_eq!(bench.deleted, [0, 1, 2]);
    (0..3).for_each(|serial| bench.ended(serial, 143));
    assert_eq!(bench.outcome(), (true, 0, Some("SuccessPolicy")));
    assert_eq!(bench.controller.outcome().unwrap().message.as_deref(), Some("Matched rules at index 1"));
}
