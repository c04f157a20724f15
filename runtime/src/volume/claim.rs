//! `persistentVolumeClaim` volumes: a directory that outlives its pods.
//!
//! ```text
//! <root>/volumes/default/data     the claim "data" of the namespace "default"; nothing here removes it
//! ```
//!
//! The directory is made at the first use of a claim that the manifest declares. A pod that only names a claim finds what an earlier
//! one has left, and is told what to write when there is nothing: a misspelt name must not begin with an empty directory.

use super::tree::make_dir;
use crate::directory::open_dir;
use crate::{Error, Result};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::CString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Opens the directory of `claim` in `claims_dir`, and makes it when it is missing and `declared`.
pub(super) fn open(claim: &str, declared: bool, claims_dir: Option<&Path>) -> Result<OwnedFd> {
    let claims_dir = claims_dir.ok_or_else(|| {
        Error::invalid(format!("there is no place for the claim {claim:?}, which outlives the pod"))
            .hint("give wasmpod a directory for its data by --root")
    })?;
    let failed = |error: io::Error| Error::io(format!("cannot open the directory of the claim {claim:?}"), error);
    let name = CString::new(claim).map_err(|_| Error::invalid(format!("{claim:?} is no name for a claim")))?;
    let parent = match open_parent(claims_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && declared => {
            // Private to the user; the claims in it are open to all its pods.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(claims_dir);
            made.and_then(|()| open_parent(claims_dir)).map_err(failed)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_declared(claim, claims_dir)),
        opened => opened.map_err(failed)?,
    };
    match open_dir(parent.as_fd(), &name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && declared => match make_dir(parent.as_fd(), claim, 0o777) {
            // Another pod has made it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_dir(parent.as_fd(), &name).map_err(failed),
            made => made.map_err(failed),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(not_declared(claim, claims_dir)),
        opened => opened.map_err(failed),
    }
}

fn open_parent(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn not_declared(claim: &str, claims_dir: &Path) -> Error {
    Error::not_found(format!(
        "there is no claim {claim:?}: neither in the manifest nor from an earlier pod in {}",
        claims_dir.display()
    ))
    .hint(format!(
        "add it to the manifest: {{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: {claim}}}, \
             spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}}}"
    ))
}
