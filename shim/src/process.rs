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
use wasmpod::container::{Container, ContainerEvent, ContainerLimits, ContainerUsage, ExecConfig};
use wasmpod::engine::Engine;
use wasmpod::log::OutputSink;
use wasmpod::pod::state::{ContainerExit, ExitCause, Signal};
use wasmpod::pod::{Member, RunningMember};
use wasmpod::{Error, ErrorKind, Result};

/// SIGKILL.
const KILL: u32 = 9;
/// SIGTERM.
const TERM: u32 = 15;
/// The exit status of what was never executed, as a shell has it.
const CANNOT_EXECUTE: u32 = 126;

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
    /// A container's program.
    Member(Box<Member>, Complaints),
    /// Something in the container whose process is named.
    Exec(Box<ExecConfig>, Arc<Process>, Complaints),
}

/// Where a process can say why it ended: its standard error.
pub(crate) type Complaints = Box<dyn OutputSink>;

/// A process that was started.
enum Running {
    Member(Box<RunningMember>),
    Exec(Container),
}

impl Running {
    fn container(&self) -> &Container {
        match self {
            Self::Member(member) => member.container(),
            Self::Exec(container) => container,
        }
    }
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
    /// Once it was started, also after its end.
    running: Option<Running>,
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
        let inner = Inner { body: Some(body), running: None, controls, fatal_signal: None, message: String::new() };
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
        let body = match body {
            _ if stopped => return Err(Error::new(ErrorKind::Conflict, "the process has ended")),
            None => return Err(Error::new(ErrorKind::Conflict, "the process was started before")),
            Some(body) => body,
        };
        let engine = || engine.ok_or_else(|| Error::internal("a program without an engine"));
        match body {
            Body::Idle => {
                self.status.send_replace(Status::Running);
                Ok(())
            }
            Body::Member(member, complaints) => {
                let (report, started) = self.report(complaints);
                self.began(Running::Member(Box::new(member.start(engine()?, report))));
                started.await.unwrap_or_else(|_| Err(silent()))
            }
            Body::Exec(config, into, complaints) => {
                let (report, started) = self.report(complaints);
                let container = into.exec(engine()?, *config, report).inspect_err(|_| self.end(Ended::now(CANNOT_EXECUTE)))?;
                self.began(Running::Exec(container));
                started.await.unwrap_or_else(|_| Err(silent()))
            }
        }
    }

    /// What a container is to call with its news, and where the first of it arrives.
    fn report(
        self: &Arc<Self>,
        complaints: Complaints,
    ) -> (impl FnMut(ContainerEvent) + Send + 'static + use<>, oneshot::Receiver<Result<()>>) {
        let (tell, told) = oneshot::channel();
        let (process, mut tell, mut complaints) = (Arc::clone(self), Some(tell), Some(complaints));
        let report = move |event| {
            let outcome = match event {
                ContainerEvent::Started => {
                    process.status.send_replace(Status::Running);
                    Ok(())
                }
                ContainerEvent::StartFailed(error) => {
                    complaints = None;
                    process.end(Ended::now(CANNOT_EXECUTE));
                    Err(error)
                }
                ContainerEvent::Exited(exit) => {
                    process.exited(exit, complaints.take());
                    Ok(())
                }
            };
            if let Some(tell) = tell.take() {
                drop(tell.send(outcome));
            }
        };
        (report, told)
    }

    /// Keeps what was started, and passes on a signal that came before.
    fn began(&self, running: Running) {
        let mut inner = self.inner();
        if let Some(signal) = inner.fatal_signal {
            running.container().signal(stop_signal(signal));
        }
        inner.running = Some(running);
    }

    fn exec(&self, engine: &Engine, config: ExecConfig, report: impl FnMut(ContainerEvent) + Send + 'static) -> Result<Container> {
        match &self.inner().running {
            Some(Running::Member(member)) => member.exec(engine, config, report),
            _ => Err(Error::new(ErrorKind::Conflict, "the container does not run, so nothing can be exec'd into it")),
        }
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
        self.end(Ended {
            code: code(&exit, fatal_signal),
            at: SystemTime::now(),
            out_of_memory: exit.cause == ExitCause::OutOfMemory,
        });
    }

    fn end(&self, ended: Ended) {
        self.status.send_if_modified(|status| {
            let ends = !matches!(status, Status::Stopped(_));
            if ends {
                *status = Status::Stopped(ended);
            }
            ends
        });
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
        match &inner.running {
            Some(running) => running.container().signal(stop_signal(signal)),
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

    /// Holds it.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when it does not run.
    pub(crate) fn pause(&self) -> Result<()> {
        self.hold(Status::Running, Status::Paused, Container::pause)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when it is not held.
    pub(crate) fn resume(&self) -> Result<()> {
        self.hold(Status::Paused, Status::Running, Container::resume)
    }

    fn hold(&self, from: Status, to: Status, act: impl FnOnce(&Container)) -> Result<()> {
        let inner = self.inner();
        let moved = self.status.send_if_modified(|status| {
            let moves = *status == from;
            if moves {
                *status = to;
            }
            moves
        });
        if !moved {
            return Err(Error::new(ErrorKind::Conflict, format!("the process is not in the state {from:?}")));
        }
        if let Some(running) = &inner.running {
            act(running.container());
        }
        Ok(())
    }

    /// Sets other limits. What was not started yet starts with them.
    pub(crate) fn set_limits(&self, limits: ContainerLimits) {
        let inner = self.inner();
        match (&inner.running, &inner.body) {
            (Some(running), _) => running.container().set_limits(limits),
            (None, Some(Body::Member(member, _))) => member.set_limits(limits),
            (None, _) => {}
        }
    }

    /// What it uses, or used last; none before it was started.
    pub(crate) fn usage(&self) -> Option<ContainerUsage> {
        self.inner().running.as_ref().map(|running| running.container().usage())
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

fn silent() -> Error {
    Error::internal("the container said nothing of its start")
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
