//! Tries every operation of WASI's file system on every path that might lead out of the container's directories.
//!
//! It calls the host's functions itself: the C library would refuse half of the paths before the host saw them. The first argument
//! is the path of a directory outside. It prints `LEAK ...` for whatever it could read that says `CANARY`, and at the end how many
//! operations it tried and how many the host let it do.

#[cfg_attr(target_env = "p1", path = "preview1.rs")]
#[cfg_attr(target_env = "p2", path = "preview2.rs")]
mod host;

use host::Dir;

/// What stands in the files outside, and in none inside.
const SECRET: &[u8] = b"CANARY";

fn main() {
    let outside = std::env::args().nth(1).expect("the path of a directory outside");
    let mut tally = Tally::default();
    let corpus = corpus(&outside);
    for (name, dir) in host::preopens() {
        // Something of its own, to be moved and linked.
        let _ = dir.write("own", true);
        for (at, path) in corpus.iter().enumerate() {
            attack(&dir, &name, at, path, &mut tally);
        }
    }
    // Two directories of different mounts: what one may not do, both together may not do either.
    across(&mut tally);
    println!("tried {} allowed {}", tally.tried, tally.allowed);
}

#[derive(Default)]
struct Tally {
    tried: u64,
    allowed: u64,
}

impl Tally {
    fn note<T>(&mut self, result: Result<T, ()>) -> Option<T> {
        self.tried += 1;
        self.allowed += u64::from(result.is_ok());
        result.ok()
    }
}

/// Paths that lead out, or would if something did not look closely.
fn corpus(outside: &str) -> Vec<String> {
    let mut paths: Vec<String> = [
        "..", "../", ".././", "../outside", "../outside/secret.txt", "./../outside/secret.txt", "sub/../../outside/secret.txt",
        "sub/../../../../../../../../etc/passwd", "/", "//", "/etc/passwd", "//etc/passwd", "/proc/self/fd/3", "/proc/self/root",
        "../../../../proc/self/root/etc/passwd", "/dev/fd/3", ".", "", "./", "sub/.", "sub/..", "sub/./.././../outside",
        // Symbolic links that were there before the guest: see the test.
        "out", "out/", "out/secret.txt", "out/new", "out/.", "out/..", "out-slash", "out-slash/", "out-slash/secret.txt",
        "absolute", "absolute/", "absolute-dir/secret.txt", "absolute-slash", "absolute-slash/secret.txt", "dangling", "dangling/",
        "dangling-dir/new", "loop", "loop/", "loop/x", "up", "up/outside/secret.txt", "up/up/up/up/etc/passwd", "chain", "chain/",
        "chain/secret.txt", "sub/deep", "sub/deep/secret.txt", "proc", "proc/self/root", "proc/self/cwd", "magic", "magic/secret.txt",
        "file/", "file/.", "file/..", "file/../../outside/secret.txt", "inner", "inner/", "inner/file",
        "nul\0byte", "../outside\0/secret.txt", "back\\..\\slash", "..\\outside", "new", "new/", "C:", "aux", "\u{202e}..", "..%2foutside",
    ]
    .map(str::to_owned)
    .to_vec();
    for file in ["", "/", "/secret.txt", "/dir/secret.txt", "/../outside/secret.txt", "/new"] {
        paths.push(format!("{outside}{file}"));
        paths.push(format!("../../../../../../../../../..{outside}{file}"));
        paths.push(format!("out/../..{outside}{file}"));
    }
    paths.push("x".repeat(255));
    paths.push("x".repeat(256));
    paths.push("x/".repeat(2047) + "x");
    paths.push("../".repeat(1365) + "etc/passwd");
    paths.push("./".repeat(2040) + "../outside/secret.txt");
    paths
}

fn attack(dir: &Dir, name: &str, at: usize, path: &str, tally: &mut Tally) {
    let report = |what: &str, bytes: &[u8]| {
        if bytes.windows(SECRET.len()).any(|window| window == SECRET) {
            println!("LEAK {what} {name} {path:?}");
        }
    };
    for follow in [true, false] {
        if let Some(bytes) = tally.note(dir.read(path, follow)) {
            report("read", &bytes);
        }
        if let Some(names) = tally.note(dir.list(path, follow)) {
            report("list", names.join("\n").as_bytes());
        }
        tally.note(dir.stat(path, follow));
        tally.note(dir.set_times(path, follow));
    }
    // Where a link leads is text that anybody may read; what is behind it is not.
    tally.note(dir.read_link(path));
    tally.note(dir.append(path));
    tally.note(dir.write(path, false));
    tally.note(dir.write(path, true));
    tally.note(dir.truncate(path));
    tally.note(dir.make_dir(path));
    tally.note(dir.make_dir(&format!("{path}/made")));
    tally.note(dir.symlink(path, &format!("sym-{at}")));
    for through in [format!("sym-{at}"), format!("sym-{at}/"), format!("sym-{at}/secret.txt")] {
        if let Some(bytes) = tally.note(dir.read(&through, true)) {
            report("link", &bytes);
        }
        tally.note(dir.append(&through));
        tally.note(dir.rename(&through, &format!("renamed-{at}")));
    }
    tally.note(dir.symlink("own", path));
    tally.note(dir.link(path, &format!("hard-{at}"), true));
    tally.note(dir.link(path, &format!("hard-{at}"), false));
    if let Some(bytes) = tally.note(dir.read(&format!("hard-{at}"), true)) {
        report("hard link", &bytes);
    }
    tally.note(dir.link("own", path, false));
    tally.note(dir.rename("own", path));
    tally.note(dir.write("own", true));
    tally.note(dir.rename(path, &format!("stolen-{at}")));
    if let Some(bytes) = tally.note(dir.read(&format!("stolen-{at}"), true)) {
        report("rename", &bytes);
    }
    tally.note(dir.unlink(path));
    tally.note(dir.remove_dir(path));
}

fn across(tally: &mut Tally) {
    let preopens = host::preopens();
    for (_, from) in &preopens {
        for (_, to) in &preopens {
            let _ = from.write("own", true);
            tally.note(from.link_to("own", to, "linked-in"));
            tally.note(from.rename_to("own", to, "moved-in"));
            tally.note(from.rename_to("out", to, "out-moved"));
            tally.note(to.read("out-moved/secret.txt", true));
        }
    }
}
