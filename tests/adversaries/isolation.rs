//! B: a guest reaches its own pod, and nothing of its neighbours or of the machine.

use super::times;
use crate::harness::pods::TestPod;
use crate::harness::{Folder, Program};
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn caller() -> Folder {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/caller/caller.wasm");
    Folder::new().with("caller.wasm", fs::read(built).unwrap())
}

/// A socket of the machine that nobody may reach, on TCP and UDP.
struct Canary {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Canary {
    fn bind(address: std::net::IpAddr) -> Self {
        let tcp = TcpListener::bind((address, 0)).unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        Self { tcp, udp }
    }

    fn port(&self) -> u16 {
        self.tcp.local_addr().unwrap().port()
    }

    fn heard_nothing(&self) {
        assert_eq!(self.tcp.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "a guest connected");
        assert_eq!(self.udp.recv_from(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock, "a guest sent a datagram");
    }
}

#[test]
fn b3_the_machines_own_addresses_are_out_of_reach() {
    let canaries = [Canary::bind(Ipv4Addr::UNSPECIFIED.into()), Canary::bind(Ipv6Addr::LOCALHOST.into())];
    let mut addresses = Vec::new();
    for canary in &canaries {
        let port = canary.port();
        for host in [
            "127.0.0.1",
            "127.0.0.2",
            "127.255.255.254",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:0.0.0.0]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b:1::127.0.0.1]",
            "[::ffff:0:127.0.0.1]",
            "[fe80::1]",
            "169.254.169.254",
            "localhost",
            "localhost.",
            "LOCALHOST",
            "2130706433",
            "0x7f.1",
            "127.1",
        ] {
            addresses.push(format!("{host}:{port}"));
        }
    }
    let folder = caller();
    let mut args = vec!["--timeout", "50s", "caller.wasm", "--", "reach"];
    args.extend(addresses.iter().map(String::as_str));
    let finished = folder.run(&args);
    assert_eq!(finished.status, 0, "{}{}", finished.stdout, finished.stderr);
    assert!(!finished.stdout.contains("tcp Ok"), "{}", finished.stdout);
    assert_eq!(finished.stdout.lines().count(), addresses.len());
    canaries.iter().for_each(Canary::heard_nothing);
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_pods_with_the_same_port_are_told_apart() {
    let pods = times(10, 100);
    let mut running = Vec::new();
    for at in 0..pods {
        let manifest = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p{at}}}, spec: {{restartPolicy: Never, containers: \
             [{{name: server, image: 'file:./caller.wasm', args: [serve, 'p{at}']}}]}}}}"
        );
        let pod = TestPod::start(caller(), &manifest).await;
        pod.prints(0, "listening").await;
        running.push(pod);
    }
    // They are of one run, so each answers at its own address, and with its own name; a localhost is its pod's alone.
    let address = |pod: &TestPod| pod.pod.status().1.pod_ip.unwrap();
    let everywhere: Vec<String> = running.iter().map(|pod| format!("{}:8080", address(pod))).collect();
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: asker}}, spec: {{restartPolicy: Never, containers: \
         [{{name: asker, image: 'file:./caller.wasm', args: [ask, '127.0.0.1:8080', 'localhost:8080', '{}']}}]}}}}",
        everywhere.join("', '")
    );
    let asker = TestPod::start(caller(), &manifest).await;
    assert_eq!(asker.pod.finished().await.unwrap().exit_code, 0);
    let mut expected = "127.0.0.1:8080: ConnectionRefused\nlocalhost:8080: ConnectionRefused\n".to_owned();
    for (at, address) in everywhere.iter().enumerate() {
        expected += &format!("{address}: p{at}\n");
    }
    assert_eq!(asker.printed(0), expected);
}

/// Fills its memory and its table's neighbourhood with a pattern.
const WRITES_PATTERN: &str = r#"(module (memory (export "memory") 64)
    (func (export "_start") (memory.fill (i32.const 0) (i32.const 0xa5) (i32.const 4194304))))"#;

/// Traps when any byte of its fresh memory is not zero.
const SCANS: &str = r#"(module (memory (export "memory") 64)
    (func (export "_start") (local $at i32)
      (loop $next
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (unreachable)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 4194304))))))"#;

#[tokio::test(flavor = "multi_thread")]
async fn b5_memory_of_an_earlier_guest_is_never_seen() {
    let one = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: one}}, spec: {{restartPolicy: Never, containers: [{{name: guest, image: 'file:./{name}'}}]}}}}"
        )
    };
    for round in 0..times(40, 2000) {
        let writer = TestPod::start(Folder::new().with("writes.wat", WRITES_PATTERN), &one("writes.wat")).await;
        assert_eq!(writer.pod.finished().await.unwrap().exit_code, 0);
        for _ in 0..5 {
            let scanner = TestPod::start(Folder::new().with("scans.wat", SCANS), &one("scans.wat")).await;
            assert_eq!(scanner.pod.finished().await.unwrap().exit_code, 0, "round {round}: the memory was not clean");
        }
    }
}

