//! Attacks that must fail. Each test is named after its row in `docs/threat-model.md` and what it does.
//!
//! A: a guest denies service. B: a guest leaves its pod. C: images and caches. E: manifests and the network's model (those stand
//! beside what they attack: `manifest::tests::hostile`, `net_differential`, `pod::state::properties`).
//! `WASMPOD_SLOW=1` makes the long ones run in full.

mod caches;
mod denial;
mod escape;
mod isolation;

/// How often to do something: seldom in the normal run, as often as the threat model says with `WASMPOD_SLOW=1`.
fn times(quick: usize, full: usize) -> usize {
    if std::env::var_os("WASMPOD_SLOW").is_some() { full } else { quick }
}
