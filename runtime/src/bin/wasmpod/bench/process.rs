//! One run of a program, from the moment it is asked for to the moment it is gone, seen from outside.

use super::interrupt::{Ended, Interrupt};
use crate::spans::now;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use wasmpod::limits::{BENCH_ANSWER_BYTES_MAX, BENCH_MESSAGE_BYTES_MAX, BENCH_RUN_TIME_MAX};
use wasmpod::{Error, Result};

/// What is read of a program's output at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What one run took, in nanoseconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessRun {
    /// Just before the system was asked for a process.
    pub(super) from: u64,
    /// When the first byte of its standard output was here; none when it printed nothing.
    pub(super) first_output: Option<u64>,
    /// When the process was gone.
    pub(super) until: u64,
    /// How much it printed, in bytes.
    pub(super) output_bytes: u64,
}

/// A program that runs.
pub(super) struct Running {
    child: Child,
    stderr: File,
    interrupt: Interrupt,
    /// Just before the system was asked for it.
    pub(super) from: u64,
}

impl Running {
    /// Starts `command`, with nothing to read and its errors kept.
    pub(super) fn start(mut command: Command, interrupt: &Interrupt, stdout: Stdio) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |error| Error::io("cannot be started", error).at(&program);
        let stderr = tempfile::tempfile().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr.try_clone().map_err(failed)?);
        let from = now();
        let child = command.spawn().map_err(failed)?;
        interrupt.watch(Pid::from_child(&child), BENCH_RUN_TIME_MAX);
        Ok(Self { child, stderr, interrupt: interrupt.clone(), from })
    }

    /// Whether it is gone already, though nobody has waited for it yet.
    pub(super) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), options), Ok(None))
    }

    /// Asks it to stop, and waits until it is gone.
    pub(super) fn stop(mut self) -> Result<()> {
        // It is gone when the signal does not reach it.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.wait().map(|_| ())
    }

    /// The error for a program that ended before it should have.
    pub(super) fn ended_early(mut self) -> Error {
        match self.wait() {
            Ok((_, _, Ended::Late)) => Error::limit(format!("it was not ready within {} s", BENCH_RUN_TIME_MAX.as_secs()))
                .hint("see what it waits for: wasmpod run --events"),
            Ok((status, _, Ended::Itself)) => self.failure(status),
            Err(error) => error,
        }
    }

    /// Reads all that it prints, and waits until it is gone.
    fn finish(mut self) -> Result<Option<ProcessRun>> {
        let (mut first_output, mut output_bytes) = (None, 0);
        if let Some(mut stdout) = self.child.stdout.take() {
            let mut chunk = vec![0; CHUNK_BYTES];
            while let Ok(bytes @ 1..) = stdout.read(&mut chunk) {
                first_output.get_or_insert_with(now);
                output_bytes += bytes as u64;
            }
        }
        let (status, until, ended) = self.wait()?;
        if self.interrupt.is_asked() {
            return Ok(None);
        }
        if ended == Ended::Late {
            return Err(Error::limit(format!("a run took longer than {} s", BENCH_RUN_TIME_MAX.as_secs()))
                .hint("measure what ends by itself, or --mode ready for what does not"));
        }
        if status.success() {
            Ok(Some(ProcessRun { from: self.from, first_output, until, output_bytes }))
        } else {
            Err(self.failure(status))
        }
    }

    /// Waits until it is gone; says how it ended and when.
    fn wait(&mut self) -> Result<(ExitStatus, u64, Ended)> {
        let lost = |error| Error::io("a run cannot be waited for", error);
        // Its number stays its own until `let_go`: nobody else can be hit by a signal that is meant for it.
        let exited = waitid(WaitId::Pid(Pid::from_child(&self.child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let until = now();
        let ended = self.interrupt.let_go();
        exited.map_err(|errno| lost(errno.into()))?;
        Ok((self.child.wait().map_err(lost)?, until, ended))
    }

    /// What it said last, as an error.
    fn failure(&mut self, status: ExitStatus) -> Error {
        let mut said = Vec::new();
        let length = self.stderr.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        let tail = SeekFrom::Start(length.saturating_sub(BENCH_MESSAGE_BYTES_MAX));
        // What cannot be read is not shown.
        drop(self.stderr.seek(tail).and_then(|_| (&self.stderr).take(BENCH_MESSAGE_BYTES_MAX).read_to_end(&mut said)));
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("a run failed with exit status {code}"),
            (None, Some(signal)) => format!("a run was ended by signal {signal}"),
            (None, None) => "a run failed".to_owned(),
        };
        let said = String::from_utf8_lossy(&said);
        let message = if said.trim().is_empty() { how } else { format!("{how}: {}", said.trim()) };
        Error::invalid(message).hint("only runs that succeed are measured")
    }
}

/// A run that nobody waits for any more is ended.
impl Drop for Running {
    fn drop(&mut self) {
        self.interrupt.let_go();
        // It has usually ended, and was waited for: then these do nothing.
        drop((self.child.kill(), self.child.wait()));
    }
}

/// Runs `command` to its end; none when the user interrupted it.
pub(super) fn run(command: Command, interrupt: &Interrupt) -> Result<Option<ProcessRun>> {
    Running::start(command, interrupt, Stdio::piped())?.finish()
}

/// Runs `command`, which prints what it has when the user interrupts it, to its end; gives what it printed.
pub(super) fn answer_of(command: Command, interrupt: &Interrupt) -> Result<Vec<u8>> {
    let mut running = Running::start(command, interrupt, Stdio::piped())?;
    let mut answer = Vec::new();
    if let Some(stdout) = running.child.stdout.take() {
        let read = stdout.take(BENCH_ANSWER_BYTES_MAX).read_to_end(&mut answer);
        read.map_err(|error| Error::io("cannot read what a run answers", error))?;
    }
    let (status, _, _) = running.wait()?;
    if status.success() { Ok(answer) } else { Err(running.failure(status)) }
}

/// Runs `command` to its end and gives what it printed.
pub(super) fn output_of(mut command: Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| Error::io("cannot be started", error).at(&program))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::invalid(format!("failed: {}", said.trim())).at(program))
}

/// The time between two looks at something that another process does.
pub(super) const POLL: Duration = Duration::from_micros(100);