#[test]
fn b6_nothing_of_the_machines_environment_is_seen() {
    let folder = Folder::new().with("env.wat", crate::guests::ARGS_ENV);
    let mut command = folder.wasmpod(&["run", "env.wat", "--env", "DECLARED=yes", "--", "argument"]);
    command.env("CANARY_OF_THE_MACHINE", "1").env("HOME", folder.path()).env("AWS_SECRET_ACCESS_KEY", "CANARY");
    let finished = crate::harness::finish(Program::spawn(&mut command));
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    assert!(finished.stdout.contains("DECLARED=yes") && finished.stdout.contains("argument"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("CANARY") && !finished.stdout.contains("HOME="), "{}", finished.stdout);
    assert!(!finished.stdout.contains(&folder.path().display().to_string()), "{}", finished.stdout);
}

#[test]
fn b6_a_program_with_twenty_pods_holds_only_what_it_needs() {
    let pod = |at| {
        format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: p{at}}}, spec: {{containers: [{{name: guest, image: 'file:./guest.wat'}}]}}}}\n"
        )
    };
    let folder = Folder::new().with("pods.yaml", (0..20).map(pod).collect::<String>());
    let folder = folder.with("guest.wat", crate::guests::says_ready_and_spins());
    let mut child = Program::spawn(&mut folder.wasmpod(&["run", "pods.yaml"]));
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 20 * 6]).unwrap();
    let own = folder.path().display().to_string();
    let cache = crate::harness::shared_cache().display().to_string();
    for entry in fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap_or_default().display().to_string();
        let expected = [
            "pipe:",
            "socket:",
            "anon_inode:[eventpoll]",
            "anon_inode:[eventfd]",
            "/dev/null",
            "/dev/urandom",
            "/proc/self/pagemap",
        ];
        let expected = expected.iter().any(|start| target.starts_with(start));
        let is_ours = target.starts_with(&own) || target.starts_with(&cache) || target.contains("/wasmpod-") || target.is_empty();
        assert!(expected || is_ours || target.ends_with("/pagemap"), "an unexpected descriptor: {target}");
    }
}

#[test]
fn b6_the_compiler_gives_up_every_privilege_before_it_reads() {
    let key = wasmpod::engine::config::compatibility_key();
    let mut compiler = Command::new(env!("CARGO_BIN_EXE_wasmpod-compile"));
    let mut child =
        compiler.args(["--key", &key]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It waits for its module, so it stays in the state in which it reads one.
    let deadline = Instant::now() + Duration::from_secs(60);
    let none = ["CapInh", "CapPrm", "CapEff"].map(|set| format!("{set}:\t0000000000000000\n")).concat();
    let holds_nothing = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        status.contains(&none) && status.contains("NoNewPrivs:\t1")
    };
    while !holds_nothing() {
        assert!(Instant::now() < deadline, "the compiler keeps a privilege");
        std::thread::yield_now();
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn b7_what_is_written_is_the_users_alone_whatever_the_umask() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {volumes: [{name: data, emptyDir: {}}], containers: [\
               {name: guest, image: 'file:./guest.wat', volumeMounts: [{name: data, mountPath: /data}]}]}}";
    for umask in ["0", "022"] {
        let folder = Folder::new().with("pod.yaml", pod).with("guest.wat", crate::guests::says_ready_and_spins());
        let wasmpod = folder.wasmpod(&[]);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask} && exec \"$0\" run pod.yaml")]).arg(wasmpod.get_program());
        command.envs(wasmpod.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(folder.path());
        command.env("WASMPOD_CACHE_DIR", folder.path().join("cache"));
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Program::spawn(&mut command);
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        // What lies in a directory that nobody else may enter is as safe as that.
        let mut folders: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.retain(|path| path.is_dir());
        assert!(folders.len() >= 2, "{folders:?}");
        for path in folders {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o700, "{path:?} under umask {umask}");
        }
    }
}

#[test]
fn b7_secrets_are_said_nowhere() {
    let manifest = r#"
apiVersion: v1
kind: Secret
metadata: {name: vault}
stringData: {password: CANARY-f00d, file: CANARY-beef}
---
apiVersion: v1
kind: Pod
metadata: {name: keeper}
spec:
  restartPolicy: Never
  volumes: [{name: vault, secret: {secretName: vault}}]
  containers:
  - name: traps
    image: file:./trap.wat
    env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: vault, key: password}}}]
    args: ["$(PASSWORD)"]
    volumeMounts: [{name: vault, mountPath: /vault}]
  - name: missing
    image: file:./missing.wat
    env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: vault, key: password}}}]
"#;
    let folder = Folder::new().with("pod.yaml", manifest).with("trap.wat", crate::guests::TRAP);
    let failing = folder.run(&["pod.yaml", "-vvv", "-o", "json"]);
    fs::write(folder.path().join("missing.wat"), crate::guests::exits(3)).unwrap();
    let running = folder.run(&["pod.yaml", "-vvv", "-o", "yaml"]);
    for finished in [failing, running] {
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!said.contains("CANARY") && !said.contains("Q0FOQVJZ"), "{said}");
        assert_ne!(finished.status, 0);
    }
}
