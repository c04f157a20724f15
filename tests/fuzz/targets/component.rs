//! Every function of WASI 0.2, HTTP included, called in any order with any arguments on any memory.
//!
//! The guest (`guest.rs` builds it) passes calls on to its imports. The input is what stands in its memory, and then calls. Numbers that
//! the host answered with are used again, since resources are such numbers.

use super::guest::{self, Data, PATIENCE, Surroundings};
use super::{block_on, tar_file, wire};
use arbitrary::{Result, Unstructured};
use std::sync::OnceLock;
use wasmpod::wasi::component_linker;
use wasmtime::component::{Component, Instance, InstancePre, TypedFunc};
use wasmtime::{AsContextMut, Store};

const GUEST: &[u8] = include_bytes!("../component.wasm");

/// Calls of one run.
const CALLS_MAX: usize = 40;
/// Words that a call takes: more than any function has parameters.
const WORDS: usize = 20;
/// How much of the memory the input fills.
const FILLED_BYTES_MAX: usize = 512;
/// Where texts stand, and where results go that are more than one word.
const TEXTS_AT: u64 = 1024;
const RESULTS_AT: u64 = 4096;
const TEXTS: [&str; 16] = [
    "file",
    "sub",
    "link",
    "dir-out",
    "sub/out",
    "dir-out/secret",
    "..",
    "../outside/secret",
    "/",
    "new",
    "sub/new",
    "pod",
    "localhost",
    "127.0.0.1:9000",
    "content-length",
    "5",
];
/// What a neighbour answers to requests.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello";

pub fn run(data: &[u8]) {
    block_on(call_all(&mut Unstructured::new(data)));
}

fn guest() -> &'static InstancePre<Data> {
    static GUEST_PRE: OnceLock<InstancePre<Data>> = OnceLock::new();
    GUEST_PRE.get_or_init(|| {
        let component = Component::new(guest::engine(), GUEST).unwrap();
        component_linker(guest::engine()).unwrap().instantiate_pre(&component).unwrap()
    })
}

/// What the guest exports.
struct Exports {
    call: TypedFunc<(u32, Vec<u64>), (u64,)>,
    poke: TypedFunc<(u32, Vec<u8>), ()>,
    peek: TypedFunc<(u32,), (u64,)>,
}

impl Exports {
    fn new(instance: &Instance, mut store: impl AsContextMut) -> Self {
        let mut store = store.as_context_mut();
        Self {
            call: instance.get_typed_func(&mut store, "call").unwrap(),
            poke: instance.get_typed_func(&mut store, "poke").unwrap(),
            peek: instance.get_typed_func(&mut store, "peek").unwrap(),
        }
    }
}

async fn call_all(input: &mut Unstructured<'_>) {
    let surroundings = Surroundings::new();
    let guest = guest();
    let mut store = surroundings.store();
    let instance = guest.instantiate_async(&mut store).await.unwrap();
    let exports = Exports::new(&instance, &mut store);
    let filled = tar_file::bytes(input, FILLED_BYTES_MAX).unwrap_or_default();
    exports.poke.call_async(&mut store, (0, filled)).await.unwrap();
    for (index, text) in TEXTS.iter().enumerate() {
        let at = u32::try_from(TEXTS_AT).unwrap() + 32 * u32::try_from(index).unwrap();
        exports.poke.call_async(&mut store, (at, text.as_bytes().to_vec())).await.unwrap();
    }
    let calls = async {
        let mut numbers = Vec::new();
        for _ in 0..CALLS_MAX {
            if input.is_empty() || !goes_on(&mut store, &exports, input, &mut numbers).await {
                break;
            }
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(PATIENCE, calls) => {}
        () = wire::answer(&surroundings.net, 9000, vec![ANSWER; 4]) => unreachable!("it serves for ever"),
    }
    drop(store);
    surroundings.check();
}

/// One call, and whether the guest is still there after it.
async fn goes_on(store: &mut Store<Data>, exports: &Exports, input: &mut Unstructured<'_>, numbers: &mut Vec<u64>) -> bool {
    let Ok((index, words)) = call(input, numbers) else { return false };
    // What stands there from another call is no answer to this one.
    if exports.poke.call_async(&mut *store, (u32::try_from(RESULTS_AT).unwrap(), vec![0xff; 32])).await.is_err() {
        return false;
    }
    let Ok((result,)) = exports.call.call_async(&mut *store, (index, words)).await else { return false };
    let mut results = vec![result, result >> 32];
    for offset in [0, 8, 16] {
        let at = u32::try_from(RESULTS_AT).unwrap() + offset;
        let Ok((word,)) = exports.peek.call_async(&mut *store, (at,)).await else { return false };
        results.extend([word & 0xffff_ffff, word >> 32]);
    }
    numbers.extend(results.into_iter().filter(|number| (1..64).contains(number)));
    true
}

fn call(input: &mut Unstructured<'_>, numbers: &[u64]) -> Result<(u32, Vec<u64>)> {
    let index = u32::from(input.arbitrary::<u16>()?);
    let mut words = Vec::new();
    // As many as are used: an input does not have to spell out what no function reads.
    for _ in 0..input.int_in_range(0..=7)? {
        match input.arbitrary::<u8>()? {
            small @ 0..48 => words.push(u64::from(small)),
            recent @ 48..112 => words.push(numbers.iter().rev().nth(usize::from(recent - 48) % 12).copied().unwrap_or(1)),
            at @ 112..160 => {
                let index = usize::from(at) % TEXTS.len();
                words.extend([TEXTS_AT + 32 * index as u64, TEXTS[index].len() as u64]);
            }
            160..200 => words.push(RESULTS_AT),
            200..216 => {
                words.push(*input.choose(&[u64::MAX, 1 << 31, 1 << 32, 1 << 62, 1 << 63, 65_535, 1 << 20, 80, 53, 9000])?)
            }
            216..232 => words.push(u64::from(input.arbitrary::<u8>()?) * 4),
            _ => words.push(input.arbitrary()?),
        }
    }
    // Functions with results in memory take the place for them last.
    words.resize(WORDS, RESULTS_AT);
    Ok((index, words))
}
