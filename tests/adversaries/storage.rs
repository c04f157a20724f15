//! A9 to A11 on files: a guest that fills the disk, or makes the host count, list and remove without end.

use super::guest::attack;
use super::{peak_memory, times};
use crate::harness::pods::TestPod;
use crate::harness::{Folder, wait_for};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// A pod of one container with an `emptyDir` of at most 4 MiB as its only directory.
const LIMITED: &str = "{apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {restartPolicy: Never, volumes: [{name: data, emptyDir: \
                       {sizeLimit: 4Mi}}], containers: [{name: guest, image: 'file:./guest.wat', volumeMounts: [{name: data, \
                       mountPath: /}]}]}}";

/// The same without a volume: what the container writes is its own.
const ONE: &str = "{apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {restartPolicy: Never, containers: \
                   [{name: guest, image: 'file:./guest.wat'}]}}";

/// Makes so many entries with names of 200 bytes, each with `make`, and then does `more`.
fn makes_entries(count: usize, make: &str, more: &str) -> String {
    attack(
        4,
        &format!(
            r#"(func (export "_start") (local $at i32)
                 (memory.fill (i32.const 1024) (i32.const 0x6e) (i32.const 200))
                 (loop $entries
                   (call $number (local.get $at))
                   (call $must {make})
                   (local.set $at (i32.add (local.get $at) (i32.const 1)))
                   (br_if $entries (i32.lt_u (local.get $at) (i32.const {count}))))
                 {more})"#
        ),
    )
}

const SYMLINK: &str = "(call $path_symlink (i32.const 1024) (i32.const 1) (i32.const 3) (i32.const 1024) (i32.const 200))";

/// Waits until the pod was evicted; says why.
async fn evicted(pod: &TestPod) -> String {
    let outcome = tokio::time::timeout(Duration::from_secs(60), pod.pod.finished()).await.expect("is not evicted").unwrap();
    assert_eq!(outcome.reason, Some("Evicted"), "{outcome:?}");
    outcome.message.unwrap()
}

