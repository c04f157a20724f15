//! What a container uses, as a control group of its own would show it.
//!
//! containerd asks every second or so, and takes an answer without metrics for something that cannot be: 1.6 panics. So there always
//! are some, of the version that the machine's own control groups have.

use crate::cgroup;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::{cgroups, cgroups_v2};
use wasmpod::container::ContainerUsage;

/// The metrics of a container; of one that was never started, as of one that uses nothing.
pub(crate) fn of(usage: Option<ContainerUsage>) -> Any {
    let nothing = ContainerUsage { cpu_ns: 0, throttled_ns: 0, memory_bytes: 0, memory_peak_bytes: 0, memory_limit_bytes: 0 };
    let usage = usage.unwrap_or(nothing);
    if cgroup::is_version_2() {
        any("io.containerd.cgroups.v2.Metrics", &version_2(usage))
    } else {
        any("io.containerd.cgroups.v1.Metrics", &version_1(usage))
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: name.to_owned(), value: message.write_to_bytes().unwrap_or_default(), ..Any::default() }
}

fn version_1(usage: ContainerUsage) -> cgroups::metrics::Metrics {
    use cgroups::metrics::{CPUStat, CPUUsage, MemoryEntry, MemoryStat, Metrics, PidsStat, Throttle};
    let cpu_usage = CPUUsage { total: usage.cpu_ns, user: usage.cpu_ns, ..CPUUsage::default() };
    let throttling = Throttle { throttled_time: usage.throttled_ns, ..Throttle::default() };
    let cpu = CPUStat { usage: MessageField::some(cpu_usage), throttling: MessageField::some(throttling), ..CPUStat::default() };
    let entry = MemoryEntry {
        usage: usage.memory_bytes,
        max: usage.memory_peak_bytes,
        limit: usage.memory_limit_bytes,
        ..MemoryEntry::default()
    };
    let memory = MemoryStat {
        rss: usage.memory_bytes,
        total_rss: usage.memory_bytes,
        hierarchical_memory_limit: usage.memory_limit_bytes,
        usage: MessageField::some(entry),
        ..MemoryStat::default()
    };
    let pids = PidsStat { current: 1, ..PidsStat::default() };
    Metrics {
        cpu: MessageField::some(cpu),
        memory: MessageField::some(memory),
        pids: MessageField::some(pids),
        ..Metrics::default()
    }
}

fn version_2(usage: ContainerUsage) -> cgroups_v2::metrics::Metrics {
    use cgroups_v2::metrics::{CPUStat, MemoryEvents, MemoryStat, Metrics, PidsStat};
    let cpu = CPUStat {
        usage_usec: usage.cpu_ns / 1000,
        user_usec: usage.cpu_ns / 1000,
        throttled_usec: usage.throttled_ns / 1000,
        ..CPUStat::default()
    };
    let memory = MemoryStat {
        anon: usage.memory_bytes,
        usage: usage.memory_bytes,
        max_usage: usage.memory_peak_bytes,
        usage_limit: usage.memory_limit_bytes,
        ..MemoryStat::default()
    };
    Metrics {
        cpu: MessageField::some(cpu),
        memory: MessageField::some(memory),
        memory_events: MessageField::some(MemoryEvents::default()),
        pids: MessageField::some(PidsStat { current: 1, ..PidsStat::default() }),
        ..Metrics::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_always_are_metrics_under_the_name_that_containerd_knows() {
        let any = of(None);
        assert!(["io.containerd.cgroups.v1.Metrics", "io.containerd.cgroups.v2.Metrics"].contains(&any.type_url.as_str()));
        assert!(!any.value.is_empty());
    }

    #[test]
    fn both_versions_say_the_same() {
        let usage = ContainerUsage {
            cpu_ns: 3_000_000,
            throttled_ns: 1_000_000,
            memory_bytes: 65536,
            memory_peak_bytes: 131_072,
            memory_limit_bytes: 1 << 20,
        };
        let (one, two) = (version_1(usage), version_2(usage));
        assert_eq!(
            (one.cpu.usage.total / 1000, one.cpu.throttling.throttled_time / 1000),
            (two.cpu.usage_usec, two.cpu.throttled_usec)
        );
        assert_eq!((one.memory.usage.usage, one.memory.usage.limit), (two.memory.usage, two.memory.usage_limit));
    }
}
