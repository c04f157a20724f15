//! The mode `ready`: a new process each time, until its pods are ready and the first byte came from its port.

use super::super::breakdown::WatchedRun;
use super::super::contender::Contender;
use super::super::plan::{Plan, series};
use super::super::process::{POLL, Running};
use super::super::result::{Group, Measure};
use super::super::rounds::{Rounds, turns};
use super::super::subject::{HttpPort, Subject, Traits};
use super::cold::watching;
use super::{break_down, seconds_between};
use crate::args::Mode;
use crate::spans::{Timeline, now};
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;
use wasmpod::{Error, Result};

/// How long a server that took the request may take for the first byte before it is asked anew.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What one run came to, in nanoseconds of the monotonic clock.
struct ReadyRun {
    from: u64,
    ready: Option<u64>,
    first_byte: Option<u64>,
    timeline: Option<Timeline>,
}

/// What is waited for.
struct Wanted<'a> {
    /// How many pods are to be ready, by what the program writes into this file.
    pods: Option<(usize, &'a std::path::Path)>,
    port: Option<u16>,
}

/// Measures wasmpod and the contenders in turns.
pub(crate) fn measure(plan: &Plan<'_>, subject: &Subject, traits: &Traits) -> Result<Group> {
    let port = plan.args.port.map(|container| HttpPort { container, host: None }).or(traits.http);
    let (mut group, mut others) = plan.enter(subject, traits, Mode::Ready)?;
    if port.is_none() && !others.is_empty() {
        others.clear();
        group.contenders.truncate(1);
        group
            .notes
            .push("others can only be compared by the first byte of a port, and there is none: name it by --port".to_owned());
    }
    let runner = Runner { plan, subject, port, pods: traits.pods };
    let mut readies = series(&group, Measure::Ready);
    let mut bytes = series(&group, Measure::FirstByte);
    let mut watched = Vec::new();
    let warm_up = plan.warm_up(Mode::Ready);
    let all = Rounds::new(plan.runs(Mode::Ready).saturating_add(warm_up), plan.duration(), &plan.interrupt);
    'rounds: for round in all {
        let mut runs: Vec<Option<ReadyRun>> = std::iter::repeat_with(|| None).take(others.len() + 1).collect();
        for at in turns(others.len() + 1, round) {
            let run = match at.checked_sub(1).and_then(|at| others.get(at)) {
                Some(contender) => runner.other(contender, round)?,
                None => runner.own()?,
            };
            let Some(run) = run else { break 'rounds };
            if let Some(slot) = runs.get_mut(at) {
                *slot = Some(run);
            }
        }
        if round < warm_up {
            continue;
        }
        for (at, run) in runs.into_iter().enumerate() {
            let (Some(run), Some(ready), Some(byte)) = (run, readies.get_mut(at), bytes.get_mut(at)) else { continue };
            ready.values.extend(run.ready.map(|at| seconds_between(run.from, at)));
            byte.values.extend(run.first_byte.map(|at| seconds_between(run.from, at)));
            let until = run.ready.max(run.first_byte).unwrap_or(run.from);
            watched.extend(run.timeline.map(|timeline| WatchedRun { from: run.from, until, timeline, is_process: true }));
        }
    }
    group.breakdown = break_down(&watched, None);
    group.series = readies.into_iter().chain(bytes).collect();
    Ok(group)
}

struct Runner<'a> {
    plan: &'a Plan<'a>,
    subject: &'a Subject,
    /// The port that is asked for a byte.
    port: Option<HttpPort>,
    pods: usize,
}

impl Runner<'_> {
    /// One run of wasmpod.
    fn own(&self) -> Result<Option<ReadyRun>> {
        let failed = |error| Error::io("cannot make a directory for a run", error);
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(self.plan.dir).map_err(failed)?;
        let file = dir.path().join("phases.json");
        let mut extra = watching(&file);
        let port = match self.port {
            Some(HttpPort { host: Some(port), .. }) => Some(port),
            Some(HttpPort { container, host: None }) => {
                let port = free_port()?;
                extra.extend([OsString::from("--publish"), format!("127.0.0.1:{port}:{container}").into()]);
                Some(port)
            }
            None => None,
        };
        let command = self.subject.run_command(self.subject.places(), &extra)?;
        let wanted = Wanted { pods: Some((self.pods, &file)), port };
        self.run(command, &wanted).map_err(|error| error.within(&self.subject.name))
    }

    /// One run of another contender: it has no probes, only a port.
    fn other(&self, contender: &Contender, number: u32) -> Result<Option<ReadyRun>> {
        let port = free_port()?;
        let wanted = Wanted { pods: None, port: Some(port) };
        self.run(contender.command(number, Some(port)), &wanted).map_err(|error| error.within(&contender.name))
    }

    /// Starts `command`, waits for what is wanted, and stops it; none when the user interrupted it.
    fn run(&self, command: Command, wanted: &Wanted<'_>) -> Result<Option<ReadyRun>> {
        let running = Running::start(command, &self.plan.interrupt, Stdio::null())?;
        let mut run = ReadyRun { from: running.from, ready: None, first_byte: None, timeline: None };
        loop {
            if self.plan.interrupt.is_asked() {
                running.stop()?;
                return Ok(None);
            }
            if let (None, Some((pods, file))) = (run.ready, wanted.pods) {
                let timeline = Timeline::read(file)?;
                run.ready = timeline.as_ref().and_then(|timeline| timeline.ready().nth(pods.saturating_sub(1)));
                run.timeline = timeline;
            }
            if let (None, Some(port)) = (run.first_byte, wanted.port) {
                run.first_byte = first_byte(port);
            }
            if run.ready.is_some() == wanted.pods.is_some() && run.first_byte.is_some() == wanted.port.is_some() {
                running.stop()?;
                return Ok(Some(run));
            }
            if running.has_ended() {
                return Err(running.ended_early());
            }
            std::thread::sleep(POLL);
        }
    }
}

/// When the first byte of an answer came, if one does.
fn first_byte(port: u16) -> Option<u64> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok()?;
    stream.set_read_timeout(Some(ANSWER_TIME)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(1) => Some(now()),
        // Nobody was there behind the port yet.
        _ => None,
    }
}

/// A port of the machine that nobody used a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| Error::io("cannot find a free port", error))
}
