//! `docs/conformance.md` and the suite say the same.

use std::collections::BTreeSet;
use std::path::Path;

/// The tests that the table names, as `module::test`.
fn named() -> BTreeSet<String> {
    let table = include_str!("../../docs/conformance.md");
    let cells = table.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('`'));
    cells.filter(|cell| cell.contains("::") && !cell.contains(' ')).map(str::to_owned).collect()
}

/// The tests that there are.
fn written() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let modules =
        files.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()));
    modules.filter(|(module, _)| module != "table").flat_map(|(module, text)| names(&module, &text)).collect()
}

/// The functions behind a test attribute.
fn names(module: &str, text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines() {
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        if let (true, Some(function)) = (is_test, function) {
            names.push(format!("{module}::{}", function.split('(').next().unwrap_or_default()));
        }
        is_test = line == "#[test]" || line.starts_with("#[tokio::test");
    }
    names
}

#[test]
fn every_case_has_its_test_and_every_test_its_case() {
    let (named, written) = (named(), written());
    assert!(written.len() > 50, "the tests were not found: {written:?}");
    let missing: Vec<_> = written.difference(&named).collect();
    let invented: Vec<_> = named.difference(&written).collect();
    assert!(missing.is_empty() && invented.is_empty(), "docs/conformance.md lacks {missing:#?} and invents {invented:#?}");
}
