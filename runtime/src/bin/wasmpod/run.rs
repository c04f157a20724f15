//! `wasmpod run`: pods in the foreground.
//!
//! ```text
//!   target ──read──▶ Manifest ──lower──▶ pods ──prepare──▶ programs, networks, volumes ──start──▶ Pods ──wait──▶ exit status
//! ```

mod output;
mod prepare;
mod progress;
mod publish;
mod signals;
mod target;

use super::args::{OutputFormat, RunArgs};
use super::report;
use super::terminal::{Destination, Printer, prefixes};
use output::TerminalOutput;
use prepare::Prepared;
use signals::Signals;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use wasmpod::pod::backoff::BackoffPolicy;
use wasmpod::pod::state::Outcome;
use wasmpod::pod::{Pod, PodConfig};
use wasmpod::{Error, Result};

/// What the shell sees after `--timeout`, as with `timeout(1)`.
const EXIT_TIMEOUT: u8 = 124;
/// What the shell sees when nobody reads the output any more: 128 + SIGPIPE.
const EXIT_BROKEN_PIPE: u8 = 141;

/// Runs everything in `args.target` to its end.
pub(crate) fn run(args: &RunArgs, root: Option<&Path>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("cannot start the event loop", error))?;
    let status = runtime.block_on(foreground(args, root));
    // A thread that still reads standard input for a guest has nobody left to read for.
    runtime.shutdown_background();
    status
}

async fn foreground(args: &RunArgs, root: Option<&Path>) -> Result<ExitCode> {
    // Reading may wait for a terminal or a pipe, on this very thread: until then signals end the program by themselves.
    let target = target::read(args)?;
    let mut signals = Signals::listen()?;
    let prepared = tokio::select! {
        biased;
        status = signals.next() => return Ok(ExitCode::from(status)),
        prepared = prepare::pods(args, target, root) => prepared?,
    };
    let destination = if args.output.is_some() { Destination::Stderr } else { Destination::Apart };
    let printer = Printer::start(destination).map_err(|error| Error::io("cannot start the output thread", error))?;
    let printer = Arc::new(printer);
    let pods = start(prepared, &printer, destination, args.restart_backoff_initial)?;
    let stopped_with = wait(&pods, &mut signals, args.timeout, &printer).await;
    // A guest may hang in the host, and the terminal may be stopped: one more signal always ends the program.
    tokio::select! {
        biased;
        status = signals.next() => Ok(ExitCode::from(status)),
        status = finish(pods, printer, args.output, stopped_with) => status,
    }
}

/// Collects what became of the pods, waits until their output is shown, and says what the shell will see.
async fn finish(
    pods: Vec<Running>,
    printer: Arc<Printer>,
    output: Option<OutputFormat>,
    stopped_with: Option<u8>,
) -> Result<ExitCode> {
    let mut outcomes = Vec::with_capacity(pods.len());
    for running in &pods {
        outcomes.push(running.pod.finished().await?);
    }
    let objects: Vec<_> = pods.iter().map(Running::object).collect();
    drop(pods);
    if let Some(printer) = Arc::into_inner(printer) {
        // An error would mean that it panicked, which is said already.
        drop(tokio::task::spawn_blocking(move || printer.finish()).await);
    }
    if stopped_with.is_none() {
        explain(&objects, &outcomes);
    }
    if let Some(format) = output {
        print_objects(&objects, format)?;
    }
    let status = outcomes.iter().map(|outcome| outcome.exit_code).find(|code| *code != 0).unwrap_or(0);
    Ok(ExitCode::from(stopped_with.unwrap_or_else(|| u8::try_from(status & 0xff).unwrap_or(1))))
}

/// A pod that was started, and the object that it was made from.
struct Running {
    pod: Pod,
    object: k8s_openapi::api::core::v1::Pod,
}

impl Running {
    /// The object with the pod's present status.
    fn object(&self) -> k8s_openapi::api::core::v1::Pod {
        let (_, status) = self.pod.status();
        k8s_openapi::api::core::v1::Pod { status: Some(status), ..self.object.clone() }
    }
}

