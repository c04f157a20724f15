//! What wasmpod is made of: the versions that `Cargo.lock` pins, held above those with known holes. `deny.toml` has what needs no
//! version: licences, sources, duplicates, crates that are not wanted.

use std::path::Path;

/// The lowest version of a crate that may be in the lock file, and what is wrong with the ones below.
const LOWEST: &[(&str, [u64; 3], &str)] = &[
    ("wasmtime", [48, 0, 8], "CVE-2026-115384 and what was mended before"),
    ("wasmtime-wasi", [48, 0, 8], "path and stream fixes of the 48.0 line"),
    ("wasmtime-wasi-http", [48, 0, 8], "GHSA-5qpp: requests to another host"),
    ("cap-std", [4, 0, 3], "GHSA-hp8f-xmx4-4qrg: a symlink that ends in a slash escapes"),
    ("cap-primitives", [4, 0, 3], "GHSA-hp8f-xmx4-4qrg"),
    ("tar", [0, 4, 45], "RUSTSEC-2026-0067: chmod through a symlink; RUSTSEC-2026-0068: the size in PAX headers"),
    ("astral-tokio-tar", [0, 6, 2], "RUSTSEC-2025-0111 and what came after"),
    ("oci-client", [0, 19, 0], "reads manifests without bound, writes blobs before it has verified them"),
    ("containerd-shim-wasm", [1, 0, 1], "CVE-2026-47218: deserializes what an image says is compiled"),
];

/// Crates that must not be in the lock file at all.
const BANNED: &[(&str, &str)] = &[
    ("tokio-tar", "RUSTSEC-2025-0111, not mended"),
    ("serde_yml", "RUSTSEC-2025-0068, unsound"),
    ("serde_yaml", "not maintained"),
    ("native-tls", "one TLS library is enough: rustls"),
    ("openssl-sys", "one TLS library is enough: rustls"),
    ("winch-codegen", "Cranelift only: RUSTSEC-2026-0086, -0089, -0094, -0095"),
];

/// The lock files: what is released, and what the fuzzers run.
const LOCKS: [&str; 2] = ["Cargo.lock", "tests/fuzz/Cargo.lock"];

#[test]
fn known_holes_stay_out_of_the_lock_files() {
    for lock in LOCKS {
        let packages = packages(&read(lock));
        assert!(packages.iter().any(|(name, _)| name == "wasmtime"), "{lock} was not understood");
        assert_eq!(holes(&packages), [""; 0], "{lock}");
    }
}

/// The test above can fail: below the bounds, and with what is banned, it does.
#[test]
fn known_holes_are_found() {
    let lock = |name: &str, version: &str| format!("version = 4\n\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
    for (name, version, fits) in [
        ("wasmtime", "48.0.7", false),
        ("wasmtime", "48.0.8", true),
        ("wasmtime", "49.0.0-rc.1", true),
        ("cap-std", "4.0.2", false),
        ("tar", "0.4.44", false),
        ("tokio-tar", "9.9.9", false),
        ("serde_yml", "0.0.12", false),
    ] {
        assert_eq!(holes(&packages(&lock(name, version))).is_empty(), fits, "{name} {version}");
    }
}

#[test]
fn the_engine_is_one_version_and_the_fuzzers_have_it_too() {
    let engines = LOCKS.map(|lock| packages(&read(lock)).into_iter().filter(|(name, _)| name == "wasmtime").collect::<Vec<_>>());
    assert_eq!(engines[0].len(), 1, "{engines:?}");
    assert_eq!(engines[0], engines[1]);
}

/// What is wrong with some of the packages.
fn holes(packages: &[(String, [u64; 3])]) -> Vec<String> {
    let mut holes = Vec::new();
    for (name, version) in packages {
        for (_, lowest, why) in LOWEST.iter().filter(|(limited, lowest, _)| limited == name && version < lowest) {
            holes.push(format!("{name} {version:?} is below {lowest:?}: {why}"));
        }
        holes.extend(BANNED.iter().filter(|(banned, _)| banned == name).map(|(_, why)| format!("{name} is not wanted: {why}")));
    }
    holes
}

fn read(lock: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(lock)).unwrap()
}

/// Names and versions of all packages in a lock file.
fn packages(lock: &str) -> Vec<(String, [u64; 3])> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")))?;
        Some(line.trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    packages.filter_map(|block| Some((value(block, "name")?, numbers(&value(block, "version")?)))).collect()
}

/// Major, minor and patch of a version; what follows them does not count.
fn numbers(version: &str) -> [u64; 3] {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.').map(|part| part.parse().unwrap());
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}
