//! What a call of `wasmpod bench` measures with: the flags, with what they mean where they are not given.

use super::contender::{Bench, Contender, Entry};
use super::interrupt::Interrupt;
use super::result::{ContenderNote, Group, Measure, Series};
use super::subject::{Subject, Traits};
use crate::args::{BenchArgs, Mode};
use crate::environment;
use crate::spans::Recorder;
use std::path::Path;
use std::time::Duration;
use wasmpod::{Error, Result};

/// What every mode measures with.
pub(super) struct Plan<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) interrupt: Interrupt,
    /// Hears this process, unless `-v` does.
    pub(super) recorder: Option<Recorder>,
    /// For what is made on the way.
    pub(super) dir: &'a Path,
}

impl Plan<'_> {
    /// How many runs at most.
    pub(super) fn runs(&self, mode: Mode) -> u32 {
        self.args.runs.unwrap_or(match mode {
            Mode::Process => 200,
            Mode::First => 10,
            Mode::Warm => 5000,
            Mode::Ready => 50,
            Mode::Throughput | Mode::Density => 1,
        })
    }

    /// How many runs come before, and do not count.
    pub(super) fn warm_up(&self, mode: Mode) -> u32 {
        self.args.warm_up.unwrap_or(match mode {
            Mode::Process => 5,
            Mode::Warm => 100,
            Mode::Ready => 2,
            Mode::First | Mode::Throughput | Mode::Density => 0,
        })
    }

    /// For how long runs begin.
    pub(super) fn duration(&self) -> Duration {
        self.args.duration
    }

    /// How many pods are started at once.
    pub(super) fn concurrency(&self) -> u32 {
        let default = || u32::try_from(environment::processors().saturating_mul(4)).unwrap_or(u32::MAX);
        self.args.concurrency.unwrap_or_else(default)
    }

    /// The group of a mode, and the contenders beside wasmpod that can take part; the reasons of the others are noted.
    pub(super) fn enter(&self, subject: &Subject, traits: &Traits, mode: Mode) -> Result<(Group, Vec<Contender>)> {
        let mut group = Group::new(&subject.name, mode);
        group.contenders.push(ContenderNote { name: "wasmpod".to_owned(), does: format!("wasmpod run {}", subject.name) });
        let bench = Bench { subject, traits, linux_command: self.args.linux_command.as_deref(), dir: self.dir };
        let mut contenders: Vec<Contender> = Vec::new();
        for (index, against) in self.args.against.iter().enumerate() {
            match bench.enter(against, mode)? {
                Entry::Skipped(why) => group.notes.push(why),
                Entry::Contender(mut contender) => {
                    if group.contenders.iter().any(|other| other.name == contender.name) {
                        contender.name = format!("{} {}", contender.name, index + 1);
                    }
                    group.contenders.push(ContenderNote { name: contender.name.clone(), does: contender.does.clone() });
                    contenders.push(contender);
                }
            }
        }
        Ok((group, contenders))
    }

    /// Refuses pods that never end where their end is measured.
    pub(super) fn must_end(subject: &Subject, traits: &Traits, mode: &str) -> Result<()> {
        if traits.ends {
            return Ok(());
        }
        Err(Error::invalid(format!("it never ends by itself, and --mode {mode} measures until the end"))
            .at(&subject.name)
            .hint("take --mode ready, or set spec.restartPolicy: Never for a pod whose programs end"))
    }
}

/// The values of all contenders for one measure: wasmpod's first, then the others in their order.
pub(super) fn series(group: &Group, measure: Measure) -> Vec<Series> {
    let series = |note: &ContenderNote| Series { contender: note.name.clone(), measure, values: Vec::new() };
    group.contenders.iter().map(series).collect()
}
