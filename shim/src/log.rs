//! The server's own log: the pipe `log` in the bundle, which containerd reads and adds to its own.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use wasmpod::observe;

/// Sends what the server has to say to containerd; without a pipe it says nothing.
///
/// The pipe is opened for both directions: so the server never waits for containerd, nor dies when it is restarted. What does not
/// fit while nobody reads is lost.
pub(crate) fn start(bundle: &Path, debug: bool) {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(pipe) = rustix::fs::open(bundle.join("log"), flags, Mode::empty()) else { return };
    // A panic ends up there too.
    let _ = rustix::stdio::dup2_stderr(&pipe);
    let level = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    // The phases are for whoever measures; nobody does that here.
    let told = Targets::new().with_default(level).with_target(observe::TARGET, LevelFilter::OFF);
    let log = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Mutex::new(File::from(pipe)));
    drop(tracing_subscriber::registry().with(log.with_filter(told)).try_init());
}
