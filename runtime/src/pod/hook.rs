//! Running a hook: `lifecycle.postStart` and `lifecycle.preStop`, as the kubelet's `pkg/kubelet/lifecycle` does.

use super::probe::exec::ExecRun;
use super::probe::http;
use super::spec::Hook;
use crate::net::PodNet;
use crate::{Error, Result};

/// What the requests of hooks call themselves.
const USER_AGENT: &str = "kube-lifecycle/1.35";

/// Runs `hook` to its end; who gives it up drops the future. `run` is the instance of an `exec`. An `httpGet` has succeeded when there
/// was an answer, whatever its status: a kubelet does not look at it.
///
/// # Errors
/// What went wrong, for the log.
pub(super) async fn run(hook: &Hook, net: &PodNet, run: Option<Result<ExecRun>>) -> Result<()> {
    match (hook, run) {
        (Hook::Sleep(duration), _) => {
            tokio::time::sleep(*duration).await;
            Ok(())
        }
        (Hook::HttpGet(get), _) => match http::request(net, get, USER_AGENT).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::new(crate::ErrorKind::Unavailable, error)),
        },
        (Hook::Exec { .. }, Some(run)) => match run?.finished().await? {
            (0, _) => Ok(()),
            (status, _) => Err(Error::new(crate::ErrorKind::Unavailable, format!("the command exited with status {status}"))),
        },
        (Hook::Exec { .. }, None) => Err(Error::internal("there is nothing to exec in")),
    }
}
