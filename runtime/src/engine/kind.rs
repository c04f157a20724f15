//! What a file is, told by its bytes: its name says nothing, and neither does the media type of an image.
//!
//! ```text
//!   (…            text form ──wat──┐
//!   \0asm, core ───────────────────┴▶ exports _start                     → Kind::Core       imports only WASI preview 1
//!   \0asm, component ───────────────▶ exports wasi:cli/run@0.2           → Kind::Command    imports only WASI 0.2
//!                                     exports wasi:http/incoming-handler → Kind::Proxy
//!   anything else                     an error that says what it looks like and what would work
//! ```
//!
//! Only names are read here, nothing is compiled or validated: that is the compiler's work, in a process of its own. In particular an
//! artifact that somebody compiled beforehand ends here, before any call to wasmtime.

use crate::limits::{WASM_BYTES_MAX, WASM_NAMES_MAX, WAT_BYTES_MAX};
use crate::{Error, Result};
use bytes::Bytes;
use std::collections::BTreeSet;
use wasmparser::{BinaryReaderError, Chunk, ComponentExternalKind, ComponentTypeRef, ExternalKind, Parser, Payload};

/// What sort of program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A core module for WASI preview 1 that exports `_start`.
    Core,
    /// A component that exports `wasi:cli/run@0.2`.
    Command,
    /// A component that exports `wasi:http/incoming-handler@0.2` (and no `wasi:cli/run`).
    Proxy,
}

/// A runnable program, not yet compiled.
#[derive(Debug)]
pub(super) struct Detected {
    /// What sort it is.
    pub(super) kind: Kind,
    /// The binary form.
    pub(super) wasm: Bytes,
}

/// Names of a module or component, as far as they decide what it is.
#[derive(Default)]
pub(super) struct Names {
    pub(super) component: bool,
    pub(super) imports: BTreeSet<String>,
    pub(super) exports: BTreeSet<String>,
}

/// Where WebAssembly that runs here comes from; the hint of most errors below.
const HOW_TO_BUILD: &str = "build a command for wasm32-wasip1 or wasm32-wasip2, or a wasi:http 0.2 proxy component";
/// The packages of WASI 0.2 that hosts implement.
const PACKAGES: [&str; 7] = ["cli", "clocks", "filesystem", "http", "io", "random", "sockets"];
/// The one module that core modules may import from.
const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// Whether the beginning of a file says that it is WebAssembly, in its binary or its text form.
pub fn looks_like_webassembly(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm") || looks_like_text_form(bytes)
}

/// Tells what `bytes` are, and gives their binary form.
pub(super) fn detect(bytes: Bytes) -> Result<Detected> {
    let wasm = binary_form(bytes)?;
    let names = read_names(&wasm).map_err(|error| Error::invalid("this is damaged or unsupported WebAssembly").because(error))?;
    if names.imports.len().max(names.exports.len()) > WASM_NAMES_MAX {
        return Err(Error::limit(format!("it imports or exports more than {WASM_NAMES_MAX} names")));
    }
    let kind = if names.component { component_kind(&names) } else { core_kind(&names) }?;
    Ok(Detected { kind, wasm })
}

/// The binary form of `bytes`, which are in it already or in the text form. Nothing more of it is looked at.
///
/// # Errors
/// When they are in neither, or more than [`WASM_BYTES_MAX`] or, as text, [`WAT_BYTES_MAX`].
pub fn binary_form(bytes: Bytes) -> Result<Bytes> {
    if bytes.len() > WASM_BYTES_MAX {
        return Err(Error::limit(format!("the file has {} bytes, more than the {WASM_BYTES_MAX} allowed", bytes.len())));
    }
    let wasm = if looks_like_text_form(&bytes) { from_text(&bytes)? } else { bytes };
    if !wasm.starts_with(b"\0asm") {
        return Err(Error::invalid(format!("this is not WebAssembly: {}", looks_like(&wasm))).hint(HOW_TO_BUILD));
    }
    Ok(wasm)
}

