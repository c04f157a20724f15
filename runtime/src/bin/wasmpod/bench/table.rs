//! The report for people, in 80 columns.

use super::machine::Machine;
use super::result::{Breakdown, DensityPoint, Group, Measure, Report, Series};
use super::statistics::{CONFIDENCE_PERCENT, Estimate};
use super::unit::{Scale, Unit, digits, percent};
use crate::args::Mode;
use crate::harmless::harmless;
use indicatif::HumanBytes;
use std::fmt::Write as _;

/// The columns of a terminal that nobody made wider.
const WIDTH: usize = 80;
/// The longest bar of a breakdown.
const BAR_WIDTH: usize = 36;

/// Everything as text.
pub(super) fn text(report: &Report) -> String {
    let mut text = machine(&report.machine);
    for group in report.groups.iter().filter(|group| !group.is_empty()) {
        text.push('\n');
        text.push_str(&self::group(group));
    }
    if report.interrupted {
        text.push_str("\nInterrupted: this is what was measured until then.\n");
    }
    text
}

fn machine(machine: &Machine) -> String {
    let mut text = format!("{}, {} processors", machine.processor, machine.processors);
    if let Some(bytes) = machine.memory_bytes {
        let _ = write!(text, ", {} of memory", HumanBytes(bytes));
    }
    if machine.virtual_machine {
        text.push_str(", a virtual machine");
    }
    let _ = write!(text, "\n{}", machine.kernel);
    if let Some([one, five, fifteen]) = machine.load_average {
        let _ = write!(text, ", load average {one:.2} {five:.2} {fifteen:.2}");
    }
    let governor = machine.governor.as_deref().map(|governor| format!(", governor {governor}"));
    text.push_str(&governor.unwrap_or_default());
    let _ = write!(text, "\nwasmpod {}, wasmtime {}", machine.wasmpod, machine.wasmtime);
    text.push('\n');
    for warning in machine.warnings() {
        text.push_str(&wrapped(&format!("Warning: {warning}."), "  "));
    }
    text
}

fn group(group: &Group) -> String {
    let mut text = format!("{}: {}\n", harmless(&group.target), mode_name(group.mode));
    text.push_str(&wrapped(mode_title(group.mode), ""));
    if let [_, others @ ..] = &group.contenders[..]
        && !others.is_empty()
    {
        for contender in &group.contenders {
            text.push_str(&wrapped(&format!("{}: {}", contender.name, harmless(&contender.does)), "    "));
        }
    }
    if !group.measures().is_empty() {
        let _ = writeln!(text, "\n{:21}{:>3}{:>9}{:>13}{:>13}{:>13}{:>8}", "", "", "min", "p50", "p90", "p99", "max");
    }
    for measure in group.measures() {
        text.push_str(&self::measure(group, measure));
    }
    if let Some(breakdown) = &group.breakdown {
        text.push_str(&self::breakdown(breakdown));
    }
    if !group.density.is_empty() {
        text.push_str(&density(&group.density));
    }
    for note in &group.notes {
        text.push('\n');
        text.push_str(&wrapped(&format!("Note: {note}."), "  "));
    }
    text
}

/// What the user types for it.
pub(super) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Process => "process",
        Mode::First => "first",
        Mode::Warm => "warm",
        Mode::Ready => "ready",
        Mode::Throughput => "throughput",
        Mode::Density => "density",
    }
}

/// What it means.
pub(super) fn mode_title(mode: Mode) -> &'static str {
    match mode {
        Mode::Process => "A new process each time, the artifact in the cache.",
        Mode::First => "A new process each time, with an empty store and cache.",
        Mode::Warm => "In one process with the artifact loaded, from the manifest's object on.",
        Mode::Ready => "A new process each time, the artifact in the cache, until it can serve.",
        Mode::Throughput => "Pods started and ended in one process, as many at once as it says below.",
        Mode::Density => "Idle pods in one process that holds nothing else.",
    }
}

fn measure(group: &Group, measure: Measure) -> String {
    let all: Vec<&Series> = group.series_of(measure).collect();
    let runs = all.iter().map(|series| series.values.len()).min().unwrap_or_default();
    let what = if measure.unit() == Unit::PerSecond { "stretches of time" } else { "runs" };
    let mut text = format!("{}, {runs} {what}\n", measure.title());
    // One scale for all of them, so that they can be compared.
    let typical = all.first().and_then(|series| series.summary()).map_or(0.0, |summary| summary.p50.value);
    for series in &all {
        text.push_str(&row(series, measure.unit().scale(typical)));
    }
    for (other, ratio) in group.ratios(measure) {
        let _ = writeln!(text, "  {other} takes {} times as long as wasmpod{}", digits(ratio.value), between(&ratio));
    }
    text
}

