//! Every function of preview 1, called in any order with any arguments on any memory.
//!
//! The guest is a module that passes its own callers on to each import, so that a run compiles nothing. The input is what stands in its
//! memory, and then calls: a function, and its arguments.

use super::guest::{self, Data, PATIENCE, Surroundings};
use super::{block_on, tar_file};
use arbitrary::{Result, Unstructured};
use std::sync::OnceLock;
use wasmpod::wasi::p1;
use wasmtime::{Func, InstancePre, Module, Store, Val};

/// The functions, and their parameters: `i` for 32 bits, `I` for 64. All but `proc_exit` answer with an error number.
pub const FUNCTIONS: [(&str, &str); 57] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "iIi"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_exit", "i"),
    ("proc_raise", "i"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
    ("sock_bind", "iii"),
    ("sock_connect", "iii"),
    ("sock_getaddrinfo", "iiiiiiii"),
    ("sock_getlocaladdr", "iiii"),
    ("sock_getpeeraddr", "iiii"),
    ("sock_getsockopt", "iiiii"),
    ("sock_listen", "ii"),
    ("sock_open", "iii"),
    ("sock_recv_from", "iiiiiiii"),
    ("sock_send_to", "iiiiiii"),
    ("sock_setsockopt", "iiiii"),
];

/// Calls of one run.
const CALLS_MAX: usize = 40;
/// How much of the memory the input fills.
const FILLED_BYTES_MAX: usize = 512;

/// What stands at fixed places of the memory: paths, and lists of buffers that lead to them.
const PATHS: [&str; 16] = [
    "file",
    "sub",
    "link",
    "dir-out",
    "sub/out",
    "dir-out/secret",
    "..",
    "../outside/secret",
    "/",
    ".",
    "new",
    "sub/new",
    "sub/..",
    "file/",
    "",
    "pod",
];
const PATHS_AT: u32 = 1024;
const BUFFERS_AT: u32 = 2048;
const SCRATCH_AT: u32 = 4096;

pub fn run(data: &[u8]) {
    block_on(call_all(&mut Unstructured::new(data)));
}

/// The imports of a module that calls all of them.
pub fn imports() -> String {
    FUNCTIONS.iter().fold(String::new(), |text, (name, parameters)| {
        text + &format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} {}))", signature(name, parameters))
    })
}

pub fn signature(name: &str, parameters: &str) -> String {
    let types = parameters.chars().map(|c| if c == 'i' { " i32" } else { " i64" }).collect::<String>();
    format!("(param{types}) {}", if name == "proc_exit" { "" } else { "(result i32)" })
}

fn guest() -> &'static InstancePre<Data> {
    static GUEST: OnceLock<InstancePre<Data>> = OnceLock::new();
    GUEST.get_or_init(|| {
        let mut text = format!("(module {} (memory (export \"memory\") 1 4)", imports());
        for (name, parameters) in FUNCTIONS {
            let arguments: String = (0..parameters.len()).map(|index| format!("(local.get {index})")).collect();
            text += &format!("(func (export \"{name}\") {} (call ${name} {arguments}))", signature(name, parameters));
        }
        let module = Module::new(guest::engine(), wat::parse_str(text + ")").unwrap()).unwrap();
        p1::link(&module).unwrap()
    })
}

async fn call_all(input: &mut Unstructured<'_>) {
    let surroundings = Surroundings::new();
    let guest = guest();
    let mut store = surroundings.store();
    let instance = guest.instantiate_async(&mut store).await.unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let filled = tar_file::bytes(input, FILLED_BYTES_MAX).unwrap_or_default();
    memory.data_mut(&mut store)[..filled.len()].copy_from_slice(&filled);
    lay_out(memory.data_mut(&mut store));
    for _ in 0..CALLS_MAX {
        if input.is_empty() {
            break;
        }
        let Ok((name, arguments)) = call(input) else { break };
        let function = instance.get_func(&mut store, name).unwrap();
        if !goes_on(&mut store, function, &arguments).await {
            break;
        }
    }
    drop(store);
    surroundings.check();
}

/// Whether the guest is still there after the call: not if it exited, trapped, or waits for what cannot happen.
async fn goes_on(store: &mut Store<Data>, function: Func, arguments: &[Val]) -> bool {
    let mut results = vec![Val::I32(0); function.ty(&*store).results().len()];
    let called = tokio::time::timeout(PATIENCE, function.call_async(store, arguments, &mut results)).await;
    matches!(called, Ok(Ok(())))
}

/// Writes the paths, and buffers that lead to them or to free memory.
fn lay_out(memory: &mut [u8]) {
    for (index, path) in PATHS.iter().enumerate() {
        let at = PATHS_AT as usize + 32 * index;
        memory[at..at + path.len()].copy_from_slice(path.as_bytes());
        let buffer = [PATHS_AT + 32 * u32::try_from(index).unwrap(), u32::try_from(path.len()).unwrap()];
        let free = [SCRATCH_AT + 64 * u32::try_from(index).unwrap(), 64];
        for (list, words) in [buffer, free].into_iter().enumerate() {
            let at = BUFFERS_AT as usize + 256 * list + 8 * index;
            memory[at..at + 4].copy_from_slice(&words[0].to_le_bytes());
            memory[at + 4..at + 8].copy_from_slice(&words[1].to_le_bytes());
        }
    }
}

fn call(input: &mut Unstructured<'_>) -> Result<(&'static str, Vec<Val>)> {
    let (name, parameters) = *input.choose(&FUNCTIONS)?;
    let mut arguments = Vec::new();
    let mut rest = parameters.chars().peekable();
    while let Some(kind) = rest.next() {
        if kind == 'I' {
            arguments.push(Val::I64(wide(input)?));
        } else if rest.peek() == Some(&'i') && input.ratio(1, 3)? {
            // A pointer with the length that belongs to it.
            let index = input.int_in_range(0..=PATHS.len() - 1)?;
            let at = PATHS_AT + 32 * u32::try_from(index).unwrap();
            arguments.push(Val::I32(at.cast_signed()));
            arguments.push(Val::I32(i32::try_from(PATHS[index].len()).unwrap()));
            rest.next();
        } else {
            arguments.push(Val::I32(word(input)?));
        }
    }
    Ok((name, arguments))
}

fn word(input: &mut Unstructured<'_>) -> Result<i32> {
    Ok(match input.arbitrary::<u8>()? {
        // A descriptor, a count, flags.
        small @ 0..96 => i32::from(small % 24),
        // A list of buffers.
        index @ 96..128 => BUFFERS_AT.cast_signed() + 256 * i32::from(index & 1) + 8 * i32::from(index % 16),
        // What the input has filled.
        128..160 => i32::from(input.arbitrary::<u8>()?) * 2,
        // Room for an answer.
        index @ 160..224 => SCRATCH_AT.cast_signed() + 64 * i32::from(index % 32),
        224..240 => *input.choose(&[-1, i32::MIN, i32::MAX, 65_535, 65_536, 65_532, 262_143, 1 << 30])?,
        _ => input.arbitrary()?,
    })
}

fn wide(input: &mut Unstructured<'_>) -> Result<i64> {
    Ok(match input.arbitrary::<u8>()? {
        small @ 0..128 => i64::from(small),
        128..200 => *input.choose(&[-1, i64::MIN, i64::MAX, 1 << 32, 1 << 62, 4096, 0x1fff_ffff, 0x0fff_ffff])?,
        _ => input.arbitrary()?,
    })
}
