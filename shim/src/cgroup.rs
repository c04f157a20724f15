//! The pod's control group: the server joins it, so that the kernel counts it and limits it as Kubernetes asks.
//!
//! A pod is one process here, so there is one group for it: that of its sandbox, which lies in the group that the kubelet makes (and
//! limits) for the pod. Both forms of `linux.cgroupsPath` are understood: a path, and systemd's `slice:prefix:name`.

use crate::limits::{CGROUP_REMOVAL_RETRY, CGROUP_REMOVALS_MAX};
use std::path::{Path, PathBuf};
use wasmpod::{Error, Result};

/// Where the kernel shows control groups.
const ROOT: &str = "/sys/fs/cgroup";
/// Hierarchies of version 1 that are not joined: `cpuset` takes no process before it is configured, and `unified` counts nothing
/// where version 1 does.
const LEFT_OUT: [&str; 2] = ["cpuset", "unified"];

/// Whether the machine has version 2 alone.
pub(crate) fn is_version_2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Makes the group `path` in every hierarchy and moves this thread there, and with it all threads that it starts later: to be called
/// while there is no other one. Says whether it could.
///
/// The kernel moves a process only after all processors have passed through it, which takes milliseconds; a thread that moves itself
/// waits for nobody (Linux, `cgroup_procs_write_start`). Version 2 takes whole processes only.
pub(crate) fn join_alone(path: &str) -> bool {
    !is_version_2() && enter(path, "tasks", "0").is_ok()
}

/// Makes the group `path` in every hierarchy and moves this process there.
///
/// # Errors
/// Some hierarchy does not let it.
pub(crate) fn join(path: &str) -> Result<()> {
    enter(path, "cgroup.procs", &std::process::id().to_string())
}

fn enter(path: &str, file: &str, who: &str) -> Result<()> {
    for dir in directories(&relative(path)) {
        let failed = |error| Error::io("cannot join the control group", error).at(dir.display().to_string());
        std::fs::create_dir_all(&dir).map_err(failed)?;
        std::fs::write(dir.join(file), who).map_err(failed)?;
    }
    Ok(())
}

/// Moves this process to the root and removes the group `path`.
pub(crate) fn leave(path: &str) {
    for root in hierarchies() {
        let _ = std::fs::write(root.join("cgroup.procs"), std::process::id().to_string());
    }
    remove(path);
}

/// Removes the group `path`. A server that was killed stands in it until the kernel is done with it, so this waits for a moment.
pub(crate) fn remove(path: &str) {
    let relative = relative(path);
    if relative.components().next().is_none() {
        return;
    }
    let is_busy = |dir: &PathBuf| std::fs::remove_dir(dir).is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy);
    let mut left = directories(&relative);
    for _ in 0..CGROUP_REMOVALS_MAX {
        left.retain(is_busy);
        if left.is_empty() {
            return;
        }
        std::thread::sleep(CGROUP_REMOVAL_RETRY);
    }
}

fn directories(relative: &Path) -> Vec<PathBuf> {
    hierarchies().into_iter().map(|root| root.join(relative)).collect()
}

/// The roots of all hierarchies; a controller that is mounted together with another one is there once.
fn hierarchies() -> Vec<PathBuf> {
    if is_version_2() {
        return vec![PathBuf::from(ROOT)];
    }
    let entries = std::fs::read_dir(ROOT).into_iter().flatten().flatten();
    let wanted = entries.filter(|entry| !LEFT_OUT.iter().any(|name| entry.file_name() == *name));
    let real = wanted.filter_map(|entry| entry.path().canonicalize().ok());
    let mut roots: Vec<PathBuf> = real.filter(|root| root.join("cgroup.procs").exists()).collect();
    roots.sort_unstable();
    roots.dedup();
    roots
}

/// `linux.cgroupsPath` below the root of a hierarchy.
fn relative(path: &str) -> PathBuf {
    let parts: Vec<&str> = path.split(':').collect();
    let joined = match parts.as_slice() {
        [slice, prefix, name] => {
            let unit = if prefix.is_empty() { (*name).to_owned() } else { format!("{prefix}-{name}") };
            let unit = if unit.ends_with(".slice") { unit } else { format!("{unit}.scope") };
            slice_path(slice).join(unit)
        }
        _ => PathBuf::from(path),
    };
    joined.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect()
}

/// `a-b.slice` lies in `a.slice`, says systemd.slice(5).
fn slice_path(slice: &str) -> PathBuf {
    let name = if slice.is_empty() { "system" } else { slice.strip_suffix(".slice").unwrap_or(slice) };
    let mut path = PathBuf::new();
    let mut above = String::new();
    for part in name.split('-').filter(|part| !part.is_empty()) {
        if !above.is_empty() {
            above.push('-');
        }
        above.push_str(part);
        path.push(format!("{above}.slice"));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_below_the_root() {
        assert_eq!(relative("/kubepods/burstable/pod1/5a4d"), Path::new("kubepods/burstable/pod1/5a4d"));
        assert_eq!(relative("/a/../../etc"), Path::new("a/etc"));
    }

    #[test]
    fn slices_are_nested_as_systemd_has_them() {
        let path = relative("kubepods-burstable-pod1.slice:cri-containerd:5a4d");
        let expected = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-5a4d.scope";
        assert_eq!(path, Path::new(expected));
        assert_eq!(relative(":cri:x"), Path::new("system.slice/cri-x.scope"));
        assert_eq!(relative("-.slice::x"), Path::new("x.scope"));
    }
}
