//! The directories of a container: opened once, when its guest first asks for files, and shared by all its stores.

use super::WasiState;
use crate::{Error, Result};
use cap_std::fs::Dir;
use once_cell::sync::OnceCell;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtx, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// A directory that the guest finds at a path of its own.
#[derive(Clone, Debug)]
pub struct Preopen {
    /// The directory: opened once, by whoever resolved it; nothing is looked up again.
    pub dir: Arc<Dir>,
    /// Where the guest sees it.
    pub guest_path: String,
    /// Whether every change is refused.
    pub read_only: bool,
    /// Whether there may be files in it that block whoever opens or reads them: named pipes, devices.
    pub may_block: bool,
}

/// What a guest sees of the file system, in the order of its descriptors. Where the directories are is known from the start; they are
/// made and opened when a guest first asks for anything in them. Clones share them.
#[derive(Clone)]
pub struct Directories(Arc<Inner>);

struct Inner {
    guest_paths: Vec<String>,
    source: Box<dyn Fn() -> Result<Vec<Preopen>> + Send + Sync>,
    opened: OnceCell<Opened>,
}

/// Directories that are open.
pub(super) struct Opened {
    preopens: Vec<Preopen>,
    /// The same as wasmtime-wasi has them.
    pub(super) filesystem: WasiFilesystemCtx,
}

impl Opened {
    /// The directory itself.
    pub(super) fn dir(&self, index: usize) -> Option<&Dir> {
        self.preopens.get(index).map(|preopen| &*preopen.dir)
    }

    /// Whether there may be files in any of them that block whoever opens or reads them.
    pub(super) fn may_block(&self) -> bool {
        self.preopens.iter().any(|preopen| preopen.may_block)
    }
}

impl fmt::Debug for Directories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0.guest_paths).finish()
    }
}

impl Directories {
    /// None at all.
    pub fn none() -> Self {
        Self::given(Vec::new())
    }

    /// Directories that are open already.
    pub fn given(preopens: Vec<Preopen>) -> Self {
        let guest_paths = preopens.iter().map(|preopen| preopen.guest_path.clone()).collect();
        Self::on_demand(guest_paths, move || Ok(preopens.clone()))
    }

    /// Those that `source` opens, which has one for each of the paths, in their order. It is called once, or again after an error, on the
    /// guest threads.
    pub fn on_demand(guest_paths: Vec<String>, source: impl Fn() -> Result<Vec<Preopen>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { guest_paths, source: Box::new(source), opened: OnceCell::new() }))
    }

    /// Where the guest sees them.
    pub(super) fn guest_paths(&self) -> &[String] {
        &self.0.guest_paths
    }

    /// The directories, opened now where nobody has before.
    pub(super) fn open(&self) -> Result<&Opened> {
        self.0.opened.get_or_try_init(|| open((self.0.source)()?))
    }
}

fn open(preopens: Vec<Preopen>) -> Result<Opened> {
    let mut builder = WasiCtxBuilder::new();
    // Guests have threads of their own, so a file operation that takes its time holds up guests alone; ten times faster for small
    // files. Where one may never end, it gets a thread of its own.
    builder.allow_blocking_current_thread(!preopens.iter().any(|preopen| preopen.may_block));
    for preopen in &preopens {
        // wasmtime-wasi takes paths only. This one is followed to the very directory that is open, whatever its name means by now.
        let path = format!("/proc/self/fd/{}", preopen.dir.as_fd().as_raw_fd());
        let perms = if preopen.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
        builder
            .preopened_dir(path, &preopen.guest_path, perms)
            .map_err(|error| Error::internal("cannot open a directory of the container").at(&preopen.guest_path).because(error))?;
    }
    Ok(Opened { filesystem: std::mem::take(builder.build().filesystem()), preopens })
}

/// `wasi:filesystem/preopens`: the one way for a component to its directories.
pub(super) struct Preopens;

impl HasData for Preopens {
    type Data<'a> = &'a mut WasiState;
}

impl preopens::Host for WasiState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.open_directories()?;
        preopens::Host::get_directories(&mut self.filesystem())
    }
}
