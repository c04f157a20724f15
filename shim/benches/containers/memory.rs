//! What a pod of three containers that sleep takes: its shim, its sandbox and its containers, each page divided among those who share
//! it (PSS).

use crate::harness::eventually;
use crate::kubelet::Kubelet;
use crate::{RUNTIMES, Runtime};
use std::collections::BTreeSet;
use std::time::Duration;

const CONTAINERS: u64 = 3;

/// Measures a pod of each runtime.
pub(crate) fn show(kubelet: &mut Kubelet) {
    println!(
        "\n| memory (PSS) of a pod of {CONTAINERS}, sandbox included, KiB | the pod | a container | processes |\n|---|---|---|---|"
    );
    for runtime in &RUNTIMES {
        let (memory, processes) = of_pod(kubelet, runtime);
        println!("| {} | {memory} | {} | {processes} |", runtime.name, memory / CONTAINERS);
    }
}

fn of_pod(kubelet: &mut Kubelet, runtime: &Runtime) -> (u64, usize) {
    kubelet.handler = runtime.name;
    kubelet.run_sandbox();
    for number in 0..CONTAINERS {
        let name = format!("{}-{number}", runtime.name);
        let container = kubelet.create_with_command(&name, runtime.image, &[runtime.sleep], &[], vec![]);
        kubelet.start_container(&container);
    }
    std::thread::sleep(Duration::from_millis(500));
    let mut processes: BTreeSet<u32> = kubelet.containerd.shims().into_iter().collect();
    let tasks = kubelet.containerd.ctr(&["-n", "k8s.io", "task", "ls"]).ok();
    processes.extend(tasks.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse::<u32>().ok()));
    let memory = processes.iter().map(|process| pss(*process)).sum();
    kubelet.remove_sandbox();
    eventually("the pod is gone", || kubelet.containerd.shims().is_empty());
    (memory, processes.len())
}

fn pss(process: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
