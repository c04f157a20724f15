//! What each request answers, also the second time: asked of a server directly, without containerd.

use crate::ctr::CAT;
use crate::harness::{build_compiler, can_run, eventually, guest};
use crate::protocol::{bundle, run};
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, CreateTaskRequest, CreateTaskResponse, DeleteRequest,
    ExecProcessRequest, KillRequest, PauseRequest, PidsRequest, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest,
    StateRequest, StatsRequest, Status, UpdateTaskRequest, WaitRequest,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message as _, MessageField};
use containerd_shim_protos::ttrpc::{self, Code};
use containerd_shim_protos::{Client, TaskClient, cgroups, cgroups_v2};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The one container of the server.
const ID: &str = "a";

fn context() -> ttrpc::context::Context {
    ttrpc::context::with_timeout(60_000_000_000)
}

/// The code of an answer that is an error.
fn refusal<T: std::fmt::Debug>(answer: ttrpc::Result<T>) -> Code {
    match answer.unwrap_err() {
        ttrpc::Error::RpcStatus(status) => status.code(),
        other => panic!("{other}"),
    }
}

/// A server as containerd starts it, with pipes for the streams of its container.
struct Server {
    bundle: tempfile::TempDir,
    client: TaskClient,
    pid: u32,
    socket: PathBuf,
}

impl Server {
    /// For a container that runs `guest`; nothing is created yet.
    fn start(guest: &[u8]) -> Self {
        build_compiler();
        let bundle = bundle(
            r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":{"args":["/guest.wat"],"cwd":"/","user":{"uid":0,"gid":0}},
            "linux":{"namespaces":[{"type":"network"}]}}"#,
        );
        fs::create_dir(bundle.path().join("rootfs")).unwrap();
        fs::write(bundle.path().join("rootfs/guest.wat"), guest).unwrap();
        for name in ["stdin", "stdout", "stderr"] {
            rustix::fs::mknodat(CWD, bundle.path().join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }
        let said = run(bundle.path(), ID, "start", b"");
        let address = String::from_utf8(said.stdout).unwrap();
        let client = TaskClient::new(Client::connect(&address).unwrap());
        let pid = client.connect(context(), &ConnectRequest::new()).unwrap().shim_pid;
        Self { bundle, client, pid, socket: address.strip_prefix("unix://").unwrap().into() }
    }

    fn path(&self, name: &str) -> String {
        self.bundle.path().join(name).display().to_string()
    }

    fn create(&self, terminal: bool) -> ttrpc::Result<CreateTaskResponse> {
        let stderr = if terminal { String::new() } else { self.path("stderr") };
        let request = CreateTaskRequest {
            id: ID.to_owned(),
            bundle: self.bundle.path().display().to_string(),
            stdin: self.path("stdin"),
            stdout: self.path("stdout"),
            stderr,
            terminal,
            ..CreateTaskRequest::default()
        };
        self.client.create(context(), &request)
    }

    fn run(self, terminal: bool) -> Self {
        self.create(terminal).unwrap();
        self.start_process("").unwrap();
        self
    }

    fn start_process(&self, exec: &str) -> ttrpc::Result<()> {
        let request = StartRequest { id: ID.to_owned(), exec_id: exec.to_owned(), ..StartRequest::default() };
        self.client.start(context(), &request).map(|answer| assert_eq!(answer.pid, self.pid))
    }

    fn exec(&self, exec: &str) -> ttrpc::Result<()> {
        let value = br#"{"args":["/guest.wat"],"cwd":"/","user":{"uid":0,"gid":0}}"#.to_vec();
        let spec = MessageField::some(Any { value, ..Any::default() });
        let request = ExecProcessRequest { id: ID.to_owned(), exec_id: exec.to_owned(), spec, ..ExecProcessRequest::default() };
        self.client.exec(context(), &request).map(drop)
    }

    fn state(&self) -> ttrpc::Result<(Status, u32)> {
        let state = self.client.state(context(), &StateRequest { id: ID.to_owned(), ..StateRequest::default() })?;
        Ok((state.status.unwrap(), state.exit_status))
    }

    fn kill(&self, exec: &str) -> ttrpc::Result<()> {
        let request = KillRequest { id: ID.to_owned(), exec_id: exec.to_owned(), signal: 9, ..KillRequest::default() };
        self.client.kill(context(), &request).map(drop)
    }

    fn wait(&self, exec: &str) -> u32 {
        let request = WaitRequest { id: ID.to_owned(), exec_id: exec.to_owned(), ..WaitRequest::default() };
        self.client.wait(context(), &request).unwrap().exit_status
    }

    fn delete(&self, exec: &str) -> ttrpc::Result<u32> {
        let request = DeleteRequest { id: ID.to_owned(), exec_id: exec.to_owned(), ..DeleteRequest::default() };
        self.client.delete(context(), &request).map(|answer| answer.exit_status)
    }

    fn pause(&self) -> ttrpc::Result<()> {
        self.client.pause(context(), &PauseRequest { id: ID.to_owned(), ..PauseRequest::default() }).map(drop)
    }

