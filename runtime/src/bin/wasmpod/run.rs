//! `wasmpod run`: pods in the foreground.
//!
//! ```text
//!   target ──read──▶ Manifest ──assemble──▶ Kit ──▶ TerminalPods ◀──make── Workloads ──finished──▶ reports ──▶ exit status
//!                                            │ Services                      (controllers)
//!                                            └──▶ Cluster
//! ```

mod events;
pub(crate) mod make;
mod output;
pub(crate) mod prepare;
mod programs;
mod publish;
mod result;
mod signals;
pub(crate) mod target;

use super::args::{OutputFormat, RunArgs};
use super::terminal::{Destination, Prefixes, Printer};
use crate::report;
use crate::spans::Recorder;
use events::Events;
use make::TerminalPods;
use prepare::Kit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signals::Signals;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use wasmpod::net::publish::Published;
use wasmpod::pod::backoff::BackoffPolicy;
use wasmpod::workload::controller::ReplacePolicy;
use wasmpod::workload::{WorkloadReport, Workloads};
use wasmpod::{Error, Result};

/// What the shell sees after `--timeout`, as with `timeout(1)`.
const EXIT_TIMEOUT: u8 = 124;
/// What the shell sees when nobody reads the output any more: 128 + SIGPIPE.
const EXIT_BROKEN_PIPE: u8 = 141;

/// Runs everything in `args.target` to its end.
///
/// With `--phases`, when each of its phases began and ended is written into that file; the program began at `began`.
pub(crate) fn run(args: &RunArgs, root: Option<&Path>, began: u64) -> Result<ExitCode> {
    let Some(file) = &args.phases else { return run_to_end(args, root) };
    let recorder = Recorder::install().ok_or_else(|| Error::invalid("cannot be used with --verbose").at("--phases"))?;
    recorder.write_when_ready(file);
    recorder.listen(began);
    let status = run_to_end(args, root);
    recorder.take().write(file)?;
    status
}

fn run_to_end(args: &RunArgs, root: Option<&Path>) -> Result<ExitCode> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("cannot start the event loop", error))?;
    let status = runtime.block_on(foreground(args, root));
    // A thread that still reads standard input for a guest has nobody left to read for.
    runtime.shutdown_background();
    status
}

/// Takes as many descriptors as the user may have: shells give a thousand, for the sake of `select`, which nobody here calls, and that
/// is little for many pods.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the smaller number has to do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

async fn foreground(args: &RunArgs, root: Option<&Path>) -> Result<ExitCode> {
    // Reading may wait for a terminal or a pipe, on this very thread: until then signals end the program by themselves.
    let mut target = target::read(args)?;
    if let Some(selector) = &args.selector {
        target.manifest.select(selector)?;
    }
    let mut signals = Signals::listen()?;
    let assemble = async {
        let mode = prepare::mode(&target.manifest);
        let kit = Kit::assemble(args, target, root, mode, report::warn).await?;
        let published = make::services(&kit).await?;
        Ok::<_, Error>((kit, published))
    };
    let (kit, published) = tokio::select! {
        biased;
        status = signals.next() => return Ok(ExitCode::from(status)),
        assembled = assemble => assembled?,
    };
    let destination = if args.output.is_some() { Destination::Stderr } else { Destination::Apart };
    let printer = Printer::start(destination, args.raw).map_err(|error| Error::io("cannot start the output thread", error))?;
    let printer = Arc::new(printer);
    let events = Arc::new(Events::new(args.events));
    let mut run = Run::start(kit, published, args, &printer, &events, destination);
    let (stopped_with, reports) = wait(&mut run.workloads, &mut signals, args.timeout, &printer).await;
    drop(run);
    // A guest may hang in the host, and the terminal may be stopped: one more signal always ends the program.
    tokio::select! {
        biased;
        status = signals.next() => Ok(ExitCode::from(status)),
        status = finish(reports?, &events, printer, args.output, stopped_with) => status,
    }
}

/// All that runs.
struct Run {
    workloads: Workloads,
    /// The Services' ports on the machine.
    _published: Vec<Published>,
}

impl Run {
    fn start(
        kit: Kit,
        published: Vec<Published>,
        args: &RunArgs,
        printer: &Arc<Printer>,
        events: &Arc<Events>,
        destination: Destination,
    ) -> Self {
        let backoff = BackoffPolicy::KUBELET.with_initial(args.restart_backoff_initial);
        let prefixes = |labels: &[String], several| Prefixes::new(labels, several, args.prefix, destination);
        let maker = TerminalPods::new(kit, Arc::clone(printer), Arc::clone(events), prefixes, backoff);
        let specs = maker.kit().manifest().workloads().cloned().collect();
        let policy = ReplacePolicy::KUBERNETES.with_initial(args.restart_backoff_initial);
        Self { workloads: Workloads::start(specs, policy, Arc::new(maker)), _published: published }
    }
}

/// Waits until their output is shown, says what became of the pods, and what the shell will see.
async fn finish(
    reports: Vec<WorkloadReport>,
    events: &Events,
    printer: Arc<Printer>,
    output: Option<OutputFormat>,
    stopped_with: Option<u8>,
) -> Result<ExitCode> {
    events.all_shown().await;
    printer.finish().await;
    result::explain(&reports, stopped_with.is_some());
    let was_made = reports.iter().any(|workload| !workload.pods.is_empty());
    let is_read = match output.filter(|_| was_made) {
        Some(format) => result::print(&reports, format)?,
        None => true,
    };
    if !is_read && stopped_with.is_none() {
        return Ok(ExitCode::from(EXIT_BROKEN_PIPE));
    }
    let status = reports.iter().map(|workload| workload.outcome.exit_code).find(|code| *code != 0).unwrap_or(0);
    Ok(ExitCode::from(stopped_with.unwrap_or_else(|| u8::try_from(status & 0xff).unwrap_or(1))))
}

/// Waits until every workload has ended, and says what became of them. The first signal stops them gracefully, and so do `timeout` and
/// output that nobody reads any more; the second signal stops them at once. Says which exit status that means; none when they ended by
/// themselves.
async fn wait(
    workloads: &mut Workloads,
    signals: &mut Signals,
    timeout: Option<Duration>,
    printer: &Printer,
) -> (Option<u8>, Result<Vec<WorkloadReport>>) {
    let timeout = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let status = tokio::select! {
        reports = workloads.finished() => return (None, reports),
        status = signals.next() => status,
        () = timeout => EXIT_TIMEOUT,
        () = printer.closed() => EXIT_BROKEN_PIPE,
    };
    workloads.stop();
    tokio::select! {
        reports = workloads.finished() => return (Some(status), reports),
        _ = signals.next() => workloads.kill(),
    }
    // One more signal is for whoever waits for a guest that hangs in the host.
    tokio::select! {
        reports = workloads.finished() => (Some(status), reports),
        status = signals.next() => (Some(status), Ok(Vec::new())),
    }
}
