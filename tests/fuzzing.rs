//! What the fuzzers found worth keeping, run again without them: so the targets are compiled and hold.
//!
//! `tests/fuzz/run.sh` looks for more.

#[path = "fuzz/targets/mod.rs"]
pub mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files of all corpora together, and their bytes: what everybody who clones the repository gets.
const FILES_MAX: usize = 200;
const BYTES_MAX: u64 = 500 << 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs the corpus of a target.
fn replay(name: &str) {
    let (_, run) = targets::ALL.into_iter().find(|(target, _)| *target == name).unwrap();
    let corpus = files(&folder().join("corpus").join(name));
    assert!(!corpus.is_empty(), "{name} has no corpus");
    run(b"");
    for path in corpus {
        eprintln!("{}", path.display());
        run(&std::fs::read(path).unwrap());
    }
}

#[test]
fn archives() {
    replay("archive");
}

#[test]
fn components_that_call_everything() {
    replay("component");
}

#[test]
fn http_servers() {
    replay("http_server");
}

#[test]
fn documents_of_images() {
    replay("image");
}

#[test]
fn layers() {
    replay("layer");
}

#[test]
fn manifests() {
    replay("manifest");
}

#[test]
fn modules_of_odd_shapes() {
    replay("module");
}

#[test]
fn sequences_of_operations_on_the_network() {
    replay("network");
}

#[test]
fn preview_1_called_in_any_way() {
    replay("preview1");
}

#[test]
fn answers_to_probes() {
    replay("probe");
}

#[test]
fn small_texts_about_registries() {
    replay("registry");
}

#[test]
fn answers_of_registries() {
    replay("registry_answers");
}

#[test]
fn every_target_is_fuzzed_and_replayed() {
    let names: BTreeSet<_> = targets::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let fuzzers = files(&folder().join("fuzz_targets"));
    let fuzzers: BTreeSet<_> = fuzzers.iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(fuzzers, names);
    let here = include_str!("fuzzing.rs");
    for name in names {
        assert!(here.contains(&format!("replay(\"{name}\");")), "{name} is not replayed");
    }
}

#[test]
fn corpora_are_small() {
    let corpora: Vec<_> = files(&folder().join("corpus")).iter().flat_map(|corpus| files(corpus)).collect();
    let bytes: u64 = corpora.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(corpora.len() <= FILES_MAX && bytes <= BYTES_MAX, "{} files of {bytes} bytes", corpora.len());
}
