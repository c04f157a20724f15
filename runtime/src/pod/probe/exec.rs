//! `exec` of probes and hooks: one more instance in the container, its status, and the start of what it prints.

use crate::container::{Container, ContainerEvent};
use crate::limits::PROBE_ANSWER_BYTES_MAX;
use crate::log::{Batch, LogReader, LogWriter, pipe};
use crate::{Error, Result};
use std::fmt;
use tokio::sync::oneshot;

/// How the instance ended: its status, or why there was none.
type Ended = Result<i32>;

/// An instance that runs. Dropping it kills the instance.
pub(in crate::pod) struct ExecRun {
    ended: oneshot::Receiver<Ended>,
    output: LogReader,
    /// Killed when dropped.
    _instance: Container,
}

impl fmt::Debug for ExecRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecRun").finish_non_exhaustive()
    }
}

impl ExecRun {
    /// Starts an instance by `start`, which gets its output and whom to tell of its end.
    ///
    /// # Errors
    /// Those of `start`.
    pub(in crate::pod) fn begin(
        start: impl FnOnce(&LogWriter, Box<dyn FnMut(ContainerEvent) + Send>) -> Result<Container>,
    ) -> Result<Self> {
        let (writer, output) = pipe();
        let (tell, ended) = oneshot::channel();
        let mut tell = Some(tell);
        let report = move |event| {
            let end = match event {
                ContainerEvent::Started => return,
                ContainerEvent::StartFailed(error) => Err(error),
                ContainerEvent::Exited(exit) => Ok(exit.code),
            };
            if let Some(tell) = tell.take() {
                // Nobody waits for an instance that was given up.
                drop(tell.send(end));
            }
        };
        let instance = start(&writer, Box::new(report))?;
        Ok(Self { ended, output, _instance: instance })
    }

    /// Waits for the end; its status, and the start of what was printed.
    ///
    /// # Errors
    /// The instance could not be started.
    pub(in crate::pod) async fn finished(self) -> Result<(i32, String)> {
        let Self { ended, output, _instance } = self;
        let (ended, printed) = tokio::join!(ended, beginning(output));
        let status = ended.unwrap_or_else(|_| Err(Error::internal("the instance is gone without a word")))?;
        Ok((status, printed))
    }
}

/// The first bytes of what is printed; the rest is thrown away so that the instance never waits for a reader.
async fn beginning(mut output: LogReader) -> String {
    let (mut batch, mut bytes) = (Batch::default(), Vec::new());
    while bytes.len() < PROBE_ANSWER_BYTES_MAX && output.receive(&mut batch).await {
        batch.chunks().for_each(|(_, chunk)| bytes.extend_from_slice(chunk));
    }
    bytes.truncate(PROBE_ANSWER_BYTES_MAX);
    String::from_utf8_lossy(&bytes).into_owned()
}
