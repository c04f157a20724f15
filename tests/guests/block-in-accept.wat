;; Waits for ever in sock_accept, on the first listener among its open descriptors (they start at 3, after those of directories).
;; The manifest must declare a containerPort, and nobody must connect to it. Traps if it was given no listener.
(module
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $sock_accept (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $fd i32)
    (local.set $fd (i32.const 3))
    (loop $search
      ;; Past the last descriptor: there is no listener.
      (if (call $fd_fdstat_get (local.get $fd) (i32.const 64)) (then (unreachable)))
      ;; The status starts with the kind of the descriptor; 6 is a stream socket.
      (if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 6))
        (then
          (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
          (br $search))))
    (drop (call $sock_accept (local.get $fd) (i32.const 0) (i32.const 0)))))
