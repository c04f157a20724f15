;; Writes 16 MiB to standard output without one newline, in 64 KiB pieces, and ends with 0.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  ;; One buffer: 64 KiB from 65536 on.
  (data (i32.const 0) "\00\00\01\00\00\00\01\00")
  (func (export "_start")
    (local $left i32)
    (memory.fill (i32.const 65536) (i32.const 120) (i32.const 65536))
    (local.set $left (i32.const 16_777_216))
    (loop $pieces
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
      (local.set $left (i32.sub (local.get $left) (i32.load (i32.const 8))))
      (br_if $pieces (i32.gt_s (local.get $left) (i32.const 0))))))
