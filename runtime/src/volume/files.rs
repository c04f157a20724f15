//! The files of `configMap` and `secret` volumes, laid out as kubelet's `AtomicWriter` does.
//!
//! ```text
//! app.conf ─▶ ..data/app.conf          what programs open
//! keys     ─▶ ..data/keys              the first part of keys/a, keys/b
//! ..data   ─▶ ..2026_11_23_12_00_00.1  what is exchanged, at once, when the object changes
//! ..2026_11_23_12_00_00.1/             the files
//! ```

use super::beneath;
use super::tree::{is_plain_name, make_dir};
use crate::pod::spec::VolumeFile;
use crate::{Error, Result};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// Writes `files` into the empty directory `volume`.
pub(super) fn write(volume: BorrowedFd<'_>, files: &[VolumeFile]) -> Result<()> {
    if let Some(file) = files.iter().find(|file| !is_relative_inside(&file.path)) {
        return Err(
            Error::invalid(format!("{:?} is no path for a file of a volume", file.path)).hint("use a relative path without ..")
        );
    }
    let payload = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let failed = |error: io::Error| Error::io("cannot make the folder for the volume's files", error);
    let dir = make_dir(volume, &payload, 0o755).map_err(failed)?;
    for file in files {
        write_file(dir.as_fd(), file)
            .map_err(|error| Error::io(format!("cannot write the file {:?} of the volume", file.path), error))?;
    }
    link(volume, &payload, files).map_err(failed)
}

/// Whether `path` names a file in the volume, and none that begins with `..`: such names are the layout's own.
fn is_relative_inside(path: &str) -> bool {
    !path.starts_with("..") && path.split('/').all(is_plain_name)
}

fn write_file(dir: BorrowedFd<'_>, file: &VolumeFile) -> io::Result<()> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let folder = beneath::make_dirs(dir, folder, Some(0o755))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut opened = File::from(rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    opened.write_all(&file.contents)?;
    // On Kubernetes a container's root reads every file; here that is whoever runs the pod.
    Ok(rustix::fs::fchmod(&opened, Mode::from_raw_mode(file.mode & 0o777) | Mode::RUSR)?)
}

fn link(volume: BorrowedFd<'_>, payload: &str, files: &[VolumeFile]) -> io::Result<()> {
    rustix::fs::symlinkat(payload, volume, "..data")?;
    let first_parts: BTreeSet<&str> = files.iter().filter_map(|file| file.path.split('/').next()).collect();
    for part in first_parts {
        rustix::fs::symlinkat(format!("..data/{part}"), volume, part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    fn file(path: &str, mode: u32) -> VolumeFile {
        VolumeFile { path: path.into(), contents: path.as_bytes().to_vec(), mode }
    }

    fn written(files: &[VolumeFile]) -> (TempDir, Result<()>) {
        let folder = tempfile::tempdir().unwrap();
        let written = write(File::open(folder.path()).unwrap().as_fd(), files);
        (folder, written)
    }

    #[test]
    fn files_have_their_contents_and_modes() {
        let (folder, done) = written(&[file("app.conf", 0o644), file("keys/a", 0o400), file("keys/deep/b", 0o040)]);
        done.unwrap();
        for (path, mode) in [("app.conf", 0o644), ("keys/a", 0o400), ("keys/deep/b", 0o440)] {
            let path = folder.path().join(path);
            assert!(path.ends_with(fs::read_to_string(&path).unwrap()));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode, "{path:?}");
        }
    }

    #[test]
    fn the_layout_is_kubelets() {
        let (folder, done) = written(&[file("app.conf", 0o644), file("keys/a", 0o644), file("keys/b", 0o644)]);
        done.unwrap();
        let target = |name: &str| fs::read_link(folder.path().join(name)).unwrap().into_os_string().into_string().unwrap();
        assert_eq!((target("app.conf"), target("keys")), ("..data/app.conf".into(), "..data/keys".into()));
        let payload = target("..data");
        assert!(payload.starts_with("..20") && folder.path().join(payload).is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn no_path_leads_out() {
        for path in ["", "/etc/x", "../x", "a/../../x", "..data", "a//b", ".", "a\0b"] {
            let (folder, done) = written(&[file(path, 0o644)]);
            assert!(done.is_err(), "{path:?}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn two_files_at_one_path_are_an_error() {
        let (_folder, done) = written(&[file("a", 0o644), file("a/b", 0o644)]);
        let error = done.unwrap_err().to_string();
        assert_eq!(error, "cannot write the file \"a/b\" of the volume");
    }
}
