//! A16 and C6: the host itself runs out of memory, of descriptors or of disk, at any moment. It says so or ends; what it leaves is good.

use super::guest::attack;
use super::is_slow;
use crate::guests;
use crate::harness::{Finished, Folder, Program, finish, read_all};
use crate::image_store::{artifact, check_blobs, large};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The image that is stored and run.
const IMAGE: &str = "reg.example/program:1";

/// An archive with an image that is so large, says "hello" and ends.
fn archive(mebibytes: usize) -> Folder {
    let folder = Folder::new();
    artifact(&folder, "image.tar", IMAGE, large(mebibytes));
    fs::remove_dir_all(folder.path().join("making-image.tar")).unwrap();
    folder
}

/// Runs `wasmpod ARGS` by a shell that does `first`, such as setting a limit.
fn after(first: &str, folder: &Folder, args: &[&str]) -> (Finished, Option<i32>) {
    let wasmpod = folder.wasmpod(args);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{first} && exec \"$0\" \"$@\"")).arg(wasmpod.get_program()).args(args);
    command.current_dir(folder.path()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
        .envs(wasmpod.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("WASMPOD_CACHE_DIR", folder.path().join("cache"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Program::spawn(&mut command);
    let (stdout, stderr) = (read_all(child.stdout.take().unwrap()), read_all(child.stderr.take().unwrap()));
    let status = child.wait().unwrap();
    let finished = Finished { status: status.code().unwrap_or(-1), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() };
    (finished, status.signal())
}

/// Loads and runs an image under each of the limits (a container that cannot be made is tried again until the time is over); whatever came of it, what is in the store is good, and without a limit all works.
fn survives(limit: &str, values: impl Iterator<Item = u64>) {
    let folder = archive(4);
    let (mut failed, mut succeeded) = (0, 0);
    for value in values {
        for args in [&["load", "image.tar"][..], &["run", IMAGE, "--pull", "never", "--timeout", "2s"]] {
            let (finished, signal) = after(&format!("ulimit {limit} {value}"), &folder, args);
            let is_done = finished.status == 0;
            // An error that is told, or an abort where there was no memory for that; never a wrong answer, never a panic of ours.
            let is_told =
                finished.stderr.contains("error: ") || finished.stderr.contains("failed") || finished.stderr.contains("annot");
            assert!(is_done || is_told || signal.is_some() || finished.status == 127, "{limit} {value} {args:?}: {finished:?}");
            assert!(!finished.stderr.contains("panicked"), "{limit} {value} {args:?}: {}", finished.stderr);
            *(if is_done { &mut succeeded } else { &mut failed }) += 1;
        }
        check_blobs(&folder.path().join("root/images"));
    }
    assert!(failed > 0 && succeeded > 0, "{failed} failed, {succeeded} succeeded: the limits are no test");
    assert_eq!(finish(Program::spawn(&mut folder.wasmpod(&["load", "image.tar"]))).status, 0);
    let (finished, _) = after("true", &folder, &["run", IMAGE, "--pull", "never"]);
    assert_eq!(finished.stdout, "hello\n", "{}", finished.stderr);
    check_blobs(&folder.path().join("root/images"));
}

/// Some of many, or all of them.
fn some(all: Vec<u64>, quick: usize) -> impl Iterator<Item = u64> {
    let step = if is_slow() { 1 } else { all.len().div_ceil(quick) };
    all.into_iter().step_by(step)
}

#[test]
fn a16_memory_that_ends_at_any_moment() {
    // Address space in KiB: from too little to load the program itself to enough.
    survives("-v", some((1..200).map(|step| (step * 32) << 10).collect(), 8));
}

#[test]
fn a16_descriptors_that_end_at_any_moment() {
    survives("-n", some((3..64).collect(), 12));
}

#[test]
fn a16_a_process_that_is_ended_in_the_middle_of_a_file() {
    // A file may have so many blocks of 512 bytes; one more, and the kernel ends the process.
    survives("-f", some((0..100).map(|step| step * 128).chain([1 << 20]).collect(), 8));
}

#[test]
fn a16_manifests_under_too_little_memory() {
    let containers: String = (0..200)
        .map(|at| format!("  - {{name: c{at}, image: 'file:./x.wat', env: [{{name: A, value: {}}}]}}\n", "x".repeat(2000)))
        .collect();
    let pod = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n{containers}");
    let folder = Folder::new().with("pod.yaml", pod);
    let (whole, _) = after("true", &folder, &["validate", "-f", "pod.yaml"]);
    assert_eq!(whole.status, 0, "{}", whole.stderr);
    for kib in some((1..64).map(|step| (step * 4) << 10).collect(), 12) {
        let (finished, signal) = after(&format!("ulimit -v {kib}"), &folder, &["validate", "-f", "pod.yaml"]);
        let right = finished.status == 0 && finished.stdout == whole.stdout;
        assert!(right || finished.status != 0 || signal.is_some(), "{kib} KiB: {finished:?}");
        assert!(!finished.stderr.contains("panicked"), "{kib} KiB: {}", finished.stderr);
    }
}

#[test]
fn c6_a_disk_that_is_full() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("not run: mounting a small file system takes root");
    }
    let folder = archive(20);
    fs::create_dir(folder.path().join("root")).unwrap();
    // A store of 16 MiB, in a mount namespace that ends with the shell: an image that is too large, then one that fits.
    let small = archive(2);
    fs::rename(small.path().join("image.tar"), folder.path().join("small.tar")).unwrap();
    let script = "mount -t tmpfs -o size=16m tmpfs root && { \"$0\" load image.tar; echo status $?; df --output=used -k root | tail -1; \
                  find root -type f -size +64k; \"$0\" images; \"$0\" load small.tar && \"$0\" run reg.example/program:1 --pull never; \
                  echo status $?; }";
    let wasmpod = folder.wasmpod(&[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(wasmpod.get_program()).current_dir(folder.path()).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(wasmpod.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let finished = finish(Program::spawn(&mut command));
    assert!(finished.stderr.contains("o space left on device"), "{}", finished.stderr);
    let lines: Vec<&str> = finished.stdout.lines().map(str::trim).collect();
    assert_eq!((lines.first(), lines.last()), (Some(&"status 1"), Some(&"status 0")), "{}{}", finished.stdout, finished.stderr);
    let used: u64 = lines[1].parse().unwrap();
    assert!(used < 1024, "{used} KiB stay behind of what did not fit: {}", finished.stdout);
}

#[test]
fn a9_a_guest_does_not_get_the_last_descriptors_of_the_process() {
    // Opens the same file until it is refused, and stays. Meanwhile a neighbour starts.
    let opens = attack(
        1,
        r#"(data (i32.const 1024) "file")
           (func (export "_start")
             (loop $again
               (br_if $again (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 4) (i32.const 1)
                 (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 16)))))
             (call $say_ready)
             (loop $for_ever (br $for_ever)))"#,
    );
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {restartPolicy: Never, containers: [\
               {name: opens, image: 'file:./opens.wat'}, {name: late, image: 'file:./toolbox.wasm', args: [sleep, '300', then, \
               echo, started]}]}}";
    let folder = Folder::new().with("pod.yaml", pod).with("opens.wat", opens).with("toolbox.wasm", guests::TOOLBOX);
    finish(Program::spawn(&mut folder.wasmpod(&["run", "pod.yaml", "--timeout", "1ms"])));
    let (finished, _) = after("ulimit -Sn 256 && ulimit -Hn 256", &folder, &["run", "pod.yaml", "--timeout", "5s"]);
    // It got three quarters of them, so that the host found some for the neighbour and for the pod's end.
    assert!(finished.stdout.contains("ready\n") && finished.stdout.contains("started\n"), "{finished:?}");
    assert_eq!(leftovers(folder.path()), Vec::<String>::new(), "{}", finished.stderr);
}

fn leftovers(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("wasmpod-pod-")).collect()
}
