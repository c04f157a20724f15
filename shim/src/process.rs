//! One process in containerd's sense: the container's own, or one of `exec`. Here it is one run of a WebAssembly program.
//!
//! ```text
//!   created ──start──▶ running ⇄ paused
//!      └──kill──┐          └──exit, kill──┐
//!               ▼                         ▼
//!            stopped(code, time) ──delete──▶ gone
//! ```

use crate::stdio::{StreamControls, StreamPaths};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::{oneshot, watch};
use wasmpod::container::{Container, ContainerConfig, ContainerEvent};
use wasmpod::engine::Engine;
use wasmpod::log::OutputSink;
use wasmpod::pod::state::{ContainerExit, ExitCause, Signal};
use wasmpod::{Error, ErrorKind, Result};

/// SIGKILL.
const KILL: u32 = 9;
/// SIGTERM.
const TERM: u32 = 15;

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Ready to be started.
    Created,
    /// Started.
    Running,
    /// Started, and held.
    Paused,
    /// At its end.
    Stopped(Ended),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit status, 0 to 255.
    pub(crate) code: u32,
    /// When.
    pub(crate) at: SystemTime,
    /// Whether its memory limit ended it.
    pub(crate) out_of_memory: bool,
}

impl Ended {
    fn now(code: u32) -> Self {
        Self { code, at: SystemTime::now(), out_of_memory: false }
    }
}

/// What a process runs.
pub(crate) enum Body {
    /// Nothing: the sandbox of a pod.
    Idle,
    /// A program, and where it can say why it ended.
    Program {
        /// All that it is made from.
        config: Box<ContainerConfig>,
        /// Its standard error.
        complaints: Box<dyn OutputSink>,
    },
}

