//! The arrows of `ARCHITECTURE.md`, read from the `use` lines of the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which modules of ours each module may name; the longest matching name on the left counts.
const MAY_USE: &[(&str, &[&str])] = &[
    ("lib", &["error", "limits", "manifest", "pod", "workload", "image", "engine", "container", "wasi", "net", "volume", "log"]),
    ("error", &[]),
    ("limits", &[]),
    ("net", &["error", "limits"]),
    ("log", &["error", "limits"]),
    ("pod::spec", &["net"]),
    ("pod::state", &["error", "limits", "net", "pod::spec", "pod::backoff"]),
    ("pod::backoff", &["error", "limits"]),
    ("pod::status", &["error", "limits", "net", "pod::spec", "pod::state", "pod::backoff"]),
    ("workload::spec", &[]),
    ("workload::controller", &["limits", "workload::spec"]),
    ("workload", &["error", "limits", "net", "pod"]),
    ("manifest", &["error", "limits", "net", "pod::spec", "workload::spec"]),
    ("image", &["error", "limits", "pod::spec"]),
    ("volume", &["error", "limits", "pod::spec"]),
    ("engine", &["error", "limits"]),
    ("wasi", &["error", "limits", "net", "log", "pod::spec"]),
    ("container", &["error", "limits", "engine", "wasi", "net", "log", "volume", "pod::spec", "pod::state"]),
    ("pod", &["error", "limits", "container", "engine", "wasi", "net", "volume", "log", "image"]),
];

/// Crates that only some modules may name.
const CRATES: &[(&str, &[&str])] = &[
    ("wasmtime", &["engine", "container", "wasi"]),
    ("wasmtime_wasi", &["container", "wasi"]),
    ("wasmtime_wasi_io", &["wasi"]),
    ("wasmtime_wasi_http", &["container", "wasi"]),
    ("wiggle", &["wasi"]),
    (
        "tokio",
        &[
            "engine",
            "container",
            "wasi",
            "net",
            "pod::driver",
            "pod::probe",
            "pod::hook",
            "pod::sandbox",
            "workload::driver",
            "log",
            "image",
        ],
    ),
];

#[test]
fn modules_use_only_what_the_architecture_allows() {
    let mut broken = Vec::new();
    for (module, file) in modules() {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = without_tests_and_comments(&text);
        let (own, allowed) = rule(&module);
        for used in uses_of_ours(&code) {
            let inside = used == own || used.starts_with(&format!("{own}::")) || own.starts_with(&format!("{used}::"));
            let fits = |allowed: &&str| used == **allowed || used.starts_with(&format!("{allowed}::"));
            if !inside && !allowed.iter().any(fits) {
                broken.push(format!("{module} uses crate::{used}"));
            }
        }
        for (name, places) in CRATES {
            let named = code.contains(&format!(" {name}::"))
                || code.contains(&format!("<{name}::"))
                || code.contains(&format!("({name}::"));
            if named && !places.iter().any(|place| module == *place || module.starts_with(&format!("{place}::"))) {
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

fn rule(module: &str) -> (&'static str, &'static [&'static str]) {
    let fits = |name: &str| module == name || module.starts_with(&format!("{name}::"));
    let longest = MAY_USE.iter().filter(|(name, _)| fits(name)).max_by_key(|(name, _)| name.len());
    longest.map(|(name, allowed)| (*name, *allowed)).unwrap_or_else(|| panic!("ARCHITECTURE.md has no rule for {module}"))
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
