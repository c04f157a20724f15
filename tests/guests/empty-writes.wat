;; Makes ten million empty writes to standard output, and ends with 0. Each must cost the host nothing.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; One buffer at 64, with no bytes.
  (data (i32.const 0) "\40\00\00\00\00\00\00\00")
  (func (export "_start")
    (local $left i32)
    (local.set $left (i32.const 10_000_000))
    (loop $writes
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $writes (local.get $left)))))
