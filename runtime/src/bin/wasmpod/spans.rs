//! The phases that the library tells of, with their times: how `wasmpod bench` sees into its own process and into others.
//!
//! A [`Recorder`] is a tracing subscriber that hears nothing but [`wasmpod::observe`]. The processes that `wasmpod bench` starts write
//! what theirs heard into a file, in nanoseconds of the machine's monotonic clock, which is the same in all processes.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use wasmpod::limits::BENCH_PHASES_PER_RUN_MAX;
use wasmpod::observe::{self, Phase};
use wasmpod::{Error, Result};

/// Nanoseconds of the monotonic clock.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanoseconds.unwrap_or_default()
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// When the program began: its first instruction, or when the recorder was told to listen.
    pub(crate) began: u64,
    /// When this was taken.
    pub(crate) ended: u64,
    /// In the order in which they began.
    pub(crate) phases: Vec<TimedPhase>,
}

/// One phase; a moment ends where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedPhase {
    pub(crate) phase: Phase,
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// The form of the file.
#[derive(Serialize, Deserialize)]
struct TimelineFile {
    began: u64,
    ended: u64,
    phases: Vec<(String, u64, u64)>,
}

impl Timeline {
    /// Writes it where another process waits for it: whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let phases = self.phases.iter().map(|timed| (timed.phase.name().to_owned(), timed.from, timed.until)).collect();
        let file = TimelineFile { began: self.began, ended: self.ended, phases };
        let text = serde_json::to_vec(&file).map_err(|error| Error::internal("cannot write the phases").because(error))?;
        let failed = |error| Error::io("cannot write the phases", error).at(path.display().to_string());
        let new = path.with_extension("new");
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).map_err(failed)
    }

    /// Reads what another process wrote; none when it has not yet.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("cannot read the phases", error).at(path.display().to_string())),
        };
        let TimelineFile { began, ended, phases } = serde_json::from_slice(&bytes)
            .map_err(|error| Error::internal("the phases that a run wrote cannot be read").because(error))?;
        let timed = |(name, from, until): &(String, u64, u64)| {
            Some(TimedPhase { phase: Phase::of_name(name)?, from: *from, until: *until })
        };
        Ok(Some(Self { began, ended, phases: phases.iter().filter_map(timed).collect() }))
    }

    /// When each pod became ready.
    pub(crate) fn ready(&self) -> impl Iterator<Item = u64> + '_ {
        self.phases.iter().filter(|timed| timed.phase == Phase::Ready).map(|timed| timed.from)
    }
}

/// Hears the phases of this process: cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    listens: AtomicBool,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    began: u64,
    /// How often it was told to listen: spans of earlier times may still end.
    generation: u32,
    spans: Vec<Span>,
    /// Where to write at each moment at which a pod becomes ready.
    file: Option<PathBuf>,
}

#[derive(Debug)]
struct Span {
    phase: Phase,
    from: u64,
    /// Where it is over.
    until: Option<u64>,
    /// Its clones that live.
    handles: usize,
}

impl Recorder {
    /// Makes one that hears this process from now on, whenever it [listens](Self::listen). None when somebody else hears it already.
    pub(crate) fn install() -> Option<Self> {
        let recorder = Self::default();
        tracing::subscriber::set_global_default(Listener(recorder.clone())).ok().map(|()| recorder)
    }

    /// Forgets what it heard and listens, for a run that began at `began`.
    pub(crate) fn listen(&self, began: u64) {
        let mut heard = self.heard();
        heard.began = began;
        heard.generation = heard.generation.wrapping_add(1);
        heard.spans.clear();
        drop(heard);
        self.0.listens.store(true, Ordering::Release);
    }

    /// Writes what it heard into `file` too, each time that a pod becomes ready.
    pub(crate) fn write_when_ready(&self, file: &Path) {
        self.heard().file = Some(file.to_path_buf());
    }

