//! Modules by wasm-smith. An input that is a module already is run as it is: those are what the repository keeps.

#![no_main]

use arbitrary::{Error, Result, Unstructured};
use std::sync::OnceLock;

/// Calls and loops of one function: the rest of a run is the host's.
const FUEL: u32 = 500;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"\0asm") {
        targets::module::run(data);
    } else if let Ok(module) = smith(&mut Unstructured::new(data)) {
        if let Some(folder) = std::env::var_os("WASMPOD_FUZZ_MODULES") {
            std::fs::write(std::path::Path::new(&folder).join(format!("{}.wasm", module.len())), &module).unwrap();
        }
        targets::module::run(&module);
    }
});

fn smith(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    static SHAPE: OnceLock<Vec<u8>> = OnceLock::new();
    let config = wasm_smith::Config {
        module_shape: Some(SHAPE.get_or_init(shape).clone()),
        custom_page_sizes_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        max_instructions: 200,
        max_memories: 2,
        max_memory32_bytes: 1 << 20,
        max_table_elements: 1000,
        memory64_enabled: false,
        min_data_segments: 1,
        shared_everything_threads_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..wasm_smith::Config::default()
    };
    let mut module = wasm_smith::Module::new(config, input)?;
    module.ensure_termination(FUEL).map_err(|_| Error::IncorrectFormat)?;
    Ok(module.to_bytes())
}

/// What such a module looks like from outside: it imports everything, and exports a memory, `_start` and `again`.
fn shape() -> Vec<u8> {
    let memory = "(memory (export \"memory\") 1 16)";
    let functions = "(func (export \"_start\")) (func (export \"again\") (param i32 i64) (result i32) unreachable)";
    wat::parse_str(format!("(module {} {memory} {functions})", targets::preview1::imports())).unwrap()
}
