//! Shows what takes its time: downloads, uploads and compilations; a bar or spinner for each on a terminal, a line for each elsewhere.

use crate::harmless::harmless;
use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmpod::engine::{CompileObserver, CompileProgress};
use wasmpod::image::{Descriptor, FetchProgress, Image, ImageReference, PullObserver, PullProgress, PushObserver};

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);
/// A transfer: what, how far, how fast.
const TRANSFER: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";

/// Everything that is shown at once: cheap to clone.
#[derive(Clone)]
pub(crate) struct Progress {
    bars: MultiProgress,
    running: Arc<Mutex<HashMap<String, ProgressBar>>>,
}

impl Progress {
    /// Shows nothing yet.
    pub(crate) fn new() -> Self {
        Self { bars: MultiProgress::new(), running: Arc::default() }
    }

    /// Shows each compilation while it lasts, and how long it took.
    pub(crate) fn compile_observer(&self) -> CompileObserver {
        let this = self.clone();
        Arc::new(move |progress| match progress {
            CompileProgress::Started { name, wasm_bytes } => {
                this.bar(name, || {
                    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
                    bar.with_message(format!("compiling {} ({})", harmless(name), HumanBytes(*wasm_bytes)))
                });
            }
            CompileProgress::Finished { name, artifact_bytes, took } => {
                this.finish(name);
                if artifact_bytes.is_some() {
                    this.say(&format!("compiled {} in {}", harmless(name), duration(*took)));
                }
            }
        })
    }

    /// Shows each blob while it is loaded.
    pub(crate) fn pull_observer(&self) -> PullObserver {
        let this = self.clone();
        Arc::new(move |_, progress| match progress {
            PullProgress::Asking => {}
            PullProgress::Blob(blob, FetchProgress::Waiting) => this.transfer("waiting for", blob).tick(),
            PullProgress::Blob(blob, FetchProgress::Received(bytes)) => {
                let bar = this.transfer("pulling", blob);
                // What an earlier pull had loaded is no speed.
                if bar.position() == 0 {
                    bar.reset_eta();
                }
                bar.set_position(bytes);
            }
            PullProgress::Blob(blob, FetchProgress::Stored) => this.finish(&blob.digest.to_string()),
        })
    }

    /// Shows each blob while it is uploaded.
    pub(crate) fn push_observer(&self) -> PushObserver {
        let this = self.clone();
        Arc::new(move |blob, bytes| {
            let bar = this.transfer("pushing", blob);
            bar.inc(bytes);
            if bar.position() >= blob.size {
                this.finish(&blob.digest.to_string());
            }
        })
    }

    /// Says that an image was pulled.
    pub(crate) fn say_pulled(&self, name: &ImageReference, image: &Image) {
        self.say(&format!("pulled {name}: {}, {}", image.digest, HumanBytes(image.size())));
    }

    /// Says one line, above the bars.
    pub(crate) fn say(&self, line: &str) {
        // With stderr closed there is nobody left to tell.
        self.bars.suspend(|| drop(writeln!(std::io::stderr().lock(), "{line}")));
    }

    fn transfer(&self, verb: &str, blob: &Descriptor) -> ProgressBar {
        let digest = blob.digest.to_string();
        self.bar(&digest, || {
            let style = ProgressStyle::with_template(TRANSFER).unwrap_or_else(|_| ProgressStyle::default_bar());
            let short: String = digest.chars().take("sha256:".len() + 12).collect();
            ProgressBar::new(blob.size).with_style(style).with_message(format!("{verb} {short}"))
        })
    }

    /// The bar of this name, made now if there is none.
    fn bar(&self, name: &str, make: impl FnOnce() -> ProgressBar) -> ProgressBar {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = running.entry(name.to_owned()).or_insert_with(|| {
            let bar = self.bars.add(make());
            bar.enable_steady_tick(TURN);
            bar
        });
        bar.clone()
    }

    fn finish(&self, name: &str) {
        let finished = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(bar) = finished {
            bar.finish_and_clear();
        }
    }
}

/// Below a minute with tenths of a second; above as people say it.
fn duration(took: Duration) -> String {
    if took < Duration::from_secs(60) { format!("{:.1} s", took.as_secs_f64()) } else { HumanDuration(took).to_string() }
}
