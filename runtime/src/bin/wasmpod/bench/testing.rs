//! A report for the tests of what shows it.

use super::machine::Machine;
use super::result::{Breakdown, BreakdownPart, ContenderNote, DensityPoint, Group, Measure, Report, Series};
use crate::args::Mode;

/// Two contenders in the mode `process`, then idle pods; every number is given.
pub(super) fn report() -> Report {
    let mut process = Group::new("examples/hello/hello.wasm", Mode::Process);
    process.contenders = vec![
        ContenderNote { name: "wasmpod".to_owned(), does: "wasmpod run examples/hello/hello.wasm".to_owned() },
        ContenderNote {
            name: "wasmtime".to_owned(),
            does: "wasmtime run of the same file, compiled beforehand by wasmtime compile".to_owned(),
        },
    ];
    process.series = vec![
        series("wasmpod", Measure::FirstOutput, 0.002_5),
        series("wasmtime", Measure::FirstOutput, 0.005_5),
        series("wasmpod", Measure::End, 0.003),
        series("wasmtime", Measure::End, 0.006),
    ];
    let part = |name, seconds| BreakdownPart { name, seconds };
    process.breakdown = Some(Breakdown {
        parts: vec![
            part("process start", 0.000_9),
            part("parse", 0.000_05),
            part("load", 0.000_6),
            part("start", 0.000_25),
            part("other", 0.000_9),
            part("process end", 0.000_3),
        ],
        runs: 12,
        watching_costs: Some(0.004),
    });
    process.notes = vec!["runc was skipped: it is not installed".to_owned()];
    let mut density = Group::new("idle (built in)", Mode::Density);
    density.contenders = vec![ContenderNote { name: "wasmpod".to_owned(), does: "wasmpod run idle".to_owned() }];
    let point = |pods, mib: u64| DensityPoint {
        pods,
        rss_bytes: (mib + 10) << 20,
        pss_bytes: mib << 20,
        page_table_bytes: (mib << 20) / 4,
    };
    density.density = vec![point(0, 8), point(10, 9), point(100, 12), point(1000, 48)];
    Report { started_at: "2026-11-30T10:00:00Z".to_owned(), machine: machine(), groups: vec![process, density], interrupted: false }
}

/// Fifty values that rise from `least` by a percent each.
fn series(contender: &str, measure: Measure, least: f64) -> Series {
    let values = (0..50).map(|at| least * (1.0 + f64::from(at) / 100.0)).collect();
    Series { contender: contender.to_owned(), measure, values }
}

fn machine() -> Machine {
    Machine {
        processor: "Example 9000".to_owned(),
        processors: 2,
        memory_bytes: Some(8 << 30),
        kernel: "Linux 6.12.0".to_owned(),
        governor: Some("performance".to_owned()),
        virtual_machine: true,
        load_average: Some([0.05, 0.1, 0.2]),
        busy_share: Some(0.25),
        wasmpod: "0.1.0",
        wasmtime: "48.0.8",
        optimised: true,
    }
}
