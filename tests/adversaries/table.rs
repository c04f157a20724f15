//! The table of `docs/threat-model.md` and the tests agree: each that it names exists, and each attack here has its row.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The text of every Rust file, by its path as a module: `adversaries::denial`, `engine::cache::tests`.
fn modules() -> BTreeMap<String, String> {
    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    for root in ["runtime/src/bin/wasmpod", "runtime/src", "shim/src", "shim/tests", "tests"] {
        let root = repository().join(root);
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(module) = path.strip_prefix(&root).unwrap().to_string_lossy().strip_suffix(".rs") {
                    let module = module.strip_suffix("/mod").unwrap_or(module).replace('/', "::");
                    modules.entry(module).or_default().push_str(&fs::read_to_string(&path).unwrap());
                }
            }
        }
    }
    modules
}

/// The rows of the table: an attack's id, and the tests that it names.
fn rows() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(repository().join("docs/threat-model.md")).unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = page.lines().filter(|line| line.starts_with("| ")).map(cells).filter(|cells| cells.len() == 3);
    let tests = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.filter(|cells| !matches!(cells[0].as_str(), "row" | "---")).map(|cells| (cells[0].clone(), tests(&cells[2]))).collect()
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let modules = modules();
    let exists = |test: &str| {
        let (module, name) = test.rsplit_once("::").unwrap_or(("", test));
        // Tests may stand in a module of the file that they are about.
        let holds = |module: &str| {
            modules
                .get(module)
                .is_some_and(|text| text.contains(&format!("fn {name}(")) || text.contains(&format!("mod {name} {{")))
        };
        // A check that is no test of Rust is a file of the repository.
        repository().join(test).is_file()
            || modules.contains_key(test)
            || holds(module)
            || module.strip_suffix("::tests").is_some_and(holds)
    };
    let rows = rows();
    assert!(rows.len() > 30, "{}", rows.len());
    for (row, tests) in rows {
        assert!(!tests.is_empty(), "{row} names no test");
        for test in tests {
            assert!(exists(&test), "{row} names {test}, which does not exist");
        }
    }
}

#[test]
fn every_attack_has_its_row() {
    let rows: BTreeMap<String, Vec<String>> = rows().into_iter().collect();
    let modules = modules();
    let attacks = modules.iter().filter(|(module, _)| module.starts_with("adversaries::"));
    for (module, text) in attacks {
        for name in text.lines().filter_map(|line| line.trim_start_matches("async ").strip_prefix("fn ")?.split('(').next()) {
            let Some((id, _)) = name.split_once('_').filter(|(id, _)| is_row(id)) else { continue };
            let listed = rows.get(&id.to_uppercase()).is_some_and(|tests| tests.contains(&format!("{module}::{name}")));
            assert!(listed, "{module}::{name} is in no row of docs/threat-model.md");
        }
    }
}

/// `a1`, `b12`.
fn is_row(id: &str) -> bool {
    let mut letters = id.chars();
    letters.next().is_some_and(|first| matches!(first, 'a'..='e'))
        && !letters.as_str().is_empty()
        && letters.all(|c| c.is_ascii_digit())
}
