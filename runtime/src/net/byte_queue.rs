//! The bytes of one direction of a connection that wait to be read.
//!
//! What is written in one large piece is kept as it came and handed on as it is: a stream between two guests is copied out of the one
//! and into the other, and not in between. Small writes are put together, or each of them would hold memory of its own.

use crate::limits::TCP_PIECE_BYTES_MAX;
use bytes::{Buf as _, Bytes, BytesMut};
use std::collections::VecDeque;

/// The smallest piece that is kept as it came: what a guest writes at most at a time. Smaller ones cost less to copy than to keep.
const KEPT_BYTES_MIN: usize = TCP_PIECE_BYTES_MAX;

/// Bytes copied by one `memcpy`. Where the two places lie a little apart within a page, longer copies are fifteen times slower on an
/// AMD EPYC (`rep movsb`, which glibc uses for them); short ones lose nothing anywhere.
const COPY_BYTES: usize = 2048;

/// A queue of bytes. It has no limit of its own: whoever fills it looks at [`len`](Self::len).
#[derive(Debug, Default)]
pub(super) struct ByteQueue {
    /// What comes first: large pieces, and what was put together before them.
    pieces: VecDeque<Bytes>,
    /// Small writes, behind all pieces.
    tail: BytesMut,
    /// Bytes of both.
    length: usize,
}

impl ByteQueue {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Copies bytes in.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        extend(&mut self.tail, bytes);
    }

    /// Takes bytes in, and keeps their memory where that is worth it; it should hold little else.
    pub(super) fn push_piece(&mut self, piece: &Bytes) {
        if piece.len() < KEPT_BYTES_MIN {
            return self.push(piece);
        }
        if !self.tail.is_empty() {
            // Its memory may be much more than its bytes.
            self.pieces.push_back(Bytes::copy_from_slice(&self.tail));
            self.tail.clear();
        }
        self.length += piece.len();
        self.pieces.push_back(piece.clone());
    }

    /// Copies the first bytes out and leaves them in place; how many.
    pub(super) fn peek(&self, buffer: &mut [u8]) -> usize {
        let mut copied = 0;
        for piece in self.pieces.iter().map(|piece| &**piece).chain([&*self.tail]) {
            copied += copy(piece, buffer.get_mut(copied..).unwrap_or_default());
        }
        copied
    }

    /// Takes the first bytes out; how many.
    pub(super) fn pop(&mut self, buffer: &mut [u8]) -> usize {
        let copied = self.peek(buffer);
        self.drop_first(copied);
        copied
    }

    /// Takes the first bytes out, at most `length_max` of them: one large piece, or as many as there are.
    pub(super) fn pop_bytes(&mut self, length_max: usize) -> Bytes {
        if let Some(first) = self.pieces.front_mut().filter(|first| first.len() >= KEPT_BYTES_MIN.min(length_max)) {
            let taken = first.split_to(length_max.min(first.len()));
            self.pieces.pop_front_if(|first| first.is_empty());
            self.length -= taken.len();
            return taken;
        }
        let length = length_max.min(self.length);
        let mut taken = BytesMut::with_capacity(length);
        for piece in self.pieces.iter().map(|piece| &**piece).chain([&*self.tail]) {
            let left = length - taken.len();
            extend(&mut taken, piece.get(..left).unwrap_or(piece));
        }
        self.drop_first(length);
        taken.freeze()
    }

    /// Drops the first bytes.
    fn drop_first(&mut self, length: usize) {
        self.length -= length;
        let mut left = length;
        while let Some(first) = self.pieces.front_mut().filter(|_| left > 0) {
            let dropped = left.min(first.len());
            first.advance(dropped);
            left -= dropped;
            self.pieces.pop_front_if(|first| first.is_empty());
        }
        self.tail.advance(left.min(self.tail.len()));
    }
}

fn extend(to: &mut BytesMut, from: &[u8]) {
    to.reserve(from.len());
    from.chunks(COPY_BYTES).for_each(|piece| to.extend_from_slice(piece));
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let length = from.len().min(to.len());
    for (from, to) in from.chunks(COPY_BYTES).zip(to.chunks_mut(COPY_BYTES)) {
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

    /// Pieces of these lengths, each of the bytes that follow those of the one before.
    fn pieces(lengths: impl IntoIterator<Item = usize>) -> impl Iterator<Item = Bytes> {
        let mut next = 0_u8;
        lengths.into_iter().map(move |length| {
            std::iter::repeat_with(|| {
                next = next.wrapping_add(1);
                next
            })
            .take(length)
            .collect()
        })
    }

    #[test]
    fn bytes_come_out_as_they_went_in_whatever_the_sizes() {
        let sizes = [1, KEPT_BYTES_MIN, 3, 5000, KEPT_BYTES_MIN - 1, 2 * KEPT_BYTES_MIN + 7, KEPT_BYTES_MIN, 64];
        let (mut queue, mut into, mut out) = (ByteQueue::default(), Vec::new(), Vec::new());
        for (at, piece) in pieces(sizes.into_iter().cycle().take(200)).enumerate() {
            into.extend_from_slice(&piece);
            if at % 3 == 0 {
                queue.push(&piece)
            } else {
                queue.push_piece(&piece)
            }
            let wanted = sizes[at * 5 % sizes.len()];
            if at % 2 == 0 {
                out.extend_from_slice(&queue.pop_bytes(wanted));
            } else {
                let mut buffer = vec![0; wanted];
                let seen = queue.peek(&mut buffer);
                assert_eq!(buffer[..seen], into[out.len()..out.len() + seen]);
                let taken = queue.pop(&mut buffer);
                assert_eq!(seen, taken);
                out.extend_from_slice(&buffer[..taken]);
            }
            assert_eq!(queue.len(), into.len() - out.len());
        }
        while queue.len() > 0 {
            let taken = queue.pop_bytes(usize::MAX);
            assert!(!taken.is_empty());
            out.extend_from_slice(&taken);
        }
        assert_eq!(out, into);
    }

    #[test]
    fn a_large_piece_is_handed_on_and_a_small_one_copied() {
        let [large, small] = [KEPT_BYTES_MIN, KEPT_BYTES_MIN - 1].map(|length| Bytes::from(vec![1; length]));
        let mut queue = ByteQueue::default();
        queue.push_piece(&large);
        queue.push_piece(&small);
        assert_eq!(queue.pop_bytes(large.len()).as_ptr(), large.as_ptr());
        assert_ne!(queue.pop_bytes(small.len()).as_ptr(), small.as_ptr());
    }

    #[test]
    fn small_writes_share_their_memory() {
        let mut queue = ByteQueue::default();
        assert_eq!(queue.tail.capacity(), 0);
        for _ in 0..65_536 {
            queue.push(&[1]);
        }
        assert!(queue.tail.capacity() <= 2 * 65_536);
        // Before a large piece they lie in as much as they need.
        queue.pop_bytes(65_000);
        queue.push_piece(&Bytes::from(vec![2; KEPT_BYTES_MIN]));
        let first = queue.pieces.pop_front().unwrap();
        assert_eq!((first.len(), first.try_into_mut().unwrap().capacity()), (536, 536));
    }

    #[test]
    fn a_read_that_begins_with_little_gathers_what_there_is() {
        let mut queue = ByteQueue::default();
        queue.push(b"head");
        queue.push_piece(&Bytes::from(vec![2; KEPT_BYTES_MIN]));
        queue.push(b"tail");
        assert_eq!(queue.pop_bytes(usize::MAX).len(), KEPT_BYTES_MIN + 8);
    }
}
