//! The integration tests of wasmpod: one binary, one module a subject.

#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking"
)]

mod adversaries;
mod architecture;
mod bench;
mod compiler;
mod conformance;
mod errors;
mod exec;
mod examples;
mod fuzzing;
mod generated_pages;
mod guests;
mod harness;
mod image_pulls;
mod image_store;
mod kubernetes_docs;
mod images;
mod lying_registries;
mod net_differential;
mod pod_network;
mod registry_access;
mod resources;
mod run_command;
mod specification;
mod stopping;
mod workloads;
mod termination_message;
mod supply_chain;
mod validate;

/// A test file that nobody lists here would silently not run.
#[test]
fn every_file_is_a_module_of_this_binary() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let listed = include_str!("main.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(listed.contains(&format!("mod {module};")), "tests/{name} is not listed in tests/main.rs");
        }
    }
}
