;; Prints lines of 63 dots for ever, as fast as it can.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; One buffer: 64 bytes from 64 on.
  (data (i32.const 0) "\40\00\00\00\40\00\00\00")
  (func (export "_start")
    (memory.fill (i32.const 64) (i32.const 46) (i32.const 63))
    (i32.store8 (i32.const 127) (i32.const 10))
    (loop $for_ever
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $for_ever))))
