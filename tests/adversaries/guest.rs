//! Guests of preview 1 for attacks: their imports, and the few things that most of them do.

/// A module with everything that an attack calls, `pages` of memory and this body.
///
/// `$must` ends the guest with an error number as its status, `$say_ready` prints "ready", and `$open` opens the name that is at 1024,
/// in the first directory, for reading and writing, and gives its descriptor. What is below 1024 is theirs.
pub fn attack(pages: u32, body: &str) -> String {
    format!("(module {IMPORTS} (memory (export \"memory\") {pages}) {TOOLS} {body})")
}

const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $fd_set_size (param i32 i64) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $fd_set_flags (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
      (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_create_directory" (func $path_create_directory (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_rename" (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_symlink" (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_unlink_file" (func $path_unlink_file (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (import "wasi_snapshot_preview1" "sock_open" (func $sock_open (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_bind" (func $sock_bind (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_listen" (func $sock_listen (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_connect" (func $sock_connect (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_send_to"
      (func $sock_send_to (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
"#;

/// 0: a buffer and its length; 8: how much was written; 16: what a call answers; 24: an address as a buffer and its length, 32: the
/// address, 127.0.0.1; 64: the word. `$number` writes seven digits to 1032.
const TOOLS: &str = r#"
    (data (i32.const 24) "\20\00\00\00\04\00\00\00\7f\00\00\01")
    (data (i32.const 64) "ready\n")
    (func $must (param $errno i32) (if (local.get $errno) (then (call $proc_exit (local.get $errno)))))
    (func $say (param $at i32) (param $length i32)
      (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $length))
      (call $must (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func $say_ready (call $say (i32.const 64) (i32.const 6)))
    (func $open (param $length i32) (param $flags i32) (result i32)
      (call $must (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (local.get $length) (local.get $flags)
        (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 16)))
      (i32.load (i32.const 16)))
    (func $write (param $fd i32) (param $at i32) (param $length i32) (result i32)
      (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $length))
      (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
    (func $number (param $value i32) (local $at i32)
      (local.set $at (i32.const 1038))
      (loop $digits
        (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
        (local.set $value (i32.div_u (local.get $value) (i32.const 10)))
        (local.set $at (i32.sub (local.get $at) (i32.const 1)))
        (br_if $digits (i32.ge_u (local.get $at) (i32.const 1032)))))
"#;