    /// Listens no more and says what it heard.
    pub(crate) fn take(&self) -> Timeline {
        self.0.listens.store(false, Ordering::Release);
        self.heard().timeline()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn timeline(&self) -> Timeline {
        let ended = now();
        let timed = |span: &Span| TimedPhase { phase: span.phase, from: span.from, until: span.until.unwrap_or(ended) };
        Timeline { began: self.began, ended, phases: self.spans.iter().map(timed).collect() }
    }

    /// Notes a phase and gives it a number; 1 for what is beyond the limit, and not noted.
    fn begin(&mut self, phase: Phase, from: u64, until: Option<u64>) -> u64 {
        if self.spans.len() >= BENCH_PHASES_PER_RUN_MAX {
            return 1;
        }
        self.spans.push(Span { phase, from, until, handles: 1 });
        // 0 is no number for tracing.
        (u64::from(self.generation) << 32) | (self.spans.len() as u64 + 1)
    }

    fn span(&mut self, id: &Id) -> Option<&mut Span> {
        let (generation, number) = (id.into_u64() >> 32, id.into_u64() & u64::from(u32::MAX));
        let index = usize::try_from(number.checked_sub(2)?).ok()?;
        if generation == u64::from(self.generation) { self.spans.get_mut(index) } else { None }
    }
}

/// What tracing calls.
struct Listener(Recorder);

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target() == observe::TARGET { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == observe::TARGET && self.0.0.listens.load(Ordering::Acquire)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut name = Name(None);
        attributes.record(&mut name);
        let number = name.0.map_or(1, |phase| self.0.heard().begin(phase, now(), None));
        Id::from_u64(number.max(1))
    }

    fn event(&self, event: &Event<'_>) {
        let mut name = Name(None);
        event.record(&mut name);
        let Some(phase) = name.0 else { return };
        let at = now();
        let mut heard = self.0.heard();
        heard.begin(phase, at, Some(at));
        if let (Phase::Ready, Some(file)) = (phase, heard.file.clone()) {
            // Whoever waits for it will say that nothing came.
            drop(heard.timeline().write(&file));
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(span) = self.0.heard().span(id) {
            span.handles += 1;
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut heard = self.0.heard();
        let Some(span) = heard.span(&id) else { return true };
        span.handles = span.handles.saturating_sub(1);
        let is_over = span.handles == 0;
        if is_over {
            span.until = Some(now());
        }
        is_over
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Finds the name of the phase among the fields.
struct Name(Option<Phase>);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == observe::FIELD {
            self.0 = Phase::of_name(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(timeline: &Timeline) -> Vec<Phase> {
        timeline.phases.iter().map(|timed| timed.phase).collect()
    }

    /// Runs `work` with a recorder that hears this thread.
    fn heard(work: impl FnOnce(&Recorder)) {
        let recorder = Recorder::default();
        tracing::subscriber::with_default(Listener(recorder.clone()), || work(&recorder));
    }

    #[test]
    fn spans_have_a_length_and_moments_none() {
        heard(|recorder| {
            recorder.listen(now());
            let span = observe::span(Phase::Load);
            observe::moment(Phase::Ready);
            drop(span);
            let timeline = recorder.take();
            assert_eq!(phases(&timeline), [Phase::Load, Phase::Ready]);
            let [load, ready] = timeline.phases[..] else { panic!() };
            assert!(load.from <= ready.from && ready.until <= load.until && ready.from == ready.until, "{timeline:?}");
            assert!(timeline.began <= load.from && load.until <= timeline.ended);
        });
    }

    #[test]
    fn nothing_is_heard_before_and_after_it_listens() {
        heard(|recorder| {
            drop(observe::span(Phase::Load));
            recorder.listen(now());
            recorder.take();
            observe::moment(Phase::Ready);
            assert_eq!(recorder.take().phases, []);
        });
    }

    #[test]
    fn a_span_ends_with_its_last_clone_and_only_in_its_own_run() {
        heard(|recorder| {
            recorder.listen(now());
            let span = observe::span(Phase::Start);
            let clone = span.clone();
            drop(span);
            let open = recorder.take();
            assert_eq!(open.phases[0].until, open.ended, "it is not over");
            recorder.listen(now());
            let next = observe::span(Phase::Run);
            drop(clone);
            let timeline = recorder.take();
            assert_eq!(phases(&timeline), [Phase::Run]);
            assert_eq!(timeline.phases[0].until, timeline.ended, "a span of an earlier run ends none of this");
            drop(next);
        });
    }

    #[test]
    fn another_process_reads_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phases.json");
        assert_eq!(Timeline::read(&path).unwrap(), None);
        let phases = vec![TimedPhase { phase: Phase::FirstOutput, from: 3, until: 3 }];
        let timeline = Timeline { began: 1, ended: 5, phases };
        timeline.write(&path).unwrap();
        assert_eq!(Timeline::read(&path).unwrap(), Some(timeline));
    }
}
