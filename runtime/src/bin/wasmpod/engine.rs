//! The engine of the command line: where its artifacts are, what compiles, who is told.

use super::environment;
use super::progress::Progress;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use wasmpod::engine::{CompileLimits, Compiler, Engine, EngineConfig, EngineMode};
use wasmpod::{Error, Result};

/// Makes the engine, with artifacts in `cache_dir` or in the user's cache directory, for `guests` that are busy at a time, where that is
/// known.
pub(crate) fn engine(
    cache_dir: Option<PathBuf>,
    mode: EngineMode,
    guests: Option<NonZeroUsize>,
    progress: &Progress,
) -> Result<Engine> {
    let cache_dir = cache_dir.or_else(|| Some(environment::cache_dir()?.join("wasmpod")));
    let cache_dir = cache_dir.ok_or_else(|| {
        Error::invalid("there is no directory for compiled artifacts: neither HOME nor XDG_CACHE_HOME is set")
            .hint("give one by --cache-dir")
    })?;
    Engine::new(EngineConfig {
        mode,
        cache_dir,
        compiler: compiler()?,
        compile_limits: CompileLimits::STANDARD,
        on_compile: Some(progress.compile_observer()),
        guest_threads: guests,
    })
}

/// The compiler installed beside this program; a program that carries a compiler is its own where there is none.
fn compiler() -> Result<Compiler> {
    let program = environment::program().ok_or_else(|| Error::internal("cannot tell where this program is"))?;
    let beside = Compiler::beside(&program);
    let is_installed = matches!(&beside, Compiler::Program(path) if path.exists());
    Ok(if cfg!(feature = "compiler") && !is_installed { Compiler::Program(program) } else { beside })
}
