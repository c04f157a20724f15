//! Which image of an index is ours.

use super::super::{Descriptor, Platform};
use super::Index;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Operating systems of WebAssembly, the best first: what is built for WASI 0.2 can do more.
const WASI: [&str; 3] = ["wasip2", "wasip1", "wasi"];

impl Index {
    /// The image for this runtime: by platform (architecture `wasm`, the operating system `wasip2` before `wasip1` before `wasi` before
    /// any other), else one that is annotated as WebAssembly, else the only one, if it names no platform.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the platforms that there are.
    pub fn choose(&self) -> Result<&Descriptor> {
        let rank = |platform: &Platform| WASI.iter().position(|os| platform.os == *os).unwrap_or(WASI.len());
        let is_wasm = |platform: &Platform| platform.architecture.starts_with("wasm") || WASI.contains(&platform.os.as_str());
        let ours = self.manifests.iter().filter_map(|manifest| Some((manifest, manifest.platform.as_ref()?)));
        let best = ours.filter(|(_, platform)| is_wasm(platform)).min_by_key(|(_, platform)| rank(platform));
        if let Some((manifest, _)) = best {
            return Ok(manifest);
        }
        if let Some(manifest) = self.manifests.iter().find(|manifest| is_annotated(&manifest.annotations)) {
            return Ok(manifest);
        }
        match self.manifests.as_slice() {
            [only] if only.platform.as_ref().is_none_or(|platform| platform.architecture.is_empty()) => Ok(only),
            [] => Err(Error::invalid("the image index lists no image")),
            _ => Err(Error::invalid(format!("the image is not WebAssembly: it is made for {}", self.platforms()))
                .hint("build it for the platform wasi/wasm, or name an image that holds WebAssembly")),
        }
    }

    fn platforms(&self) -> String {
        const SHOWN: usize = 5;
        let platforms: BTreeSet<String> =
            self.manifests.iter().map(|manifest| manifest.platform.clone().unwrap_or_default().to_string()).collect();
        let shown: Vec<_> = platforms.iter().take(SHOWN).map(|platform| platform.escape_debug().to_string()).collect();
        match platforms.len().saturating_sub(SHOWN) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

/// Whether whoever made the image says that it is WebAssembly though its platform is Linux, as crun and WasmEdge look for.
pub(super) fn is_annotated(annotations: &BTreeMap<String, String>) -> bool {
    let is = |name: &str, values: &[&str]| annotations.get(name).is_some_and(|value| values.contains(&value.as_str()));
    is("module.wasm.image/variant", &["compat", "compat-smart"]) || is("run.oci.handler", &["wasm", "wasmtime", "wasmedge", "wamr"])
}
