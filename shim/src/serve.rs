//! The server of a pod: what `start` leaves behind.
//!
//! ```text
//!   alone in its session ─▶ log ─▶ namespaces, privileges ─▶ control group ─▶ threads ─▶ requests ─▶ Shutdown ─▶ clean up
//!                                                                                └─▶ engine: aside, before a guest runs
//! ```

use crate::arguments::Arguments;
use crate::bundle::{Network, Plan};
use crate::events::Events;
use crate::limits::SHUTDOWN_TIME_MAX;
use crate::pod::Pod;
use crate::task::runs_something;
use crate::{cgroup, environment, log, network, privileges, service, surroundings};
use containerd_shim_protos::ttrpc::r#async::Server;
use containerd_shim_protos::ttrpc::r#async::transport::Listener;
use rustix::fs::{Mode, OFlags};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use tokio::runtime::Handle;
use tokio::sync::watch;
use wasmpod::{Error, Result};

/// Serves the pod until its last task is deleted and containerd says that it is over.
///
/// # Errors
/// There is no socket to serve. What is wrong with the pod is told to whoever makes its first container.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bundle = match &arguments.bundle {
        Some(bundle) => bundle.clone(),
        None => environment::working_dir()?,
    };
    let listener = take_listener()?;
    // Signals to the group of whoever started us are not ours. An error means that we are alone already.
    let _ = rustix::process::setsid();
    // `start` has narrowed it for the socket; guests' files have the usual modes.
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    log::start(&bundle, arguments.debug);
    let plan = Plan::read(&bundle, &arguments.id);
    let entered = plan.and_then(|plan| surroundings::enter(&plan).map(|()| plan));
    let group = entered.as_ref().ok().and_then(|plan| plan.cgroup.clone());
    let group_to_join = group.clone().filter(|group| !cgroup::join_alone(group));
    // Requests are served on this thread, the only one that mounts. All others descend from the ones that the runtime starts.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().on_thread_start(privileges::drop_mounting).build();
    let runtime = runtime.map_err(|error| Error::io("cannot start the event loop", error))?;
    let served = runtime.block_on(serve(arguments, listener, entered, group_to_join));
    // A guest may be in the middle of something that cannot be interrupted.
    runtime.shutdown_background();
    if let Some(socket) = &arguments.socket {
        let _ = std::fs::remove_file(socket);
    }
    if let Some(group) = group {
        cgroup::leave(&group);
    }
    served
}

/// The socket that `start` has bound is our standard input.
fn take_listener() -> Result<UnixListener> {
    let failed = |error: std::io::Error| Error::io("cannot take the socket over", error);
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let null = rustix::fs::open(Path::new("/dev/null"), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let null = null.map_err(|errno| failed(errno.into()))?;
    rustix::stdio::dup2_stdin(null).map_err(|errno| failed(errno.into()))?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

async fn serve(arguments: &Arguments, listener: UnixListener, entered: Result<Plan>, group: Option<String>) -> Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)
        .map_err(|error| Error::io("cannot listen on the socket that `start` made", error))?;
    let joined = join_cgroup(group);
    let runs_at_once = entered.as_ref().is_ok_and(runs_something);
    let network = entered.and_then(|plan| {
        tracing::debug!(isolated = plan.network == Network::Isolated, "serving");
        network::open(&plan, Handle::current())
    });
    if let Err(error) = &network {
        tracing::error!(error = error.chain(), "the pod cannot run");
    }
    let events = Events::start(environment::events_address(), &arguments.namespace);
    let pod = Pod::new(arguments.namespace.clone(), arguments.address.clone(), network, events.clone(), joined);
    let mut server = Server::new().add_listener(Listener::from(listener)).register_service(service::services(&pod));
    let failed = |error: containerd_shim_protos::ttrpc::Error| Error::internal("cannot serve").because(error);
    server.start().await.map_err(failed)?;
    if runs_at_once {
        pod.get_ready();
    }
    pod.finished().await;
    // The answer to the request that ended it, and the last events, are on their way.
    let over = async {
        events.drain().await;
        server.shutdown().await
    };
    drop(tokio::time::timeout(SHUTDOWN_TIME_MAX, over).await);
    Ok(())
}

/// Joins the pod's control group, unless that is done, aside; tells when it is. It takes milliseconds, see [`cgroup::join_alone`], and
/// nothing but guests needs to be inside.
fn join_cgroup(path: Option<String>) -> watch::Receiver<bool> {
    let done = watch::Sender::new(path.is_none());
    let joined = done.subscribe();
    if let Some(path) = path {
        tokio::task::spawn_blocking(move || {
            if let Err(error) = cgroup::join(&path) {
                tracing::warn!(error = error.chain(), "the pod is not in its control group");
            }
            done.send_replace(true);
        });
    }
    joined
}
