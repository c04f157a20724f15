//! Output cut into lines, as log files and prefixed terminals want it.

use super::{LogSink, Stream};
use crate::limits::LOG_LINE_BYTES_MAX;
use std::io;

/// One line, or one piece of a line too long to be handed over whole.
///
/// The texts of a stream, joined, with a newline after each that is not partial, are exactly what the container wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// Where it was written.
    pub stream: Stream,
    /// The bytes without the newline: any bytes, not only UTF-8. At most [`LOG_LINE_BYTES_MAX`].
    pub text: &'a [u8],
    /// No newline followed: the line goes on in the stream's next piece, or the stream ended here. The CRI's `P`, not `F`.
    pub partial: bool,
}

/// Cuts one stream at its newlines and at [`LOG_LINE_BYTES_MAX`]; holds at most that many bytes back.
#[derive(Debug)]
pub struct LineSplitter {
    stream: Stream,
    held: Vec<u8>,
}

impl LineSplitter {
    /// A splitter at the start of `stream`.
    pub fn new(stream: Stream) -> Self {
        Self { stream, held: Vec::new() }
    }

    /// Takes the stream's next bytes and gives `emit` every line that is complete with them.
    ///
    /// # Errors
    /// The first error of `emit`; the rest of `bytes` is lost then.
    pub fn push<E>(&mut self, bytes: &[u8], mut emit: impl FnMut(LogLine<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LOG_LINE_BYTES_MAX.saturating_sub(self.held.len());
            // One byte more than fits: a line of exactly the limit is whole if a newline follows.
            let window = rest.get(..=room).unwrap_or(rest);
            let (text, tail, partial) = match memchr::memchr(b'\n', window) {
                Some(at) => (window.get(..at), rest.get(at + 1..), false),
                None if window.len() > room => (rest.get(..room), rest.get(room..), true),
                None => {
                    self.held.extend_from_slice(rest);
                    return Ok(());
                }
            };
            rest = tail.unwrap_or_default();
            self.emit(text.unwrap_or_default(), partial, &mut emit)?;
        }
        Ok(())
    }

    /// Gives `emit` what follows the stream's last newline, if anything does.
    ///
    /// # Errors
    /// Those of `emit`.
    pub fn finish<E>(&mut self, mut emit: impl FnMut(LogLine<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.held.is_empty() { Ok(()) } else { self.emit(&[], true, &mut emit) }
    }

    fn emit<E>(&mut self, text: &[u8], partial: bool, emit: &mut impl FnMut(LogLine<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.held.is_empty() {
            return emit(LogLine { stream: self.stream, text, partial });
        }
        self.held.extend_from_slice(text);
        let emitted = emit(LogLine { stream: self.stream, text: &self.held, partial });
        self.held.clear();
        emitted
    }
}

/// Who gets a container's output line by line.
pub trait LineSink: Send {
    /// Takes one line.
    ///
    /// # Errors
    /// Whatever the place it goes to answers; it ends the delivery.
    fn line(&mut self, line: LogLine<'_>) -> io::Result<()>;

    /// Nothing more is at hand for now.
    ///
    /// # Errors
    /// As for [`line`](Self::line).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A [`LogSink`] that cuts both streams into lines for a [`LineSink`].
#[derive(Debug)]
pub struct Lines<S> {
    sink: S,
    stdout: LineSplitter,
    stderr: LineSplitter,
}

impl<S: LineSink> Lines<S> {
    /// Lines for `sink`.
    pub fn new(sink: S) -> Self {
        Self { sink, stdout: LineSplitter::new(Stream::Stdout), stderr: LineSplitter::new(Stream::Stderr) }
    }

    /// The sink back.
    pub fn into_inner(self) -> S {
        self.sink
    }
}

impl<S: LineSink> LogSink for Lines<S> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let splitter = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        splitter.push(bytes, |line| self.sink.line(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        self.stdout.finish(|line| self.sink.line(line))?;
        self.stderr.finish(|line| self.sink.line(line))?;
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    const MAX: usize = LOG_LINE_BYTES_MAX;

    /// The lines of `chunks`: text and whether partial.
    fn split(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new(Stream::Stdout);
        let mut keep = |line: LogLine<'_>| {
            lines.push((line.text.to_vec(), line.partial));
            Ok::<_, Infallible>(())
        };
        for chunk in chunks {
            splitter.push(chunk, &mut keep).unwrap();
            assert!(splitter.held.len() <= MAX);
        }
        splitter.finish(&mut keep).unwrap();
        lines
    }

    fn lengths(chunks: &[&[u8]]) -> Vec<(usize, bool)> {
        split(chunks).into_iter().map(|(text, partial)| (text.len(), partial)).collect()
    }

    #[test]
    fn cuts_at_newlines_and_ends_with_a_partial_line() {
        let line = |text: &str, partial| (text.as_bytes().to_vec(), partial);
        assert_eq!(
            split(&[b"one\n\ntw", b"", b"o\nthr", b"ee"]),
            [line("one", false), line("", false), line("two", false), line("three", true)]
        );
        assert_eq!(split(&[b"a\r\n"]), [line("a\r", false)]);
        assert_eq!(split(&[b"", b""]), []);
    }

    #[test]
    fn a_line_of_the_limit_is_whole_and_one_byte_more_is_two_pieces() {
        let full = vec![b'x'; MAX];
        assert_eq!(lengths(&[&full, b"\n"]), [(MAX, false)]);
        assert_eq!(lengths(&[&full, b"y\n"]), [(MAX, true), (1, false)]);
        assert_eq!(lengths(&[&full]), [(MAX, true)]);
        assert_eq!(lengths(&[&vec![b'x'; 3 * MAX + 5]]), [(MAX, true), (MAX, true), (MAX, true), (5, true)]);
    }

    proptest! {
        #[test]
        fn lines_joined_are_the_input(
            pieces in prop::collection::vec((0..=2 * MAX, any::<bool>()), 0..8),
            cuts in prop::collection::vec(1..40_000_usize, 1..8),
        ) {
            let mut input = Vec::new();
            for (len, newline) in pieces {
                input.extend(std::iter::repeat_n(b'x', len));
                input.extend(newline.then_some(b'\n'));
            }
            let (mut chunks, mut rest, mut cuts) = (Vec::new(), input.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                chunks.push(chunk);
                rest = tail;
            }
            let lines = split(&chunks);
            prop_assert_eq!(&lines, &split(&[&input]), "where the input is cut does not matter");
            let mut joined = Vec::new();
            for (text, partial) in &lines {
                prop_assert!(text.len() <= MAX && !text.contains(&b'\n'));
                joined.extend_from_slice(text);
                joined.extend((!partial).then_some(b'\n'));
            }
            prop_assert_eq!(joined, input);
        }
    }
}
