//! The containers of one pod, on the terminal.

use super::events::seconds;
use crate::report;
use crate::terminal::{Prefix, Printer};
use std::sync::Arc;
use std::time::Duration;
use wasmpod::Error;
use wasmpod::log::{LogWriter, pipe};
use wasmpod::pod::ContainerOutput;
use wasmpod::pod::state::{Attempt, ContainerIndex};

/// Sends every run of a pod's containers to the printing thread.
pub(super) struct TerminalOutput {
    printer: Arc<Printer>,
    names: Vec<String>,
    users: Vec<Option<String>>,
    prefixes: Vec<Option<Prefix>>,
}

impl TerminalOutput {
    /// Output behind `prefixes`, one for each of the containers called `names`, or `users` when their images are spoken of.
    pub(super) fn new(
        printer: Arc<Printer>,
        names: Vec<String>,
        users: Vec<Option<String>>,
        prefixes: Vec<Option<Prefix>>,
    ) -> Self {
        Self { printer, names, users, prefixes }
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

    fn pull_failed(&self, container: ContainerIndex, error: &Error, wait: Option<Duration>) {
        let user = self.users.get(container.0).and_then(Option::as_deref);
        match wait {
            None => {
                report::tell_about(user, error);
            }
            Some(wait) => {
                let user = user.map(|user| format!("{user}: ")).unwrap_or_default();
                let again = format!("trying again in {} (ImagePullBackOff)", seconds(wait));
                report::warn(&format!("{user}{}; {again}", error.chain()));
            }
        }
    }
}