#[test]
fn a9_a_million_looks_into_a_large_directory_cost_the_host_no_memory() {
    let list = format!(
        r#"(local.set $at (i32.const 0))
           (loop $again
             (call $must (call $fd_readdir (i32.const 3) (i32.const 65536) (i32.const 4096) (i64.const 0) (i32.const 8)))
             (if (i32.ne (i32.load (i32.const 8)) (i32.const 4096)) (then (call $proc_exit (i32.const 99))))
             (local.set $at (i32.add (local.get $at) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get $at) (i32.const {}))))"#,
        times(5_000, 1_000_000)
    );
    let folder = Folder::new().with("list.wat", makes_entries(30_000, SYMLINK, &list));
    let folder = folder.with("quiet.wat", makes_entries(30_000, SYMLINK, ""));
    peak_memory(&folder, &["quiet.wat"]);
    peak_memory(&folder, &["list.wat", "--timeout", "1ms"]);
    let (quiet, _) = peak_memory(&folder, &["quiet.wat"]);
    let (listing, finished) = peak_memory(&folder, &["list.wat"]);
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    assert!(listing <= quiet + (8 << 10), "{listing} KiB against {quiet} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a9_a_guest_that_lists_a_large_directory_is_killed_at_once() {
    // With a buffer that has room for all of it: one call.
    let list = "(call $say_ready) (loop $again (call $must (call $fd_readdir (i32.const 3) (i32.const 65536) (i32.const 25165824)
                (i64.const 0) (i32.const 8))) (br $again))";
    let guest = makes_entries(90_000, SYMLINK, list).replace("(memory (export \"memory\") 4)", "(memory (export \"memory\") 400)");
    let pod = TestPod::start(Folder::new().with("guest.wat", guest), ONE).await;
    pod.prints(0, "ready").await;
    let asked = Instant::now();
    pod.pod.kill().await;
    pod.pod.finished().await.unwrap();
    // Its directory has to be removed too; listing it takes as long as several such pieces.
    eprintln!("ended and removed after {:?}", asked.elapsed());
    assert_eq!(pod.pod.state().containers()[0].latest_termination().unwrap().exit.code, 137);
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_an_empty_dir_past_its_limit_is_evicted() {
    let guest = attack(
        2,
        r#"(data (i32.const 1024) "file")
           (func (export "_start") (local $fd i32)
             (local.set $fd (call $open (i32.const 4) (i32.const 1)))
             (loop $again (call $must (call $write (local.get $fd) (i32.const 65536) (i32.const 65536))) (br $again)))"#,
    );
    let folder = Folder::new().with("guest.wat", guest);
    let path = folder.path().to_path_buf();
    let pod = TestPod::start(folder, LIMITED).await;
    let highest = highest_use(&path, &pod).await;
    assert_eq!(evicted(&pod).await, "Usage of EmptyDir volume \"data\" exceeds the limit \"4Mi\".");
    // Nothing tells of a write, so the host looks four times a second: docs/threat-model.md has what was measured.
    eprintln!("4 MiB allowed, {} MiB at most", highest >> 20);
    nothing_left(&path);
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_files_without_a_name_count_too() {
    let guest = attack(
        2,
        r#"(data (i32.const 1024) "file")
           (func (export "_start") (local $fd i32) (local $left i32)
             (local.set $fd (call $open (i32.const 4) (i32.const 1)))
             (call $must (call $path_unlink_file (i32.const 3) (i32.const 1024) (i32.const 4)))
             (local.set $left (i32.const 256))
             (loop $more
               (call $must (call $write (local.get $fd) (i32.const 65536) (i32.const 65536)))
               (local.set $left (i32.sub (local.get $left) (i32.const 1)))
               (br_if $more (local.get $left)))
             (loop $for_ever (br $for_ever)))"#,
    );
    let pod = TestPod::start(Folder::new().with("guest.wat", guest), LIMITED).await;
    assert_eq!(evicted(&pod).await, "Usage of EmptyDir volume \"data\" exceeds the limit \"4Mi\".");
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_sparse_exbibyte_takes_nothing() {
    let guest = attack(
        1,
        r#"(data (i32.const 1024) "file")
           (func (export "_start") (local $fd i32) (local $bit i64)
             (local.set $fd (call $open (i32.const 4) (i32.const 1)))
             ;; As large as the file system lets it be: one power of two after the other up to an exbibyte and beyond.
             (local.set $bit (i64.const 1))
             (loop $larger
               (drop (call $fd_set_size (local.get $fd) (local.get $bit)))
               (local.set $bit (i64.shl (local.get $bit) (i64.const 1)))
               (br_if $larger (i64.ne (local.get $bit) (i64.const 0))))
             (drop (call $fd_set_size (local.get $fd) (i64.const -1)))
             (call $say_ready)
             (loop $for_ever (br $for_ever)))"#,
    );
    let folder = Folder::new().with("guest.wat", guest);
    let path = folder.path().to_path_buf();
    let pod = TestPod::start(folder, LIMITED).await;
    pod.prints(0, "ready").await;
    assert!(used(&path) < 1 << 20, "{} bytes", used(&path));
    tokio::time::sleep(2 * wasmpod::limits::VOLUME_CHECK_INTERVAL).await;
    assert!(!pod.pod.state().is_finished(), "it has written nothing");
    pod.pod.kill().await;
    pod.pod.finished().await.unwrap();
    nothing_left(&path);
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_inodes_without_number_are_evicted() {
    let spin = "(loop $for_ever (br $for_ever))";
    let count = wasmpod::limits::CONTAINER_ROOT_ENTRIES_MAX + 1;
    let guest = makes_entries(count, SYMLINK, spin);
    let folder = Folder::new().with("guest.wat", guest);
    let path = folder.path().to_path_buf();
    let pod = TestPod::start(folder, ONE).await;
    assert!(evicted(&pod).await.contains("exceeded its local ephemeral storage limit"));
    nothing_left(&path);
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_ten_thousand_directories_inside_each_other_are_measured_and_removed() {
    // A hundred levels at a time, as a path may have 4096 bytes: `d/d/d/…`, then that one is opened.
    let guest = attack(
        1,
        r#"(func (export "_start") (local $dir i32) (local $length i32) (local $rounds i32) (local $at i32)
             (loop $fill
               (i32.store16 (i32.add (i32.const 1024) (local.get $at)) (i32.const 0x2f64))
               (local.set $at (i32.add (local.get $at) (i32.const 2)))
               (br_if $fill (i32.lt_u (local.get $at) (i32.const 200))))
             (local.set $dir (i32.const 3))
             (loop $rounds
               (local.set $length (i32.const 1))
               (loop $deeper
                 (call $must (call $path_create_directory (local.get $dir) (i32.const 1024) (local.get $length)))
                 (local.set $length (i32.add (local.get $length) (i32.const 2)))
                 (br_if $deeper (i32.lt_u (local.get $length) (i32.const 200))))
               (call $must (call $path_open (local.get $dir) (i32.const 0) (i32.const 1024) (i32.const 199) (i32.const 2)
                 (i64.const 0) (i64.const 66) (i32.const 0) (i32.const 16)))
               (if (i32.ne (local.get $dir) (i32.const 3)) (then (call $must (call $fd_close (local.get $dir)))))
               (local.set $dir (i32.load (i32.const 16)))
               (local.set $rounds (i32.add (local.get $rounds) (i32.const 1)))
               (br_if $rounds (i32.lt_u (local.get $rounds) (i32.const 100))))
             (call $say_ready)
             (loop $for_ever (br $for_ever)))"#,
    );
    let folder = Folder::new().with("guest.wat", guest);
    let path = folder.path().to_path_buf();
    let manifest = LIMITED.replace("4Mi", "1Gi");
    let pod = TestPod::start(folder, &manifest).await;
    pod.prints(0, "ready").await;
    // It is measured meanwhile, on a thread with a stack of the usual size.
    tokio::time::sleep(2 * wasmpod::limits::VOLUME_CHECK_INTERVAL).await;
    let asked = Instant::now();
    pod.pod.kill().await;
    pod.pod.finished().await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    nothing_left(&path);
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_name_has_255_bytes_and_no_more() {
    let guest = attack(
        1,
        r#"(func (export "_start")
             (memory.fill (i32.const 1024) (i32.const 0x6e) (i32.const 256))
             (drop (call $open (i32.const 255) (i32.const 1)))
             (drop (call $open (i32.const 256) (i32.const 1))))"#,
    );
    let pod = TestPod::start(Folder::new().with("guest.wat", guest), ONE).await;
    assert_eq!(pod.pod.finished().await.unwrap().exit_code, 37, "ENAMETOOLONG");
}

/// The most that was used below `path` until the pod ended.
async fn highest_use(path: &Path, pod: &TestPod) -> u64 {
    let mut highest = 0;
    while !pod.pod.state().is_finished() {
        highest = highest.max(used(path));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    highest
}

/// What is allocated below `path`.
fn used(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => used(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

fn nothing_left(path: &Path) {
    let pods =
        || fs::read_dir(path).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("wasmpod-pod-"));
    wait_for("an empty folder", || (pods().count() == 0).then_some(()));
}
