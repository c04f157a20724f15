//! The shim under a containerd of its own: each test starts one (own root, state, socket, cache) and looks at it as its users do,
//! by `ctr` and by the CRI.
//!
//! They need root, `containerd`, `ctr` and `runc`, and for Kubernetes' side the CNI plugins. Where these are missing the tests are
//! skipped, unless `WASMPOD_TEST_CONTAINERD` is set: then that is a failure.
#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking"
)]

mod compiling;
mod ctr;
mod events;
mod harness;
mod image;
mod kubelet;
mod kubernetes;
mod protocol;
mod requests;
mod robustness;
