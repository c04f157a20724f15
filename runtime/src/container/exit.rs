//! What the end of a guest's call means for its container: an exit status as Kubernetes shows it.

use super::memory::OutOfMemory;
use crate::limits::TERMINATION_MESSAGE_BYTES_MAX;
use crate::pod::state::ContainerExit;
use crate::{Error, ErrorKind, Result};
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// The exit of a guest whose `_start` or `run` returned, exited or trapped.
///
/// | end | status |
/// |---|---|
/// | returned | 0 |
/// | `proc_exit(n)`, `exit-with-code(n)` | n, its low 8 bits as on Linux |
/// | memory limit | 137, `OOMKilled` |
/// | trap | 134, with the WebAssembly back-trace as its message |
pub(super) fn of_call(result: wasmtime::Result<()>) -> ContainerExit {
    let Err(error) = result else { return ContainerExit::exited(0) };
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        return ContainerExit::exited(code & 0xff);
    }
    if let Some(cause) = error.downcast_ref::<OutOfMemory>() {
        return ContainerExit::out_of_memory(cause.to_string());
    }
    ContainerExit::trapped(describe(&error))
}

/// What it means that the instance could not be made: its start function trapped or it needs more memory than it may have (an exit,
/// as of a process that dies early), or something that has nothing to do with the guest (an error).
pub(super) fn of_instantiation(error: wasmtime::Error) -> Result<ContainerExit> {
    if error.is::<OutOfMemory>() || error.is::<I32Exit>() || error.is::<Trap>() {
        return Ok(of_call(Err(error)));
    }
    let error = Error::new(ErrorKind::Unavailable, "cannot make an instance").because(error.into_boxed_dyn_error());
    Err(error.with_reason("CreateContainerError"))
}

/// The innermost cause, then the back-trace, cut to what a termination message may hold.
pub(super) fn describe(error: &wasmtime::Error) -> String {
    let mut text = error.root_cause().to_string();
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        text.push_str("\nwasm backtrace:\n");
        text.push_str(&backtrace.to_string());
    }
    truncate(text, TERMINATION_MESSAGE_BYTES_MAX)
}

fn truncate(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::state::ExitCause;

    #[test]
    fn exit_statuses_keep_their_low_byte() {
        assert_eq!(of_call(Ok(())), ContainerExit::exited(0));
        for (code, shown) in [(0, 0), (3, 3), (200, 200), (256, 0), (-1, 255)] {
            assert_eq!(of_call(Err(I32Exit(code).into())).code, shown);
        }
    }

    #[test]
    fn a_trap_says_what_it_was() {
        let exit = of_call(Err(Trap::UnreachableCodeReached.into()));
        assert_eq!((exit.code, exit.cause), (134, ExitCause::Trapped));
        assert!(exit.message.contains("unreachable"), "{}", exit.message);
    }

    #[test]
    fn messages_are_cut_between_characters() {
        assert_eq!(truncate("aé".repeat(3), 5), "aéa");
    }
}
