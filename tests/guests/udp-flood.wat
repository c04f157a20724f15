;; Sends a million datagrams of 1 KiB to a socket of its own that it never reads, and ends with 0: what does not fit is dropped.
;; Uses WasmEdge's socket extension.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $sock_open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $sock_bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send_to" (func $sock_send_to (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; 0: the address as a buffer and its length; 8: the address, 127.0.0.1
  (data (i32.const 0) "\08\00\00\00\04\00\00\00\7f\00\00\01")
  ;; 16: one buffer, 1 KiB from 1024 on
  (data (i32.const 16) "\00\04\00\00\00\04\00\00")
  (func $must (param $errno i32)
    (if (local.get $errno) (then (unreachable))))
  (func (export "_start")
    (local $left i32)
    ;; 32: the receiver, 36: the sender; family 1 is IPv4, kind 1 datagrams
    (call $must (call $sock_open (i32.const 1) (i32.const 1) (i32.const 32)))
    (call $must (call $sock_bind (i32.load (i32.const 32)) (i32.const 0) (i32.const 7777)))
    (call $must (call $sock_open (i32.const 1) (i32.const 1) (i32.const 36)))
    (local.set $left (i32.const 1_000_000))
    (loop $datagrams
      (call $must
        (call $sock_send_to (i32.load (i32.const 36)) (i32.const 16) (i32.const 1) (i32.const 0) (i32.const 7777) (i32.const 0)
          (i32.const 40)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $datagrams (local.get $left)))))
