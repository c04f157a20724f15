//! The command line that containerd uses: flags as Go's `flag` package has them, then what to do.

use std::ffi::OsString;
use std::path::PathBuf;
use wasmpod::{Error, Result};

/// What the program is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `start`: answer with the address of the pod's server.
    Start,
    /// `delete`: remove what the server of a container left behind.
    Delete,
    /// `serve`, our own: be the server.
    Serve,
    /// `-info`: say what this runtime is.
    Info,
    /// `-v`: say which version this is.
    Version,
}

/// The command line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// What to do.
    pub(crate) action: Action,
    /// `-namespace`: containerd's, `k8s.io` under Kubernetes.
    pub(crate) namespace: String,
    /// `-id`: of the container or sandbox.
    pub(crate) id: String,
    /// `-address`: containerd's gRPC socket.
    pub(crate) address: String,
    /// `-bundle`: the bundle's directory, for `delete`.
    pub(crate) bundle: Option<PathBuf>,
    /// `-socket`, our own: the path of the socket that the server has as its standard input.
    pub(crate) socket: Option<PathBuf>,
    /// `-debug`.
    pub(crate) debug: bool,
}

impl Arguments {
    /// Understands `arguments`, which lack the program's name. Flags that are not known are skipped: newer versions of containerd
    /// may have more.
    ///
    /// # Errors
    /// [`Invalid`](wasmpod::ErrorKind::Invalid) when it does not say what to do, or for what.
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut words = arguments.map(|word| word.to_string_lossy().into_owned()).peekable();
        let mut parsed = Self {
            action: Action::Version,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            bundle: None,
            socket: None,
            debug: false,
        };
        let mut action = None;
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-') else {
                action = action.or(Some(verb(&word)?));
                continue;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, given) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
            let mut value = || given.clone().or_else(|| words.next()).unwrap_or_default();
            match name {
                "namespace" => parsed.namespace = value(),
                "id" => parsed.id = value(),
                "address" => parsed.address = value(),
                "bundle" => parsed.bundle = Some(value()).filter(|path| !path.is_empty()).map(PathBuf::from),
                "socket" => parsed.socket = Some(value()).filter(|path| !path.is_empty()).map(PathBuf::from),
                "publish-binary" => drop(value()),
                "debug" => parsed.debug = given.as_deref() != Some("false"),
                "info" => action = action.or(Some(Action::Info)),
                "v" | "version" => action = action.or(Some(Action::Version)),
                _ => {}
            }
        }
        parsed.action = action.ok_or_else(|| {
            Error::invalid("nothing to do was asked for")
                .hint("this program is started by containerd; install it beside containerd's own shims")
        })?;
        parsed.check()?;
        Ok(parsed)
    }

    /// Identifiers become parts of paths.
    fn check(&self) -> Result<()> {
        if matches!(self.action, Action::Info | Action::Version) {
            return Ok(());
        }
        for (flag, value) in [("-namespace", &self.namespace), ("-id", &self.id)] {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if value.is_empty() || !value.bytes().all(plain) || value.starts_with('.') {
                return Err(Error::invalid(format!("{value:?} is no identifier of containerd")).at(flag));
            }
        }
        Ok(())
    }
}

fn verb(word: &str) -> Result<Action> {
    match word {
        "start" => Ok(Action::Start),
        "delete" => Ok(Action::Delete),
        "serve" => Ok(Action::Serve),
        _ => Err(Error::invalid(format!("{word:?} is nothing that this program can do")).hint("start, delete")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        Arguments::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn understands_what_containerd_says() {
        let line = "-namespace k8s.io -address /run/containerd/containerd.sock -publish-binary /usr/bin/containerd -id abc start";
        let arguments = parse(line).unwrap();
        assert_eq!((arguments.action, arguments.id.as_str()), (Action::Start, "abc"));
        assert_eq!((arguments.namespace.as_str(), arguments.address.as_str()), ("k8s.io", "/run/containerd/containerd.sock"));
        let arguments = parse("--namespace=default -debug -id abc -bundle /run/b delete").unwrap();
        assert!(arguments.debug && arguments.action == Action::Delete && arguments.bundle == Some("/run/b".into()));
    }

    #[test]
    fn skips_flags_of_versions_to_come() {
        assert_eq!(parse("-namespace n -id a -brand-new start").unwrap().action, Action::Start);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
        assert_eq!(parse("-v").unwrap().action, Action::Version);
    }

    #[test]
    fn an_identifier_that_is_a_path_is_refused() {
        for id in ["../x", "a/b", "", ".."] {
            assert!(parse(&format!("-namespace n -id={id} start")).is_err(), "{id:?}");
        }
    }
}
