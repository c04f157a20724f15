//! A stack for the parser.
//!
//! Reading a tree recurses, here, in the parser and in Kubernetes' types, and a level takes from one kilobyte to fifty, by how the
//! program was optimised. The depth has a limit; so that the limit holds on whatever thread a manifest is read, and in every build, it
//! is read on a stack that is known to be large enough.

use crate::limits::MANIFEST_STACK_BYTES;
use crate::{Error, Result};
use std::thread;

/// Does `work` on a stack of [`MANIFEST_STACK_BYTES`], and waits for it.
///
/// # Errors
/// That of `work`, or [`Unavailable`](crate::ErrorKind::Unavailable) when the machine has no thread to give.
pub(super) fn with_room<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("manifest".to_owned()).stack_size(MANIFEST_STACK_BYTES).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| Error::io("cannot start a thread to read the manifest", error))?;
        thread.join().unwrap_or_else(|_| Err(Error::internal("reading the manifest failed")))
    })
}
