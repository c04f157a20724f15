//! Text of others, made harmless for a terminal: what would command it is written out.
//!
//! A terminal obeys what it is sent: escape sequences move the cursor, rename the window, write the clipboard, and make it answer as if
//! its user had typed. So whatever comes from a guest, an image or a manifest is shown with its control characters written out. What
//! goes to a pipe or a file passes as it is: there it is data.

use std::borrow::Cow;
use std::io;

/// The text with every control character but the newline and the tab written out: escape sequences, carriage returns, and the invisible
/// ones that turn text around.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let escape = |letter: char| if is_harmless(letter) { letter.to_string() } else { letter.escape_unicode().to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// The text as it goes to `stream`: harmless on a terminal, as it is elsewhere.
pub(crate) fn harmless_on_terminal<'t>(text: &'t str, stream: &impl io::IsTerminal) -> Cow<'t, str> {
    if stream.is_terminal() { harmless(text) } else { Cow::Borrowed(text) }
}

fn is_harmless(letter: char) -> bool {
    matches!(letter, '\n' | '\t') || !(letter.is_control() || is_format(letter))
}

/// Marks that change the direction of text, and separators that some terminals take for a new line.
fn is_format(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// One stream of a guest on its way to a terminal. Bytes that are no UTF-8 are written out as `\x9b`, characters that command a
/// terminal as `\u{1b}`.
#[derive(Debug, Default)]
pub(crate) struct HarmlessStream {
    /// The beginning of a character whose rest has not come yet: at most three bytes.
    held: Vec<u8>,
}

impl HarmlessStream {
    /// Shows the stream's next bytes. A carriage return passes: with no name before its lines a guest can only overwrite what it
    /// printed itself, and progress bars do.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut dyn io::Write) -> io::Result<()> {
        if self.held.is_empty() && bytes.iter().all(|byte| is_plain(*byte)) {
            return out.write_all(bytes);
        }
        self.held.extend_from_slice(bytes);
        let (whole, begun) = self.held.split_at(self.held.len() - begun_character(&self.held));
        let (text, begun) = (written_out(whole, true), begun.to_vec());
        self.held = begun;
        out.write_all(text.as_bytes())
    }

    /// Shows what was held back: the stream has ended in the middle of a character.
    pub(crate) fn end(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        out.write_all(written_out(&held, true).as_bytes())
    }
}

/// One line of a guest, for behind its container's name: a carriage return would overwrite that, so only the one that ends a line passes.
pub(crate) fn harmless_line(text: &[u8]) -> Cow<'_, [u8]> {
    let (line, end) = text.strip_suffix(b"\r").map_or((text, false), |line| (line, true));
    if line.iter().all(|byte| is_plain(*byte) && *byte != b'\r') {
        return Cow::Borrowed(text);
    }
    let mut shown = written_out(line, false);
    if end {
        shown.push('\r');
    }
    Cow::Owned(shown.into_bytes())
}

/// Printable ASCII, and what moves on by a line, a tab or to the line's beginning.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\t' | b'\r')
}

/// How many bytes at the end are the beginning of a character.
fn begun_character(bytes: &[u8]) -> usize {
    let is_begun = |count: &usize| {
        let tail = bytes.len().checked_sub(*count).and_then(|start| bytes.get(start..)).unwrap_or_default();
        std::str::from_utf8(tail).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=3).find(is_begun).unwrap_or(0)
}

fn written_out(bytes: &[u8], carriage_return: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if is_harmless(letter) || letter == '\r' && carriage_return {
                text.push(letter);
            } else {
                text.extend(letter.escape_unicode());
            }
        }
        for byte in chunk.invalid() {
            text.extend(byte.escape_ascii().map(char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of a stream that comes in these pieces.
    fn shown(pieces: &[&[u8]]) -> String {
        let (mut stream, mut out) = (HarmlessStream::default(), Vec::new());
        for piece in pieces {
            stream.push(piece, &mut out).unwrap();
        }
        stream.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_that_is_reported_commands_the_terminal() {
        assert_eq!(harmless("pod \u{1b}[31mred\u{1b}]0;title\u{7}"), "pod \\u{1b}[31mred\\u{1b}]0;title\\u{7}");
        assert_eq!(harmless("a\rb\u{9b}c\u{202e}d"), "a\\u{d}b\\u{9b}c\\u{202e}d");
        assert_eq!(harmless("two\n\tlines, ä 日本 ✓"), "two\n\tlines, ä 日本 ✓");
    }

    #[test]
    fn b8_nothing_that_a_guest_prints_commands_the_terminal() {
        assert_eq!(
            shown(&[b"\x1b[2J\x1b]0;owned\x07\x1bP\x08\x7f\0"]),
            "\\u{1b}[2J\\u{1b}]0;owned\\u{7}\\u{1b}P\\u{8}\\u{7f}\\u{0}"
        );
        assert_eq!(shown(&["\u{9b}31m \u{202e}".as_bytes(), b"\x9b31m"]), "\\u{9b}31m \\u{202e}\\x9b31m");
        assert_eq!(shown(&[b"10%\r20%\r\n\tdone\n"]), "10%\r20%\r\n\tdone\n");
    }

    #[test]
    fn b8_characters_may_come_in_pieces() {
        let text = "ä 日本 \u{1f600} \u{1b}[m".as_bytes();
        for piece in 1..text.len() {
            assert_eq!(shown(&text.chunks(piece).collect::<Vec<_>>()), "ä 日本 \u{1f600} \\u{1b}[m", "in pieces of {piece}");
        }
        // The two bytes of U+009B, one at a time; half a character at the end.
        assert_eq!(shown(&[b"\xc2", b"\x9b1m", b"\xe6\x97"]), "\\u{9b}1m\\xe6\\x97");
    }

    #[test]
    fn b8_a_line_cannot_overwrite_its_containers_name() {
        let line = |text: &'static [u8]| String::from_utf8(harmless_line(text).into_owned()).unwrap();
        assert_eq!(line(b"mine\rother | forged"), "mine\\u{d}other | forged");
        assert_eq!(line(b"\x1b[1Gother |\r"), "\\u{1b}[1Gother |\r");
        assert_eq!(line("plain ä\r".as_bytes()), "plain ä\r");
    }
}
