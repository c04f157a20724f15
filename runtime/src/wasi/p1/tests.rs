//! Small modules that show what preview 1 answers. Each ends with a status that says what it saw.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test says what is wrong by panicking")]
#![cfg(feature = "compiler")]

use crate::net::{AddressFamily, ContainerNet, NetError, PodNet, TcpSocket, TcpStream};
use crate::pod::spec::{ContainerPort, Protocol};
use crate::wasi::testing::{Ended, pod, run};
use crate::wasi::{Directories, Preopen, Stdin, listeners};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A module with the imports that the tests use, one page of memory, and `body` in its `_start`.
fn module(body: &str) -> Vec<u8> {
    let import = |name: &str, parameters: usize| {
        let parameters = "i32 ".repeat(parameters);
        format!(r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {parameters}) (result i32)))"#)
    };
    let functions = [
        ("fd_write", 4),
        ("fd_read", 4),
        ("fd_close", 1),
        ("fd_renumber", 2),
        ("fd_filestat_get", 2),
        ("fd_prestat_get", 2),
        ("fd_fdstat_get", 2),
        ("fd_fdstat_set_flags", 2),
        ("poll_oneoff", 4),
        ("sock_accept", 3),
        ("sock_recv", 6),
        ("sock_send", 5),
        ("sock_shutdown", 2),
        ("sock_open", 3),
        ("sock_bind", 3),
        ("sock_listen", 2),
        ("sock_connect", 3),
        ("sock_getlocaladdr", 4),
        ("sock_getsockopt", 5),
    ];
    let imports: String = functions.iter().map(|(name, parameters)| import(name, *parameters)).collect();
    format!(
        r#"(module {imports}
            (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
            (import "wasi_snapshot_preview1" "path_open"
              (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 1024) "hello\n")
            (func $buffer (param $length i32) ;; one buffer at 1024, told at 0
                (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (local.get $length)))
            (func $must (param i32) (if (local.get 0) (then (call $proc_exit (local.get 0)))))
            (func (export "_start") {body}))"#
    )
    .into_bytes()
}

async fn run_alone(body: &str) -> Ended {
    run(pod().container("guest"), &module(body), |_| {}).await
}

fn port(number: u16, protocol: Protocol) -> ContainerPort {
    ContainerPort { name: None, container_port: number, protocol, host_port: None, host_ip: None }
}

/// A connection from another container of the pod.
struct Client {
    stream: TcpStream,
    _socket: TcpSocket,
    _net: ContainerNet,
}

async fn connect(pod: &PodNet, address: &str) -> Result<Client, NetError> {
    let address: SocketAddr = address.parse().unwrap();
    let net = pod.container("client");
    let socket = net.tcp_socket(AddressFamily::of(address.ip()))?;
    Ok(Client { stream: socket.connected(address).await?, _socket: socket, _net: net })
}

#[tokio::test]
async fn output_and_every_exit_status_come_through() {
    let body = "(call $buffer (i32.const 6)) (call $must (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (call $must (i32.sub (i32.load (i32.const 8)) (i32.const 6))) (call $proc_exit (i32.const 200))";
    assert_eq!(run_alone(body).await, Ended { status: Ok(200), output: "hello\n".into() });
}

#[tokio::test]
async fn input_is_read_until_it_ends() {
    let read =
        "(call $buffer (i32.const 100)) (call $must (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))";
    let write = "(call $buffer (i32.load (i32.const 8))) (call $must (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))";
    let body = format!("{read} {write} {read} (call $proc_exit (i32.load (i32.const 8)))");
    let ended = run(pod().container("guest"), &module(&body), |config| config.stdin = Stdin::reader(&b"input"[..])).await;
    assert_eq!(ended, Ended { status: Ok(0), output: "input".into() });
}

