//! What the program says about itself: errors with their hints, warnings, traces.

use super::environment;
use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use wasmpod::Error;

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
    let text = printable(text.trim_end()).replace('\n', "\n  ");
    let mut stderr = std::io::stderr().lock();
    let written = if stderr_is_coloured() {
        writeln!(stderr, "{style}{label}:{style:#} {text}")
    } else {
        writeln!(stderr, "{label}: {text}")
    };
    // With stderr closed there is nobody left to tell.
    drop(written);
}

/// The text with every control character but the newline and the tab written out, so that a name out of a manifest, a path or a
/// guest's message cannot command the terminal: escape sequences, carriage returns, and the invisible ones that turn text around.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_safe = |letter: char| matches!(letter, '\n' | '\t') || !(letter.is_control() || is_format(letter));
    if text.chars().all(is_safe) {
        return Cow::Borrowed(text);
    }
    let escape = |letter: char| if is_safe(letter) { letter.to_string() } else { letter.escape_unicode().to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Marks that change the direction of text, and separators that some terminals take for a new line.
fn is_format(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Whether stderr shows colours: a terminal, and a user who wants them.
pub(crate) fn stderr_is_coloured() -> bool {
    std::io::stderr().is_terminal() && !environment::no_color()
}

/// Sends tracing to stderr, as much of it as `-v` was given.
///
/// wasmtime-wasi makes a span for every host call at INFO, which costs a factor of ten: it stays below, whatever is asked.
pub(crate) fn init_tracing(verbosity: u8) {
    let level = match verbosity {
        0 => return,
        1 => "wasmpod=info",
        2 => "wasmpod=debug",
        _ => "debug,wasmpod=trace",
    };
    let filter = EnvFilter::new(format!("{level},wasmtime_wasi=warn,wasmtime_wasi_io=warn,wasmtime_wasi_http=warn,cranelift=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(stderr_is_coloured()).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_reported_commands_the_terminal() {
        assert_eq!(printable("pod \u{1b}[31mred\u{1b}]0;title\u{7}"), "pod \\u{1b}[31mred\\u{1b}]0;title\\u{7}");
        assert_eq!(printable("a\rb\u{9b}c\u{202e}d"), "a\\u{d}b\\u{9b}c\\u{202e}d");
        assert_eq!(printable("two\n\tlines, ä 日本 ✓"), "two\n\tlines, ä 日本 ✓");
    }
}
