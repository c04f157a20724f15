;; Waits for ever in fd_read of a socket: it connects to a listener of its own, which never accepts, so nothing ever comes.
;; Uses WasmEdge's socket extension. Traps if a step before the read fails.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $sock_open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $sock_bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_listen" (func $sock_listen (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_connect" (func $sock_connect (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; 0: the address as a buffer and its length; 8: the address, 127.0.0.1
  (data (i32.const 0) "\08\00\00\00\04\00\00\00\7f\00\00\01")
  ;; 16: one buffer to read into
  (data (i32.const 16) "\40\00\00\00\40\00\00\00")
  (func $must (param $errno i32)
    (if (local.get $errno) (then (unreachable))))
  (func (export "_start")
    ;; 32: the listener, 36: the connection; family 1 is IPv4, kind 2 a stream
    (call $must (call $sock_open (i32.const 1) (i32.const 2) (i32.const 32)))
    (call $must (call $sock_bind (i32.load (i32.const 32)) (i32.const 0) (i32.const 7777)))
    (call $must (call $sock_listen (i32.load (i32.const 32)) (i32.const 1)))
    (call $must (call $sock_open (i32.const 1) (i32.const 2) (i32.const 36)))
    (call $must (call $sock_connect (i32.load (i32.const 36)) (i32.const 0) (i32.const 7777)))
    (drop (call $fd_read (i32.load (i32.const 36)) (i32.const 16) (i32.const 1) (i32.const 40)))))