/// Accepts on descriptor 3 and gives back what it hears, for as many connections as the status says at the end.
const ECHO: &str = "(local $served i32)
    (loop $accept
      (call $must (call $sock_accept (i32.const 3) (i32.const 0) (i32.const 16)))
      (block $end (loop $more
        (call $buffer (i32.const 100))
        (call $must (call $sock_recv (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 8) (i32.const 12)))
        (br_if $end (i32.eqz (i32.load (i32.const 8))))
        (call $buffer (i32.load (i32.const 8)))
        (call $must (call $sock_send (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 8)))
        (br $more)))
      (call $must (call $fd_close (i32.load (i32.const 16))))
      (local.set $served (i32.add (local.get $served) (i32.const 1)))
      (br_if $accept (i32.lt_u (local.get $served) (i32.const 3))))
    (call $proc_exit (i32.add (i32.load (i32.const 16)) (i32.const 40)))";

#[tokio::test]
async fn a_passed_listener_serves_both_families_and_the_pods_own_address() {
    let pod = pod();
    let net = pod.container("guest");
    let ports = listeners(&net, &[port(8080, Protocol::Tcp)]).unwrap();
    let guest = module(ECHO);
    let server = run(net, &guest, |config| config.listeners = ports);
    let client = async {
        for address in ["127.0.0.1:8080", "[::1]:8080", &SocketAddr::new(pod.address(AddressFamily::Ipv4), 8080).to_string()] {
            let client = connect(&pod, address).await.unwrap();
            let stream = &client.stream;
            stream.write_all(b"ping").await.unwrap();
            let mut answer = [0; 100];
            assert_eq!(stream.read(&mut answer).await, Ok(4));
            assert_eq!(&answer[..4], b"ping");
            stream.shutdown(crate::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut answer).await, Ok(0));
        }
    };
    let (ended, ()) = tokio::join!(server, client);
    // Every connection had descriptor 4, the lowest that was free.
    assert_eq!(ended.status, Ok(44));
    assert_eq!(pod.bound_count(), 0);
}

#[tokio::test]
async fn listeners_are_sockets_but_no_directories() {
    let net = pod().container("guest");
    let ports = listeners(&net, &[port(80, Protocol::Tcp), port(53, Protocol::Udp)]).unwrap();
    // Directories are looked for from 3 on, until EBADF (8).
    let body = "(call $must (i32.sub (call $fd_prestat_get (i32.const 3) (i32.const 0)) (i32.const 8)))
                (call $must (call $fd_fdstat_get (i32.const 3) (i32.const 0))) (call $must (call $fd_fdstat_get (i32.const 4) (i32.const 64)))
                (call $must (i32.sub (call $fd_fdstat_get (i32.const 5) (i32.const 0)) (i32.const 8)))
                (call $proc_exit (i32.add (i32.mul (i32.load8_u (i32.const 0)) (i32.const 10)) (i32.load8_u (i32.const 64))))";
    assert_eq!(run(net, &module(body), |config| config.listeners = ports).await.status, Ok(65));
}

#[tokio::test]
async fn a_port_that_another_container_has_is_a_conflict() {
    let pod = pod();
    let (one, two) = (pod.container("one"), pod.container("two"));
    let _held = listeners(&one, &[port(80, Protocol::Tcp)]).unwrap();
    let error = listeners(&two, &[port(80, Protocol::Tcp)]).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (crate::ErrorKind::Conflict, "port 80 is in use in this pod"));
}

#[tokio::test]
async fn without_waiting_accept_says_eagain() {
    let net = pod().container("guest");
    let ports = listeners(&net, &[port(80, Protocol::Tcp)]).unwrap();
    let body = "(call $must (call $fd_fdstat_set_flags (i32.const 3) (i32.const 4)))
                (call $must (call $fd_fdstat_get (i32.const 3) (i32.const 0)))
                (call $must (i32.sub (i32.load16_u (i32.const 2)) (i32.const 4)))
                (call $proc_exit (call $sock_accept (i32.const 3) (i32.const 0) (i32.const 16)))";
    assert_eq!(run(net, &module(body), |config| config.listeners = ports).await.status, Ok(6));
}

