//! The shim under a containerd of its own: each test starts one (own root, state, socket, cache) and looks at it as its users do,
//! by `ctr` and by the CRI.
//!
//! They need root, `containerd`, `ctr` and `runc`, and for Kubernetes' side the CNI plugins. Where these are missing the tests are
//! skipped, unless `WASMPOD_TEST_CONTAINERD` is set: then that is a failure.
#![allow(clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

mod compiling;
mod ctr;
mod harness;
mod image;
mod kubernetes;
mod protocol;
mod robustness;
