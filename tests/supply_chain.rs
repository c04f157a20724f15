//! What wasmpod is made of: the versions that `Cargo.lock` pins, held above those with known holes.

use std::path::Path;

/// The lowest version of a crate that may be in the lock file, and what is wrong with the ones below.
const LOWEST: &[(&str, [u64; 3], &str)] = &[
    ("wasmtime", [48, 0, 8], "CVE-2026-115384 and what was mended before"),
    ("wasmtime-wasi", [48, 0, 8], "path and stream fixes of the 48.0 line"),
    ("wasmtime-wasi-http", [48, 0, 8], "GHSA-5qpp: requests to another host"),
    ("cap-std", [4, 0, 3], "GHSA-hp8f-xmx4-4qrg: a symlink that ends in a slash escapes"),
    ("cap-primitives", [4, 0, 3], "GHSA-hp8f-xmx4-4qrg"),
    ("tar", [0, 4, 45], "RUSTSEC-2026-0067 and RUSTSEC-2026-0068"),
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

#[test]
fn known_holes_stay_out_of_the_lock_file() {
    let packages = packages();
    assert!(packages.iter().any(|(name, _)| name == "wasmtime"), "Cargo.lock was not understood");
    for (name, version) in &packages {
        for (_, lowest, why) in LOWEST.iter().filter(|(limited, ..)| limited == name) {
            assert!(version >= lowest, "{name} {version:?} is below {lowest:?}: {why}");
        }
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| banned == name) {
            panic!("{name} is in Cargo.lock: {why}");
        }
    }
}

#[test]
fn the_engine_is_one_version() {
    let versions: Vec<_> = packages().into_iter().filter(|(name, _)| name == "wasmtime").collect();
    assert_eq!(versions.len(), 1, "{versions:?}");
}

/// Names and versions of all packages in the lock file.
fn packages() -> Vec<(String, [u64; 3])> {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock")).unwrap();
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
