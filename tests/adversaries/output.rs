//! A6, A8, A12 and B8: what a guest prints or sends fills nobody's memory, and commands nobody's terminal.

use super::guest::attack;
use super::{peak_memory_discarding, quiet_guest, times};
use crate::guests;
use crate::harness::sandbox::TestSandbox;
use crate::harness::{Folder, Program, finish};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use wasmpod::log::OutputSink;

/// What the host may use more for a guest that floods than for one that says a word.
const OVERHEAD_KIB_MAX: u64 = 8 << 10;

/// Compares the flood with the same program writing one byte, both compiled beforehand and with their output thrown away.
fn costs_nothing(flood: &str, extra: &[&str]) {
    let folder = Folder::new().with("quiet.wat", quiet_guest()).with("flood.wat", flood);
    let wasmpod = |args: &[&str]| peak_memory_discarding(&folder, args);
    wasmpod(&["quiet.wat"]);
    wasmpod(&["flood.wat", "--timeout", "1ms"]);
    let quiet = wasmpod(&["quiet.wat"]);
    let flood = wasmpod(&[&["flood.wat"], extra].concat());
    assert!(quiet > 0 && flood <= quiet + OVERHEAD_KIB_MAX, "{flood} KiB against {quiet} KiB");
}

/// `guest` with its number of bytes or writes as the threat model has it, when there is time for that.
fn in_full(guest: &str, quick: &str, full: &str) -> String {
    assert!(guest.contains(quick));
    if super::is_slow() { guest.replace(quick, full) } else { guest.to_owned() }
}

#[test]
fn a6_ten_gigabytes_of_output_are_not_kept() {
    costs_nothing(&in_full(guests::STDOUT_FLOOD, "1_073_741_824", "10_737_418_240"), &[]);
}

#[test]
fn a6_a_hundred_million_empty_writes_are_not_kept() {
    costs_nothing(&in_full(guests::EMPTY_WRITES, "10_000_000", "100_000_000"), &[]);
}

#[test]
fn a6_a_line_of_a_gibibyte_is_not_kept() {
    costs_nothing(&in_full(guests::ENDLESS_LINE, "16_777_216", "1_073_741_824"), &[]);
}

#[test]
fn a7_datagrams_that_nobody_receives_are_dropped() {
    costs_nothing(guests::UDP_FLOOD, &["--timeout", "2s"]);
}

#[test]
fn a7_a_million_empty_datagrams_are_not_kept() {
    let body = r#"(func (export "_start") (local $left i32)
        ;; 128: the receiver, 132: the sender; family 1 is IPv4, kind 1 datagrams; 16: the port they send to
        (call $must (call $sock_open (i32.const 1) (i32.const 1) (i32.const 128)))
        (call $must (call $sock_bind (i32.load (i32.const 128)) (i32.const 24) (i32.const 7777)))
        (call $must (call $sock_open (i32.const 1) (i32.const 1) (i32.const 132)))
        (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 0))
        (local.set $left (i32.const 1_000_000))
        (loop $more
          (call $must (call $sock_send_to (i32.load (i32.const 132)) (i32.const 0) (i32.const 1) (i32.const 24) (i32.const 7777)
            (i32.const 0) (i32.const 8)))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $more (local.get $left))))"#;
    costs_nothing(&attack(2, body), &[]);
}

#[test]
fn a8_a_connection_that_nobody_reads_costs_nothing() {
    costs_nothing(guests::TCP_FLOOD, &["--timeout", "2s"]);
}

#[test]
fn a8_a_peer_that_never_reads_holds_64_kib_and_no_more() {
    // Writes without waiting until there is no room, and exits with how many KiB that were.
    let body = r#"(func (export "_start") (local $sum i32)
        (call $must (call $sock_open (i32.const 1) (i32.const 2) (i32.const 128)))
        (call $must (call $sock_bind (i32.load (i32.const 128)) (i32.const 24) (i32.const 7777)))
        (call $must (call $sock_listen (i32.load (i32.const 128)) (i32.const 1)))
        (call $must (call $sock_open (i32.const 1) (i32.const 2) (i32.const 132)))
        (call $must (call $sock_connect (i32.load (i32.const 132)) (i32.const 24) (i32.const 7777)))
        (call $must (call $fd_set_flags (i32.load (i32.const 132)) (i32.const 4)))
        (block $full
          (loop $more
            (br_if $full (call $write (i32.load (i32.const 132)) (i32.const 65536) (i32.const 1024)))
            (local.set $sum (i32.add (local.get $sum) (i32.load (i32.const 8))))
            (br $more)))
        (call $proc_exit (i32.shr_u (local.get $sum) (i32.const 10))))"#;
    assert_eq!(Folder::new().with("guest.wat", attack(2, body)).run(&["guest.wat"]).status, 64);
}

/// A reader of output that has stopped: nothing is taken any more.
struct Stopped;

impl OutputSink for Stopped {
    fn try_write(&self, _bytes: &[u8]) -> usize {
        0
    }

    fn room(&self) -> usize {
        0
    }

