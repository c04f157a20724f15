//! `SPECIFICATION.md` says what holds, and by which test or benchmark it shows: everything named there must exist.

use std::collections::BTreeSet;
use std::path::Path;

/// The page whose tables' last column names tests or benchmarks.
const PAGE: &str = include_str!("../SPECIFICATION.md");

/// What the last column of a page's tables names.
fn named(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let cells = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit_once('|'));
    cells.flat_map(|(_, last)| last.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The functions and modules of everything that tests, and the names of the benchmarks.
fn existing() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names = BTreeSet::new();
    for folder in ["tests", "runtime/src", "shim/src", "shim/tests", "benches/benches"] {
        collect(&root.join(folder), &mut names);
    }
    names
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("target") {
            continue;
        }
        names.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let functions = text.lines().filter_map(|line| line.split_once("fn ")?.1.split_once('('));
            names.extend(functions.map(|(name, _)| name.to_owned()));
        }
    }
}

/// A file of the repository; or a path of which every part is a module, a file or a function, and `..::name` continues the one before.
fn is_there(path: &str, existing: &BTreeSet<String>) -> bool {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if !path.contains("::") && file.exists() {
        return true;
    }
    path.split("::").filter(|part| *part != "..").all(|part| part == "tests" || existing.contains(part))
}

#[test]
fn every_test_and_benchmark_that_the_specification_names_exists() {
    let existing = existing();
    let named = named(PAGE);
    assert!(named.len() > 20, "it names hardly anything");
    let missing: Vec<&String> = named.iter().filter(|path| !is_there(path, &existing)).collect();
    assert!(missing.is_empty(), "it names what does not exist: {missing:?}");
}

#[test]
fn what_is_not_met_says_its_value() {
    for line in PAGE.lines().filter(|line| line.starts_with('|') && line.contains("not met")) {
        assert!(line.chars().any(|character| character.is_ascii_digit()), "no value: {line}");
    }
}