/// Two subscriptions at 2048: a clock of 5 s, and reading descriptor 3. Events go to 4096, their number to 8.
const POLL: &str = "
    (i64.store (i32.const 2048) (i64.const 11)) (i32.store (i32.const 2064) (i32.const 1)) (i64.store (i32.const 2072) (i64.const 5000000000))
    (i64.store (i32.const 2096) (i64.const 22)) (i32.store8 (i32.const 2104) (i32.const 1)) (i32.store (i32.const 2112) (i32.const 3))
    (call $must (call $poll_oneoff (i32.const 2048) (i32.const 4096) (i32.const 2) (i32.const 8)))
    (call $must (i32.sub (i32.load (i32.const 8)) (i32.const 1)))
    (call $must (i32.load16_u (i32.const 4104)))
    (call $proc_exit (i32.load (i32.const 4096)))";

#[tokio::test(start_paused = true)]
async fn poll_waits_for_a_clock_without_holding_the_thread() {
    let net = pod().container("guest");
    let ports = listeners(&net, &[port(80, Protocol::Tcp)]).unwrap();
    let start = Instant::now();
    let ended = run(net, &module(POLL), |config| config.listeners = ports).await;
    assert_eq!((ended.status, start.elapsed().as_secs()), (Ok(11), 5));
}

#[tokio::test(start_paused = true)]
async fn poll_waits_for_a_socket_and_a_clock_together() {
    let pod = pod();
    let net = pod.container("guest");
    let ports = listeners(&net, &[port(80, Protocol::Tcp)]).unwrap();
    let guest = module(POLL);
    let client = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        connect(&pod, "[::1]:80").await.unwrap()
    };
    let start = Instant::now();
    let (ended, _stream) = tokio::join!(run(net, &guest, |config| config.listeners = ports), client);
    assert_eq!((ended.status, start.elapsed().as_secs()), (Ok(22), 1));
}

#[tokio::test]
async fn polling_a_descriptor_that_is_not_open_is_an_event_with_an_error() {
    let body = POLL.replace("(call $must (i32.load16_u (i32.const 4104)))", "(call $proc_exit (i32.load16_u (i32.const 4104)))");
    assert_eq!(run_alone(&body).await.status, Ok(8));
}

#[tokio::test]
async fn poll_refuses_no_and_too_many_subscriptions() {
    for count in [0, 1_000_000, -1] {
        let body = format!("(call $proc_exit (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const {count}) (i32.const 8)))");
        assert_eq!(run_alone(&body).await.status, Ok(28));
    }
}

#[tokio::test]
async fn sockets_end_with_emfile_and_are_all_gone_after() {
    let pod = pod();
    let body = "(local $n i32) (local $e i32)
        (loop $more
          (local.set $e (call $sock_open (i32.const 1) (i32.const 2) (i32.const 16)))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $more (i32.eqz (local.get $e))))
        (call $must (i32.sub (local.get $e) (i32.const 33)))
        (call $must (i32.sub (local.get $n) (i32.const 4094)))
        (call $proc_exit (i32.const 77))";
    assert_eq!(run(pod.container("guest"), &module(body), |_| {}).await.status, Ok(77));
    assert_eq!(pod.bound_count(), 0);
}

#[tokio::test]
async fn bad_pointers_are_efault_and_nothing_else() {
    for call in [
        "$fd_write (i32.const 1) (i32.const 65535) (i32.const 1) (i32.const 8)",
        "$fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 65534)",
        "$fd_read (i32.const 0) (i32.const -8) (i32.const 1) (i32.const 8)",
        "$poll_oneoff (i32.const 0) (i32.const 65530) (i32.const 1) (i32.const 8)",
        "$sock_open (i32.const 1) (i32.const 2) (i32.const 65534)",
    ] {
        let body = format!("(call $buffer (i32.const 1)) (call $proc_exit (call {call}))");
        assert_eq!(run_alone(&body).await.status, Ok(21), "{call}");
    }
}

