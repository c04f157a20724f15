//! Guests in WebAssembly text: the adversaries of `guests/`, and small ones that a test makes to measure.

/// Never ends and never calls the host.
pub const BUSY_LOOP: &str = include_str!("guests/busy-loop.wat");
/// Waits in `sock_accept` on its first pre-opened listener, for ever.
pub const BLOCK_IN_ACCEPT: &str = include_str!("guests/block-in-accept.wat");
/// Waits in `fd_read` of a connection, for ever.
pub const BLOCK_IN_READ: &str = include_str!("guests/block-in-read.wat");
/// Waits in `poll_oneoff` for a clock, for ever.
pub const BLOCK_IN_SLEEP: &str = include_str!("guests/block-in-sleep.wat");
/// Prints its arguments and its environment.
pub const ARGS_ENV: &str = include_str!("guests/args-env.wat");
/// Prints dots without end.
pub const DOTS: &str = include_str!("guests/dots.wat");
/// Grows its memory until it is stopped.
pub const GROW_MEMORY: &str = include_str!("guests/grow-memory.wat");
/// Traps in a function of its own.
pub const TRAP: &str = include_str!("guests/trap.wat");
/// Recurses without end.
pub const RECURSION: &str = include_str!("guests/recursion.wat");
/// Writes 1 GiB to standard output.
pub const STDOUT_FLOOD: &str = include_str!("guests/stdout-flood.wat");
/// Writes 10 million times nothing to standard output.
pub const EMPTY_WRITES: &str = include_str!("guests/empty-writes.wat");
/// Writes 16 MiB to standard output without a newline.
pub const ENDLESS_LINE: &str = include_str!("guests/endless-line.wat");
/// Writes into a connection from which nobody reads, for ever.
pub const TCP_FLOOD: &str = include_str!("guests/tcp-flood.wat");
/// Sends datagrams to a socket from which nobody receives.
pub const UDP_FLOOD: &str = include_str!("guests/udp-flood.wat");

/// Does what its arguments say (`guests/toolbox/`): a component of WASI 0.2.
pub const TOOLBOX: &[u8] = include_bytes!("guests/toolbox.wasm");
/// The same as a core module of preview 1, without sockets.
pub const TOOLBOX_PREVIEW1: &[u8] = include_bytes!("guests/toolbox-preview1.wasm");

/// Preview-1 imports that most guests want.
const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
"#;

/// A module with a page of memory, the imports above and this body.
fn module(body: &str) -> String {
    format!("(module {IMPORTS} (memory (export \"memory\") 2) {body})")
}

/// Writes `text` to a descriptor and exits with `status`.
pub fn writes(descriptor: u32, text: &str, status: u32) -> String {
    let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    module(&format!(
        r#"(data (i32.const 64) "{escaped}")
           (func (export "_start")
             (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {}))
             (drop (call $fd_write (i32.const {descriptor}) (i32.const 0) (i32.const 1) (i32.const 8)))
             (call $proc_exit (i32.const {status})))"#,
        text.len()
    ))
}

/// Exits with `status`.
pub fn exits(status: u32) -> String {
    module(&format!(r#"(func (export "_start") (call $proc_exit (i32.const {status})))"#))
}

/// Does nothing for so long, and ends well.
pub fn rests(milliseconds: u64) -> String {
    // A subscription to the monotonic clock at 64, its event at 128.
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start")
                (i32.store (i32.const 80) (i32.const 1))
                (i64.store (i32.const 88) (i64.const {milliseconds}000000))
                (drop (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 20)))))"#
    )
}

/// Says "ready" and then never ends.
pub fn says_ready_and_spins() -> String {
    module(
        r#"(data (i32.const 64) "ready\n")
           (func (export "_start")
             (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 6))
             (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
             (loop $again (br $again)))"#,
    )
}

/// Copies standard input to standard output until its end.
pub fn echoes() -> String {
    module(
        r#"(func (export "_start")
             (loop $again
               (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 4096))
               (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
               (if (i32.eqz (i32.load (i32.const 8))) (then (call $proc_exit (i32.const 0))))
               (i32.store (i32.const 4) (i32.load (i32.const 8)))
               (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
               (br $again)))"#,
    )
}

/// Writes `times` pieces of `length` bytes (at most 65,536) to standard output.
pub fn floods(times: u32, length: u32) -> String {
    module(&format!(
        r#"(func (export "_start") (local $left i32)
             (memory.fill (i32.const 65536) (i32.const 0x61) (i32.const 65536))
             (i32.store8 (i32.const 131071) (i32.const 10))
             (local.set $left (i32.const {times}))
             (loop $again
               (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const {length}))
               (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
               (local.set $left (i32.sub (local.get $left) (i32.const 1)))
               (br_if $again (local.get $left))))"#
    ))
}

/// Waits for ever when it is called without arguments; with one it ends well, with more it says "ill" and ends with 3.
pub fn waits_or_answers() -> String {
    r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
        (memory (export "memory") 1)
        ;; 64: a subscription to the monotonic clock, in an hour
        (data (i32.const 128) "ill\n")
        (func (export "_start")
          (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
          (if (i32.eq (i32.load (i32.const 0)) (i32.const 2)) (then (call $proc_exit (i32.const 0))))
          (if (i32.gt_u (i32.load (i32.const 0)) (i32.const 2)) (then
            (i32.store (i32.const 0) (i32.const 128)) (i32.store (i32.const 4) (i32.const 4))
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $proc_exit (i32.const 3))))
          (i32.store (i32.const 80) (i32.const 1))
          (i64.store (i32.const 88) (i64.const 3600000000000))
          (drop (call $poll_oneoff (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 8)))))"#
        .to_owned()
}

/// Has no `_start`, only `_initialize`.
pub fn reactor() -> String {
    module(r#"(func (export "_initialize"))"#)
}

/// Says "ready" and then waits for a connection to a port of its own (127.0.0.1:7100), for ever: WasmEdge's socket functions.
pub fn says_ready_then_waits() -> String {
    r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_open" (func $sock_open (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_bind" (func $sock_bind (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_listen" (func $sock_listen (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_accept" (func $sock_accept (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        ;; 16: the listener, 24: the connection, 32: the address as a buffer and its length
        (data (i32.const 32) "\28\00\00\00\04\00\00\00\7f\00\00\01")
        (data (i32.const 64) "ready\n")
        (func $must (param $errno i32) (if (local.get $errno) (then (unreachable))))
        (func (export "_start")
          (call $must (call $sock_open (i32.const 1) (i32.const 2) (i32.const 16)))
          (call $must (call $sock_bind (i32.load (i32.const 16)) (i32.const 32) (i32.const 7100)))
          (call $must (call $sock_listen (i32.load (i32.const 16)) (i32.const 8)))
          (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 6))
          (call $must (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (call $must (call $sock_accept (i32.load (i32.const 16)) (i32.const 24)))))"#
        .to_owned()
}
