//! What the library tells of its own work: which phase of a pod's start is under way, and since when.
//!
//! Whoever wants to know installs a `tracing` subscriber that listens to [`TARGET`]. A [`span`] lasts as long as its phase does and is
//! never entered: where it begins and ends is all that it says. A [`moment`] has no length. Without a subscriber each costs about a
//! nanosecond, so they stand on the way of every pod.
//!
//! The phases may lie inside each other (a program is compiled while it is loaded) and beside each other (two containers start).

use tracing::Span;

/// The target of all spans and events of this module; their level is DEBUG.
pub const TARGET: &str = "wasmpod::phase";

/// The field of each that says which phase it is, by its [name](Phase::name).
pub const FIELD: &str = "phase";

/// A part of the way from a manifest to a pod that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// A manifest is read, or made into the spec of one pod.
    Parse,
    /// An image is brought into the store, or found there.
    Pull,
    /// WebAssembly is compiled.
    Compile,
    /// A compiled artifact is found, checked, mapped and linked.
    Load,
    /// The engine is made: the pool's address space reserved, the cache opened.
    Engine,
    /// A store and an instance are made for a container.
    Instantiate,
    /// A pod's network and volumes are made, and one of its containers comes to run, from the decision to its `_start`.
    Start,
    /// A moment: a container prints its first byte.
    FirstOutput,
    /// A moment: a pod becomes ready, by its condition `Ready`.
    Ready,
    /// A container's program runs, from its `_start` to its end.
    Run,
}

impl Phase {
    /// All of them, in the order in which a pod goes through them.
    pub const ALL: [Self; 10] = [
        Self::Parse,
        Self::Engine,
        Self::Pull,
        Self::Compile,
        Self::Load,
        Self::Start,
        Self::Instantiate,
        Self::FirstOutput,
        Self::Ready,
        Self::Run,
    ];

    /// What spans, reports and plots call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Pull => "pull",
            Self::Compile => "compile",
            Self::Load => "load",
            Self::Engine => "engine",
            Self::Instantiate => "instantiate",
            Self::Start => "start",
            Self::FirstOutput => "first output",
            Self::Ready => "ready",
            Self::Run => "run",
        }
    }

    /// The phase of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// Says that a phase begins; it ends when the span and its clones are dropped.
pub fn span(phase: Phase) -> Span {
    tracing::debug_span!(target: TARGET, "phase", phase = phase.name())
}

/// Says that something has just happened.
pub fn moment(phase: Phase) {
    tracing::debug!(target: TARGET, phase = phase.name());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_a_name_of_its_own() {
        for phase in Phase::ALL {
            assert_eq!(Phase::of_name(phase.name()), Some(phase));
        }
        assert_eq!(Phase::of_name("lunch"), None);
    }
}
