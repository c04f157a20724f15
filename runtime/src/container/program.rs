//! A compiled artifact, linked against the WASI hosts: what a container is instantiated from.

use super::store::StoreData;
use crate::engine::{Artifact, ArtifactKind};
use crate::observe::{Phase, span};
use crate::wasi::component_linker;
use crate::wasi::p1::{self, wants_listeners};
use crate::{Error, Result};
use std::fmt;
use std::sync::Arc;
use wasmtime::{ExternType, InstancePre, Module, Store, TypedFunc};
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// An artifact whose imports are all resolved. Clones share it, and an artifact is linked once however many containers run it.
#[derive(Clone)]
pub struct Program {
    artifact: Artifact,
    linked: Arc<Linked>,
}

/// The instantiation of an artifact, prepared as far as can be.
pub(super) enum Linked {
    /// WASI preview 1: `_start`.
    Core(InstancePre<StoreData>),
    /// WASI 0.2: `wasi:cli/run`.
    Command(CommandPre<StoreData>),
    /// WASI 0.2: `wasi:http/incoming-handler`.
    Proxy(ProxyPre<StoreData>),
}

/// An instance that is ready to be called.
pub(super) enum Instance {
    Core(TypedFunc<(), ()>),
    Command(Command),
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("artifact", &self.artifact).finish_non_exhaustive()
    }
}

impl Program {
    /// Links `artifact`; at its first call for each artifact only.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it imports what no WASI host provides, naming the import.
    pub fn link(artifact: &Artifact) -> Result<Self> {
        let _phase = span(Phase::Load);
        let linked = artifact.prepare(Linked::of)?;
        Ok(Self { artifact: artifact.clone(), linked })
    }

    /// The artifact.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Whether it serves HTTP (`wasi:http/incoming-handler`) rather than run from start to end.
    pub fn serves_http(&self) -> bool {
        matches!(*self.linked, Linked::Proxy(_))
    }

    /// Whether it expects its ports to be open when it starts: a preview-1 module that does not open sockets by itself.
    pub(super) fn inherits_listeners(&self) -> bool {
        matches!(self.artifact.kind(), ArtifactKind::Core(module) if wants_listeners(module))
    }

    pub(super) fn linked(&self) -> &Linked {
        &self.linked
    }
}

impl Linked {
    fn of(artifact: &Artifact) -> Result<Self> {
        Ok(match artifact.kind() {
            ArtifactKind::Core(module) => {
                check_start(module)?;
                Self::Core(p1::link(module).map_err(unresolved)?)
            }
            ArtifactKind::Command(component) => {
                let pre = component_linker(artifact.wasmtime())
                    .and_then(|linker| linker.instantiate_pre(component))
                    .map_err(unresolved)?;
                Self::Command(CommandPre::new(pre).map_err(unresolved)?)
            }
            ArtifactKind::Proxy(component) => {
                let pre = component_linker(artifact.wasmtime())
                    .and_then(|linker| linker.instantiate_pre(component))
                    .map_err(unresolved)?;
                Self::Proxy(ProxyPre::new(pre).map_err(unresolved)?)
            }
        })
    }

    /// Makes the instance of a program; `None` for one that serves HTTP, which has an instance for each request.
    pub(super) async fn instantiate(&self, store: &mut Store<StoreData>) -> wasmtime::Result<Option<Instance>> {
        Ok(match self {
            Self::Core(pre) => {
                let instance = pre.instantiate_async(&mut *store).await?;
                Some(Instance::Core(instance.get_typed_func(store, "_start")?))
            }
            Self::Command(pre) => Some(Instance::Command(pre.instantiate_async(store).await?)),
            Self::Proxy(_) => None,
        })
    }
}

impl Instance {
    /// Runs the program to its end. A component's `run` may answer with an error that carries nothing: exit status 1.
    pub(super) async fn call(self, store: &mut Store<StoreData>) -> wasmtime::Result<()> {
        match self {
            Self::Core(start) => start.call_async(store, ()).await,
            Self::Command(command) => match command.wasi_cli_run().call_run(store).await? {
                Ok(()) => Ok(()),
                Err(()) => Err(wasmtime_wasi::I32Exit(1).into()),
            },
        }
    }
}

/// `_start` must take and give nothing; a module without one is refused before.
fn check_start(module: &Module) -> Result<()> {
    let start = module.get_export("_start");
    let fits = start.as_ref().and_then(ExternType::func).is_some_and(|start| start.params().len() + start.results().len() == 0);
    if fits {
        return Ok(());
    }
    Err(Error::invalid("its export _start is not a function without parameters and results")
        .with_reason("CreateContainerError")
        .hint("build it as a WASI command, whose _start the toolchain makes"))
}

fn unresolved(error: wasmtime::Error) -> Error {
    Error::invalid("it needs something that wasmpod does not provide")
        .because(error.into_boxed_dyn_error())
        .with_reason("CreateContainerError")
        .hint("containers may import WASI preview 1, WASI 0.2 and wasi:http 0.2; see `wasm-tools component wit FILE` for what it imports")
}
