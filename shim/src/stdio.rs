//! Standard streams: the named pipes that containerd makes for each process, or a terminal.
//!
//! ```text
//!   guest ── log::pipe (64 KiB) ── carry ──▶ FIFO ──▶ containerd        the container's log, `ctr`, `kubectl attach`
//!   guest ◀──────────────────────────────── FIFO ◀── containerd
//! ```
//!
//! Pipes are opened without waiting for the other side, and for writing in both directions, so that neither a client that never
//! comes nor a restart of containerd holds a guest up or ends it. What nobody reads fills the pipe; then the guest waits, as under
//! any runtime.

use crate::terminal::{self, Terminal};
use rustix::fs::{FileType, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::Path;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use wasmpod::log::{Batch, LogReader, LogWriter, OutputSink, Stream};
use wasmpod::wasi::Stdin;
use wasmpod::{Error, Result};

/// Where a process's streams lead, as the requests name it; an empty text means nowhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamPaths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// One terminal for all of them.
    pub(crate) terminal: bool,
}

/// The guest's side of its streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) stdin: Stdin,
    stdout: LogWriter,
    stderr: LogWriter,
}

impl Streams {
    pub(crate) fn stdout(&self) -> impl OutputSink + use<> {
        self.stdout.stream(Stream::Stdout)
    }

    pub(crate) fn stderr(&self) -> impl OutputSink + use<> {
        self.stderr.stream(Stream::Stderr)
    }
}

/// The server's side: what requests act upon.
#[derive(Debug, Default)]
pub(crate) struct StreamControls {
    /// Keeps standard input from ending when a client goes away; gone once `CloseIO` was called.
    pub(crate) stdin: Option<OwnedFd>,
    /// The terminal, if there is one.
    pub(crate) terminal: Option<Terminal>,
}

/// Opens the streams of a process. Needs the runtime of the caller for as long as they are used.
///
/// # Errors
/// A pipe is missing or of a kind that is not supported.
pub(crate) fn open(paths: &StreamPaths) -> Result<(Streams, StreamControls)> {
    if paths.terminal {
        return terminal::open(paths);
    }
    let (stdin, writer) = open_input(&paths.stdin)?;
    let stdin = stdin.map_or_else(Stdin::empty, Stdin::reader);
    let streams = Streams { stdin, stdout: open_output(&paths.stdout)?, stderr: open_output(&paths.stderr)? };
    Ok((streams, StreamControls { stdin: writer, terminal: None }))
}

impl Streams {
    /// Streams that all go through one writer.
    pub(crate) fn merged(stdin: Stdin, output: LogWriter) -> Self {
        Self { stdin, stdout: output.clone(), stderr: output }
    }
}

/// Opens the pipe that input comes from, and an end to write to it, which keeps it from ending.
pub(crate) fn open_input(path: &str) -> Result<(Option<pipe::Receiver>, Option<OwnedFd>)> {
    if path.is_empty() {
        return Ok((None, None));
    }
    let failed = |error: std::io::Error| cannot_open(path, error);
    let receiver = pipe::OpenOptions::new().open_receiver(path).map_err(failed)?;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let writer = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    Ok((Some(receiver), Some(writer)))
}

/// A writer whose bytes are carried to `path` by a task of their own.
fn open_output(path: &str) -> Result<LogWriter> {
    let (writer, reader) = wasmpod::log::pipe();
    if let Some(target) = open_target(path)? {
        tokio::spawn(carry(reader, target));
    }
    Ok(writer)
}

/// Opens what output goes to: a named pipe, or a file by `file://`.
pub(crate) fn open_target(path: &str) -> Result<Option<Box<dyn AsyncWrite + Send + Unpin>>> {
    if path.is_empty() {
        return Ok(None);
    }
    if let Some((scheme, rest)) = path.split_once("://") {
        return match scheme {
            "fifo" => open_target(rest),
            "file" => open_file(Path::new(rest)).map(Some),
            _ => Err(Error::invalid("output of this kind is not supported").at(path).hint("use a named pipe or file://")),
        };
    }
    let is_fifo = rustix::fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    if !is_fifo {
        return open_file(Path::new(path)).map(Some);
    }
    let target = pipe::OpenOptions::new().read_write(true).open_sender(path).map_err(|error| cannot_open(path, error))?;
    Ok(Some(Box::new(target)))
}

fn open_file(path: &Path) -> Result<Box<dyn AsyncWrite + Send + Unpin>> {
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    let file = file.map_err(|error| cannot_open(&path.display().to_string(), error))?;
    Ok(Box::new(tokio::fs::File::from_std(file)))
}

fn cannot_open(path: &str, error: std::io::Error) -> Error {
    Error::io("cannot open a stream of the process", error).at(path)
}

/// Carries what the guest writes to `target`, until the guest's last writer is gone and everything is written.
pub(crate) async fn carry(mut reader: LogReader, mut target: impl AsyncWrite + Unpin) {
    let mut batch = Batch::default();
    while reader.receive(&mut batch).await {
        for (_, bytes) in batch.chunks() {
            if let Err(error) = target.write_all(bytes).await {
                tracing::debug!(%error, "a stream of a process is broken; the rest of it is thrown away");
                return;
            }
        }
    }
    let _ = target.flush().await;
}
