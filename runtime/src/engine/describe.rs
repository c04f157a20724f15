//! What a module or component says about itself, for whoever wants to know before running it.

use super::kind::{Kind, binary_form, detect, read_names};
use crate::{Error, Result};
use bytes::Bytes;

/// What WebAssembly is, imports and exports. Only the names of the outermost module or component, nothing is compiled or validated.
#[derive(Debug)]
pub struct Description {
    /// Whether it is a component; a core module otherwise.
    pub component: bool,
    /// What it is built for, when it can be run here.
    pub target: Result<Target, Error>,
    /// `package:name/interface@version` of a component, `module.name` of a core module; in order.
    pub imports: Vec<String>,
    /// The same of what it provides: functions of a core module, interfaces of a component; in order.
    pub exports: Vec<String>,
}

/// What a program is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A command for WASI preview 1.
    Preview1,
    /// A command for WASI 0.2, the world `wasi:cli/command`.
    Command,
    /// An HTTP handler for WASI 0.2, the world `wasi:http/proxy`.
    Proxy,
}

impl Target {
    /// The operating system of an image config: `wasip1` or `wasip2`.
    pub fn os(self) -> &'static str {
        match self {
            Self::Preview1 => "wasip1",
            Self::Command | Self::Proxy => "wasip2",
        }
    }

    /// The target world of a component.
    pub fn world(self) -> Option<&'static str> {
        match self {
            Self::Preview1 => None,
            Self::Command => Some("wasi:cli/command"),
            Self::Proxy => Some("wasi:http/proxy"),
        }
    }
}

/// Describes WebAssembly, in its binary or its text form.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for what is not WebAssembly or is damaged. What is WebAssembly and cannot be run here is
/// described, with the reason in place of the target.
pub fn describe(bytes: &Bytes) -> Result<Description> {
    let wasm = binary_form(bytes.clone())?;
    let names = read_names(&wasm).map_err(|error| Error::invalid("this is damaged or unsupported WebAssembly").because(error))?;
    let target = detect(wasm).map(|detected| match detected.kind {
        Kind::Core => Target::Preview1,
        Kind::Command => Target::Command,
        Kind::Proxy => Target::Proxy,
    });
    Ok(Description {
        component: names.component,
        target,
        imports: names.imports.into_iter().collect(),
        exports: names.exports.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe_text(text: &str) -> Description {
        describe(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_module_is_described_by_its_names() {
        let module = describe_text(
            r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
                 (memory (export "memory") 1) (func (export "_start")))"#,
        );
        assert_eq!((module.component, module.target.unwrap()), (false, Target::Preview1));
        assert_eq!(module.imports, ["wasi_snapshot_preview1.fd_write"]);
        assert_eq!(module.exports, ["_start"]);
    }

    #[test]
    fn what_cannot_be_run_is_described_with_the_reason() {
        let module = describe_text(r#"(module (import "env" "print" (func)) (func (export "_start")))"#);
        assert!(module.target.unwrap_err().to_string().contains("env.print"));
        assert_eq!(module.imports, ["env.print"]);
    }

    #[test]
    fn anything_else_is_an_error() {
        assert!(describe(&Bytes::from_static(b"\x7fELF")).is_err());
        assert!(describe(&Bytes::from_static(b"\0asm\x01\0\0\0\xff\xff")).is_err());
    }
}
