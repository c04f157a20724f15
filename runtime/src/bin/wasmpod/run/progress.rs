//! Shows that something is being compiled: a spinner for each on a terminal, a line for each elsewhere.

use crate::report::printable;
use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmpod::engine::{CompileObserver, CompileProgress};

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// An observer that shows each compilation on stderr while it lasts, and how long it took.
pub(super) fn observer() -> CompileObserver {
    let bars = MultiProgress::new();
    let running: Mutex<HashMap<String, ProgressBar>> = Mutex::default();
    Arc::new(move |progress| {
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            CompileProgress::Started { name, wasm_bytes } => {
                let bar = bars.add(ProgressBar::new_spinner());
                bar.set_style(ProgressStyle::default_spinner());
                bar.set_message(format!("compiling {} ({})", printable(name), HumanBytes(*wasm_bytes)));
                bar.enable_steady_tick(TURN);
                running.insert(name.clone(), bar);
            }
            CompileProgress::Finished { name, artifact_bytes, took } => {
                if let Some(bar) = running.remove(name) {
                    bar.finish_and_clear();
                }
                if artifact_bytes.is_some() {
                    say(&format!("compiled {} in {}", printable(name), duration(*took)));
                }
            }
        }
    })
}

/// Below a minute with tenths of a second; above as people say it.
fn duration(took: Duration) -> String {
    if took < Duration::from_secs(60) { format!("{:.1} s", took.as_secs_f64()) } else { HumanDuration(took).to_string() }
}

fn say(line: &str) {
    // With stderr closed there is nobody left to tell.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
