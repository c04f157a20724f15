//! Shows what the containers print.
//!
//! One thread writes for all of them: a terminal that is slow or stopped blocks that thread and, through the bounded pipes, the
//! containers that print; nothing else. Several containers get a coloured `name |` before each line when their stdout goes to a
//! terminal; otherwise the bytes pass as they are, so that a pipe or a file holds what the programs wrote.

use super::{environment, report};
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
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
    readers: Option<mpsc::UnboundedSender<Source>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Told when nobody reads the output any more.
    closed: Arc<Notify>,
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
}

impl Printer {
    /// Starts the thread.
    pub(crate) fn start(destination: Destination) -> io::Result<Self> {
        let (readers, inbox) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let closed = Arc::new(Notify::new());
        let print = print(inbox, destination, Arc::clone(&closed));
        let thread = std::thread::Builder::new().name("wasmpod-output".to_owned()).spawn(move || runtime.block_on(print))?;
        Ok(Self { readers: Some(readers), thread: Mutex::new(Some(thread)), closed })
    }

    /// Shows what comes out of `reader`, until the container closes it.
    pub(crate) fn show(&self, reader: LogReader, prefix: Option<Prefix>) {
        if let Some(readers) = &self.readers {
            // The thread is gone only when the output is: then the reader is dropped, and the container writes into the void.
            drop(readers.send(Source { reader, prefix }));
        }
    }

    /// Waits until the output can go nowhere any more, as when it is piped into `head`.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Waits until everything that was written is shown.
    pub(crate) fn finish(mut self) {
        self.readers = None;
        let thread = self.thread.get_mut().map_or(None, Option::take);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            report::warn("the thread that prints the containers' output ended early; some of it may be missing");
        }
    }
}

/// The prefixes of containers with these names, or none of them where there is only one or no terminal to colour.
pub(crate) fn prefixes(names: &[String], destination: Destination) -> Vec<Option<Prefix>> {
    let is_terminal = match destination {
        Destination::Apart => io::stdout().is_terminal(),
        Destination::Stderr => io::stderr().is_terminal(),
    };
    if names.len() < 2 || !is_terminal {
        return vec![None; names.len()];
    }
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let colours = COLOURS.iter().cycle();
    let style = |colour: &anstyle::AnsiColor| {
        if environment::no_color() { anstyle::Style::new() } else { anstyle::Style::new().fg_color(Some((*colour).into())) }
    };
    let prefix = |(name, colour): (&String, _)| Some(Prefix { label: format!("{name:width$} |"), style: style(colour) });
    names.iter().zip(colours).map(prefix).collect()
}

async fn print(mut inbox: mpsc::UnboundedReceiver<Source>, destination: Destination, closed: Arc<Notify>) {
    let mut sources = JoinSet::new();
    loop {
        tokio::select! {
            source = inbox.recv() => match source {
                Some(source) => drop(sources.spawn(show(source, destination, Arc::clone(&closed)))),
                None => break,
            },
            Some(_) = sources.join_next() => {}
        }
    }
    while sources.join_next().await.is_some() {}
}

/// Shows one run. What can no longer be shown is thrown away, so that the container never waits for it.
async fn show(Source { reader, prefix }: Source, destination: Destination, closed: Arc<Notify>) {
    let shown = match prefix {
        Some(prefix) => deliver(reader, &mut Lines::new(Prefixed { prefix, destination })).await,
        None => deliver(reader, &mut Plain { destination }).await,
    };
    if let Err(error) = shown {
        if error.kind() != io::ErrorKind::BrokenPipe {
            report::warn(&format!("the containers' output cannot be shown, so they are stopped: {error}"));
        }
        closed.notify_one();
    }
}

/// Bytes as they are.
struct Plain {
    destination: Destination,
}

impl LogSink for Plain {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        write_to(stream, self.destination, |out| out.write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Each line behind its container's name.
struct Prefixed {
    prefix: Prefix,
    destination: Destination,
}

impl LineSink for Prefixed {
    fn line(&mut self, line: LogLine<'_>) -> io::Result<()> {
        let Prefix { label, style } = &self.prefix;
        write_to(line.stream, self.destination, |out| {
            write!(out, "{style}{label}{style:#} ")?;
            out.write_all(line.text)?;
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
