//! What components can import: `wasi:cli/command` and `wasi:http/proxy` of WASI 0.2.
//!
//! Each interface is linked by name, so that one sees what a guest can reach. A guest that imports 0.2.0 to 0.2.12 finds them all.

use super::directories::Preopens;
use super::{HasWasi, files, http, sockets};
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime::{Engine, Result};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};

/// The interfaces that need nothing but the resources.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// The imports of every component on `engine`.
///
/// # Errors
/// None in practice: only if two interfaces clashed.
pub fn component_linker<T: HasWasi>(engine: &Engine) -> Result<Linker<T>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    io::error::add_to_linker::<T, Io>(l, |t| t.wasi().table())?;
    io::poll::add_to_linker::<T, Io>(l, |t| t.wasi().table())?;
    io::streams::add_to_linker::<T, Io>(l, |t| t.wasi().table())?;
    clocks::wall_clock::add_to_linker::<T, WasiClocks>(l, |t| t.wasi().clocks())?;
    clocks::monotonic_clock::add_to_linker::<T, WasiClocks>(l, |t| t.wasi().clocks())?;
    filesystem::types::add_to_linker::<T, WasiFilesystem>(l, |t| t.wasi().filesystem())?;
    filesystem::preopens::add_to_linker::<T, Preopens>(l, |t| t.wasi())?;
    random::random::add_to_linker::<T, WasiRandom>(l, |t| t.wasi().random())?;
    random::insecure::add_to_linker::<T, WasiRandom>(l, |t| t.wasi().random())?;
    random::insecure_seed::add_to_linker::<T, WasiRandom>(l, |t| t.wasi().random())?;
    cli::exit::add_to_linker::<T, WasiCli>(l, |t| t.wasi().cli())?;
    cli::environment::add_to_linker::<T, WasiCli>(l, |t| t.wasi().cli())?;
    cli::stdin::add_to_linker::<T, WasiCli>(l, |t| t.wasi().cli())?;
    cli::stdout::add_to_linker::<T, WasiCli>(l, |t| t.wasi().cli())?;
    cli::stderr::add_to_linker::<T, WasiCli>(l, |t| t.wasi().cli())?;
    cli::terminal_input::add_to_linker::<T, WasiCli>(l, |t| t.wasi().cli())?;
    cli::terminal_output::add_to_linker::<T, WasiCli>(l, |t| t.wasi().cli())?;
    cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, |t| t.wasi().cli())?;
    cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, |t| t.wasi().cli())?;
    cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, |t| t.wasi().cli())?;
    files::add_to_linker(l)?;
    sockets::add_to_linker(l)?;
    http::add_to_linker(l)?;
    Ok(linker)
}
