//! The containers of one pod, on the terminal.

use crate::report;
use crate::terminal::{Prefix, Printer};
use std::sync::Arc;
use wasmpod::Error;
use wasmpod::log::{LogWriter, pipe};
use wasmpod::pod::ContainerOutput;
use wasmpod::pod::state::{Attempt, ContainerIndex};

/// Sends every run of a pod's containers to the printing thread.
pub(super) struct TerminalOutput {
    printer: Arc<Printer>,
    names: Vec<String>,
    prefixes: Vec<Option<Prefix>>,
}

impl TerminalOutput {
    /// Output behind `prefixes`, one for each of the containers called `names`.
    pub(super) fn new(printer: Arc<Printer>, names: Vec<String>, prefixes: Vec<Option<Prefix>>) -> Self {
        Self { printer, names, prefixes }
    }
}

impl ContainerOutput for TerminalOutput {
    fn open(&self, container: ContainerIndex, _attempt: Attempt) -> LogWriter {
        let (writer, reader) = pipe();
        self.printer.show(reader, self.prefixes.get(container.0).cloned().flatten());
        writer
    }

    fn start_failed(&self, container: ContainerIndex, error: &Error) {
        let name = self.names.get(container.0).map(String::as_str).unwrap_or_default();
        report::warn(&format!("container {name} could not be started: {}", error.chain()));
    }
}
