//! Attacks on the cache: whatever is not exactly what was committed counts as nothing.

use super::*;
use crate::ErrorKind;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

/// A cache with one entry, in a directory of its own.
struct Fixture {
    root: tempfile::TempDir,
    cache: Cache,
    digest: Digest,
}

impl Fixture {
    fn new(body: &[u8]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(root.path()).unwrap();
        let fixture = Self { root, cache, digest: Digest::of(b"wasm") };
        fixture.commit(&fixture.digest, body);
        assert!(fixture.found());
        fixture
    }

    fn commit(&self, digest: &Digest, body: &[u8]) {
        let lock = self.cache.try_lock(digest).unwrap().unwrap();
        let mut file = lock.temporary().unwrap();
        file.write_all(body).unwrap();
        lock.commit(file, Kind::Core, 4).unwrap();
    }

    fn found(&self) -> bool {
        self.cache.find(&self.digest).is_some()
    }

    /// Why the entry is ignored.
    fn reason(&self) -> &'static str {
        self.cache.examine(&self.digest).unwrap_err()
    }

    fn path(&self) -> PathBuf {
        self.path_of(&self.digest)
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.cache.0.path.join(format!("{digest}.cwasm"))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.cache.0.path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

const BODY: &[u8] = b"\x7fELF, or so it seems, with some code behind it";

#[test]
fn what_was_committed_is_found() {
    let fixture = Fixture::new(BODY);
    let entry = fixture.cache.find(&fixture.digest).unwrap();
    assert_eq!((entry.wasm_bytes(), entry.artifact_bytes()), (4, BODY.len() as u64));
    assert!(fixture.cache.find(&Digest::of(b"other")).is_none());
    assert_eq!(fs::metadata(fixture.path()).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fixture.names(), [format!("{}.cwasm", fixture.digest), format!("{}.lock", fixture.digest)]);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let fixture = Fixture::new(BODY);
    let good = fs::read(fixture.path()).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            fs::write(fixture.path(), &bad).unwrap();
            assert!(!fixture.found(), "byte {at}, bit {bit}");
        }
    }
    fs::write(fixture.path(), &good).unwrap();
    assert!(fixture.found());
}

#[test]
fn every_truncation_and_every_addition_is_noticed() {
    let fixture = Fixture::new(BODY);
    let good = fs::read(fixture.path()).unwrap();
    for length in 0..good.len() {
        fs::write(fixture.path(), &good[..length]).unwrap();
        assert!(!fixture.found(), "{length} bytes");
    }
    for more in [b"x".as_slice(), &[0; 4096], &good] {
        fs::write(fixture.path(), [&good, more].concat()).unwrap();
        let found = fixture.cache.find(&fixture.digest);
        assert!(found.is_none(), "{} bytes more", more.len());
    }
}

#[test]
fn entries_cannot_be_swapped() {
    let fixture = Fixture::new(BODY);
    let other = Digest::of(b"other wasm");
    fixture.commit(&other, b"\x7fELF of another");
    fs::rename(fixture.path_of(&other), fixture.path()).unwrap();
    assert_eq!(fixture.reason(), "is not the artifact that its name says");
}

#[test]
fn an_entry_of_another_version_is_foreign() {
    let fixture = Fixture::new(BODY);
    let file = fs::OpenOptions::new().read(true).write(true).open(fixture.path()).unwrap();
    let other_key = "0123456789abcdef0123456789abcdef";
    let trailer = Trailer::new(Kind::Core, 4, BODY.len() as u64, other_key, &fixture.digest);
    let sealed = trailer.seal(&file).unwrap();
    file.write_all_at(&sealed, BODY.len() as u64).unwrap();
    assert_eq!(fixture.reason(), "is not the artifact that its name says");
}

#[test]
fn only_a_plain_file_of_ours_counts() {
    let fixture = Fixture::new(BODY);
    let (path, aside) = (fixture.path(), fixture.root.path().join("aside"));
    for mode in [0o644, 0o620, 0o602, 0o700, 0o4600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fixture.reason(), "has another mode than 0600", "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(&path, &aside).unwrap();
    assert_eq!(fixture.reason(), "has another name as well");
    fs::remove_file(&path).unwrap();
    symlink(&aside, &path).unwrap();
    assert_eq!(fixture.reason(), "is a symbolic link");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(fixture.reason(), "is not a regular file");
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(fixture.reason(), "is not a regular file");
}

#[test]
fn a_file_of_somebody_else_does_not_count() {
    let fixture = Fixture::new(BODY);
    // Giving files away takes root; other users have nobody to give them to.
    if std::os::unix::fs::chown(fixture.path(), Some(12345), None).is_ok() {
        assert_eq!(fixture.reason(), "belongs to somebody else");
    }
}

#[test]
fn directories_that_others_may_write_to_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let key = cache.0.path.clone();
    drop(cache);
    let inner = [root.path().join("aot"), root.path().join("aot/v1"), key];
    let cases = [(root.path().to_owned(), 0o770), (root.path().to_owned(), 0o707)].into_iter();
    let cases = cases.chain(inner.into_iter().flat_map(|path| [0o770, 0o707, 0o750, 0o705].map(|mode| (path.clone(), mode))));
    for (path, mode) in cases {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Cache::open(root.path()).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Denied, path.to_str()), "{mode:o}");
        assert!(error.advice().unwrap().contains(&format!("chmod 700 {}", path.display())));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    // The root may be readable: others keep things there too.
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    Cache::open(root.path()).unwrap();
}

