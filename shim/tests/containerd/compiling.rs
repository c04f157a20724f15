//! Compiled once for the node.

use crate::harness::{Containerd, RUNTIME, SHIM, can_run, repository};
use crate::image::Image;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

#[test]
fn twenty_first_starts_at_once_compile_once() {
    if !can_run() {
        return;
    }
    // The real compiler behind one that counts.
    let programs = tempfile::tempdir().unwrap();
    std::fs::copy(SHIM, programs.path().join("containerd-shim-wasmpod-v1")).unwrap();
    let count = programs.path().join("count");
    let compiler = Path::new(SHIM).with_file_name("wasmpod-compile");
    let script = format!("#!/bin/sh\necho once >> {}\nexec {} \"$@\"\n", count.display(), compiler.display());
    let wrapper = programs.path().join("wasmpod-compile");
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();

    let containerd = Containerd::start_with(programs.path().to_owned(), programs.path().join("cache"), "");
    let hello = repository("examples/hello/hello.wasm");
    containerd.import("default", Image::of_files("localhost/hello:1", "/hello.wasm", &[("hello.wasm", hello)]));
    let runs: Vec<_> = (0..20)
        .map(|index| containerd.spawn_ctr(&["run", "--rm", "--runtime", RUNTIME, "localhost/hello:1", &format!("c{index}")]))
        .collect();
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.starts_with(b"Hello from WebAssembly!"));
    }
    assert_eq!(std::fs::read_to_string(count).unwrap().lines().count(), 1);
}
