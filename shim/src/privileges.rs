//! What the server keeps of root's privileges once it stands where it belongs.
//!
//! A guest has no way to a system call, so all of this is a second wall: what remains is what the server itself needs later.
//!
//! ```text
//!   the thread that serves requests      KEPT and MOUNTING    root file systems of containers that join the pod later
//!   every other one, guests' included    KEPT
//! ```

use rustix::thread::{CapabilitySet, CapabilitySets};
use wasmpod::{Error, Result};

/// Changing the files of containers whoever owns them, and listening below port 1024.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::NET_BIND_SERVICE);
/// The kernel has no smaller one for mounts.
const MOUNTING: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// Gives up every other capability, and for ever the way to get one by a set-user-id program. Call it before there are threads:
/// each has privileges of its own.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn drop_unneeded() -> Result<()> {
    let failed = |errno: rustix::io::Errno| Error::io("cannot give up privileges", errno.into());
    rustix::thread::set_no_new_privs(true).map_err(failed)?;
    for capability in CapabilitySet::all().difference(KEPT.union(MOUNTING)).iter() {
        // Capabilities that this kernel does not have are in no set.
        if rustix::thread::capability_is_in_bounding_set(capability).unwrap_or(false) {
            rustix::thread::remove_capability_from_bounding_set(capability).map_err(failed)?;
        }
    }
    keep(KEPT.union(MOUNTING)).map_err(failed)
}

/// Gives up mounting, for the calling thread and for all that it starts.
pub(crate) fn drop_mounting() {
    if let Err(errno) = keep(KEPT) {
        tracing::error!(%errno, "a thread cannot give up the privilege to mount");
    }
}

fn keep(wanted: CapabilitySet) -> rustix::io::Result<()> {
    let kept = rustix::thread::capabilities(None)?.permitted.intersection(wanted);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)
}
