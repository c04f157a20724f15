//! A directory in memory for one run, with something beside it that nobody may touch.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const SECRET: &str = "untouched";

pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let in_memory = Path::new("/dev/shm");
        let place = if in_memory.is_dir() { in_memory.to_path_buf() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("wasmpod-fuzz-").tempdir_in(place).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), SECRET).unwrap();
        fs::set_permissions(folder.path().join("outside/secret"), fs::Permissions::from_mode(0o640)).unwrap();
        Self(folder)
    }

    /// A directory in it, made now.
    pub fn make(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Checks that nobody was outside, where `inside` are the names of what was made here.
    pub fn check(&self, inside: &[&str]) {
        let secret = self.path("outside/secret");
        let metadata = fs::symlink_metadata(&secret).unwrap();
        assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (1, 0o640), "the file outside was linked or its mode changed");
        assert_eq!(fs::read_to_string(secret).unwrap(), SECRET);
        assert_eq!(names(&self.path("outside")), ["secret"]);
        let mut expected = [inside, &["outside"]].concat();
        expected.sort_unstable();
        assert_eq!(names(self.0.path()), expected);
    }
}

/// What stands in a directory.
pub fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.collect();
    names.sort_unstable();
    names
}
