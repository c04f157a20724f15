//! One opaque error for the whole library.
//!
//! A pod crosses many layers (YAML, files, wasmtime, the pod network), and no caller can act on the exact type that failed
//! three layers down. What a caller can act on is the [`ErrorKind`] (what sort of answer to give) and the
//! [`reason`](Error::reason) (the word Kubernetes uses in `status.containerStatuses[].state.waiting.reason` and in events).
//! The rest is for people: a message, the subject it is about (a field path, a file, a digest), a hint that says what to do,
//! and the chain of causes.

use std::fmt;

/// The result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is; the command-line program derives its exit status from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was given is wrong and stays wrong: a manifest, a flag, an image that is not WebAssembly.
    Invalid,
    /// Something that was named does not exist.
    NotFound,
    /// It clashes with what exists: a port in use, a name taken.
    Conflict,
    /// A policy or the operating system forbids it.
    Denied,
    /// A limit of [`limits`](crate::limits) or of the machine was reached.
    Limit,
    /// It may work later: a registry that does not answer, a compiler that was killed.
    Unavailable,
    /// A bug of ours, or a machine in a state that we did not foresee.
    Internal,
}

/// An error: kind, subject, message, hint, Kubernetes-style reason and cause.
///
/// Messages are in lower case, without a full stop, and name what was wrong; the subject names where.
///
/// ```
/// use wasmpod::{Error, ErrorKind};
/// let error = Error::invalid("port 70000 is out of range").at("spec.containers[0].ports[0].containerPort").hint("use 1 to 65535");
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert_eq!(error.to_string(), "spec.containers[0].ports[0].containerPort: port 70000 is out of range");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    reason: Option<&'static str>,
    subject: Option<String>,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync + 'static>>,
}

impl ErrorKind {
    /// The exit status of the command line: 2 for bad input, as clap has it for wrong flags; 1 for everything else.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Invalid | Self::NotFound => 2,
            Self::Conflict | Self::Denied | Self::Limit | Self::Unavailable | Self::Internal => 1,
        }
    }
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, reason: None, subject: None, message: message.into(), hint: None, source: None }))
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Shorthand for [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Shorthand for [`ErrorKind::Limit`].
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    /// Shorthand for [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// An input/output error while doing `message`; the kind follows from the operating system's answer.
    pub fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
            Io::AddrInUse | Io::AlreadyExists => ErrorKind::Conflict,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge | Io::OutOfMemory => ErrorKind::Limit,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, message).because(source)
    }

    /// Says where: a field path such as `spec.containers[0].image`, a file, a digest.
    #[must_use]
    pub fn at(mut self, subject: impl Into<String>) -> Self {
        self.0.subject = Some(subject.into());
        self
    }

    /// Says inside what it happened: `container web of pod shop`, put before the subject.
    #[must_use]
    pub fn within(mut self, context: &str) -> Self {
        let subject = self.0.subject.take();
        self.0.subject = Some(subject.map_or_else(|| context.to_owned(), |subject| format!("{context}: {subject}")));
        self
    }

    /// Says what the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Gives the word that Kubernetes has for it, such as `CreateContainerError`.
    #[must_use]
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The word that Kubernetes has for it, where it has one.
    pub fn reason(&self) -> Option<&'static str> {
        self.0.reason
    }

    /// What it is about: a field path, a file, a digest.
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// What the reader can do about it.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The message and every cause below it, joined by `: `, in one line; the hint is not part of it.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(subject) = &self.0.subject {
            write!(f, "{subject}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_names_the_subject_and_every_cause() {
        let io = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let error = Error::io("cannot read the image", io).at("./x.wasm").hint("check the path");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.chain(), "./x.wasm: cannot read the image: no such file");
        assert_eq!(error.advice(), Some("check the path"));
    }
}
