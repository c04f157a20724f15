//! Where the server of a pod listens.
//!
//! A socket's path may have 107 bytes, and identifiers are long, so its name is a hash of what tells pods apart. Every shim that
//! `start` is run for computes the same path for the containers of one pod: that is how they find their server.

use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// Where containerd's own shims have their sockets.
const SOCKET_DIR: &str = "/run/containerd/s";

/// The socket of the server for the pod `group` (the id of its sandbox, or of a container on its own).
///
/// `containerd` is the address of the containerd that asks: two of them on one machine must not meet.
pub(crate) fn socket_path(dir: Option<&str>, containerd: &str, namespace: &str, group: &str) -> PathBuf {
    let mut hash = Sha256::new();
    for part in ["wasmpod", containerd, namespace, group] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let dir = dir.filter(|dir| Path::new(dir).is_absolute()).unwrap_or(SOCKET_DIR);
    Path::new(dir).join(name)
}

/// The path as an address of ttrpc.
pub(crate) fn url(path: &Path) -> String {
    format!("unix://{}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_of_each_containerd_has_a_short_path_of_its_own() {
        let path = socket_path(None, "/run/containerd/containerd.sock", "k8s.io", "abc");
        assert_eq!(path, socket_path(None, "/run/containerd/containerd.sock", "k8s.io", "abc"));
        assert_ne!(path, socket_path(None, "/run/containerd/containerd.sock", "k8s.ioa", "bc"));
        assert_ne!(path, socket_path(None, "/run/other.sock", "k8s.io", "abc"));
        assert!(path.as_os_str().len() < 107 && path.starts_with("/run/containerd/s"));
        assert!(socket_path(Some("/run/k3s/s"), "", "n", "a").starts_with("/run/k3s/s"));
    }
}
