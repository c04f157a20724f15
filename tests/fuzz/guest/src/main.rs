//! Builds `component.wasm`, the guest of the fuzzer of the same name: a component that imports everything of WASI 0.2 and calls it as
//! it is told. Run in `tests/fuzz/guest`, with the interfaces as wasmtime has them:
//!
//! ```text
//! cargo run -- ~/.cargo/registry/src/*/wasmtime-wasi-http-48.0.8/wit ../component.wasm
//! ```
//!
//! It exports `call`, which calls an import with words as its parameters; `poke` and `peek`, which write and read its memory; and
//! `functions`, how many imports there are.

use std::path::Path;
use wasmparser::{CompositeInnerType, FuncType, Parser, Payload, TypeRef, ValType};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

const WORLD: &str = "
package wasmpod:fuzz;

world guest {
    include wasi:cli/imports@0.2.12;
    import wasi:http/types@0.2.12;
    import wasi:http/outgoing-handler@0.2.12;
    export functions: func() -> u32;
    export call: func(index: u32, parameters: list<u64>) -> u64;
    export poke: func(at: u32, bytes: list<u8>);
    export peek: func(at: u32) -> u64;
}
";

/// What the host allocates goes round from here to the end.
const HEAP: &str = "
    (memory (export \"memory\") 16)
    (global $heap (mut i32) (i32.const 65536))
    (func (export \"cabi_realloc\") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
        (local $at i32)
        (if (i32.gt_u (local.get $size) (i32.const 900000)) (then unreachable))
        (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
        (if (i32.gt_u (i32.add (local.get $at) (local.get $size)) (i32.const 1048576)) (then (local.set $at (i32.const 65536))))
        (global.set $heap (i32.add (local.get $at) (local.get $size)))
        (memory.copy (local.get $at) (local.get $old) (select (local.get $old_size) (local.get $size)
            (i32.lt_u (local.get $old_size) (local.get $size))))
        (local.get $at))
    (func (export \"poke\") (param $at i32) (param $bytes i32) (param $length i32)
        (memory.copy (local.get $at) (local.get $bytes) (local.get $length)))
    (func (export \"peek\") (param $at i32) (result i64) (i64.load (local.get $at)))
    (func (export \"call\") (param $index i32) (param $words i32) (param $count i32) (result i64)
        (call_indirect (type $case) (local.get $words) (i32.rem_u (local.get $index) (i32.const COUNT))))
";

fn main() {
    let wit = std::env::args().nth(1).expect("the directory of WIT files");
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(&wit)).unwrap();
    let package = resolve.push_str("guest.wit", WORLD).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let dummy = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    let mut module = wat::parse_str(text(&imports(&dummy))).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let component = ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap();
    std::fs::write(std::env::args().nth(2).expect("where to write it"), component).unwrap();
}

fn imports(module: &[u8]) -> Vec<(String, String, FuncType)> {
    let mut types = Vec::new();
    let mut imports = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::TypeSection(section) => {
                for group in section {
                    types.extend(group.unwrap().into_types().map(|ty| match ty.composite_type.inner {
                        CompositeInnerType::Func(ty) => ty,
                        other => panic!("{other:?}"),
                    }));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.unwrap();
                    let TypeRef::Func(ty) = import.ty else { panic!("{import:?}") };
                    imports.push((import.module.to_owned(), import.name.to_owned(), types[ty as usize].clone()));
                }
            }
            _ => {}
        }
    }
    imports
}

fn text(imports: &[(String, String, FuncType)]) -> String {
    let mut text = String::from("(module (type $case (func (param i32) (result i64)))");
    for (index, (module, name, ty)) in imports.iter().enumerate() {
        let list = |word: &str, types: &[ValType]| types.iter().map(|ty| format!("({word} {ty})")).collect::<String>();
        let (parameters, results) = (list("param", ty.params()), list("result", ty.results()));
        text += &format!("(import \"{module}\" \"{name}\" (func $import{index} {parameters} {results}))\n");
    }
    text += &format!(
        "(table {0} funcref) (elem (i32.const 0) {1})",
        imports.len(),
        (0..imports.len()).map(|index| format!(" $case{index}")).collect::<String>()
    );
    text += &format!("(func (export \"functions\") (result i32) (i32.const {}))", imports.len());
    for (index, (.., ty)) in imports.iter().enumerate() {
        let parameters: String = ty.params().iter().enumerate().map(|(at, ty)| word(*ty, at)).collect();
        let call = format!("(call $import{index} {parameters})");
        let result = match ty.results() {
            [] => format!("{call} (i64.const -1)"),
            [ValType::I32] => format!("(i64.extend_i32_u {call})"),
            [ValType::I64] => call,
            other => panic!("{other:?}"),
        };
        text += &format!("(func $case{index} (param $words i32) (result i64) {result})\n");
    }
    text + &HEAP.replace("COUNT", &imports.len().to_string()) + ")"
}

/// The parameter at `at`, out of the list of words.
fn word(ty: ValType, at: usize) -> String {
    let load = format!("(i64.load offset={} (local.get $words))", 8 * at);
    match ty {
        ValType::I32 => format!("(i32.wrap_i64 {load})"),
        ValType::I64 => load,
        ValType::F32 => format!("(f32.reinterpret_i32 (i32.wrap_i64 {load}))"),
        ValType::F64 => format!("(f64.reinterpret_i64 {load})"),
        other => panic!("{other:?}"),
    }
}