    fn poll_ready(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_who_prints_into_the_void_waits_alone() {
    let manifest = "{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {containers: [\
                    {name: serves, image: 'file:./toolbox.wasm', args: [serve, '7000', alive]}, \
                    {name: floods, image: 'file:./toolbox.wasm', args: [sleep, '100000000']}]}}";
    let pod = TestSandbox::new(Folder::new().with("toolbox.wasm", guests::TOOLBOX), manifest, |_| ()).await;
    let (serves, floods) = (pod.start(0), pod.start(1));
    serves.prints("serving").await;
    let mut stuck = Vec::new();
    for _ in 0..16 {
        let mut exec = pod.exec_with(1, &["toolbox", "tick", "0"], |exec| exec.stdout = Arc::new(Stopped)).unwrap();
        exec.started().await;
        stuck.push(exec);
    }
    for _ in 0..20 {
        let mut get = pod.exec(0, &["toolbox", "get", "7000"]);
        assert_eq!((get.exit().await.code, get.printed().as_str()), (0, "alive\n"));
    }
    // What waits for its reader ends when it is told to.
    for exec in stuck {
        exec.kill().await;
    }
    floods.kill().await;
    serves.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a12_the_output_of_what_is_execd_waits_for_its_reader() {
    // A hundred times what the pipe holds, or ten gigabytes; whoever wants it all in one piece has to count.
    let manifest = "{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {containers: [\
                    {name: main, image: 'file:./floods.wat', command: [floods]}]}}";
    let pieces = u32::try_from(times(100, 160_000)).unwrap();
    let folder = Folder::new().with("floods.wat", guests::floods(pieces, 65_536));
    let pod = TestSandbox::new(folder, manifest, |_| ()).await;
    let counted = Arc::new(Counted::default());
    let mut main = pod.start(0);
    let mut exec = pod.exec_with(0, &["floods"], |exec| exec.stdout = Arc::clone(&counted) as _);
    if let Ok(exec) = &mut exec {
        assert_eq!(exec.exit().await.code, 0);
        let (total, largest) = *counted.0.lock().unwrap();
        assert_eq!(total, u64::from(pieces) * 65_536);
        assert!(largest <= 65_536, "{largest} bytes at once");
    }
    main.exit().await;
}

/// How much came, and how much of it at once at most.
#[derive(Default)]
struct Counted(std::sync::Mutex<(u64, usize)>);

impl OutputSink for Counted {
    fn try_write(&self, bytes: &[u8]) -> usize {
        let mut counted = self.0.lock().unwrap();
        *counted = (counted.0 + bytes.len() as u64, counted.1.max(bytes.len()));
        bytes.len()
    }

    fn room(&self) -> usize {
        1 << 16
    }

    fn poll_ready(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// What a guest prints that wants to command a terminal: its title, its cursor, its clipboard, a question that it answers by typing.
const COMMANDS: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}]52;c;cm0gLXJm\u{7}\u{1b}[c\u{9b}31m\u{8}ä\n";

/// Runs `args` with both outputs on a terminal, one that `script` makes; gives what the terminal was sent.
fn on_a_terminal(folder: &Folder, args: &[&str]) -> String {
    let wasmpod = folder.wasmpod(&[]);
    let mut command = Command::new("script");
    let line = format!("{} run {}", wasmpod.get_program().display(), args.join(" "));
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(folder.path()).env_clear();
    command.envs(wasmpod.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Once before, for what is said about compiling.
    folder.run(args);
    let finished = finish(Program::spawn(&mut command));
    assert_eq!(finished.status, 0, "{}{}", finished.stdout, finished.stderr);
    finished.stdout
}

#[test]
fn b8_a_terminal_is_shown_escape_sequences_and_does_not_obey_them() {
    let folder = Folder::new().with("guest.wat", guests::writes(1, COMMANDS, 0));
    let shown = on_a_terminal(&folder, &["guest.wat"]);
    assert_eq!(shown, "\\u{1b}]0;owned\\u{7}\\u{1b}[2J\\u{1b}]52;c;cm0gLXJm\\u{7}\\u{1b}[c\\u{9b}31m\\u{8}ä\r\n");
    // What the user asked for, the user gets.
    assert_eq!(on_a_terminal(&folder, &["guest.wat", "--raw"]), COMMANDS.replace('\n', "\r\n"));
}

#[test]
fn b8_no_container_overwrites_the_name_before_its_lines() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {restartPolicy: Never, containers: [\
               {name: honest, image: 'file:./quiet.wat'}, {name: forger, image: 'file:./forger.wat'}]}}";
    let folder = Folder::new().with("pod.yaml", pod).with("quiet.wat", guests::exits(0));
    let folder = folder.with("forger.wat", guests::writes(2, "x\rhonest | I did it\u{1b}[1G\r\n", 0));
    assert_eq!(on_a_terminal(&folder, &["pod.yaml"]), "forger | x\\u{d}honest | I did it\\u{1b}[1G\r\r\n");
}

#[test]
fn b8_a_pipe_gets_what_was_printed() {
    let folder = Folder::new().with("guest.wat", guests::writes(1, COMMANDS, 0));
    assert_eq!(folder.run(&["guest.wat"]).stdout, COMMANDS);
}
