//! What must hold when things go on for long, or go wrong.

use crate::events::Events;
use crate::harness::{Containerd, can_run, eventually};
use rustix::process::{Pid, Signal, kill_process};

const GUESTS: &str = "localhost/guests:1";

#[test]
fn a_hundred_containers_leave_nothing_behind() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    containerd.import_guests(&["args-env"]);
    // The first one makes what stays: the connection to the event service, for one.
    for id in ["first", "second"] {
        containerd.run(&[GUESTS, id]).ok();
    }
    let before = settled(&containerd);
    for index in 0..100 {
        containerd.run(&[GUESTS, &format!("c{index}")]).ok();
    }
    let after = settled(&containerd);
    assert_eq!(after, before, "pipes, sockets, descriptors, servers, mounts, zombies, tasks");
}

/// What is held once all servers have ended and nothing changes any more: connections that were closed a moment ago may still be
/// counted.
fn settled(containerd: &Containerd) -> [usize; 7] {
    eventually("the servers end", || containerd.shims().is_empty());
    let (mut held, mut looks) = (containerd.holdings(), 0);
    eventually("nothing changes any more", || {
        let now = containerd.holdings();
        looks = if now == held { looks + 1 } else { 0 };
        held = now;
        looks == 50
    });
    held
}

/// A thread that stood elsewhere would escape the limits that Kubernetes sets for the pod.
#[test]
fn every_thread_of_a_pod_stands_in_its_control_group() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    containerd.import_guests(&["block-in-sleep"]);
    containerd.run_detached(&[GUESTS, "grouped"]);
    let [shim] = containerd.shims()[..] else { panic!("one container, one server") };
    let threads = std::fs::read_dir(format!("/proc/{shim}/task")).unwrap().map(|thread| thread.unwrap().path());
    let groups: Vec<String> = threads.map(|thread| std::fs::read_to_string(thread.join("cgroup")).unwrap()).collect();
    assert!(groups.len() > 2, "the guests have threads of their own");
    for group in groups.iter().flat_map(|groups| limiting(groups)) {
        assert!(group.ends_with(":/default/grouped"), "{group}");
    }
}

/// The lines of `/proc/PID/cgroup` that Kubernetes' limits go by: of some hierarchies of version 1, or of version 2 where that is all.
fn limiting(groups: &str) -> Vec<&str> {
    let of_version_1 =
        |line: &&str| [":cpu", ":memory:", ":pids:"].iter().any(|name| line.contains(name)) && !line.contains(":cpuset:");
    let found: Vec<&str> = groups.lines().filter(of_version_1).collect();
    if found.is_empty() { groups.lines().collect() } else { found }
}

#[test]
fn a_server_that_is_killed_is_an_exit_137() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    containerd.import_guests(&["busy-loop"]);
    let events = Events::listen(&containerd);
    containerd.run_detached(&[GUESTS, "a"]);
    assert_eq!(containerd.status("a").as_deref(), Some("RUNNING"));
    let [shim] = containerd.shims()[..] else { panic!("one container, one server") };
    kill_process(Pid::from_raw(i32::try_from(shim).unwrap()).unwrap(), Signal::KILL).unwrap();
    let exit = events.until("/tasks/exit", 1);
    assert!(exit.contains("\"exit_status\":137"), "{exit}");
}

#[test]
fn containers_outlive_a_restart_of_containerd() {
    if !can_run() {
        return;
    }
    let mut containerd = Containerd::start();
    containerd.import_guests(&["block-in-sleep"]);
    let ids: Vec<String> = (0..20).map(|index| format!("c{index}")).collect();
    for id in &ids {
        containerd.run_detached(&[GUESTS, id]);
    }
    let before = containerd.shims();
    for signal in [Signal::KILL, Signal::TERM] {
        containerd.restart(signal);
        for id in &ids {
            assert_eq!(containerd.status(id).as_deref(), Some("RUNNING"), "{id}");
        }
        assert_eq!(containerd.shims(), before);
    }
    for id in &ids {
        assert_eq!(containerd.finish(id), 137, "{id}");
    }
    eventually("the servers end", || containerd.shims().is_empty());
}
