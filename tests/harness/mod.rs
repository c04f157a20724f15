//! One way to run a pod in a test: the built program, in a folder of its own, with a cache that all tests share.

pub mod pods;
pub mod registry;
pub mod sandbox;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a test waits for what should take milliseconds before it gives up; long, because the machines are noisy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with the files of one test.
pub struct Folder(TempDir);

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A program that runs; a test that fails leaves none behind.
pub struct Program(Child);

impl Program {
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Deref for Program {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Folder {
    /// An empty folder.
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("wasmpod-test-").tempdir().unwrap())
    }

    /// The same with one file.
    pub fn with(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `wasmpod` in this folder, with nothing of the user's environment.
    pub fn wasmpod(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmpod"));
        command.args(args).current_dir(self.path()).env_clear();
        command.env("WASMPOD_CACHE_DIR", shared_cache()).env("TMPDIR", self.path()).env("WASMPOD_ROOT", self.path().join("root"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `wasmpod run ARGS` to its end.
    pub fn run(&self, args: &[&str]) -> Finished {
        finish(self.start(args))
    }

    /// Starts `wasmpod run ARGS`.
    pub fn start(&self, args: &[&str]) -> Program {
        Program::spawn(&mut self.wasmpod(&[&["run"], args].concat()))
    }
}

/// Compiled artifacts survive from test to test and from run to run.
pub fn shared_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// The folder of an example.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).canonicalize().unwrap()
}

/// Waits for the end of a program; kills it when that takes too long.
pub fn finish(child: Program) -> Finished {
    finish_within(child, PATIENCE)
}

/// The same for a program that may take so long.
pub fn finish_within(mut child: Program, patience: Duration) -> Finished {
    let (stdout, stderr) = (read_all(child.stdout.take().unwrap()), read_all(child.stderr.take().unwrap()));
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if started.elapsed() > patience => {
                child.kill().unwrap();
                break child.wait().unwrap();
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    Finished { status: status.code().unwrap_or(-1), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// The most memory that a process had at any time so far, in KiB; none when it has ended.
pub fn peak_memory_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}

pub fn read_all(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Asks `child` to stop, as Ctrl-C does.
pub fn interrupt(child: &Program) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

/// A port of this machine that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// `GET path` from a port of this machine: status and body. Tries again while nobody answers.
pub fn http_get(port: u16, path: &str) -> (u16, String) {
    http(port, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
}

/// Sends `request` and reads the answer to its end.
pub fn http(port: u16, request: &str) -> (u16, String) {
    let answer = wait_for("an answer over HTTP", || {
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    });
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}

/// Asks again and again until there is an answer.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A terminal: its own end, and the one for a program.
pub fn pseudo_terminal() -> (std::fs::File, Stdio) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let theirs = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&theirs, size).unwrap();
    (terminal.into(), theirs.into())
}

/// Everything that is written to a terminal, until nobody has it open any more.
pub fn read_terminal(mut terminal: std::fs::File) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
        // At its end it gives an error.
        while let Ok(length @ 1..) = terminal.read(&mut piece) {
            shown.extend_from_slice(&piece[..length]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    })
}
