//! One direction of a connection: a bounded byte queue between one writer and one reader.

use super::byte_queue::ByteQueue;
use super::waiters::Waiters;
use bytes::Bytes;
use std::io::IoSlice;

/// The queue and what its two ends have said about it. All fields are guarded by the one lock around it.
#[derive(Debug)]
pub(super) struct Flow {
    /// What waits, never more than `capacity`.
    bytes: ByteQueue,
    /// What the writer may send and the reader may receive; the smaller of the two counts.
    send_limit: usize,
    receive_limit: usize,
    /// The writer has ended: after `bytes`, the reader sees the end of the stream.
    pub(super) ended: bool,
    /// The connection was reset: nothing more goes in; `bytes` can still be read.
    pub(super) broken: bool,
    /// The reader wants no more (`SHUT_RD`): instead of waiting it sees the end of the stream.
    pub(super) reader_shut: bool,
    /// The reading socket is closed.
    pub(super) reader_closed: bool,
    /// What is written meets nobody, and is answered with a reset: the reader is closed, or has shut down both its directions.
    pub(super) unwanted: bool,
    pub(super) readers: Waiters,
    pub(super) writers: Waiters,
}

impl Flow {
    pub(super) fn new(send_limit: usize, receive_limit: usize) -> Self {
        Self {
            bytes: ByteQueue::default(),
            send_limit,
            receive_limit,
            ended: false,
            broken: false,
            reader_shut: false,
            reader_closed: false,
            unwanted: false,
            readers: Waiters::default(),
            writers: Waiters::default(),
        }
    }

    /// Changes how many bytes may wait; fewer does not drop any.
    pub(super) fn set_limits(&mut self, send: Option<usize>, receive: Option<usize>) {
        self.send_limit = send.unwrap_or(self.send_limit);
        self.receive_limit = receive.unwrap_or(self.receive_limit);
    }

    fn capacity(&self) -> usize {
        self.send_limit.min(self.receive_limit)
    }

    pub(super) fn room(&self) -> usize {
        self.capacity().saturating_sub(self.bytes.len())
    }

    /// Whether it pays to wake a writer: as on Linux only when a good part is free, or each byte read would wake a task.
    pub(super) fn has_good_room(&self) -> bool {
        self.room() >= self.capacity().div_ceil(4)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes bytes in, as many as there is room for.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let length = bytes.len().min(self.room());
        self.bytes.push(bytes.get(..length).unwrap_or_default());
        length
    }

    /// The same for bytes whose memory may be kept.
    pub(super) fn push_bytes(&mut self, bytes: &Bytes) -> usize {
        if bytes.len() > self.room() {
            // A part of them would keep the memory of all.
            return self.push(bytes);
        }
        self.bytes.push_piece(bytes);
        bytes.len()
    }

    /// Takes bytes of several slices in.
    pub(super) fn push_vectored(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let mut total = 0;
        for slice in slices {
            let pushed = self.push(slice);
            total += pushed;
            if pushed < slice.len() {
                break;
            }
        }
        total
    }

    /// Copies the first bytes out and leaves them in place.
    pub(super) fn peek(&self, buffer: &mut [u8]) -> usize {
        self.bytes.peek(buffer)
    }

    /// Takes the first bytes out.
    pub(super) fn pop(&mut self, buffer: &mut [u8]) -> usize {
        self.bytes.pop(buffer)
    }

    /// Takes the first bytes out, without a copy where they came in one large piece; at least one when any wait.
    pub(super) fn pop_bytes(&mut self, length_max: usize) -> Bytes {
        self.bytes.pop_bytes(length_max)
    }

    /// Drops what waits and its memory.
    pub(super) fn clear(&mut self) {
        self.bytes = ByteQueue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_goes_in_than_the_smaller_limit() {
        let mut flow = Flow::new(10, 100);
        assert_eq!((flow.push(&[1; 7]), flow.push(&[2; 7]), flow.push(&[3; 7])), (7, 3, 0));
        assert_eq!(&flow.pop_bytes(99)[..], [1, 1, 1, 1, 1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn what_does_not_fit_whole_is_copied() {
        let mut flow = Flow::new(100_000, 100_000);
        let bytes = Bytes::from(vec![7; 64 << 10]);
        assert_eq!((flow.push_bytes(&bytes), flow.push_bytes(&bytes)), (64 << 10, 100_000 - (64 << 10)));
        assert_eq!(flow.pop_bytes(64 << 10).as_ptr(), bytes.as_ptr());
        drop(bytes);
        assert_eq!(flow.pop_bytes(64 << 10).len(), 100_000 - (64 << 10));
    }

    #[test]
    fn a_vectored_push_stops_at_the_first_slice_that_does_not_fit() {
        let mut flow = Flow::new(5, 5);
        assert_eq!(flow.push_vectored(&[IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"def"), IoSlice::new(b"g")]), 5);
        assert_eq!(&flow.pop_bytes(9)[..], b"abcde");
    }
}
