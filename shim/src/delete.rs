//! `delete`: containerd calls it once a server is gone, to remove what it may have left, and asks how the container ended.
//!
//! Little can be left: mounts live in the server's own mount namespace and end with it. The socket and the control group stay when
//! the server was killed. A container of a pod whose server lives is none of `delete`'s business.

use crate::address::socket_path;
use crate::arguments::Arguments;
use crate::bundle::{Plan, Role};
use crate::{cgroup, environment};
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Message as _, MessageField};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use wasmpod::{Error, Result};

/// How a container counts whose server did not live to say how it ended: as killed.
const KILLED: u32 = 137;

/// Cleans up and answers on stdout with a `DeleteResponse`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bundle = match &arguments.bundle {
        Some(bundle) => bundle.clone(),
        None => environment::working_dir()?,
    };
    // Without a bundle there is nothing to clean up, and containerd still wants its answer.
    if let Ok(plan) = Plan::read(&bundle, &arguments.id)
        && !matches!(plan.role, Role::Member { .. })
    {
        clean_up(arguments, &bundle, &plan);
    }
    let exited_at = MessageField::some(Timestamp::now());
    let answer = DeleteResponse { exit_status: KILLED, exited_at, ..DeleteResponse::default() };
    let bytes = answer.write_to_bytes().map_err(|error| Error::internal("cannot encode the answer").because(error))?;
    std::io::stdout().write_all(&bytes).map_err(|error| Error::io("cannot answer", error))
}

fn clean_up(arguments: &Arguments, bundle: &std::path::Path, plan: &Plan) {
    let told = std::fs::read_to_string(bundle.join("address")).ok();
    let told = told.and_then(|address| address.strip_prefix("unix://").map(std::path::PathBuf::from));
    let socket = told.unwrap_or_else(|| socket_path(None, &arguments.address, &arguments.namespace, &arguments.id));
    if UnixStream::connect(&socket).is_err() {
        let _ = std::fs::remove_file(&socket);
    }
    if let Some(path) = &plan.cgroup {
        cgroup::remove(path);
    }
}