    fn resume(&self) -> ttrpc::Result<()> {
        self.client.resume(context(), &ResumeRequest { id: ID.to_owned(), ..ResumeRequest::default() }).map(drop)
    }

    fn close_stdin(&self) -> ttrpc::Result<()> {
        let request = CloseIORequest { id: ID.to_owned(), stdin: true, ..CloseIORequest::default() };
        self.client.close_io(context(), &request).map(drop)
    }

    fn resize(&self, width: u32, height: u32) -> ttrpc::Result<()> {
        let request = ResizePtyRequest { id: ID.to_owned(), width, height, ..ResizePtyRequest::default() };
        self.client.resize_pty(context(), &request).map(drop)
    }

    /// `resources` as the OCI specification has them.
    fn update(&self, resources: &str) -> ttrpc::Result<()> {
        let resources = MessageField::some(Any { value: resources.as_bytes().to_vec(), ..Any::default() });
        let request = UpdateTaskRequest { id: ID.to_owned(), resources, ..UpdateTaskRequest::default() };
        self.client.update(context(), &request).map(drop)
    }

    fn usage(&self) -> Usage {
        let answer = self.client.stats(context(), &StatsRequest { id: ID.to_owned(), ..StatsRequest::default() }).unwrap();
        Usage::of(&answer.stats)
    }

    /// The end of a pipe that a client has, which does not wait for the other one.
    fn pipe(&self, name: &str, flags: OFlags) -> File {
        let opened = rustix::fs::open(self.path(name), flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap();
        rustix::io::ioctl_fionbio(&opened, false).unwrap();
        File::from(opened)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw)
            && fs::read_to_string(format!("/proc/{}/comm", self.pid)).is_ok_and(|name| name.starts_with("containerd-shim"))
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        run(self.bundle.path(), ID, "delete", b"");
    }
}

/// What a container uses, of either version of control groups.
struct Usage {
    memory_limit: u64,
    cpu_ns: u64,
    throttled_ns: u64,
}

impl Usage {
    fn of(any: &Any) -> Self {
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
            let metrics = cgroups_v2::metrics::Metrics::parse_from_bytes(&any.value).unwrap();
            let (cpu_ns, throttled_ns) = (metrics.cpu.usage_usec * 1000, metrics.cpu.throttled_usec * 1000);
            Self { memory_limit: metrics.memory.usage_limit, cpu_ns, throttled_ns }
        } else {
            assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
            let metrics = cgroups::metrics::Metrics::parse_from_bytes(&any.value).unwrap();
            let (cpu_ns, throttled_ns) = (metrics.cpu.usage.total, metrics.cpu.throttling.throttled_time);
            Self { memory_limit: metrics.memory.usage.limit, cpu_ns, throttled_ns }
        }
    }
}

#[test]
fn every_request_has_an_answer_the_second_time_too() {
    if !can_run() {
        return;
    }
    let server = Server::start(&guest("block-in-sleep"));
    assert_eq!(refusal(server.state()), Code::NOT_FOUND);
    server.create(false).unwrap();
    assert_eq!(refusal(server.create(false)), Code::ALREADY_EXISTS);
    assert_eq!(server.state().unwrap(), (Status::CREATED, 0));
    server.start_process("").unwrap();
    assert_eq!(refusal(server.start_process("")), Code::FAILED_PRECONDITION);
    assert_eq!(server.state().unwrap(), (Status::RUNNING, 0));

    server.exec("x").unwrap();
    assert_eq!(refusal(server.exec("x")), Code::ALREADY_EXISTS);
    server.start_process("x").unwrap();
    assert_eq!(refusal(server.start_process("x")), Code::FAILED_PRECONDITION);
    server.kill("x").unwrap();
    assert_eq!([server.wait("x"), server.wait("x")], [137, 137]);
    assert_eq!(refusal(server.kill("x")), Code::NOT_FOUND);
    assert_eq!(server.delete("x").unwrap(), 137);
    assert_eq!(refusal(server.delete("x")), Code::NOT_FOUND);

    server.pause().unwrap();
    assert_eq!(refusal(server.pause()), Code::FAILED_PRECONDITION);
    assert_eq!(server.state().unwrap(), (Status::PAUSED, 0));
    server.resume().unwrap();
    assert_eq!(refusal(server.resume()), Code::FAILED_PRECONDITION);
    for _ in 0..2 {
        let pids = server.client.pids(context(), &PidsRequest { id: ID.to_owned(), ..PidsRequest::default() }).unwrap();
        assert_eq!(pids.processes.iter().map(|process| process.pid).collect::<Vec<_>>(), [server.pid]);
        assert!(server.usage().memory_limit > 0);
        server.close_stdin().unwrap();
        server.update("{}").unwrap();
        assert_eq!(refusal(server.resize(80, 25)), Code::INVALID_ARGUMENT);
        let checkpoint = server.client.checkpoint(context(), &CheckpointTaskRequest::default());
        assert_eq!(refusal(checkpoint), Code::UNIMPLEMENTED);
    }
    assert_eq!(refusal(server.delete("")), Code::FAILED_PRECONDITION);

    server.kill("").unwrap();
    assert_eq!([server.wait(""), server.wait("")], [137, 137]);
    assert_eq!(refusal(server.kill("")), Code::NOT_FOUND);
    assert_eq!(server.state().unwrap(), (Status::STOPPED, 137));
    assert_eq!(refusal(server.start_process("")), Code::FAILED_PRECONDITION);
    assert_eq!(server.delete("").unwrap(), 137);
    assert_eq!(refusal(server.delete("")), Code::NOT_FOUND);
    server.client.shutdown(context(), &ShutdownRequest::new()).unwrap();
    eventually("the server ends", || !Path::new(&format!("/proc/{}", server.pid)).exists());
    assert!(!server.socket.exists());
}

