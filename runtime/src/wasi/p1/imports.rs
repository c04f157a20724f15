//! What a core module imports from preview 1, and nothing else: a definition is work, and few modules need most of them.

use super::MODULE;
use crate::wasi::HasWasi;
use std::collections::BTreeSet;
use wasmtime::{Caller, ExternType, InstancePre, IntoFunc, Linker, Module, Result, WasmRet, WasmTyList};

/// The functions that a module imports, and those that have been defined for it.
pub(super) struct Imports<'m, T: 'static> {
    module: &'m Module,
    names: BTreeSet<&'m str>,
    linker: Linker<T>,
}

impl<'m, T: HasWasi> Imports<'m, T> {
    /// What `module` imports, nothing of it defined.
    pub(super) fn of(module: &'m Module) -> Self {
        let of_preview1 = module.imports().filter(|import| import.module() == MODULE);
        Self { module, names: of_preview1.map(|import| import.name()).collect(), linker: Linker::new(module.engine()) }
    }

    /// How many parameters the module thinks a function has; `None` when it does not import it as a function.
    pub(super) fn parameters(&self, name: &str) -> Option<usize> {
        let import = self.module.imports().find(|import| import.module() == MODULE && import.name() == name)?;
        match import.ty() {
            ExternType::Func(function) => Some(function.params().len()),
            _ => None,
        }
    }

    /// Defines a function, if it is wanted.
    pub(super) fn func_wrap<Params, Results>(&mut self, name: &str, function: impl IntoFunc<T, Params, Results>) -> Result<()> {
        if self.names.contains(name) {
            self.linker.func_wrap(MODULE, name, function)?;
        }
        Ok(())
    }

    /// Defines a function that may have to wait, if it is wanted.
    pub(super) fn func_wrap_async<Params: WasmTyList, Results: WasmRet>(
        &mut self,
        name: &str,
        function: impl for<'a> Fn(Caller<'a, T>, Params) -> Box<dyn Future<Output = Results> + Send + 'a> + Send + Sync + 'static,
    ) -> Result<()> {
        if self.names.contains(name) {
            self.linker.func_wrap_async(MODULE, name, function)?;
        }
        Ok(())
    }

    /// Links the module against what has been defined.
    ///
    /// # Errors
    /// When it imports anything else.
    pub(super) fn instantiate_pre(self) -> Result<InstancePre<T>> {
        self.linker.instantiate_pre(self.module)
    }
}

/// Whether `module` expects its ports to be open when it starts: it uses sockets, and has no way to open them itself.
pub fn wants_listeners(module: &Module) -> bool {
    let imports = |name: &str| module.imports().any(|import| import.module() == MODULE && import.name() == name);
    (imports("sock_accept") || imports("sock_recv")) && !imports("sock_open")
}
