//! A containerd of one's own: the machine's, or the one in the directory that `WASMPOD_TEST_CONTAINERD_DIR` names.

use crate::image::Image;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-wasmpod-v1");
pub(crate) const RUNTIME: &str = "io.containerd.wasmpod.v1";

/// One of containerd's programs.
pub(crate) fn program(name: &str) -> PathBuf {
    std::env::var_os("WASMPOD_TEST_CONTAINERD_DIR").map(PathBuf::from).unwrap_or_default().join(name)
}

/// Whether the tests can run here; says why not.
pub(crate) fn can_run() -> bool {
    let has = |name: &str| Command::new(program(name)).arg("--version").output().is_ok_and(|output| output.status.success());
    let able = rustix::process::geteuid().is_root() && has("containerd") && has("ctr");
    if !able {
        assert!(std::env::var_os("WASMPOD_TEST_CONTAINERD").is_none(), "containerd and root are needed, and missing");
        eprintln!("skipped: needs root, containerd and ctr");
    }
    able
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A guest of the tests, in text form.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    repository(&format!("tests/guests/{name}.wat"))
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Said {
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    fn of(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// The compiler lies beside the shim; cargo builds it for the tests of its own package only.
pub(crate) fn build_compiler() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| drop(build("wasmpod-compile", &["--workspace", "--bin", "wasmpod-compile"])));
}

/// Builds a program with the shim's profile, unless it is there already; `path` is where it ends up, seen from the shim.
pub(crate) fn build(path: &str, target: &[&str]) -> PathBuf {
    let dir = Path::new(SHIM).parent().unwrap();
    let path = dir.join(path);
    if !path.exists() {
        let profile: &[&str] = if dir.ends_with("release") { &["--profile", "bench"] } else { &[] };
        let built = Command::new(env!("CARGO")).arg("build").args(profile).args(target).status();
        assert!(built.unwrap().success() && path.exists());
    }
    path
}

/// The cache of compiled programs that all tests share.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// A running containerd, stopped and removed with all that it runs when dropped.
pub(crate) struct Containerd {
    pub(crate) dir: tempfile::TempDir,
    daemon: Child,
    /// Where the shim and the compiler are found.
    programs: PathBuf,
    cache: PathBuf,
}

impl Containerd {
    /// Starts one that uses the shim of this build and a cache that all tests share.
    pub(crate) fn start() -> Self {
        build_compiler();
        let programs = Path::new(SHIM).parent().unwrap().to_owned();
        Self::start_with(programs, cache(), "")
    }

    pub(crate) fn start_with(programs: PathBuf, cache: PathBuf, cri: &str) -> Self {
        build_compiler();
        let dir = tempfile::Builder::new().prefix("wasmpod-ct-").tempdir().unwrap();
        let path = dir.path().display();
        let mut config = format!("version = 2\nroot = \"{path}/root\"\nstate = \"{path}/state\"\n");
        let _ = write!(config, "[grpc]\naddress = \"{path}/sock\"\n");
        let _ = write!(config, "[plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{path}/opt\"\n");
        if cri.is_empty() {
            config.insert_str("version = 2\n".len(), "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n");
        }
        config.push_str(&cri.replace("$DIR", &path.to_string()));
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        let daemon = spawn(dir.path(), &programs, &cache);
        let this = Self { dir, daemon, programs, cache };
        this.wait_until_ready();
        this
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Ends the daemon by a signal, without a word to what it runs, and starts it again.
    pub(crate) fn restart(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.daemon), signal).unwrap();
        self.daemon.wait().unwrap();
        self.daemon = spawn(self.dir.path(), &self.programs, &self.cache);
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        eventually("containerd answers", || self.ctr(&["version"]).code == 0);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("ctr"));
        command.arg("-a").arg(self.socket()).args(args);
        command
    }

    pub(crate) fn ctr(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).stdin(Stdio::null()).output().unwrap())
    }

    pub(crate) fn ctr_with_input(&self, args: &[&str], input: &str) -> Said {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Said::of(child.wait_with_output().unwrap())
    }

    pub(crate) fn spawn_ctr(&self, args: &[&str]) -> Child {
        self.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// `ctr run --rm` of the shim.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.ctr(&[&["run", "--rm", "--runtime", RUNTIME], args].concat())
    }

    /// `ctr run --detach` of the shim.
    pub(crate) fn run_detached(&self, args: &[&str]) {
        self.ctr(&[&["run", "--detach", "--runtime", RUNTIME], args].concat()).ok();
    }

    /// Brings an image in, in a namespace of containerd.
    pub(crate) fn import(&self, namespace: &str, image: Image) {
        self.try_import(namespace, image).ok();
    }

    /// As `import`; containerd 1.6 complains of artifacts, which it cannot unpack, and keeps them nevertheless.
    pub(crate) fn try_import(&self, namespace: &str, image: Image) -> Said {
        let path = self.dir.path().join("image.tar");
        image.write(&path);
        self.ctr(&["-n", namespace, "images", "import", path.to_str().unwrap()])
    }

    /// An image of guests in text form, `localhost/guests:1`, each at `/NAME.wat`.
    pub(crate) fn import_guests(&self, names: &[&str]) {
        let files: Vec<(String, Vec<u8>)> = names.iter().map(|name| (format!("{name}.wat"), guest(name))).collect();
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(path, contents)| (path.as_str(), contents.clone())).collect();
        self.import("default", Image::of_files("localhost/guests:1", &format!("/{}.wat", names[0]), &files));
    }

    /// The state of each task, by its id.
    pub(crate) fn status(&self, id: &str) -> Option<String> {
        let table = self.ctr(&["task", "ls"]).ok();
        table.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words.first() == Some(&id)).then(|| words[2].to_owned())
        })
    }

    /// Kills a task, waits for its end and removes it with its container; says how it ended.
    pub(crate) fn finish(&self, id: &str) -> i32 {
        self.ctr(&["task", "kill", "-s", "SIGKILL", id]);
        eventually("the task stops", || self.status(id).is_none_or(|status| status == "STOPPED"));
        let said = self.ctr(&["task", "delete", id]);
        self.ctr(&["container", "rm", id]).ok();
        // ctr 1.6 ends with 0 and tells the status in a warning.
        let told =
            said.stderr.split_once("exit code ").map(|(_, rest)| rest.trim_matches(|c: char| !c.is_ascii_digit()).to_owned());
        told.and_then(|code| code.parse().ok()).unwrap_or(said.code)
    }

    /// The servers of this containerd.
    pub(crate) fn shims(&self) -> Vec<u32> {
        let dir = self.dir.path().display().to_string();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("containerd-shim") && line.contains(&dir)
        };
        pids.filter(is_ours).collect()
    }

    /// What must be the same before and after: pipes, sockets and all descriptors of the daemon, servers, mounts, processes that nobody
    /// has waited for, what the daemon keeps of tasks.
    pub(crate) fn holdings(&self) -> [usize; 7] {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().flatten();
        let targets: Vec<String> = fds.filter_map(|fd| Some(std::fs::read_link(fd.path()).ok()?.display().to_string())).collect();
        let count = |kind: &str| targets.iter().filter(|target| target.contains(kind)).count();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = self.dir.path().display().to_string();
        let mounts = mounts.lines().filter(|line| line.contains(&dir)).count();
        let tasks = std::fs::read_dir(self.dir.path().join("state/io.containerd.runtime.v2.task/default"));
        let tasks = tasks.map_or(0, |entries| entries.flatten().count());
        let pipes = count("pipe:") + count("fifo");
        [pipes, count("socket:"), targets.len(), self.shims().len(), mounts, self.zombies(), tasks]
    }
}

impl Containerd {
    /// Children of the daemon that have ended and that it has not waited for.
    fn zombies(&self) -> usize {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        let parent = format!(" Z {} ", self.pid());
        stats.filter(|stat| stat.contains(&parent)).count()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the end of containerd's log:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        for pid in self.shims() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // What a test that failed has left mounted.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let dir = self.dir.path().display().to_string();
        for point in mounts.lines().rev().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with(&dir)) {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn spawn(dir: &Path, programs: &Path, cache: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Command::new(program("containerd"))
        .arg("-c")
        .arg(dir.join("config.toml"))
        .env("PATH", path)
        .env("WASMPOD_CACHE_DIR", cache)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Waits for something that another process does.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
