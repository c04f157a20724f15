;; Grows its memory by 1 MiB at a time and touches every page, until the host refuses; then it tries for 1 GiB at once. If it still
;; lives then, it says so and ends with 9.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\19\00\00\00")
  (data (i32.const 64) "no more memory to be had\n\00")
  (func (export "_start")
    (local $page i32)
    (local $end i32)
    (loop $megabytes
      (local.set $page (memory.grow (i32.const 16)))
      (if (i32.ne (local.get $page) (i32.const -1))
        (then
          (local.set $end (i32.add (local.get $page) (i32.const 16)))
          (loop $pages
            (i32.store (i32.shl (local.get $page) (i32.const 16)) (i32.const 1))
            (local.set $page (i32.add (local.get $page) (i32.const 1)))
            (br_if $pages (i32.lt_u (local.get $page) (local.get $end))))
          (br $megabytes))))
    (drop (memory.grow (i32.const 16384)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $proc_exit (i32.const 9))))
