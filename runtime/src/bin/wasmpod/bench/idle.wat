;; Waits for a day, again and again: the least that a pod does that stays.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    ;; A subscription of 48 bytes at 0, nearly all zero: kind 0 is a clock; clock 1, at 16, is the monotonic one.
    (i32.store (i32.const 16) (i32.const 1))
    ;; The time, at 24, is relative.
    (i64.store (i32.const 24) (i64.const 86_400_000_000_000))
    (loop $again
      (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
      (br $again))))
