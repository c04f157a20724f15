//! C: what comes as an image is compiled, never loaded as code.

use crate::guests;
use crate::harness::{Folder, shared_cache};
use std::fs;
use std::path::PathBuf;

/// An artifact that this very program compiled: the most dangerous bytes an image can hold.
fn real_artifact() -> Vec<u8> {
    Folder::new().with("x.wat", guests::exits(0)).run(&["x.wat"]);
    let mut folders = vec![shared_cache()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "cwasm") {
                return fs::read(path).unwrap();
            }
        }
    }
    panic!("nothing in the cache");
}

#[test]
fn c1_a_precompiled_file_is_no_image() {
    for name in ["x.wasm", "x.cwasm", "x"] {
        let finished = Folder::new().with(name, real_artifact()).run(&[&format!("./{name}")]);
        assert_eq!(finished.status, 2, "{}", finished.stderr);
        assert!(finished.stderr.contains("not WebAssembly") || finished.stderr.contains("compiled"), "{}", finished.stderr);
    }
}

#[test]
fn c2_an_artifact_of_another_program_is_made_again() {
    let folder = Folder::new().with("x.wat", guests::exits(7));
    let cache = folder.path().join("cache").display().to_string();
    assert_eq!(folder.run(&["x.wat", "--cache-dir", &cache]).status, 7);
    let artifact: PathBuf = find(&folder, "cwasm");
    let other = Folder::new().with("y.wat", guests::exits(8));
    let other_cache = other.path().join("cache").display().to_string();
    assert_eq!(other.run(&["y.wat", "--cache-dir", &other_cache]).status, 8);
    // What exits with 8 stands where what exits with 7 is looked for.
    fs::copy(find(&other, "cwasm"), &artifact).unwrap();
    assert_eq!(folder.run(&["x.wat", "--cache-dir", &cache]).status, 7);
}

fn find(folder: &Folder, extension: &str) -> PathBuf {
    let mut folders = vec![folder.path().join("cache")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                return path;
            }
        }
    }
    panic!("no .{extension} in the cache");
}
