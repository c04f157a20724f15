//! Shows what the containers print.
//!
//! One thread writes for all of them: a terminal that is slow or stopped blocks that thread and, through the bounded pipes, the
//! containers that print; nothing else. Several containers get a coloured `name |` before each line of a stream that goes to a
//! terminal; what goes to a pipe or a file passes as it is, so that it holds what the programs wrote. `--prefix` decides otherwise.
//! On a terminal nothing of it is obeyed, see [`harmless`](super::harmless), unless the user asked for that (`--raw`).

use super::args::PrefixArg;
use super::harmless::{HarmlessStream, harmless_line};
use super::{environment, report};
use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use wasmpod::limits::LOG_READERS_WAITING_MAX;
use wasmpod::log::{LineSink, Lines, LogLine, LogReader, LogSink, Stream, deliver};

/// The colours that containers take in turn; red is left to errors.
const COLOURS: [anstyle::AnsiColor; 6] = [
    anstyle::AnsiColor::Cyan,
    anstyle::AnsiColor::Yellow,
    anstyle::AnsiColor::Green,
    anstyle::AnsiColor::Magenta,
    anstyle::AnsiColor::Blue,
    anstyle::AnsiColor::White,
];

/// Where the containers' standard output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Their stdout to stdout, their stderr to stderr.
    Apart,
    /// Both to stderr: stdout is kept for the result.
    Stderr,
}

/// The printing thread.
#[derive(Debug)]
pub(crate) struct Printer {
    /// None once no more output is to come.
    readers: Mutex<Option<mpsc::Sender<Source>>>,
    /// Answers when the thread has shown everything and ends.
    shown: Mutex<Option<oneshot::Receiver<()>>>,
    /// Told when nobody reads the output any more.
    closed: Arc<Notify>,
}

/// Where output goes, and what of it a terminal must not obey.
#[derive(Clone, Copy, Debug)]
struct Display {
    destination: Destination,
    harmless: Streams,
}

/// The output of one run of one container.
struct Source {
    reader: LogReader,
    prefix: Option<Prefix>,
}

/// What stands before each line of a container.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    label: String,
    style: anstyle::Style,
    /// Before which streams it stands.
    streams: Streams,
}

/// Some of the two output streams of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Streams {
    stdout: bool,
    stderr: bool,
}

impl Streams {
    /// Those that a terminal shows.
    fn on_terminals(destination: Destination) -> Self {
        let stderr = io::stderr().is_terminal();
        let stdout = match destination {
            Destination::Apart => io::stdout().is_terminal(),
            Destination::Stderr => stderr,
        };
        Self { stdout, stderr }
    }

