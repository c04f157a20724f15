;; Connects to a listener of its own, which never accepts, and writes 64 KiB pieces into the connection for ever: it must come to
;; stand in fd_write when the connection's buffers are full. Uses WasmEdge's socket extension.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $sock_open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $sock_bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_listen" (func $sock_listen (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_connect" (func $sock_connect (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  ;; 0: the address as a buffer and its length; 8: the address, 127.0.0.1
  (data (i32.const 0) "\08\00\00\00\04\00\00\00\7f\00\00\01")
  ;; 16: one buffer, 64 KiB from 65536 on
  (data (i32.const 16) "\00\00\01\00\00\00\01\00")
  (func $must (param $errno i32)
    (if (local.get $errno) (then (unreachable))))
  (func (export "_start")
    ;; 32: the listener, 36: the connection; family 1 is IPv4, kind 2 a stream
    (call $must (call $sock_open (i32.const 1) (i32.const 2) (i32.const 32)))
    (call $must (call $sock_bind (i32.load (i32.const 32)) (i32.const 0) (i32.const 7777)))
    (call $must (call $sock_listen (i32.load (i32.const 32)) (i32.const 1)))
    (call $must (call $sock_open (i32.const 1) (i32.const 2) (i32.const 36)))
    (call $must (call $sock_connect (i32.load (i32.const 36)) (i32.const 0) (i32.const 7777)))
    (loop $for_ever
      (call $must (call $fd_write (i32.load (i32.const 36)) (i32.const 16) (i32.const 1) (i32.const 40)))
      (br $for_ever))))