#[tokio::test]
async fn renumbering_a_million_times_costs_nothing() {
    let body = "(local $n i32)
        (call $must (call $sock_open (i32.const 1) (i32.const 1) (i32.const 16)))
        (call $must (call $sock_open (i32.const 2) (i32.const 1) (i32.const 20)))
        (call $must (call $fd_renumber (i32.const 4) (i32.const 3)))
        (loop $more
          (call $must (call $fd_renumber (i32.const 3) (i32.const 3)))
          (call $must (i32.sub (call $fd_renumber (i32.const 3) (local.get $n)) (i32.const 8)))
          (local.set $n (i32.sub (i32.add (local.get $n) (i32.const 0)) (i32.const 1)))
          (br_if $more (i32.ne (local.get $n) (i32.const -100001))))
        (call $must (i32.sub (call $fd_close (i32.const 4)) (i32.const 8)))
        (call $proc_exit (call $fd_close (i32.const 3)))";
    let body = body.replace("(local $n i32)", "(local $n i32) (local.set $n (i32.const -1))");
    assert_eq!(run_alone(&body).await.status, Ok(0));
}

#[tokio::test]
async fn the_older_accept_of_wasmedge_has_two_parameters() {
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_listen" (func $listen (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_getpeeraddr" (func $peer (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\08\00\00\00\10\00\00\00")
        (data (i32.const 64) "\00\02\00\00\80\00\00\00")
        (func $must (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))
        (func (export "_start")
          (call $must (call $open (i32.const 2) (i32.const 2) (i32.const 32)))
          (call $must (call $bind (i32.load (i32.const 32)) (i32.const 0) (i32.const 80)))
          (call $must (call $listen (i32.load (i32.const 32)) (i32.const 8)))
          (call $must (call $accept (i32.load (i32.const 32)) (i32.const 36)))
          (call $must (call $peer (i32.load (i32.const 36)) (i32.const 64) (i32.const 40)))
          ;; family 2, and the last byte of ::1
          (call $exit (i32.add (i32.mul (i32.load16_u (i32.const 512)) (i32.const 10)) (i32.load8_u (i32.const 529))))))"#;
    let pod = pod();
    let client = async {
        loop {
            if let Ok(stream) = connect(&pod, "[::1]:80").await {
                break stream;
            }
            tokio::task::yield_now().await;
        }
    };
    let (ended, _stream) = tokio::join!(run(pod.container("guest"), guest.as_bytes(), |_| {}), client);
    assert_eq!(ended.status, Ok(21));
}

/// Opens (and makes) the file `hello` in the directory 3, its descriptor to `$out`.
const OPEN: &str = "(call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 5) (i32.const 1)
    (i64.const 66) (i64.const 66) (i32.const 0) (i32.const $out))";

fn directory(read_only: bool) -> (tempfile::TempDir, Preopen) {
    let host = tempfile::tempdir().unwrap();
    let dir = cap_std::fs::Dir::open_ambient_dir(host.path(), cap_std::ambient_authority()).unwrap();
    (host, Preopen { dir: Arc::new(dir), guest_path: "/data".into(), read_only, may_block: false })
}

#[tokio::test]
async fn files_and_sockets_share_one_number_space() {
    let (host, preopen) = directory(false);
    let open = OPEN.replace("$out", "16");
    let body = format!(
        "(call $must (call $sock_open (i32.const 1) (i32.const 1) (i32.const 16))) (call $must (i32.sub (i32.load (i32.const 16)) (i32.const 4)))
         (call $must {open}) (call $must (i32.sub (i32.load (i32.const 16)) (i32.const 5)))
         (call $must (call $fd_renumber (i32.const 5) (i32.const 4))) (call $buffer (i32.const 6))
         (call $must (call $fd_write (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 8)))
         (call $must (call $fd_close (i32.const 4)))
         (call $must {open}) (call $proc_exit (i32.load (i32.const 16)))"
    );
    let ended =
        run(pod().container("guest"), &module(&body), |config| config.directories = Directories::given(vec![preopen])).await;
    assert_eq!(ended.status, Ok(4));
    assert_eq!(std::fs::read_to_string(host.path().join("hello")).unwrap(), "hello\n");
}