fn row(series: &Series, scale: Scale) -> String {
    let Some(summary) = series.summary() else { return String::new() };
    let cell = |estimate: Estimate| scale.show(estimate.value);
    let interval = |Estimate { low, high, .. }: Estimate| {
        let end = |end: Option<f64>| end.map_or_else(|| "?".to_owned(), |end| scale.show(end));
        format!("{}–{}", end(low), end(high))
    };
    let (p50, p90, p99) = (summary.p50, summary.p90, summary.p99);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "  {:19}{:>3}{:>9}{:>13}{:>13}{:>13}{:>8}",
        cut(&series.contender, 18),
        scale.label,
        scale.show(summary.min),
        cell(p50),
        cell(p90),
        cell(p99),
        scale.show(summary.max)
    );
    let label = format!("{CONFIDENCE_PERCENT} % between");
    let _ = writeln!(text, "    {label:17}{:>12}{:>13}{:>13}{:>13}", "", interval(p50), interval(p90), interval(p99));
    text
}

/// The interval of a ratio in words.
fn between(ratio: &Estimate) -> String {
    match (ratio.low, ratio.high) {
        (Some(low), Some(high)) => format!(" ({CONFIDENCE_PERCENT} %: {}–{})", digits(low), digits(high)),
        _ => String::new(),
    }
}

fn breakdown(breakdown: &Breakdown) -> String {
    let costs = breakdown.watching_costs.map(|share| format!(", which took {:+.1} % for it", share * 100.0));
    let about = format!("where the time goes: {} watched runs{}", breakdown.runs, costs.unwrap_or_default());
    let mut text = wrapped(&about, "");
    let total = breakdown.total();
    let scale = Unit::Seconds.scale(total);
    let longest = breakdown.parts.iter().map(|part| part.seconds).fold(f64::MIN_POSITIVE, f64::max);
    for part in &breakdown.parts {
        let bar = bar(part.seconds / longest);
        let line = format!(
            "  {:19}{:>3}{:>9}{:>7}  {bar}",
            part.name,
            scale.label,
            scale.show(part.seconds),
            percent(part.seconds / total.max(f64::MIN_POSITIVE))
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A bar of this share of the longest, in eighths of a column.
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let mut bar = String::new();
    let most = BAR_WIDTH * 8;
    let eighths =
        (0..most).take_while(|eighth| (super::statistics::float(*eighth) + 0.5) / super::statistics::float(most) < share).count();
    bar.push_str(&"█".repeat(eighths / 8));
    bar.push_str(EIGHTHS.get(eighths % 8).unwrap_or(&""));
    bar
}

fn density(points: &[DensityPoint]) -> String {
    let mut text =
        format!("\n{:>8}{:>14}{:>14}{:>14}{:>15}{:>15}\n", "pods", "RSS", "PSS", "page tables", "a pod of PSS", "of page tables");
    let empty = points.first().filter(|point| point.pods == 0);
    for point in points {
        let each = |bytes: u64, before: Option<u64>| match (before, point.pods) {
            (Some(before), pods @ 1..) => HumanBytes(bytes.saturating_sub(before) / pods).to_string(),
            _ => String::new(),
        };
        let pss = each(point.pss_bytes, empty.map(|empty| empty.pss_bytes));
        let tables = each(point.page_table_bytes, empty.map(|empty| empty.page_table_bytes));
        let line = format!(
            "{:>8}{:>14}{:>14}{:>14}{pss:>15}{tables:>15}",
            point.pods,
            HumanBytes(point.rss_bytes).to_string(),
            HumanBytes(point.pss_bytes).to_string(),
            HumanBytes(point.page_table_bytes).to_string(),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { format!("{}…", text.chars().take(most - 1).collect::<String>()) }
}

/// Lines of at most [`WIDTH`], those after the first behind `indent`. Words that are longer stand alone.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("{indent}{word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_report_for_people() {
        let mut report = testing::report();
        report.interrupted = true;
        let text = text(&report);
        insta::assert_snapshot!(text);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn too_few_values_leave_the_ends_of_intervals_open() {
        let mut report = testing::report();
        report.groups.truncate(1);
        for series in &mut report.groups[0].series {
            series.values.truncate(3);
        }
        let text = text(&report);
        assert!(text.contains("?–?"), "{text}");
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(1.0).chars().count(), BAR_WIDTH);
        assert_eq!(bar(0.5).chars().count(), BAR_WIDTH / 2);
        assert_eq!(bar(0.0), "");
    }
}
