//! What there is to say about a manifest without running it.

use super::support::FieldVerdict;
use super::{LowerContext, Manifest, ParseOptions, PodSecurity, node, parse, stack};
use crate::Error;

/// What `wasmpod validate` tells: the verdict on every field that is set, and everything that is wrong.
#[derive(Debug)]
pub struct Examination {
    /// The objects that could be read, in their order.
    pub objects: Vec<ObjectFields>,
    /// What keeps the manifest from being run; empty when it is valid.
    pub errors: Vec<Error>,
}

/// An object of a manifest, and what becomes of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFields {
    /// Its kind.
    pub kind: String,
    /// Its name; none where the manifest has none.
    pub name: Option<String>,
    /// The fields that it sets to something else than their default; none for kinds that the table has not.
    pub fields: Vec<FieldVerdict>,
}

/// Reads, checks and lowers a manifest, and checks it against `level`.
pub(super) fn manifest(bytes: &[u8], source: &str, options: ParseOptions, level: PodSecurity) -> Examination {
    let mut objects = Vec::new();
    let read = node::text(bytes, source).and_then(|text| {
        stack::with_room(|| {
            let (found, manifest) = parse::examined(text, source, options);
            objects = found;
            manifest
        })
    });
    let errors = match read {
        Err(error) => vec![error],
        Ok(manifest) => errors_of(&manifest, level),
    };
    Examination { objects, errors }
}

fn errors_of(manifest: &Manifest, level: PodSecurity) -> Vec<Error> {
    // The uid decides nothing that could be wrong.
    let lowered = manifest.lower(|_| LowerContext::new("validate")).map(drop);
    [lowered, manifest.check_pod_security(level)].into_iter().filter_map(Result::err).collect()
}