#[tokio::test]
async fn nothing_is_made_in_a_read_only_directory() {
    let (host, preopen) = directory(true);
    let body = format!("(call $proc_exit {})", OPEN.replace("$out", "16"));
    let ended =
        run(pod().container("guest"), &module(&body), |config| config.directories = Directories::given(vec![preopen])).await;
    // EPERM, as wasmtime-wasi says it.
    assert_eq!(ended.status, Ok(63));
    assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_the_guest_cannot_be_told_about_is_not_opened() {
    let (host, preopen) = directory(false);
    for (out, errno) in [("65534", 28), ("65536", 21), ("17", 28)] {
        let body = format!("(call $proc_exit {})", OPEN.replace("$out", out));
        let preopen = preopen.clone();
        let ended =
            run(pod().container("guest"), &module(&body), |config| config.directories = Directories::given(vec![preopen])).await;
        assert_eq!(ended.status, Ok(errno), "{out}");
    }
    assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 0);
}

/// Lists the directory `$fd` into 100 bytes at 4096 at a time, and prints every name that is whole.
const LIST: &str = r#"
    (block $end (loop $pieces
      (call $must (call $fd_readdir (i32.const $fd) (i32.const 4096) (i32.const 100) (i64.load (i32.const 512)) (i32.const 8)))
      (i32.store (i32.const 520) (i32.const 4096))
      (block $cut (loop $entries
        ;; 520: where the entry is; 524: where it ends
        (i32.store (i32.const 524) (i32.add (i32.add (i32.load (i32.const 520)) (i32.const 24))
          (i32.load offset=16 (i32.load (i32.const 520)))))
        (br_if $cut (i32.gt_u (i32.add (i32.load (i32.const 520)) (i32.const 24)) (i32.add (i32.const 4096) (i32.load (i32.const 8)))))
        (br_if $cut (i32.gt_u (i32.load (i32.const 524)) (i32.add (i32.const 4096) (i32.load (i32.const 8)))))
        (i32.store (i32.const 528) (i32.add (i32.load (i32.const 520)) (i32.const 24)))
        (i32.store (i32.const 532) (i32.load offset=16 (i32.load (i32.const 520))))
        ;; its name, and the newline that ends "hello"
        (i32.store (i32.const 536) (i32.const 1029)) (i32.store (i32.const 540) (i32.const 1))
        (call $must (call $fd_write (i32.const 1) (i32.const 528) (i32.const 2) (i32.const 544)))
        (i64.store (i32.const 512) (i64.load (i32.load (i32.const 520))))
        (i32.store (i32.const 520) (i32.load (i32.const 524)))
        (br $entries)))
      ;; A buffer that is not full is the end.
      (br_if $end (i32.lt_u (i32.load (i32.const 8)) (i32.const 100)))
      (br $pieces)))"#;

