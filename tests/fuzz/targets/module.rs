//! Modules by wasm-smith that import every function of preview 1: linked, instantiated, run.

use super::folder::Folder;
use super::guest::{self, Data, PATIENCE};
use super::{block_on, pod_network};
use wasmpod::wasi::p1::CoreLinker;
use wasmtime::{InstancePre, Module, Val};

/// A module by a fuzzer, which it has in its binary form; any bytes may be one.
pub fn run(data: &[u8]) {
    if let Ok(module) = Module::new(guest::engine(), data)
        && let Ok(pre) = CoreLinker::<Data>::new(guest::engine()).unwrap().instantiate_pre(&module)
    {
        block_on(call(&pre));
    }
}

async fn call(pre: &InstancePre<Data>) {
    let (folder, net) = (Folder::new(), pod_network());
    let config = guest::config(&folder, &net);
    let mut store = guest::store(&config);
    if let Ok(Ok(instance)) = tokio::time::timeout(PATIENCE, pre.instantiate_async(&mut store)).await {
        for (name, arguments) in [("_start", &[][..]), ("again", &[Val::I32(3), Val::I64(1)])] {
            let Some(function) = instance.get_func(&mut store, name) else { break };
            let mut results = [Val::I32(0)];
            let results = if name == "again" { &mut results[..] } else { &mut [] };
            let called = tokio::time::timeout(PATIENCE, function.call_async(&mut store, arguments, results)).await;
            if !matches!(called, Ok(Ok(()))) {
                break;
            }
        }
    }
    drop(store);
    let container = config.net.clone();
    drop(config);
    guest::check(&folder, &net, &container);
}