    fn contain(self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

/// Makes the prefixes of containers: as wide as the longest label that was known at the start, in colours that take turns.
#[derive(Debug)]
pub(crate) struct Prefixes {
    width: usize,
    streams: Streams,
    colours: AtomicUsize,
}

impl Prefixes {
    /// For containers with these labels and perhaps others to come; `several` says whether there will be more than one at all.
    pub(crate) fn new(labels: &[String], several: bool, when: PrefixArg, destination: Destination) -> Self {
        let terminals = Streams::on_terminals(destination);
        let streams = match when {
            PrefixArg::Auto if several => terminals,
            PrefixArg::Auto => Streams { stdout: false, stderr: false },
            PrefixArg::Always => Streams { stdout: true, stderr: true },
            PrefixArg::Never => Streams { stdout: false, stderr: false },
        };
        let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        Self { width, streams, colours: AtomicUsize::new(0) }
    }

    /// The prefix of a container; none where none is shown.
    pub(crate) fn of(&self, label: &str) -> Option<Prefix> {
        if !self.streams.stdout && !self.streams.stderr {
            return None;
        }
        let turn = self.colours.fetch_add(1, Ordering::Relaxed);
        let colour = COLOURS.get(turn % COLOURS.len()).filter(|_| !environment::no_color() && self.is_terminal());
        let style = colour.map_or_else(anstyle::Style::new, |colour| anstyle::Style::new().fg_color(Some((*colour).into())));
        Some(Prefix { label: format!("{label:width$} |", width = self.width), style, streams: self.streams })
    }

    /// Whether anybody can see colours.
    fn is_terminal(&self) -> bool {
        io::stdout().is_terminal() && io::stderr().is_terminal()
    }
}

impl Printer {
    /// Starts the thread. With `raw` a terminal gets what the containers print as it is.
    pub(crate) fn start(destination: Destination, raw: bool) -> io::Result<Self> {
        let none = Streams { stdout: false, stderr: false };
        let display = Display { destination, harmless: if raw { none } else { Streams::on_terminals(destination) } };
        let (readers, inbox) = mpsc::channel(LOG_READERS_WAITING_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let closed = Arc::new(Notify::new());
        let print = print(inbox, display, Arc::clone(&closed));
        let (ends, shown) = oneshot::channel();
        let work = move || {
            runtime.block_on(print);
            // An error means that nobody waits.
            let _ = ends.send(());
        };
        // Nobody joins it: that all is shown is said before it ends, and the end of a thread is work for the kernel.
        std::thread::Builder::new().name("wasmpod-output".to_owned()).spawn(work)?;
        Ok(Self { readers: Mutex::new(Some(readers)), shown: Mutex::new(Some(shown)), closed })
    }

    /// Shows what comes out of `reader`, until the container closes it.
    pub(crate) fn show(&self, reader: LogReader, prefix: Option<Prefix>) {
        if let Some(readers) = &*locked(&self.readers) {
            // The thread is gone only when the output is, and far behind only when a terminal has stopped for long: then the reader is
            // dropped, and the container writes into the void.
            drop(readers.try_send(Source { reader, prefix }));
        }
    }

    /// Waits until the output can go nowhere any more, as when it is piped into `head`.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Waits until everything that was written is shown, whoever else still has a hold of this.
    pub(crate) async fn finish(&self) {
        drop(locked(&self.readers).take());
        let shown = locked(&self.shown).take();
        // Nothing is said only by a thread that panicked.
        if let Some(shown) = shown
            && shown.await.is_err()
        {
            report::warn("the thread that prints the containers' output ended early; some of it may be missing");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn print(mut inbox: mpsc::Receiver<Source>, display: Display, closed: Arc<Notify>) {
    let mut sources = JoinSet::new();
    loop {
        tokio::select! {
            source = inbox.recv() => match source {
                Some(source) => drop(sources.spawn(show(source, display, Arc::clone(&closed)))),
                None => break,
            },
            Some(_) = sources.join_next() => {}
        }
    }
    while sources.join_next().await.is_some() {}
}

/// Shows one run. What can no longer be shown is thrown away, so that the container never waits for it.
async fn show(Source { reader, prefix }: Source, display: Display, closed: Arc<Notify>) {
    let shown = match prefix {
        Some(prefix) => {
            let streams = prefix.streams;
            let lines = Lines::new(Prefixed { prefix, display });
            deliver(reader, &mut Chosen { streams, lines, plain: Plain::new(display) }).await
        }
        None => deliver(reader, &mut Plain::new(display)).await,
    };
    if let Err(error) = shown {
        if error.kind() != io::ErrorKind::BrokenPipe {
            report::warn(&format!("the containers' output cannot be shown, so they are stopped: {error}"));
        }
        closed.notify_one();
    }
}

/// Bytes as they are, or harmless.
struct Plain {
    display: Display,
    stdout: HarmlessStream,
    stderr: HarmlessStream,
}

impl Plain {
    fn new(display: Display) -> Self {
        Self { display, stdout: HarmlessStream::default(), stderr: HarmlessStream::default() }
    }

    fn of(&mut self, stream: Stream) -> &mut HarmlessStream {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl LogSink for Plain {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let Display { destination, harmless } = self.display;
        if !harmless.contain(stream) {
            return write_to(stream, destination, |out| out.write_all(bytes));
        }
        write_to(stream, destination, |out| self.of(stream).push(bytes, out))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }

    fn end(&mut self) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            write_to(stream, self.display.destination, |out| self.of(stream).end(out))?;
        }
        self.flush()
    }
}

/// Some streams in lines, the others as they are.
struct Chosen {
    streams: Streams,
    lines: Lines<Prefixed>,
    plain: Plain,
}

impl LogSink for Chosen {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if self.streams.contain(stream) { self.lines.chunk(stream, bytes) } else { self.plain.chunk(stream, bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.plain.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        self.plain.end()?;
        self.lines.end()
    }
}

/// Each line behind its container's name.
struct Prefixed {
    prefix: Prefix,
    display: Display,
}

impl LineSink for Prefixed {
    fn line(&mut self, line: LogLine<'_>) -> io::Result<()> {
        let Prefix { label, style, .. } = &self.prefix;
        let Display { destination, harmless } = self.display;
        let text = if harmless.contain(line.stream) { harmless_line(line.text) } else { Cow::Borrowed(line.text) };
        write_to(line.stream, destination, |out| {
            write!(out, "{style}{label}{style:#} ")?;
            out.write_all(&text)?;
            out.write_all(b"\n")
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

fn write_to(stream: Stream, destination: Destination, write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<()> {
    match (stream, destination) {
        (Stream::Stdout, Destination::Apart) => write(&mut io::stdout().lock()),
        _ => write(&mut io::stderr().lock()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use wasmpod::log::pipe;

    /// A printer whose thread is stuck: nobody takes what is to be shown.
    fn stuck() -> (Printer, mpsc::Receiver<Source>) {
        let (readers, inbox) = mpsc::channel(LOG_READERS_WAITING_MAX);
        let printer = Printer { readers: Mutex::new(Some(readers)), shown: Mutex::default(), closed: Arc::default() };
        (printer, inbox)
    }

    #[tokio::test]
    async fn a_terminal_that_has_stopped_holds_so_many_runs_and_those_beyond_print_into_the_void() {
        let (printer, inbox) = stuck();
        for _ in 0..LOG_READERS_WAITING_MAX + 2 {
            printer.show(pipe().1, None);
        }
        assert_eq!(inbox.len(), LOG_READERS_WAITING_MAX);
    }
}