/// One process.
pub(crate) struct Process {
    /// Where its streams lead.
    pub(crate) paths: StreamPaths,
    status: watch::Sender<Status>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Until it is started.
    body: Option<Body>,
    /// While it runs.
    container: Option<Container>,
    controls: StreamControls,
    /// The first signal that was to end it.
    fatal_signal: Option<u32>,
    /// What it said when it ended badly.
    message: String,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Process {
    /// A process that can be started.
    pub(crate) fn new(body: Body, paths: StreamPaths, controls: StreamControls) -> Arc<Self> {
        let inner = Inner { body: Some(body), container: None, controls, fatal_signal: None, message: String::new() };
        Arc::new(Self { paths, status: watch::Sender::new(Status::Created), inner: Mutex::new(inner) })
    }

    /// Where it stands.
    pub(crate) fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Starts it, and waits until it runs.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when it was started before; why the program could not be started.
    pub(crate) async fn start(self: &Arc<Self>, engine: Option<&Engine>) -> Result<()> {
        let (body, stopped) = {
            let mut inner = self.inner();
            (inner.body.take(), matches!(self.status(), Status::Stopped(_)))
        };
        match (body, engine) {
            _ if stopped => Err(Error::new(ErrorKind::Conflict, "the process has ended")),
            (None, _) => Err(Error::new(ErrorKind::Conflict, "the process was started before")),
            (Some(Body::Program { config, complaints }), Some(engine)) => self.run(engine, *config, complaints).await,
            (Some(Body::Idle), _) => {
                self.status.send_replace(Status::Running);
                Ok(())
            }
            (Some(Body::Program { .. }), None) => Err(Error::internal("a program without an engine")),
        }
    }

    async fn run(self: &Arc<Self>, engine: &Engine, config: ContainerConfig, complaints: Box<dyn OutputSink>) -> Result<()> {
        let (tell, told) = oneshot::channel();
        let (process, mut tell, mut complaints) = (Arc::clone(self), Some(tell), Some(complaints));
        let container = Container::start(engine, config, move |event| {
            let outcome = match event {
                ContainerEvent::Started => {
                    process.status.send_replace(Status::Running);
                    Ok(())
                }
                ContainerEvent::StartFailed(error) => {
                    complaints = None;
                    // As a shell has it for what cannot be executed.
                    process.end(Ended::now(126));
                    Err(error)
                }
                ContainerEvent::Exited(exit) => return process.exited(exit, complaints.take()),
            };
            if let Some(tell) = tell.take() {
                drop(tell.send(outcome));
            }
        });
        {
            let mut inner = self.inner();
            if let Some(signal) = inner.fatal_signal {
                container.signal(stop_signal(signal));
            }
            if !matches!(self.status(), Status::Stopped(_)) {
                inner.container = Some(container);
            }
        }
        told.await.unwrap_or_else(|_| Err(Error::internal("the container said nothing of its start")))
    }

    fn exited(&self, exit: ContainerExit, complaints: Option<Box<dyn OutputSink>>) {
        if exit.cause == ExitCause::Trapped
            && let Some(complaints) = complaints
        {
            // As much as there is room for: nobody can be made to wait here.
            let _ = complaints.try_write(format!("{}\n", exit.message.trim_end()).as_bytes());
        }
        let fatal_signal = {
            let mut inner = self.inner();
            inner.message = exit.message.clone();
            inner.fatal_signal
        };
        self.end(Ended { code: code(&exit, fatal_signal), at: SystemTime::now(), out_of_memory: exit.cause == ExitCause::OutOfMemory });
    }

    fn end(&self, ended: Ended) {
        self.status.send_if_modified(|status| {
            let ends = !matches!(status, Status::Stopped(_));
            if ends {
                *status = Status::Stopped(ended);
            }
            ends
        });
        let container = self.inner().container.take();
        drop(container);
    }

    /// Sends it a signal. Like a Linux program without handlers it dies of most, and is not impressed by the others.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when it has ended; [`Invalid`](ErrorKind::Invalid) for what is no signal.
    pub(crate) fn kill(&self, signal: u32) -> Result<()> {
        if matches!(self.status(), Status::Stopped(_)) {
            return Err(Error::not_found("the process has ended"));
        }
        match disposition(signal)? {
            Disposition::Ignored => return Ok(()),
            Disposition::Ends => {}
        }
        let mut inner = self.inner();
        inner.fatal_signal.get_or_insert(signal);
        match &inner.container {
            Some(container) => container.signal(stop_signal(signal)),
            None => {
                let runs_soon = inner.body.is_none() && self.status() == Status::Created;
                drop(inner);
                // Nothing runs: a sandbox, or a container that was never started.
                if !runs_soon {
                    self.end(Ended::now(128 + signal));
                }
            }
        }
        Ok(())
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) -> Ended {
        let mut status = self.status.subscribe();
        loop {
            if let Status::Stopped(ended) = *status.borrow_and_update() {
                return ended;
            }
            if status.changed().await.is_err() {
                return Ended::now(128 + KILL);
            }
        }
    }

    /// What it said when it ended badly: a trap and its back-trace.
    pub(crate) fn message(&self) -> String {
        self.inner().message.clone()
    }

    /// Lets its standard input end, once every client has closed it.
    pub(crate) fn close_stdin(&self) {
        self.inner().controls.stdin = None;
    }

    /// Tells its terminal the size, in characters.
    ///
    /// # Errors
    /// It has no terminal.
    pub(crate) fn resize(&self, columns: u32, rows: u32) -> Result<()> {
        let short = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        match &self.inner().controls.terminal {
            Some(terminal) => terminal.resize(short(columns), short(rows)),
            None => Err(Error::invalid("the process has no terminal")),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a signal does to a program without handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    Ignored,
    Ends,
}

/// See signal(7). SIGSTOP and its kin would stop a program; containerd has `Pause` for that.
fn disposition(signal: u32) -> Result<Disposition> {
    match signal {
        // Nothing, CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH.
        0 | 17..=23 | 28 => Ok(Disposition::Ignored),
        1..=64 => Ok(Disposition::Ends),
        _ => Err(Error::invalid(format!("{signal} is no signal"))),
    }
}

fn stop_signal(signal: u32) -> Signal {
    if signal == KILL { Signal::Kill } else { Signal::Term }
}

/// The exit status: of a program that a signal ended, the one of that very signal.
fn code(exit: &ContainerExit, fatal_signal: Option<u32>) -> u32 {
    match exit.cause {
        ExitCause::Signalled(Signal::Kill) => 128 + KILL,
        ExitCause::Signalled(Signal::Term) => 128 + fatal_signal.unwrap_or(TERM),
        _ => u32::try_from(exit.code & 0xff).unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Arc<Process> {
        Process::new(Body::Idle, StreamPaths::default(), StreamControls::default())
    }

    #[tokio::test]
    async fn a_process_starts_once_and_ends_once() {
        let process = idle();
        process.start(None).await.unwrap();
        assert_eq!(process.start(None).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(process.status(), Status::Running);
        process.kill(15).unwrap();
        assert_eq!(process.kill(9).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(process.ended().await.code, 143);
        assert_eq!(process.ended().await.code, 143);
    }

    #[tokio::test]
    async fn one_that_was_never_started_can_be_killed() {
        let process = idle();
        process.kill(9).unwrap();
        assert_eq!(process.ended().await.code, 137);
        assert!(process.start(None).await.is_err());
    }

    #[test]
    fn signals_do_what_they_do_to_a_program_without_handlers() {
        let process = idle();
        for signal in [0, 17, 18, 19, 23, 28] {
            process.kill(signal).unwrap();
            assert_eq!(process.status(), Status::Created, "{signal}");
        }
        assert_eq!(process.kill(65).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn the_status_is_that_of_the_signal_that_ended_it() {
        let by = |signal| ContainerExit::signalled(signal);
        assert_eq!(code(&by(Signal::Term), Some(2)), 130);
        assert_eq!(code(&by(Signal::Kill), Some(15)), 137);
        assert_eq!(code(&ContainerExit::exited(3), Some(15)), 3);
        assert_eq!(code(&ContainerExit::out_of_memory("full"), None), 137);
    }
}
