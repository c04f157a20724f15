//! B2: the machine exchanges a directory and a link that leads out, while a guest goes through them.

use super::escape::{Openat2, run, tree};
use super::guest::attack;
use super::is_slow;
use crate::harness::Folder;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rounds of one run of the guest, each of five operations through the directory that is exchanged.
const ROUNDS: usize = 2500;

/// Reads, writes, renames into and out of, and makes directories in `swap`, and prints what it could read there.
fn racer() -> String {
    attack(
        2,
        &format!(
            r#"(data (i32.const 256) "swap/secret.txt") (data (i32.const 288) "swap/new") (data (i32.const 320) "own")
               (data (i32.const 352) "swap/moved") (data (i32.const 384) "swap/dir") (data (i32.const 416) "stolen")
               (data (i32.const 448) "LEAK\n")
               (func $try_open (param $path i32) (param $length i32) (param $flags i32) (result i32)
                 (if (call $path_open (i32.const 3) (i32.const 1) (local.get $path) (local.get $length) (local.get $flags)
                       (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 16))
                   (then (return (i32.const -1))))
                 (i32.load (i32.const 16)))
               (func $read_secret (local $fd i32)
                 (local.set $fd (call $try_open (i32.const 256) (i32.const 15) (i32.const 0)))
                 (if (i32.eq (local.get $fd) (i32.const -1)) (then (return)))
                 (i32.store (i32.const 65536) (i32.const 0))
                 (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 64))
                 (drop (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
                 ;; "CANA", as a number
                 (if (i32.eq (i32.load (i32.const 65536)) (i32.const 0x414e4143)) (then (call $say (i32.const 448) (i32.const 5))))
                 (drop (call $fd_close (local.get $fd))))
               (func $create (param $path i32) (param $length i32) (local $fd i32)
                 (local.set $fd (call $try_open (local.get $path) (local.get $length) (i32.const 1)))
                 (if (i32.ne (local.get $fd) (i32.const -1)) (then (drop (call $fd_close (local.get $fd))))))
               (func (export "_start") (local $left i32)
                 (call $create (i32.const 320) (i32.const 3))
                 (local.set $left (i32.const {ROUNDS}))
                 (loop $again
                   (call $read_secret)
                   (call $create (i32.const 288) (i32.const 8))
                   (drop (call $path_create_directory (i32.const 3) (i32.const 384) (i32.const 8)))
                   (drop (call $path_rename (i32.const 3) (i32.const 320) (i32.const 3) (i32.const 3) (i32.const 352) (i32.const 10)))
                   (drop (call $path_rename (i32.const 3) (i32.const 256) (i32.const 15) (i32.const 3) (i32.const 416) (i32.const 6)))
                   (drop (call $path_rename (i32.const 3) (i32.const 352) (i32.const 10) (i32.const 3) (i32.const 320) (i32.const 3)))
                   (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                   (br_if $again (local.get $left))))"#
        ),
    )
}

/// Ends the exchange, also of a test that fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn races(openat2: Openat2) {
    let folder = Folder::new()
        .with("racer.wat", racer())
        .with("outside/secret.txt", "CANARY: nobody inside may read this")
        .with("inside/swap/secret.txt", "anybody may read this");
    let outside = folder.path().join("outside");
    let (swap, link) = (folder.path().join("inside/swap"), folder.path().join("inside/link"));
    symlink("../outside", &link).unwrap();
    let before = tree(&outside);
    let over = AtomicBool::new(false);
    let mount = format!("{}:/", folder.path().join("inside").display());
    let (mut operations, mut exchanges, mut fooled) = (0, 0_u64, 0_u64);
    std::thread::scope(|scope| {
        // Whoever follows the path as it is gets out every now and then: the attack is one.
        let naive = scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                count += u64::from(std::fs::read_to_string(swap.join("secret.txt")).is_ok_and(|text| text.starts_with("CANARY")));
                std::thread::sleep(Duration::from_millis(1));
            }
            count
        });
        let exchange = scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, &swap, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                count += 1;
            }
            count
        });
        let racing = Over(&over);
        let started = Instant::now();
        let (time, least) = if is_slow() { (Duration::from_secs(60), 1_000_000) } else { (Duration::from_secs(2), 0) };
        while started.elapsed() < time || operations < least {
            let finished = run(folder.wasmpod(&["run", "racer.wat", "--volume", &mount]), openat2);
            assert_eq!((finished.status, finished.stdout.as_str()), (0, ""), "{}", finished.stderr);
            operations += ROUNDS * 6;
        }
        drop(racing);
        exchanges = exchange.join().unwrap();
        fooled = naive.join().unwrap();
    });
    eprintln!("{operations} operations during {exchanges} exchanges; a naive reader got out {fooled} times");
    assert!(exchanges > 1000 && fooled > 0, "{exchanges} exchanges, {fooled} times out");
    assert_eq!(tree(&outside), before);
}

#[test]
fn b2_a_directory_that_becomes_a_link_meanwhile() {
    races(Openat2::Works);
}

#[test]
fn b2_a_directory_that_becomes_a_link_meanwhile_without_openat2() {
    races(Openat2::Refused(rustix::io::Errno::NOSYS));
}
