//! The network of a pod, from the outside: what it needs of the kernel, and what the kernel sees of it.

use crate::guests;
use crate::harness::{Folder, example, finish, free_port, http, http_get, interrupt, read_all, shared_cache, wait_for};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The five containers of the example call each other over TCP and UDP, IPv4 and IPv6, and the pod's name: 24 calls each. They run in
/// a network namespace in which not even the loopback device is up, and in which the kernel never sees a TCP or UDP socket.
#[test]
fn five_containers_talk_without_a_kernel_socket() {
    let manifest = example("five").join("pod.yaml");
    let warm = Folder::new().run(&[manifest.to_str().unwrap()]);
    assert_eq!(warm.status, 0, "{}", warm.stderr);

    let mut child = Command::new("unshare")
        .args(if rustix::process::geteuid().is_root() { &["--net"][..] } else { &["--net", "--user", "--map-root-user"] })
        .args(["--", env!("CARGO_BIN_EXE_wasmpod"), "run"])
        .arg(&manifest)
        .env("WASMPOD_CACHE_DIR", shared_cache())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdout, stderr) = (read_all(child.stdout.take().unwrap()), read_all(child.stderr.take().unwrap()));
    let mut looks = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        // Until `unshare` has done its work, the process is in this namespace, with the sockets of others.
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        if namespace(&child.id().to_string()).is_none_or(|own| Some(own) == namespace("self")) {
            continue;
        }
        for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
            let sockets = std::fs::read_to_string(format!("/proc/{}/net/{table}", child.id())).unwrap_or_default();
            assert!(sockets.lines().count() <= 1, "a kernel socket in the pod's process: {sockets}");
            looks += 1;
        }
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    assert!(status.success(), "{stdout}{stderr}");
    assert_eq!(stdout.lines().filter(|line| line.contains("24 calls answered, 24 served")).count(), 5, "{stdout}");
    assert!(looks > 0, "the pod was gone before anybody looked");
}

#[test]
fn a_published_port_leads_to_the_pod() {
    let port = free_port();
    let manifest = std::fs::read_to_string(example("http").join("pod.yaml")).unwrap();
    let images = format!("file:{}/", example("http").display());
    let manifest = manifest.replace("hostPort: 8080", &format!("hostPort: {port}")).replace("file:./", &images);
    let folder = Folder::new().with("pod.yaml", manifest);
    let child = folder.start(&["pod.yaml"]);
    let (status, body) = http_get(port, "/");
    assert_eq!(status, 200);
    assert!(body.contains("key-value"), "{body}");
    // The front serves before the store behind it listens, and says so.
    wait_for("the store", || (http_get(port, "/greeting").0 != 502).then_some(()));
    let put = "PUT /greeting HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(http(port, put).0, 201);
    let (status, body) = http_get(port, "/greeting");
    assert!(status == 200 && body.contains("hello"), "{status} {body}");
    interrupt(&child);
    assert_eq!(finish(child).status, 130);
}

#[test]
fn a_listener_on_loopback_is_not_published() {
    let port = free_port();
    let folder = Folder::new().with("own.wat", guests::says_ready_then_waits());
    let child = folder.start(&["own.wat", "-p", &format!("127.0.0.1:{port}:7100"), "--timeout", "2s"]);
    let refused = wait_for("the published port", || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Some(std::io::Read::read(&mut stream, &mut [0; 1]))
    });
    // The machine's listener accepts, finds nobody in the pod and closes.
    assert!(matches!(refused, Ok(0) | Err(_)), "{refused:?}");
    assert_eq!(finish(child).status, 124);
}

#[test]
fn a_port_in_use_is_an_error_before_anything_runs() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = Folder::new().with("hello.wat", guests::writes(1, "never said", 0));
    let finished = folder.run(&["hello.wat", "-p", &format!("127.0.0.1:{port}:80")]);
    assert_eq!((finished.status, finished.stdout.as_str()), (1, ""));
    assert!(finished.stderr.contains(&port.to_string()), "{}", finished.stderr);
}
