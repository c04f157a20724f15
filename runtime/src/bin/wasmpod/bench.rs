//! `wasmpod bench`: cold starts of the user's own images and pods, measured.
//!
//! ```text
//!   flags ──subject──▶ what is measured ──plan──▶ mode::{cold, warm, ready, throughput, density} ──▶ Report (plain data)
//!                                          │            ▲ processes, pods, contenders                 │
//!                                          └─ contender ┘                     statistics, breakdown ──┤
//!                                                                       table, document, plot ◀───────┘
//! ```
//! The library only says where it is ([`wasmpod::observe`]); everything is measured, reckoned and drawn here.

mod breakdown;
mod contender;
mod document;
mod interrupt;
mod linux;
mod machine;
mod mode;
mod plan;
mod plot;
mod pods;
mod process;
mod result;
mod rounds;
mod statistics;
mod subject;
mod table;
#[cfg(test)]
mod testing;
mod unit;

pub(crate) use contender::Against;

use super::args::{BenchArgs, BenchFormat, Mode};
use super::{image_store, report};
use crate::spans::Recorder;
use interrupt::Interrupt;
use machine::Machine;
use plan::Plan;
use result::{Group, Report};
use std::path::Path;
use std::process::ExitCode;
use subject::{Subject, subjects};
use wasmpod::{Error, Result};

/// What the shell sees after Ctrl-C: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Measures, and shows what was measured, also when the user interrupts it or a later target fails.
pub(crate) fn run(args: &BenchArgs, root: Option<&Path>) -> Result<ExitCode> {
    let failed = |error| Error::io("cannot make a directory for the runs", error);
    let dir = tempfile::Builder::new().prefix("wasmpod-bench-").tempdir().map_err(failed)?;
    let subjects = subjects(args, root, &dir)?;
    let interrupt = Interrupt::listen()?;
    if args.fill {
        let [subject] = &subjects[..] else { return Err(Error::invalid("one target at a time fills a process")) };
        image_store::print(&image_store::block_on(mode::density::fill(subject, args.pods, &interrupt))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan { args, interrupt, recorder: Recorder::install(), dir: dir.path() };
    if plan.recorder.is_none() {
        report::warn("with -v there is no breakdown of the modes in one process: the log listens in its place");
    }
    let mut report =
        Report { started_at: jiff::Timestamp::now().to_string(), machine: Machine::look(), groups: Vec::new(), interrupted: false };
    let outcome = subjects.iter().try_for_each(|subject| measure(&plan, subject, &mut report.groups));
    report.interrupted = plan.interrupt.is_asked();
    let is_empty = report.groups.iter().all(Group::is_empty);
    if !(is_empty && outcome.is_err()) {
        show(args, &report)?;
    }
    outcome?;
    Ok(if report.interrupted { ExitCode::from(EXIT_INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// One target, in one mode after the other.
fn measure(plan: &Plan<'_>, subject: &Subject, groups: &mut Vec<Group>) -> Result<()> {
    if plan.interrupt.is_asked() {
        return Ok(());
    }
    // Each in an event loop of its own: with it go the ports of the machine that its pods had taken.
    let traits = image_store::block_on(async {
        tokio::select! {
            biased;
            () = plan.interrupt.asked() => Ok(None),
            traits = subject.examine() => traits.map(Some),
        }
    })?;
    let Some(traits) = traits else { return Ok(()) };
    let usual: &[Mode] = if traits.ends { &[Mode::Process, Mode::Warm] } else { &[Mode::Ready] };
    let modes = if subject.modes.is_empty() { usual } else { &subject.modes };
    for mode in modes {
        if plan.interrupt.is_asked() {
            break;
        }
        groups.push(match mode {
            Mode::Process | Mode::First => mode::cold::measure(plan, subject, &traits, *mode)?,
            Mode::Warm => image_store::block_on(mode::warm::measure(plan, subject, &traits))?,
            Mode::Ready => mode::ready::measure(plan, subject, &traits)?,
            Mode::Throughput => mode::throughput::measure(plan, subject, &traits)?,
            Mode::Density => mode::density::measure(plan, subject, &traits)?,
        });
    }
    Ok(())
}

fn show(args: &BenchArgs, report: &Report) -> Result<()> {
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|error| Error::io("cannot be written", error).at(path.display().to_string()))
    };
    match args.output {
        BenchFormat::Text => image_store::print(&table::text(report))?,
        BenchFormat::Json => image_store::print(&document::json(report)?)?,
        BenchFormat::Csv => image_store::print(&document::csv(report))?,
    }
    if args.output != BenchFormat::Text {
        report.machine.warnings().iter().for_each(|warning| report::warn(warning));
    }
    if let Some(path) = &args.json {
        write(path, &document::json(report)?)?;
    }
    if let Some(path) = &args.csv {
        write(path, &document::csv(report))?;
    }
    if let Some(path) = &args.svg {
        write(path, &plot::svg(report))?;
    }
    Ok(())
}
