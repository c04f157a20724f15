//! What the program says about itself: errors with their hints, warnings, traces.

use super::environment;
use super::harmless::harmless;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use wasmpod::{Error, observe};

/// Prints `error`, its causes and its hint, and gives the exit status for it.
pub(crate) fn fail(error: &Error) -> ExitCode {
    ExitCode::from(tell(error))
}

/// The same for an error that does not end the program; the exit status as a number.
pub(crate) fn tell(error: &Error) -> u8 {
    tell_about(None, error)
}

/// The same with what the error is about before it.
pub(crate) fn tell_about(subject: Option<&str>, error: &Error) -> u8 {
    let subject = subject.map(|subject| format!("{subject}: ")).unwrap_or_default();
    let bold_red = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Red.into()));
    let bold_cyan = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Cyan.into()));
    line(bold_red, "error", &format!("{subject}{}", error.chain()));
    if let Some(hint) = error.advice() {
        line(bold_cyan, "hint", hint);
    }
    error.kind().exit_code()
}

/// Prints something that the user should know, though it stops nothing.
pub(crate) fn warn(message: &str) {
    line(anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Yellow.into())), "warning", message);
}

/// Prints something that the user asked to know.
pub(crate) fn note(message: &str) {
    line(anstyle::Style::new().bold(), "note", message);
}

/// One `label: text` on stderr; the lines after the first are indented below it.
fn line(style: anstyle::Style, label: &str, text: &str) {
    let text = harmless(text.trim_end()).replace('\n', "\n  ");
    let mut stderr = std::io::stderr().lock();
    let written = if stderr_is_coloured() {
        writeln!(stderr, "{style}{label}:{style:#} {text}")
    } else {
        writeln!(stderr, "{label}: {text}")
    };
    // With stderr closed there is nobody left to tell.
    drop(written);
}

/// Whether stderr shows colours: a terminal, and a user who wants them.
pub(crate) fn stderr_is_coloured() -> bool {
    std::io::stderr().is_terminal() && !environment::no_color()
}

/// Sends tracing to stderr, as much of it as `-v` was given.
///
/// wasmtime-wasi makes a span for every host call at INFO, which costs a factor of ten: it stays below, whatever is asked.
pub(crate) fn init_tracing(verbosity: u8) {
    let chosen = match verbosity {
        0 => return,
        1 => Targets::new().with_target("wasmpod", Level::INFO),
        2 => Targets::new().with_target("wasmpod", Level::DEBUG).with_target(observe::TARGET, LevelFilter::OFF),
        _ => Targets::new().with_default(Level::DEBUG),
    };
    // A target stands for all that begin with it.
    let chosen = chosen.with_targets([("wasmtime_wasi", Level::WARN), ("cranelift", Level::WARN)]);
    let shown = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(stderr_is_coloured());
    tracing_subscriber::registry().with(shown.with_filter(chosen)).init();
}
