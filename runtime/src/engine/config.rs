//! The settings of wasmtime, in one place for the program that compiles and the programs that run.
//!
//! An artifact loads only where both sides agree on everything that shapes machine code, and many of wasmtime's defaults depend on
//! the cargo features of a build or on the environment. So nothing that matters is left to a default: `settings` pins it.
//!
//! ```text
//!                     ┌─▶ compiler()   cranelift on, no pool      the child program, or embedders
//!      settings() ────┼─▶ pooled()     compiler off, pool         what guests run on
//!                     └─▶ on_demand()  compiler off, no pool      what fits no slot of the pool
//! ```

use super::kind::Kind;
use crate::limits::{
    COMPONENT_METADATA_BYTES_MAX, ENGINE_SLOTS_MIN, ENGINE_SLOTS_NODE, ENGINE_SLOTS_RUN, ENGINE_SLOTS_SHIM, GUEST_STACK_BYTES,
    GUEST_WASM_STACK_BYTES, MEMORIES_PER_MODULE_MAX, MEMORY_KEEP_RESIDENT_BYTES, MODULE_METADATA_BYTES_MAX, POOL_DECOMMIT_BATCH,
    POOL_WARM_SLOTS_MAX, TABLE_ELEMENTS_MAX, TABLE_KEEP_RESIDENT_BYTES, TABLES_PER_MODULE_MAX, TABLES_PER_SLOT,
};
use crate::{Error, Result};
use sha2::{Digest as _, Sha256};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

/// How many instances an engine is laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineMode {
    /// One pod of a containerd shim: dozens.
    Shim,
    /// A program or two in the foreground, started once: they get memory of their own, as that is quicker than to lay out a pool. What
    /// answers requests, an instance for each, gets the pool of [`Run`](Self::Run).
    Once,
    /// Pods in the foreground: hundreds.
    Run,
    /// A node: thousands.
    Node,
    /// No pool: each instance maps memory of its own. For tests and tools.
    OnDemand,
}

/// What the pool of an engine holds; all zero when there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) stacks: u32,
    pub(super) memories: u32,
    pub(super) tables: u32,
    /// Slots that stay mapped for the next instance of their module.
    pub(super) warm: u32,
}

impl EngineMode {
    /// Whether programs of this kind are worth a pool.
    pub(super) fn pools(self, kind: Kind) -> bool {
        match self {
            Self::Shim | Self::Run | Self::Node => true,
            Self::Once => kind == Kind::Proxy,
            Self::OnDemand => false,
        }
    }
}

impl Pool {
    fn of(slots: u32) -> Self {
        Self { stacks: slots, memories: slots, tables: slots.saturating_mul(TABLES_PER_SLOT), warm: POOL_WARM_SLOTS_MAX.min(slots) }
    }
}

/// The version of every wasmtime crate; they are pinned to it exactly.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Raised whenever [`settings`] or the form of the cached files changes.
const REVISION: u32 = 1;

