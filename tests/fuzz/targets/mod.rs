//! What is fuzzed: each module has one function of any bytes, which panics when something is wrong.
//!
//! This is the library of the fuzzers (`fuzz_targets/`) and a module of the integration tests (`tests/fuzzing.rs`), which run the corpora.
//!
//! A target is a function of its input: time is paused, and nothing outside of a temporary directory and the pod network is touched; but
//! for `registry_answers`, which takes a loopback connection.

pub mod archive;
pub mod component;
pub mod http_server;
pub mod image;
pub mod layer;
pub mod manifest;
pub mod module;
pub mod network;
pub mod preview1;
pub mod probe;
pub mod registry;
pub mod registry_answers;

mod folder;
mod guest;
mod tar_file;
mod wire;

use std::future::Future;
use tokio::runtime::{Builder, Runtime};
use wasmpod::net::{AddressPool, PodNet, PodNetConfig};

/// A fuzzer: any bytes, and a panic when something is wrong.
pub type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const ALL: [(&str, Target); 12] = [
    ("archive", archive::run),
    ("component", component::run),
    ("http_server", http_server::run),
    ("image", image::run),
    ("layer", layer::run),
    ("manifest", manifest::run),
    ("module", module::run),
    ("network", network::run),
    ("preview1", preview1::run),
    ("probe", probe::run),
    ("registry", registry::run),
    ("registry_answers", registry_answers::run),
];

/// Runs `work` to its end. Time is paused: whoever waits for it finds it over as soon as nothing else can be done.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// A pod's network without a way out.
fn pod_network() -> PodNet {
    let addresses = AddressPool::new().take().unwrap();
    PodNet::new(PodNetConfig { hostname: "pod".into(), host_aliases: Vec::new(), addresses, gateway: None })
}

/// Checks what is said about something that was refused: there is a reason, and it is not longer than anybody would read.
fn check_error(error: &wasmpod::Error) {
    let text = error.chain();
    assert!(!text.is_empty() && text.len() < 256 << 10, "{} bytes: {}", text.len(), text.chars().take(200).collect::<String>());
}