#[test]
fn new_limits_hold_from_then_on() {
    if !can_run() {
        return;
    }
    let server = Server::start(&guest("busy-loop"));
    server.create(false).unwrap();
    server.update(r#"{"memory":{"limit":33554432}}"#).unwrap();
    server.start_process("").unwrap();
    eventually("it uses the processor", || server.usage().cpu_ns > 0);
    let usage = server.usage();
    assert_eq!((usage.memory_limit, usage.throttled_ns), (32 << 20, 0), "what was not started yet starts with its limits");
    server.update(r#"{"cpu":{"quota":5000,"period":100000}}"#).unwrap();
    eventually("it is held back", || server.usage().throttled_ns > 0);
    assert_eq!(server.usage().memory_limit, 32 << 20, "what is not named stays");
    server.update(r#"{"cpu":{"quota":-1}}"#).unwrap();
    let free = server.usage();
    eventually("it uses the processor", || server.usage().cpu_ns > free.cpu_ns + 100_000_000);
    let later = server.usage();
    assert!(later.throttled_ns - free.throttled_ns < 1_000_000_000, "a limit that is lifted holds nobody back");
    assert_eq!(refusal(server.update("no JSON")), Code::INVALID_ARGUMENT);
}

#[test]
fn standard_input_ends_when_it_is_closed_and_not_before() {
    if !can_run() {
        return;
    }
    let server = Server::start(CAT.as_bytes()).run(false);
    let mut output = server.pipe("stdout", OFlags::RDWR);
    let mut read = [0; 5];
    for _ in 0..2 {
        // A client that comes and goes.
        server.pipe("stdin", OFlags::WRONLY).write_all(b"hello").unwrap();
        output.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"hello");
    }
    assert_eq!(server.state().unwrap(), (Status::RUNNING, 0));
    server.close_stdin().unwrap();
    assert_eq!(server.wait(""), 0);
}

#[test]
fn a_terminal_echoes_and_has_the_size_that_it_is_given() {
    if !can_run() {
        return;
    }
    let server = Server::start(CAT.as_bytes()).run(true);
    let (mut keyboard, mut screen) = (server.pipe("stdin", OFlags::WRONLY), server.pipe("stdout", OFlags::RDWR));
    keyboard.write_all(b"hi\n").unwrap();
    let mut shown = [0; 8];
    screen.read_exact(&mut shown).unwrap();
    assert_eq!(&shown, b"hi\r\nhi\r\n", "what is typed, then what the program prints");
    for (columns, rows) in [(132, 40), (80, 25)] {
        server.resize(columns, rows).unwrap();
        assert_eq!(terminal_size(server.pid), (columns, rows));
    }
    keyboard.write_all(b"\x04").unwrap();
    assert_eq!(server.wait(""), 0);
}

/// The size of the terminal that a process has open.
fn terminal_size(pid: u32) -> (u32, u32) {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let mut links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    let terminal = links.find(|link| link.starts_with("/dev/pts/") && !link.ends_with("ptmx")).expect("a terminal");
    let terminal = rustix::fs::open(terminal, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let size = rustix::termios::tcgetwinsize(&terminal).unwrap();
    (size.ws_col.into(), size.ws_row.into())
}

#[test]
fn one_thread_can_mount_and_those_of_guests_cannot() {
    if !can_run() {
        return;
    }
    const SYS_ADMIN: u64 = 1 << 21;
    let server = Server::start(&guest("busy-loop")).run(false);
    eventually("a guest runs", || server.usage().cpu_ns > 0);
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", server.pid)).unwrap().flatten() {
        let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let set = |name: &str| u64::from_str_radix(&field(name), 16).unwrap();
        let serves = thread.file_name().to_str() == Some(&server.pid.to_string());
        assert_eq!(set("CapEff:") & SYS_ADMIN != 0, serves, "{status}");
        // chown, dac_override, fowner, fsetid, net_bind_service.
        let kept = 0b100_0001_1011 | if serves { SYS_ADMIN } else { 0 };
        assert_eq!((set("CapPrm:") & !kept, set("CapInh:"), field("NoNewPrivs:").as_str()), (0, 0, "1"), "{status}");
        threads += 1;
    }
    assert!(threads > 2, "the one that serves, and guests'");
}
