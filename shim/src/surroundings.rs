//! Where the server stands: a mount namespace of its own, the pod's network namespace, few privileges.
//!
//! All of it is entered before there is a second thread, so every thread of the server, those of guests included, is inside. What
//! is mounted from then on is seen by the server alone and vanishes with it, even when it is killed.

use crate::bundle::{Network, Plan};
use crate::privileges;
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountPropagationFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::os::fd::AsFd as _;
use std::path::Path;
use wasmpod::{Error, Result};

/// Files of the pod by which the server's own resolver goes, as the resolver of a process in the pod does.
const RESOLVER_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Enters the surroundings of the pod that `plan` founds.
///
/// # Errors
/// A namespace cannot be entered: the pod must not run where it does not belong.
pub(crate) fn enter(plan: &Plan) -> Result<()> {
    own_mounts()?;
    if let Network::Namespace(path) = &plan.network {
        let at = |errno: rustix::io::Errno| {
            Error::io("cannot enter the pod's network namespace", errno.into()).at(path.display().to_string())
        };
        let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(at)?;
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(at)?;
    }
    use_resolver_files(plan);
    privileges::drop_unneeded()
}

/// A copy of the machine's mounts, in which later mounts of the machine appear and from which none gets out.
fn own_mounts() -> Result<()> {
    let failed = |errno: rustix::io::Errno| Error::io("cannot make a mount namespace", errno.into());
    // Deprecated for the sake of another flag, CLONE_FILES, with which a descriptor could vanish under its owner.
    #[expect(deprecated, reason = "safe for this flag, and the replacement is not marked so")]
    rustix::thread::unshare(UnshareFlags::NEWNS).map_err(failed)?;
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).map_err(failed)
}

/// Puts the pod's `resolv.conf` and `hosts` in the place of the machine's, for this process.
pub(crate) fn use_resolver_files(plan: &Plan) {
    for file in RESOLVER_FILES {
        if let Some(source) = plan.bind_source(file)
            && Path::new(file).exists()
            && let Err(errno) = rustix::mount::mount_bind(source, file)
        {
            tracing::warn!(%errno, source = %source.display(), file, "names are looked up by the machine's file");
        }
    }
}