fn core_kind(names: &Names) -> Result<Kind> {
    if !names.exports.contains("_start") {
        let error = if names.exports.contains("_initialize") {
            Error::invalid("this module is a reactor: it exports _initialize and functions to call, but no _start to run")
                .hint("build it as a command (a program with a main function, without -mexec-model=reactor or crate-type cdylib)")
        } else {
            let exports = listed(&names.exports, "nothing");
            Error::invalid(format!("this module is no command: it exports {exports}, but no _start to run")).hint(HOW_TO_BUILD)
        };
        return Err(error);
    }
    let missing: BTreeSet<_> =
        names.imports.iter().filter(|import| !import.starts_with(&format!("{PREVIEW_1}."))).cloned().collect();
    let Some(first) = missing.first() else { return Ok(Kind::Core) };
    let hint = if first.starts_with("wasi_unstable.") {
        "it was built for a preview of WASI from 2019; build it again for wasm32-wasip1".to_owned()
    } else if missing.contains("env.memory") || missing.contains("wasi.thread-spawn") {
        "programs with threads (wasm32-wasip1-threads) cannot run; build it for wasm32-wasip1".to_owned()
    } else if first.starts_with("wasi:") || first.starts_with("$root.") || first.starts_with("[export]") {
        "it is the inner module of a component; make the component with `wasm-tools component new`".to_owned()
    } else {
        format!("a core module may import from {PREVIEW_1} only; was it built for a browser or another host?")
    };
    Err(Error::invalid(format!("this module imports {}, which nobody provides", listed(&missing, "nothing"))).hint(hint))
}

fn component_kind(names: &Names) -> Result<Kind> {
    let exports = |interface: &str| names.exports.iter().any(|name| is_wasi_0_2(name, interface));
    let kind = if exports("cli/run") {
        Kind::Command
    } else if exports("http/incoming-handler") {
        Kind::Proxy
    } else if names.exports.iter().any(|name| name.starts_with("wasi:cli/run@0.3") || name.starts_with("wasi:http/handler@0.3")) {
        return Err(Error::invalid("this component is made for WASI 0.3, which is not supported yet").hint(HOW_TO_BUILD));
    } else {
        let listed = listed(&names.exports, "nothing");
        let message = format!(
            "this component has nothing to run: it exports {listed}, but neither wasi:cli/run nor wasi:http/incoming-handler"
        );
        return Err(Error::invalid(message).hint(HOW_TO_BUILD));
    };
    let provided = |import: &String| PACKAGES.iter().any(|package| is_wasi_0_2(import, package));
    let missing: BTreeSet<_> = names.imports.iter().filter(|import| !provided(import)).cloned().collect();
    if missing.is_empty() {
        return Ok(kind);
    }
    Err(Error::invalid(format!("this component imports {}, which nobody provides", listed(&missing, "nothing"))).hint(
        "a component may import WASI 0.2 (cli, clocks, filesystem, http, io, random, sockets); compose what else it needs into it",
    ))
}

/// Whether `name` is `wasi:<prefix>…@0.2` or `@0.2.N`, with `prefix` a package or a package and its interface.
fn is_wasi_0_2(name: &str, prefix: &str) -> bool {
    let Some((path, version)) = name.strip_prefix("wasi:").and_then(|name| name.split_once('@')) else { return false };
    let named = path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let patch = version.strip_prefix("0.2").map(|rest| rest.strip_prefix('.').unwrap_or(if rest.is_empty() { "0" } else { "-" }));
    named && patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The names of the outermost module or component; what is nested in it is skipped.
pub(super) fn read_names(wasm: &[u8]) -> Result<Names, BinaryReaderError> {
    let mut names = Names { component: Parser::is_component(wasm), ..Names::default() };
    let mut parser = Parser::new(0);
    let mut rest = wasm;
    loop {
        let Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else { return Ok(names) };
        let mut skipped = consumed;
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    names.imports.insert(format!("{}.{}", import.module, import.name));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    // A `_start` that is a global cannot be run.
                    if export.kind == ExternalKind::Func {
                        names.exports.insert(export.name.to_owned());
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import?;
                    // Types are imported to be spoken of; nobody has to provide them.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        names.imports.insert(import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind != ComponentExternalKind::Type {
                        names.exports.insert(export.name.name.to_owned());
                    }
                }
            }
            Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                skipped = skipped.saturating_add(unchecked_range.len());
            }
            // Imports and exports stand before the code.
            Payload::CodeSectionStart { .. } | Payload::End(_) => return Ok(names),
            _ => {}
        }
        rest = rest.get(skipped..).unwrap_or_default();
    }
}

/// The first names of a set, for a message.
fn listed(names: &BTreeSet<String>, none: &str) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        _ if names.is_empty() => none.to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Whether the first thing after white space and comments is an opening parenthesis.
fn looks_like_text_form(bytes: &[u8]) -> bool {
    let mut rest = bytes.trim_ascii_start();
    while rest.starts_with(b";;") {
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        rest = rest.get(line..).unwrap_or_default().trim_ascii_start();
    }
    rest.starts_with(b"(")
}

