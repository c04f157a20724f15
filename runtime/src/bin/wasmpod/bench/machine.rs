//! What was measured on: figures mean nothing without it.

use crate::environment;
use serde::Serialize;
use std::time::Duration;
use wasmpod::engine::config::WASMTIME_VERSION;

/// How long the processors are watched before the measurements begin.
const LOOK: Duration = Duration::from_millis(200);
/// A machine that spends more than this share of its time on something else is busy.
const BUSY_SHARE: f64 = 0.1;

/// The machine, and how busy it was before anything was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) processors: u64,
    /// Bytes.
    pub(super) memory_bytes: Option<u64>,
    pub(super) kernel: String,
    /// How the processors choose their speed, where the system says it.
    pub(super) governor: Option<String>,
    /// Whether it is a guest of another machine.
    pub(super) virtual_machine: bool,
    /// The average over one, five and fifteen minutes.
    pub(super) load_average: Option<[f64; 3]>,
    /// Which share of the processors' time went elsewhere, just before.
    pub(super) busy_share: Option<f64>,
    pub(super) wasmpod: &'static str,
    pub(super) wasmtime: &'static str,
    /// Whether this program was built to be fast.
    pub(super) optimised: bool,
}

impl Machine {
    /// Looks at this machine.
    pub(super) fn look() -> Self {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        Self {
            processor: processor(&cpuinfo).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            processors: environment::processors(),
            memory_bytes: read("/proc/meminfo").and_then(|text| kibibytes(&text, "MemTotal:")),
            kernel: read("/proc/sys/kernel/osrelease")
                .map_or_else(|| "unknown".to_owned(), |text| format!("Linux {}", text.trim())),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").map(|text| text.trim().to_owned()),
            virtual_machine: cpuinfo.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor")),
            load_average: read("/proc/loadavg").and_then(|text| load_average(&text)),
            busy_share: busy_share(),
            wasmpod: env!("CARGO_PKG_VERSION"),
            wasmtime: WASMTIME_VERSION,
            optimised: !cfg!(debug_assertions),
        }
    }

    /// Why its figures may not be worth much.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.optimised {
            warnings.push("this wasmpod was built for debugging: its figures say nothing about a release".to_owned());
        }
        if let Some(share) = self.busy_share.filter(|share| *share > BUSY_SHARE) {
            warnings.push(format!(
                "the machine is busy: {:.0} % of its processor time went elsewhere before the first run",
                share * 100.0
            ));
        }
        if let Some(governor) = self.governor.as_deref().filter(|governor| *governor != "performance") {
            warnings.push(format!("the processors' governor is {governor}: their speed changes while they are measured"));
        }
        warnings
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// x86 has a `model name`; most others say less.
fn processor(cpuinfo: &str) -> Option<String> {
    let named = cpuinfo.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == "model name"));
    named.map(|(_, name)| name.trim().to_owned())
}

/// The bytes of a line such as `MemTotal:  16323996 kB`.
pub(super) fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn load_average(text: &str) -> Option<[f64; 3]> {
    let numbers: Vec<f64> = text.split_whitespace().take(3).filter_map(|number| number.parse().ok()).collect();
    numbers.try_into().ok()
}

/// Which share of the processors' time is spent, over [`LOOK`], while this process sleeps.
fn busy_share() -> Option<f64> {
    let (busy_before, all_before) = processor_time(&read("/proc/stat")?)?;
    std::thread::sleep(LOOK);
    let (busy, all) = processor_time(&read("/proc/stat")?)?;
    let passed = all.checked_sub(all_before).filter(|passed| *passed > 0)?;
    Some(busy.saturating_sub(busy_before) as f64 / passed as f64)
}

/// The busy and all ticks of all processors since the machine started: user, nice, system, idle, iowait, irq, softirq, steal.
fn processor_time(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|number| number.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((all.saturating_sub(idle), all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_system_are_read() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: AMD EPYC 7B13\nflags\t: fpu\n").as_deref(), Some("AMD EPYC 7B13"));
        assert_eq!(kibibytes("Rss:    2048 kB\nPss:     512 kB\n", "Pss:"), Some(512 << 10));
        assert_eq!(load_average("0.52 0.58 0.59 1/389 12345\n"), Some([0.52, 0.58, 0.59]));
        assert_eq!(processor_time("cpu  10 0 20 60 10 0 0 0 0 0\ncpu0 1 1 1 1\n"), Some((30, 100)));
    }

    #[test]
    fn a_machine_whose_figures_mislead_is_told() {
        let machine = Machine {
            processor: "x".to_owned(),
            processors: 2,
            memory_bytes: None,
            kernel: "Linux".to_owned(),
            governor: Some("powersave".to_owned()),
            virtual_machine: false,
            load_average: None,
            busy_share: Some(0.43),
            wasmpod: "1",
            wasmtime: "2",
            optimised: false,
        };
        insta::assert_snapshot!(machine.warnings().join("\n"), @"
        this wasmpod was built for debugging: its figures say nothing about a release
        the machine is busy: 43 % of its processor time went elsewhere before the first run
        the processors' governor is powersave: their speed changes while they are measured
        ");
        let quiet = Machine { governor: None, busy_share: Some(0.02), optimised: true, ..machine };
        assert!(quiet.warnings().is_empty());
    }
}
