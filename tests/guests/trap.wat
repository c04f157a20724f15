;; Writes a line to standard error and traps, three calls deep: the names belong into the back-trace.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\10\00\00\00")
  (data (i32.const 64) "about to trap..\n")
  (func $inner
    (unreachable))
  (func $outer
    (call $inner))
  (func $_start (export "_start")
    (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $outer)))