/// The binary form of the text form.
fn from_text(text: &[u8]) -> Result<Bytes> {
    if text.len() > WAT_BYTES_MAX {
        return Err(Error::limit(format!("the text has {} bytes, more than the {WAT_BYTES_MAX} allowed", text.len()))
            .hint("convert it to the binary form, which may be bigger"));
    }
    wat::parse_bytes(text).map(|wasm| Bytes::from(wasm.into_owned())).map_err(|error| {
        // The crate draws a picture of several lines: the message, then `--> <anon>:line:column`, then the place.
        let picture = error.to_string();
        let mut lines = picture.lines();
        let message = lines.next().unwrap_or_default().trim().to_owned();
        let place = lines.next().and_then(|line| line.trim().strip_prefix("--> <anon>:")).unwrap_or_default().to_owned();
        let place = place.split_once(':').map(|(line, column)| format!(" in line {line}, column {column}")).unwrap_or_default();
        Error::invalid(format!("this is not the text form of WebAssembly{place}: {message}"))
    })
}

/// What a file that is not WebAssembly may be instead, from its first bytes.
fn looks_like(bytes: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 22] = [
        (b"#!", "it is a script"),
        (b"MZ", "it is a Windows program"),
        (b"\xcf\xfa\xed\xfe", "it is a macOS program"),
        (b"\xca\xfe\xba\xbe", "it is a macOS program or a Java class"),
        (b"BC\xc0\xde", "it is LLVM bitcode"),
        (b"!<arch>\n", "it is a library archive"),
        (b"\x1f\x8b", "it is compressed by gzip; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "it is compressed by zstd; unpack it first"),
        (b"BZh", "it is compressed by bzip2; unpack it first"),
        (b"\xfd7zXZ\0", "it is compressed by xz; unpack it first"),
        (b"PK\x03\x04", "it is a zip archive; unpack it first"),
        (b"\x89PNG", "it is a PNG image"),
        (b"\xff\xd8\xff", "it is a JPEG image"),
        (b"GIF8", "it is a GIF image"),
        (b"%PDF", "it is a PDF document"),
        (b"SQLite format 3\0", "it is an SQLite database"),
        (b"version https://git-lfs", "it is a pointer of Git LFS; fetch the file with `git lfs pull`"),
        (b"<", "it is HTML or XML; was the download an error page?"),
        (b"{", "it is JSON"),
        (b"[", "it is JSON"),
        (b"apiVersion:", "it is a Kubernetes manifest; an image is wanted here"),
        (b"FROM ", "it is a Dockerfile; build the image first"),
    ];
    /// The mark that wasmtime sets in the header of its artifacts (`ELFOSABI_WASMTIME`).
    const WASMTIME: u8 = 200;
    if bytes.is_empty() {
        return "it is empty".to_owned();
    }
    if bytes.starts_with(b"\x7fELF") {
        let precompiled = bytes.get(7) == Some(&WASMTIME);
        let what = if precompiled {
            "it was compiled beforehand by wasmtime; give the .wasm file, which is compiled here"
        } else {
            "it is a native program"
        };
        return what.to_owned();
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return "it is a tar archive; unpack it first".to_owned();
    }
    let start = bytes.trim_ascii_start();
    if let Some((_, what)) = KNOWN.iter().find(|(magic, _)| start.starts_with(magic) || bytes.starts_with(magic)) {
        return (*what).to_owned();
    }
    let head = bytes.get(..64).unwrap_or(bytes);
    if head.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t')) {
        return "it is a text file".to_owned();
    }
    let head: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("it begins with the bytes {}", head.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line for each file: what it is, or why it is refused and what to do.
    fn check(bytes: &[u8]) -> String {
        match detect(Bytes::copy_from_slice(bytes)) {
            Ok(detected) => format!("{:?}", detected.kind),
            Err(error) => match error.advice() {
                Some(hint) => format!("{}; hint: {hint}", error.chain()),
                None => error.chain(),
            },
        }
    }

    fn component(imports: &[&str], exports: &[&str]) -> String {
        let imports: String = imports.iter().map(|name| format!("(import \"{name}\" (instance))")).collect();
        let exports: String = exports.iter().map(|name| format!("(export \"{name}\" (instance $i))")).collect();
        format!("(component {imports} (component $c) (instance $i (instantiate $c)) {exports})")
    }

    #[test]
    fn programs_are_told_by_their_exports() {
        let start = "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32))) (func (export \"_start\")))";
        assert_eq!(check(start.as_bytes()), "Core");
        assert_eq!(check(&wat::parse_str(start).unwrap()), "Core");
        assert_eq!(check(b" ;; a comment\n\n (module (func (export \"_start\")) (func (export \"_initialize\")))"), "Core");
        let cli = ["wasi:cli/run@0.2.6"];
        let http = ["wasi:http/incoming-handler@0.2.0"];
        let imports = ["wasi:io/streams@0.2.6", "wasi:sockets/tcp@0.2.0", "wasi:http/outgoing-handler@0.2.12"];
        assert_eq!(check(component(&imports, &cli).as_bytes()), "Command");
        assert_eq!(check(component(&imports, &http).as_bytes()), "Proxy");
        assert_eq!(check(component(&[], &[cli, http].concat()).as_bytes()), "Command");
    }

    #[test]
    fn names_inside_of_a_component_do_not_count() {
        let nested = "(component (core module (import \"env\" \"x\" (func)) (func (export \"_start\"))) (component (import \"foo\" (func))))";
        assert!(check(nested.as_bytes()).contains("exports nothing"), "{}", check(nested.as_bytes()));
    }

    #[test]
    fn versions_of_wasi_0_2_match_and_no_others() {
        for name in ["wasi:cli/run@0.2.0", "wasi:cli/run@0.2.12", "wasi:cli/run@0.2"] {
            assert!(is_wasi_0_2(name, "cli/run"), "{name}");
        }
        let others = [
            "wasi:cli/run",
            "wasi:cli/run@0.3.0",
            "wasi:cli/run@0.2.0-rc-2023-11-10",
            "wasi:cli/runner@0.2.0",
            "my:cli/run@0.2.0",
            "wasi:cli/run@0.20.0",
            "wasi:cli/run@0.2.",
        ];
        for name in others {
            assert!(!is_wasi_0_2(name, "cli/run"), "{name}");
        }
    }

    #[test]
    fn what_cannot_run_is_named_with_what_would_work() {
        let modules = [
            "(module (func (export \"_initialize\")) (func (export \"add\")))",
            "(module (func (export \"add\")) (func (export \"b\")) (func (export \"c\")) (func (export \"d\")) (func (export \"e\")))",
            "(module)",
            "(module (global (export \"_start\") i32 (i32.const 0)))",
            "(module (import \"env\" \"alert\" (func)) (func (export \"_start\")))",
            "(module (import \"env\" \"memory\" (memory 1 1 shared)) (import \"wasi\" \"thread-spawn\" (func)) (func (export \"_start\")))",
            "(module (import \"wasi_unstable\" \"fd_write\" (func)) (func (export \"_start\")))",
            "(module (import \"wasi:cli/exit@0.2.0\" \"exit\" (func)) (func (export \"_start\")))",
        ];
        let components = [
            component(&[], &["wasi:cli/run@0.3.0"]),
            component(&[], &["my:app/api@1.0.0"]),
            component(&[], &[]),
            component(
                &["fermyon:spin/key-value@2.0.0", "wasi:io/poll@0.2.0", "wasi:keyvalue/store@0.2.0-draft"],
                &["wasi:http/incoming-handler@0.2.0"],
            ),
        ];
        let lines: Vec<String> =
            modules.iter().map(|text| check(text.as_bytes())).chain(components.iter().map(|text| check(text.as_bytes()))).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn what_is_not_webassembly_is_named() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let mut precompiled = b"\x7fELF\x02\x01\x01\xc8".to_vec();
        precompiled.resize(200, 0);
        let files: [&[u8]; 21] = [
            b"",
            b" \n",
            b"\0asm",
            b"\0asm\x01\0\0\0\x07\xff",
            b"\0asm\x02\0\0\0",
            b"\0as",
            b"\x7fELF\x02\x01\x01\0\0",
            &precompiled,
            b"#!/bin/sh\necho hi\n",
            b"\x89PNG\r\n",
            b"\x1f\x8b\x08\0",
            &tar,
            b"\n<!DOCTYPE html>",
            b"{\"schemaVersion\": 2}",
            b"apiVersion: v1\nkind: Pod\n",
            b"FROM scratch\n",
            b"hello\n",
            b"\xde\xad\xbe\xef\0\0\0\0\0\0",
            b"(module (func (export \"_start\") unreachabl))",
            b"(module",
            b"(\xff)",
        ];
        let lines: Vec<String> = files.iter().map(|bytes| check(bytes)).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn bombs_in_text_end_in_errors() {
        assert!(check(&[b"(".repeat(100_000), b")".repeat(100_000)].concat()).contains("not the text form"));
        let long = [b"(".to_vec(), vec![b' '; WAT_BYTES_MAX]].concat();
        assert!(check(&long).contains("more than the"));
    }
}
