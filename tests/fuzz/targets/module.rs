//! Modules by wasm-smith that import every function of preview 1: linked, instantiated, run.

use super::block_on;
use super::guest::{self, Data, PATIENCE, Surroundings};
use wasmpod::wasi::p1;
use wasmtime::{InstancePre, Module, Val};

/// A module by a fuzzer, which it has in its binary form; any bytes may be one.
pub fn run(data: &[u8]) {
    if let Ok(module) = Module::new(guest::engine(), data)
        && let Ok(pre) = p1::link::<Data>(&module)
    {
        block_on(call(&pre));
    }
}

async fn call(pre: &InstancePre<Data>) {
    let surroundings = Surroundings::new();
    let mut store = surroundings.store();
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
    surroundings.check();
}
