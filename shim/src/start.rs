//! `start`: answers with the address of the server of a pod, and starts that server for the first container of the pod.
//!
//! containerd takes everything that this prints, on stdout and stderr alike, for the answer. It has to be quick, too: it is on the
//! way to every container. So there is no engine here, no runtime, no log.

use crate::address::{socket_path, url};
use crate::arguments::Arguments;
use crate::bundle::{self, Role};
use crate::environment;
use crate::limits::BOOTSTRAP_BYTES_MAX;
use containerd_shim_protos::bootstrap_api::BootstrapParams;
use containerd_shim_protos::protobuf::Message as _;
use rustix::fs::Mode;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use wasmpod::{Error, ErrorKind, Result};

/// Answers on stdout, in one line.
///
/// # Errors
/// There is no such bundle, the socket cannot be made, or the container's sandbox has no server.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let parameters = parameters(&arguments.id);
    let bundle = environment::working_dir()?;
    let role = bundle::role(&bundle)?;
    let dir = parameters.as_ref().and_then(|parameters| parameters.socket_dir.as_deref());
    let socket = socket_path(dir, &arguments.address, &arguments.namespace, role.group(&arguments.id));
    match role {
        Role::Member { sandbox } => {
            UnixStream::connect(&socket).map_err(|error| {
                Error::io("the server of the container's sandbox does not answer", error).at(format!("sandbox {sandbox}"))
            })?;
        }
        Role::Sandbox | Role::Alone => leave_server(arguments, &socket, &bundle)?,
    }
    let address = url(&socket);
    // Where containerd 1.6 and 1.7 find the server again when they are restarted.
    std::fs::write(bundle.join("address"), &address)
        .map_err(|error| Error::io("cannot write the server's address", error).at(bundle.display().to_string()))?;
    let answer = match parameters {
        Some(_) => format!("{{\"version\":3,\"address\":\"{address}\",\"protocol\":\"ttrpc\"}}"),
        None => address,
    };
    std::io::stdout().write_all(answer.as_bytes()).map_err(|error| Error::io("cannot answer", error))
}

/// What containerd 2.3 says of itself. Older ones send the runtime's options or nothing; what cannot be understood is no failure.
fn parameters(id: &str) -> Option<BootstrapParams> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(BOOTSTRAP_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    // Options are an `Any`, whose first field is text too.
    BootstrapParams::parse_from_bytes(&bytes).ok().filter(|parameters| parameters.instance_id == id)
}

/// Binds the socket and starts the server that listens on it. Whoever connects from now on is served as soon as it runs.
fn leave_server(arguments: &Arguments, socket: &Path, bundle: &Path) -> Result<()> {
    let listener = bind(socket)?;
    let mut server = Command::new(environment::program()?);
    server.args(["-namespace", &arguments.namespace, "-address", &arguments.address, "-id", &arguments.id]);
    server.arg("-socket").arg(socket).arg("-bundle").arg(bundle);
    if arguments.debug {
        server.arg("-debug");
    }
    // Standard input is the way to hand a descriptor over.
    server.arg("serve").stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
    // containerd's own, which would have the linker look for libraries in its directories and in the bundle first.
    server.env_remove("LD_LIBRARY_PATH");
    let started = server.current_dir("/").process_group(0).spawn();
    started.map(drop).map_err(|error| {
        let _ = std::fs::remove_file(socket);
        Error::io("cannot start the server", error)
    })
}

fn bind(socket: &Path) -> Result<UnixListener> {
    let failed = |error| Error::io("cannot make the server's socket", error).at(socket.display().to_string());
    if let Some(dir) = socket.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(dir).map_err(failed)?;
    }
    match UnixListener::bind(socket) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            if UnixStream::connect(socket).is_ok() {
                return Err(Error::new(ErrorKind::Conflict, "a server for this container runs already"));
            }
            // What a server that was killed has left.
            std::fs::remove_file(socket).map_err(failed)?;
            UnixListener::bind(socket).map_err(failed)
        }
        bound => bound.map_err(failed),
    }
}