fn start(
    prepared: Vec<Prepared>,
    printer: &Arc<Printer>,
    destination: Destination,
    backoff_initial: Duration,
) -> Result<Vec<Running>> {
    let several = prepared.len() > 1;
    let label = |pod: &str, container: &str| if several { format!("{pod}/{container}") } else { container.to_owned() };
    let specs = prepared.iter().map(|pod| pod.sandbox.spec());
    let labels: Vec<String> = specs
        .flat_map(|spec| spec.containers.iter().map(|container| label(&spec.name, &container.name)).collect::<Vec<_>>())
        .collect();
    let mut prefixes = prefixes(&labels, destination).into_iter();
    let mut labels = labels.into_iter();
    let start = |Prepared { object, sandbox, images }: Prepared| {
        let (names, prefixes) = (labels.by_ref().take(images.len()).collect(), prefixes.by_ref().take(images.len()).collect());
        let output = Arc::new(TerminalOutput::new(Arc::clone(printer), names, prefixes));
        let backoff = BackoffPolicy::KUBELET.with_initial(backoff_initial);
        let host_ips = prepare::host_ips();
        Ok(Running { pod: Pod::start(PodConfig { sandbox, images, backoff, output, host_ips })?, object })
    };
    prepared.into_iter().map(start).collect()
}

/// Waits until every pod has ended. The first signal stops them gracefully, and so do `timeout` and output that nobody reads any
/// more; the second signal stops them at once. Says which exit status that means; none when the pods ended by themselves.
async fn wait(pods: &[Running], signals: &mut Signals, timeout: Option<Duration>, printer: &Printer) -> Option<u8> {
    let timeout = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let status = tokio::select! {
        _ = all_finished(pods) => return None,
        status = signals.next() => status,
        () = timeout => EXIT_TIMEOUT,
        () = printer.closed() => EXIT_BROKEN_PIPE,
    };
    for running in pods {
        running.pod.stop(None).await;
    }
    tokio::select! {
        _ = all_finished(pods) => {}
        _ = signals.next() => {
            for running in pods {
                running.pod.kill().await;
            }
        }
    }
    Some(status)
}

async fn all_finished(pods: &[Running]) {
    for running in pods {
        // What went wrong is said when the outcomes are collected.
        drop(running.pod.finished().await);
    }
}

/// Prints the Pod objects on stdout.
fn print_objects(objects: &[k8s_openapi::api::core::v1::Pod], format: OutputFormat) -> Result<()> {
    let failed = |error: String| Error::internal("cannot write the result").because(error);
    let text = match format {
        OutputFormat::Json => match objects {
            [object] => serde_json::to_string_pretty(object),
            objects => serde_json::to_string_pretty(&serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects })),
        }
        .map_err(|error| failed(error.to_string()))?,
        OutputFormat::Yaml => {
            let documents: Result<Vec<String>, _> = objects.iter().map(serde_saphyr::to_string).collect();
            documents.map_err(|error| failed(error.to_string()))?.join("---\n")
        }
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end()).map_err(|error| Error::io("cannot write the result", error))
}

/// Says why pods failed, where the containers' own output cannot have said it.
fn explain(objects: &[k8s_openapi::api::core::v1::Pod], outcomes: &[Outcome]) {
    for (object, outcome) in objects.iter().zip(outcomes).filter(|(_, outcome)| !outcome.succeeded) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if let (Some(reason), message) = (outcome.reason, outcome.message.as_deref().unwrap_or_default()) {
            report::warn(&format!("pod {name} failed: {reason}: {message}"));
        }
        let Some(status) = &object.status else { continue };
        for container in status.init_container_statuses.iter().chain(&status.container_statuses).flatten() {
            let Some(ended) = container.state.as_ref().and_then(|state| state.terminated.as_ref()) else { continue };
            if ended.exit_code != 0 {
                let reason = ended.reason.as_deref().unwrap_or("Error");
                let message = ended.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
                report::warn(&format!(
                    "container {} of pod {name}: {reason}, exit code {}{message}",
                    container.name, ended.exit_code
                ));
            }
        }
    }
}