#[test]
fn a_directory_below_the_root_must_not_be_a_link() {
    let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), root.path().join("aot")).unwrap();
    assert!(Cache::open(root.path()).is_err());
}

#[test]
fn the_lock_is_exclusive_and_ends_with_its_holder() {
    let fixture = Fixture::new(BODY);
    let second = Cache::open(fixture.root.path()).unwrap();
    let held = fixture.cache.try_lock(&fixture.digest).unwrap().unwrap();
    assert!(second.try_lock(&fixture.digest).unwrap().is_none());
    assert!(second.try_lock(&Digest::of(b"other")).unwrap().is_some());
    drop(held);
    assert!(second.try_lock(&fixture.digest).unwrap().is_some());
}

#[test]
fn what_was_not_committed_leaves_nothing() {
    let fixture = Fixture::new(BODY);
    let before = fixture.names();
    let lock = fixture.cache.try_lock(&fixture.digest).unwrap().unwrap();
    lock.temporary().unwrap().write_all(b"half").unwrap();
    assert_eq!(fixture.names().len(), before.len() + 1);
    drop(lock);
    assert_eq!(fixture.names(), before);
    assert!(fixture.found());
}

#[test]
fn leftovers_of_a_crash_are_swept_but_not_what_is_being_made() {
    let fixture = Fixture::new(BODY);
    let (crashed, busy) = (Digest::of(b"crashed"), Digest::of(b"busy"));
    let temporary = |digest: &Digest| fixture.cache.0.path.join(format!("{digest}.tmp"));
    fs::write(temporary(&crashed), b"half").unwrap();
    let making = fixture.cache.try_lock(&busy).unwrap().unwrap();
    let _file = making.temporary().unwrap();
    let next = Cache::open(fixture.root.path()).unwrap();
    drop(next.try_lock(&fixture.digest).unwrap().unwrap());
    assert!(!temporary(&crashed).exists());
    assert!(temporary(&busy).exists());
}

/// Changes one byte in place, for sure after the clock of the file system has moved on.
fn damage(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let times = |file: &File| file.metadata().map(|metadata| (metadata.ctime(), metadata.ctime_nsec())).unwrap();
    let before = times(&file);
    while times(&file) == before {
        file.write_all_at(b"!", at).unwrap();
    }
}

fn big_body() -> Vec<u8> {
    vec![b'.'; usize::try_from(crate::limits::CACHE_HASH_ALWAYS_BYTES_MAX).unwrap() + 1]
}

#[test]
fn a_stamp_spares_the_reading_until_anything_changes() {
    let fixture = Fixture::new(&big_body());
    let stamp_now = || stamp::Stamp::of(&fs::metadata(fixture.path()).unwrap());
    assert!(!stamp_now().is_kept(&fixture.cache.0, &fixture.digest), "a file this new gets no stamp");
    stamp_now().write(&fixture.cache.0, &fixture.digest);
    assert!(fixture.found());
    damage(&fixture.path(), 1000);
    assert_eq!(fixture.reason(), "is damaged");
    // Who can write stamps is trusted: this shows that the code was not read again.
    stamp_now().write(&fixture.cache.0, &fixture.digest);
    assert!(fixture.found());
    // A copy is another file, even with the same times.
    let aside = fixture.root.path().join("aside");
    fs::copy(fixture.path(), &aside).unwrap();
    fs::rename(&aside, fixture.path()).unwrap();
    assert_eq!(fixture.reason(), "is damaged");
}

#[test]
fn a_damaged_stamp_is_none() {
    let fixture = Fixture::new(&big_body());
    let stamp = stamp::Stamp::of(&fs::metadata(fixture.path()).unwrap());
    stamp.write(&fixture.cache.0, &fixture.digest);
    let path = fixture.cache.0.path.join(format!("{}.stamp", fixture.digest));
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(!stamp.is_kept(&fixture.cache.0, &fixture.digest), "byte {at}");
    }
    fs::write(&path, &good).unwrap();
    assert!(stamp.is_kept(&fixture.cache.0, &fixture.digest));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
    assert!(!stamp.is_kept(&fixture.cache.0, &fixture.digest));
}

#[test]
fn a_small_artifact_is_read_at_every_load() {
    let fixture = Fixture::new(BODY);
    damage(&fixture.path(), 5);
    stamp::Stamp::of(&fs::metadata(fixture.path()).unwrap()).write(&fixture.cache.0, &fixture.digest);
    assert_eq!(fixture.reason(), "is damaged");
}