#[tokio::test]
async fn a_directory_is_listed_in_pieces_each_entry_once() {
    let (host, preopen) = directory(false);
    let names: Vec<String> = (0..300).map(|at| format!("file-{at}")).collect();
    for name in &names {
        std::fs::write(host.path().join(name), "").unwrap();
    }
    let list = LIST.replace("$fd)", "3)");
    let ended =
        run(pod().container("guest"), &module(&list), |config| config.directories = Directories::given(vec![preopen])).await;
    assert_eq!(ended.status, Ok(0), "{ended:?}");
    let (mut listed, mut expected): (Vec<&str>, Vec<&str>) = (ended.output.lines().collect(), vec![".", ".."]);
    expected.extend(names.iter().map(String::as_str));
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn a_directory_that_was_opened_is_listed_too_and_a_file_is_none() {
    let (host, preopen) = directory(false);
    std::fs::create_dir(host.path().join("hello")).unwrap();
    std::fs::write(host.path().join("hello/inside"), "").unwrap();
    let open = OPEN.replace("$out", "16").replace("(i32.const 1)\n    (i64.const 66)", "(i32.const 2)\n    (i64.const 0)");
    let list = LIST.replace("$fd)", "4)");
    let body = format!("(call $must {open}) {list}");
    let ended =
        run(pod().container("guest"), &module(&body), |config| config.directories = Directories::given(vec![preopen.clone()]))
            .await;
    assert_eq!((ended.status, ended.output.contains("inside")), (Ok(0), true), "{}", ended.output);
    let readdir = |fd: u32| {
        format!(
            "(call $proc_exit (call $fd_readdir (i32.const {fd}) (i32.const 4096) (i32.const 100) (i64.const 0) (i32.const 8)))"
        )
    };
    for (fd, errno) in [(1, 54), (77, 8)] {
        let ended = run(pod().container("guest"), &module(&readdir(fd)), |config| {
            config.directories = Directories::given(vec![preopen.clone()])
        })
        .await;
        assert_eq!(ended.status, Ok(errno), "{fd}");
    }
}

#[tokio::test]
async fn a_listing_and_a_stat_give_a_file_the_same_number() {
    let (_host, preopen) = directory(false);
    // The first entry is the directory itself.
    let body = "(call $must (call $fd_readdir (i32.const 3) (i32.const 4096) (i32.const 25) (i64.const 0) (i32.const 8)))
                (call $must (call $fd_filestat_get (i32.const 3) (i32.const 512)))
                (call $proc_exit (i64.eq (i64.load offset=8 (i32.const 4096)) (i64.load offset=8 (i32.const 512))))";
    let ended = run(pod().container("guest"), &module(body), |config| config.directories = Directories::given(vec![preopen])).await;
    assert_eq!(ended.status, Ok(1));
}

#[tokio::test]
async fn a_connect_that_does_not_wait_is_told_by_poll_and_so_error() {
    let pod = pod();
    let net = pod.container("server");
    let listener = net.tcp_socket(AddressFamily::Ipv4).unwrap();
    listener.bind("127.0.0.1:80".parse().unwrap()).unwrap();
    listener.set_backlog(0);
    listener.listen().unwrap();
    let first = connect(&pod, "127.0.0.1:80").await.unwrap();
    // The backlog is full now, so the next connect waits: EINPROGRESS is 26. Then writing is polled (type 2), and SO_ERROR read.
    let body = "(i32.store (i32.const 2000) (i32.const 2008)) (i32.store (i32.const 2004) (i32.const 4))
        (i32.store (i32.const 2008) (i32.const 0x0100007f)) (i32.store (i32.const 28) (i32.const 4))
        (call $must (call $sock_open (i32.const 1) (i32.const 2) (i32.const 16)))
        (call $must (call $fd_fdstat_set_flags (i32.const 3) (i32.const 4)))
        (call $must (i32.sub (call $sock_connect (i32.const 3) (i32.const 2000) (i32.const 80)) (i32.const 26)))
        (call $must (i32.sub (call $sock_connect (i32.const 3) (i32.const 2000) (i32.const 80)) (i32.const 7)))
        (i32.store8 (i32.const 2056) (i32.const 2)) (i32.store (i32.const 2064) (i32.const 3))
        (call $must (call $poll_oneoff (i32.const 2048) (i32.const 4096) (i32.const 1) (i32.const 8)))
        (call $must (i32.load16_u (i32.const 4120)))
        (call $must (call $sock_getsockopt (i32.const 3) (i32.const 0) (i32.const 2) (i32.const 24) (i32.const 28)))
        (call $must (i32.load (i32.const 24)))
        (call $buffer (i32.const 6))
        (call $proc_exit (call $fd_write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 8)))";
    let server = async {
        tokio::task::yield_now().await;
        let one = listener.accepted().await.unwrap();
        (one, listener.accepted().await.unwrap())
    };
    let guest = module(body);
    let (ended, (_, second)) = tokio::join!(run(pod.container("guest"), &guest, |_| {}), server);
    assert_eq!(ended.status, Ok(0));
    let mut heard = [0; 10];
    assert_eq!(second.stream().unwrap().try_read(&mut heard), Ok(6));
    drop(first);
}