/// Which artifacts this build can load on this machine: 32 hexadecimal digits, the name of a directory of the cache.
///
/// wasmtime's own `precompile_compatibility_hash` says the same, but exists only in programs that carry a compiler. wasmtime checks
/// target, processor features and every setting again when it loads an artifact; this key only keeps foreign ones apart.
pub fn compatibility_key() -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{REVISION} {WASMTIME_VERSION} {} {}", std::env::consts::ARCH, std::env::consts::OS));
    for (feature, present) in processor_features() {
        hash.update(format!(" {feature}={present}"));
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The processor features that Cranelift makes use of.
#[cfg(target_arch = "x86_64")]
fn processor_features() -> Vec<(&'static str, bool)> {
    macro_rules! detect { ($($name:tt)*) => { vec![$(($name, std::arch::is_x86_feature_detected!($name))),*] } }
    detect!("sse3" "cmpxchg16b" "ssse3" "sse4.1" "sse4.2" "popcnt" "avx" "avx2" "fma" "avxvnni" "avx512vnni" "bmi1" "bmi2"
        "avx512bitalg" "avx512dq" "avx512f" "avx512vl" "avx512vbmi" "lzcnt")
}

/// The processor features that Cranelift makes use of.
#[cfg(target_arch = "aarch64")]
fn processor_features() -> Vec<(&'static str, bool)> {
    macro_rules! detect { ($($name:tt)*) => { vec![$(($name, std::arch::is_aarch64_feature_detected!($name))),*] } }
    detect!("lse" "paca" "fp16" "dotprod" "i8mm")
}

/// The processor features that Cranelift makes use of.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn processor_features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

/// The settings that shape compiled code, the same on all sides.
fn settings() -> Result<Config> {
    let mut config = Config::new();
    let version = format!("wasmpod-{REVISION} wasmtime-{WASMTIME_VERSION}");
    // By itself wasmtime compares major versions only.
    config.module_version(ModuleVersionStrategy::Custom(version)).map_err(broken)?;

    // How guests are interrupted and how deep they may recurse.
    config.epoch_interruption(true).consume_fuel(false);
    config.max_wasm_stack(GUEST_WASM_STACK_BYTES).async_stack_size(GUEST_STACK_BYTES).async_stack_zeroing(false);

    // Linear memory: 4 GiB of address space each, so that compiled code needs no bounds checks.
    config.memory_reservation(1 << 32).memory_guard_size(32 << 20).memory_reservation_for_growth(2 << 30);
    config.memory_may_move(false).guard_before_linear_memory(true).memory_init_cow(true).table_lazy_init(true);
    config.memory_guaranteed_dense_image_size(16 << 20).signals_based_traps(true).shared_memory(false);

    // What is written into artifacts: the map from code to WebAssembly for back-traces; nothing for native debuggers and unwinders.
    config.generate_address_map(true).wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.debug_info(false).debug_symbols(false).native_unwind_info(false);

    // What the toolchains of WASI 0.1 and 0.2 emit.
    config.wasm_simd(true).wasm_relaxed_simd(true).relaxed_simd_deterministic(false);
    config.wasm_bulk_memory(true).wasm_reference_types(true).wasm_multi_value(true);
    config.wasm_tail_call(true).wasm_extended_const(true).wasm_multi_memory(true);
    config.wasm_component_model(true);

    // What they do not: less to go wrong. Without `gc_support` there is no collector and no heap for one.
    config.gc_support(false).wasm_gc(false).wasm_function_references(false).wasm_exceptions(false);
    config.wasm_threads(false).wasm_shared_everything_threads(false).wasm_memory64(false).wasm_custom_page_sizes(false);
    config.wasm_wide_arithmetic(false).wasm_stack_switching(false);
    config.concurrency_support(false);
    Ok(config)
}

/// The engine that compiles: the settings of all, and how hard to optimise.
#[cfg(feature = "compiler")]
pub(super) fn compiler() -> Result<wasmtime::Engine> {
    let mut config = settings()?;
    config.strategy(wasmtime::Strategy::Cranelift).cranelift_opt_level(wasmtime::OptLevel::Speed).parallel_compilation(true);
    config.cranelift_nan_canonicalization(false).cranelift_debug_verifier(false).compiler_inlining(wasmtime::Inlining::No);
    wasmtime::Engine::new(&config).map_err(broken)
}

/// An engine without a pool.
pub(super) fn on_demand() -> Result<wasmtime::Engine> {
    wasmtime::Engine::new(&runner()?).map_err(broken)
}

/// An engine with the pool of `mode`, and what the pool holds.
///
/// The pool reserves address space, 4 GiB a slot. Where the process may not have that much (`ulimit -v`, strict overcommit), the pool
/// shrinks by halves; below [`ENGINE_SLOTS_MIN`] there is none.
pub(super) fn pooled(mode: EngineMode) -> Result<(wasmtime::Engine, Pool)> {
    let wanted = match mode {
        EngineMode::Shim => ENGINE_SLOTS_SHIM,
        EngineMode::Once | EngineMode::Run => ENGINE_SLOTS_RUN,
        EngineMode::Node => ENGINE_SLOTS_NODE,
        EngineMode::OnDemand => 0,
    };
    let mut slots = wanted;
    while slots >= ENGINE_SLOTS_MIN {
        let pool = Pool::of(slots);
        let mut config = runner()?;
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(allocation(pool)));
        match wasmtime::Engine::new(&config) {
            Ok(engine) => return Ok((engine, pool)),
            Err(error) => tracing::warn!(target: "wasmpod::engine", slots, %error, "no address space for the pool; trying half"),
        }
        slots /= 2;
    }
    Ok((on_demand()?, Pool::default()))
}

/// The settings of an engine that runs guests: no compiler, even in builds that have one.
fn runner() -> Result<Config> {
    let mut config = settings()?;
    #[cfg(feature = "compiler")]
    config.enable_compiler(false);
    config.profiler(wasmtime::ProfilingStrategy::None);
    Ok(config)
}

/// How the pool is laid out.
///
/// Its limits on what one module may hold cost nothing but address space (or nothing at all), so they are wide: hardly any module
/// is too big for a slot.
fn allocation(pool: Pool) -> PoolingAllocationConfig {
    let pagemap_scan = if PoolingAllocationConfig::is_pagemap_scan_available() { Enabled::Yes } else { Enabled::No };
    let mut allocation = PoolingAllocationConfig::new();
    allocation
        .total_stacks(pool.stacks)
        .total_memories(pool.memories)
        .total_tables(pool.tables)
        .total_gc_heaps(0)
        // Not slots but mere counters; admission counts instead.
        .total_core_instances(u32::MAX)
        .total_component_instances(u32::MAX)
        .max_core_instance_size(MODULE_METADATA_BYTES_MAX)
        .max_component_instance_size(COMPONENT_METADATA_BYTES_MAX)
        .max_memory_size(1 << 32)
        .max_memories_per_module(MEMORIES_PER_MODULE_MAX)
        .max_tables_per_module(TABLES_PER_MODULE_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        .decommit_batch_size(POOL_DECOMMIT_BATCH)
        .max_unused_warm_slots(pool.warm)
        .pagemap_scan(pagemap_scan);
    allocation
}

fn broken(error: wasmtime::Error) -> Error {
    Error::internal("wasmtime does not take its settings").because(error.into_boxed_dyn_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_built() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n")));
    }

    #[test]
    fn the_key_names_a_directory() {
        let key = compatibility_key();
        assert!(key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
        assert_eq!(key, compatibility_key());
    }

    #[cfg(feature = "compiler")]
    #[test]
    fn engines_that_run_guests_do_not_compile() {
        for (engine, _) in [pooled(EngineMode::Shim).unwrap(), (on_demand().unwrap(), Pool::default())] {
            let error = wasmtime::Module::new(&engine, b"\0asm\x01\0\0\0").unwrap_err();
            assert!(format!("{error:#}").contains("compil"), "{error:#}");
        }
    }

    #[test]
    fn every_mode_gets_its_pool() {
        for (mode, slots) in [(EngineMode::Shim, ENGINE_SLOTS_SHIM), (EngineMode::Run, ENGINE_SLOTS_RUN), (EngineMode::OnDemand, 0)]
        {
            let (_engine, pool) = pooled(mode).unwrap();
            assert_eq!(pool.stacks, slots);
        }
    }
}
