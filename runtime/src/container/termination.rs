//! The termination message: what a container leaves behind to say why it ended.
//!
//! It writes it into a file (`terminationMessagePath`) that lies among its others, by whatever means it has; the end of the file is read
//! when the container is over. Where the policy allows it, the end of the container's output stands in for a file that is empty.

use crate::limits::{TERMINATION_FILE_BYTES_KEPT, TERMINATION_MESSAGE_BYTES_MAX};
use crate::log::Tail;
use crate::pod::state::ContainerExit;
use crate::volume::ContainerFiles;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Weak};

/// Where a container leaves its last words.
#[derive(Debug)]
pub(crate) struct TerminationLog {
    files: Weak<ContainerFiles>,
    path: String,
    /// The end of its output, when that may stand in for the file.
    output: Option<Arc<Tail>>,
}

impl TerminationLog {
    /// Last words in the file `path` of `files`, or else in `output`.
    pub(crate) fn new(files: &Arc<ContainerFiles>, path: &str, output: Option<Arc<Tail>>) -> Self {
        Self { files: Arc::downgrade(files), path: path.to_owned(), output }
    }

    /// Keeps the file from taking more room than its end does, while the container goes on writing to it.
    pub(crate) fn trim(&self) {
        let Some(files) = self.files.upgrade() else { return };
        if let Err(error) = files.trim_file(&self.path, TERMINATION_FILE_BYTES_KEPT) {
            tracing::debug!(target: "wasmpod::container", path = self.path, error = error.chain(), "cannot trim the termination message");
        }
    }

    /// The exit with its message: what the container said, then what the host has to say about its end (a trap's back-trace).
    pub(super) fn last_words(&self, files: &ContainerFiles, exit: ContainerExit) -> ContainerExit {
        let mut said = self.read(files).unwrap_or_else(|error| {
            tracing::debug!(target: "wasmpod::container", path = self.path, %error, "cannot read the termination message");
            String::new()
        });
        if said.is_empty() && !exit.is_success() {
            said = self.output.as_ref().map(|output| output.text()).unwrap_or_default();
        }
        let message = join(&said, &exit.message, TERMINATION_MESSAGE_BYTES_MAX);
        exit.with_message(message)
    }

    fn read(&self, files: &ContainerFiles) -> io::Result<String> {
        let opened = files.open_file(&self.path).map_err(io::Error::other)?;
        opened.map_or_else(|| Ok(String::new()), |file| last_bytes(&file, TERMINATION_MESSAGE_BYTES_MAX))
    }
}

fn last_bytes(file: &File, bytes_max: usize) -> io::Result<String> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(u64::try_from(bytes_max).unwrap_or(u64::MAX));
    let mut bytes = vec![0; bytes_max];
    let mut filled = 0;
    while let Some(space) = bytes.get_mut(filled..).filter(|space| !space.is_empty()) {
        match file.read_at(space, start.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX))) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the container said, then what the host says; together no more than `bytes_max`. The host's word comes second but is not lost:
/// what the container said gives way to it, but for a quarter of the room.
fn join(said: &str, host: &str, bytes_max: usize) -> String {
    let host = start_of(host, if said.is_empty() { bytes_max } else { bytes_max / 4 * 3 });
    let gap = if said.is_empty() || host.is_empty() || said.ends_with('\n') { "" } else { "\n" };
    let said = end_of(said, bytes_max.saturating_sub(host.len() + gap.len()));
    [said, gap, host].concat()
}

fn start_of(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or(text)
}

fn end_of(text: &str, bytes_max: usize) -> &str {
    let start = (text.len().saturating_sub(bytes_max)..=text.len()).find(|&start| text.is_char_boundary(start)).unwrap_or(0);
    text.get(start..).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_end_of_a_file_is_read_and_no_more() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(last_bytes(&file, 8).unwrap(), "");
        file.write_all(b"abc").unwrap();
        assert_eq!(last_bytes(&file, 8).unwrap(), "abc");
        file.set_len(1 << 40).unwrap();
        file.write_at(b"last words", (1 << 40) - 10).unwrap();
        assert_eq!(last_bytes(&file, 5).unwrap(), "words");
    }

    #[test]
    fn neither_the_containers_word_nor_the_hosts_is_lost() {
        assert_eq!(join("", "", 16), "");
        assert_eq!(join("said", "", 16), "said");
        assert_eq!(join("", "trap", 16), "trap");
        assert_eq!(join("said", "trap", 16), "said\ntrap");
        assert_eq!(join("said\n", "trap", 16), "said\ntrap");
        assert_eq!(join(&"s".repeat(100), "trap", 16), "sssssssssss\ntrap");
        assert_eq!(join(&"s".repeat(100), &"t".repeat(100), 16), "sss\ntttttttttttt");
        assert_eq!(join("ééééé", "", 5), "éé");
    }
}
