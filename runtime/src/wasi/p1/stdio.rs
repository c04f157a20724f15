//! `fd_read` and `fd_write` on the standard streams.

use super::errno::Errno;
use super::guest::Guest;
use crate::limits;
use crate::wasi::{HasWasi, Output, Stdin};

impl<T: HasWasi> Guest<'_, '_, T> {
    /// Reads what there is, after waiting for the first byte.
    pub(super) async fn read_input(&mut self, input: Stdin, nonblocking: bool, buffers: u32, count: u32) -> Result<usize, Errno> {
        let total = self.memory().total(buffers, count)?;
        if total == 0 {
            return Ok(0);
        }
        loop {
            match input.take(total.min(limits::STDIN_BUFFER_BYTES)) {
                Ok(Some(bytes)) => return self.memory().scatter(buffers, count, &bytes),
                Ok(None) if nonblocking => return Err(Errno::Again),
                Ok(None) => std::future::poll_fn(|cx| input.poll_ready(cx)).await,
                Err(error) => {
                    tracing::debug!(target: "wasmpod::wasi", %error, "standard input");
                    return Err(Errno::Io);
                }
            }
        }
    }

    /// Writes everything, waiting for room; without waiting, what there is room for.
    pub(super) async fn write_output(
        &mut self,
        output: Output,
        nonblocking: bool,
        buffers: u32,
        count: u32,
    ) -> Result<usize, Errno> {
        let total = self.memory().total(buffers, count)?;
        let mut written = 0;
        while written < total {
            let taken = {
                let memory = self.memory();
                let (slices, used) = memory.gather(buffers, count, written)?;
                let first = slices.iter().take(used).find(|slice| !slice.is_empty());
                first.map_or(0, |slice| output.try_write(slice))
            };
            written += taken;
            match taken {
                0 if nonblocking && written == 0 => return Err(Errno::Again),
                0 if nonblocking => break,
                0 => std::future::poll_fn(|cx| output.poll_ready(cx)).await,
                _ => {}
            }
        }
        Ok(written)
    }
}
