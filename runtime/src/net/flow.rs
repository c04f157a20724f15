//! One direction of a connection: a bounded byte queue between one writer and one reader.

use super::waiters::Waiters;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes copied by one `memcpy`. Copies of 64 KiB at once were measured ten times slower on an AMD EPYC; small pieces lose nothing
/// elsewhere.
const PIECE_BYTES: usize = 2048;

/// The queue and what its two ends have said about it. All fields are guarded by the one lock around it.
#[derive(Debug)]
pub(super) struct Flow {
    /// Allocated with the first byte, grown as needed, never beyond `capacity`.
    bytes: VecDeque<u8>,
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
            bytes: VecDeque::new(),
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
        self.bytes.reserve(length);
        for piece in bytes.get(..length).unwrap_or_default().chunks(PIECE_BYTES) {
            self.bytes.extend(piece);
        }
        length
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
        let (front, back) = self.bytes.as_slices();
        let first = copy(front, buffer);
        first + copy(back, buffer.get_mut(first..).unwrap_or_default())
    }

    /// Takes the first bytes out.
    pub(super) fn pop(&mut self, buffer: &mut [u8]) -> usize {
        let length = self.peek(buffer);
        self.bytes.drain(..length);
        length
    }

    /// Takes the first bytes out, into memory of their own.
    pub(super) fn pop_bytes(&mut self, length_max: usize) -> Bytes {
        let length = length_max.min(self.bytes.len());
        let (front, back) = self.bytes.as_slices();
        let mut taken = Vec::with_capacity(length);
        for piece in front.get(..length).unwrap_or(front).chunks(PIECE_BYTES) {
            taken.extend_from_slice(piece);
        }
        for piece in back.get(..length - taken.len()).unwrap_or_default().chunks(PIECE_BYTES) {
            taken.extend_from_slice(piece);
        }
        self.bytes.drain(..length);
        Bytes::from(taken)
    }

    /// Drops what waits and its memory.
    pub(super) fn clear(&mut self) {
        self.bytes = VecDeque::new();
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let length = from.len().min(to.len());
    for (from, to) in from.chunks(PIECE_BYTES).zip(to.chunks_mut(PIECE_BYTES)) {
        let length = from.len().min(to.len());
        if let (Some(from), Some(to)) = (from.get(..length), to.get_mut(..length)) {
            to.copy_from_slice(from);
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_also_around_the_end_of_the_ring() {
        let mut flow = Flow::new(10, 100);
        let mut out = [0; 4];
        let (mut next_in, mut next_out) = (0_u8, 0_u8);
        for _ in 0..100 {
            let bytes: Vec<u8> = (0..7).map(|offset| next_in.wrapping_add(offset)).collect();
            next_in = next_in.wrapping_add(u8::try_from(flow.push(&bytes)).unwrap());
            assert!(flow.len() <= 10);
            let length = flow.pop(&mut out);
            let rest = flow.pop_bytes(2);
            for byte in out[..length].iter().chain(&rest) {
                assert_eq!(*byte, next_out);
                next_out = next_out.wrapping_add(1);
            }
        }
    }

    #[test]
    fn memory_comes_with_the_first_byte() {
        let mut flow = Flow::new(65536, 65536);
        assert_eq!(flow.push(&[]), 0);
        assert_eq!(flow.bytes.capacity(), 0);
        flow.push(&[1; 65536]);
        assert_eq!(flow.push(&[1]), 0);
        assert!(flow.bytes.capacity() <= 2 * 65536);
    }

    #[test]
    fn a_vectored_push_stops_at_the_first_slice_that_does_not_fit() {
        let mut flow = Flow::new(5, 5);
        assert_eq!(flow.push_vectored(&[IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"def"), IoSlice::new(b"g")]), 5);
        assert_eq!(&flow.pop_bytes(9)[..], b"abcde");
    }
}
