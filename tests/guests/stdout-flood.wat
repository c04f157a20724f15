;; Writes 1 GiB to standard output in 64 KiB pieces of 128-byte lines, and ends with 0.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  ;; One buffer: 64 KiB from 65536 on.
  (data (i32.const 0) "\00\00\01\00\00\00\01\00")
  (func (export "_start")
    (local $at i32)
    (local $left i64)
    (memory.fill (i32.const 65536) (i32.const 120) (i32.const 65536))
    (local.set $at (i32.const 65536))
    (loop $lines
      (i32.store8 offset=127 (local.get $at) (i32.const 10))
      (local.set $at (i32.add (local.get $at) (i32.const 128)))
      (br_if $lines (i32.lt_u (local.get $at) (i32.const 131072))))

    (local.set $left (i64.const 1_073_741_824))
    (loop $pieces
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
      ;; A write may take less than it was given: what counts is what was written.
      (local.set $left (i64.sub (local.get $left) (i64.extend_i32_u (i32.load (i32.const 8)))))
      (br_if $pieces (i64.gt_s (local.get $left) (i64.const 0))))))
