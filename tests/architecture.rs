//! The arrows of `ARCHITECTURE.md`, read from the `use` lines of the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The page that says it.
const PAGE: &str = include_str!("../ARCHITECTURE.md");

/// The rows of the page's table that begins with `header`: the names on the left, one row each, with those on the right. `a::{b, c}`
/// stands for `a::b` and `a::c`; only what stands in backticks counts.
fn table(header: &str) -> Vec<(String, Vec<String>)> {
    let rows = PAGE.split_once(header).unwrap_or_else(|| panic!("the page has no table {header}")).1;
    let rows = rows.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split_once('|').unwrap());
    let table: Vec<_> = cells.flat_map(|(left, right)| names(left).into_iter().map(move |name| (name, names(right)))).collect();
    assert!(!table.is_empty(), "{header}");
    table
}

/// What stands in backticks.
fn names(cell: &str) -> Vec<String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    let expanded = quoted.flat_map(|name| match name.trim_end_matches('}').split_once('{') {
        Some((path, last)) => last.split(", ").map(|last| format!("{path}{last}")).collect(),
        None => vec![name.to_owned()],
    });
    expanded.collect()
}

#[test]
fn modules_use_only_what_the_architecture_allows() {
    let (rules, crates) = (table("| module | may use |"), table("| crate | is named under |"));
    let mut broken = Vec::new();
    for (module, file) in modules().into_iter().filter(|(module, _)| module != "lib") {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = without_tests_and_comments(&text);
        let (own, allowed) = rule(&rules, &module);
        for used in uses_of_ours(&code) {
            let inside = used == own || used.starts_with(&format!("{own}::")) || own.starts_with(&format!("{used}::"));
            let fits = |allowed: &String| used == *allowed || used.starts_with(&format!("{allowed}::"));
            if !inside && !allowed.iter().any(fits) {
                broken.push(format!("{module} uses crate::{used}"));
            }
        }
        for (name, places) in &crates {
            let named = code.contains(&format!(" {name}::"))
                || code.contains(&format!("<{name}::"))
                || code.contains(&format!("({name}::"));
            if named && !places.iter().any(|place| is_under(&module, place)) {
                broken.push(format!("{module} uses the crate {name}"));
            }
        }
    }
    assert!(broken.is_empty(), "against ARCHITECTURE.md:\n{}", broken.join("\n"));
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let files: Vec<PathBuf> = modules()
        .into_iter()
        .map(|(_, file)| file)
        .filter(|file| without_tests_and_comments(&std::fs::read_to_string(file).unwrap()).contains("unsafe {"))
        .collect();
    assert!(files.len() == 1 && files[0].ends_with("engine/cache/entry.rs"), "unsafe stands in {files:?}");
}

/// A bound that stands somewhere else is in no table, and nobody thinks of it.
#[test]
fn bounds_stand_in_limits() {
    // Not bounds of ours: how long a name or a number of Kubernetes is, to be one.
    let names = ["manifest::names", "manifest::lower", "manifest::quantity", "workload::spec"];
    for (module, file) in modules().into_iter().filter(|(module, _)| module != "limits" && !names.contains(&module.as_str())) {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = without_tests_and_comments(&text);
        let bound = code.lines().find(|line| line.contains("const ") && (line.contains("_MAX:") || line.contains("ATTEMPTS")));
        assert_eq!(bound, None, "{module}: it belongs into limits.rs");
    }
}

/// The library's modules and their files.
fn modules() -> Vec<(String, PathBuf)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("bin") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&source).unwrap().with_extension("").to_string_lossy().replace('/', "::");
                found.push((name.trim_end_matches("::mod").to_owned(), path));
            }
        }
    }
    // Modules of tests alone.
    found.retain(|(module, _)| {
        !["tests", "testing", "model", "properties", "simulator"].iter().any(|name| module.split("::").any(|part| part == *name))
    });
    found.sort();
    found
}

/// The row of the table for `module`: the one with the longest name that fits.
fn rule<'table>(rules: &'table [(String, Vec<String>)], module: &str) -> (&'table str, &'table [String]) {
    let longest = rules.iter().filter(|(name, _)| is_under(module, name)).max_by_key(|(name, _)| name.len());
    let (name, allowed) = longest.unwrap_or_else(|| panic!("ARCHITECTURE.md has no rule for {module}"));
    (name, allowed)
}

fn is_under(module: &str, place: &str) -> bool {
    module == place || module.starts_with(&format!("{place}::"))
}

/// The names after `crate::`, down to the second level for `pod`.
fn uses_of_ours(code: &str) -> BTreeSet<String> {
    let flat = code.replace("crate::{", "crate::__group__ ");
    let mut used = BTreeSet::new();
    for after in flat.split("crate::").skip(1) {
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
        let mut parts = name.split("::").filter(|part| !part.is_empty());
        match (parts.next(), parts.next()) {
            (Some(first @ ("pod" | "workload")), Some(second)) if second.starts_with(char::is_lowercase) => {
                used.insert(format!("{first}::{second}"))
            }
            (Some("__group__"), _) | (None, _) => false,
            (Some(first), _) if first.starts_with(char::is_uppercase) => used.insert("error".to_owned()),
            (Some(first), _) => used.insert(first.to_owned()),
        };
    }
    used
}

/// Test modules may use what they like, and comments may name anything.
fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}
