//! `wasmpod prune`: remove what no image needs.

use super::args::{PruneArgs, TableFormat};
use super::image_store;
use indicatif::HumanBytes;
use std::path::Path;
use std::process::ExitCode;
use wasmpod::Result;
use wasmpod::image::store::Pruned;

/// Prunes and says what came of it.
pub(crate) fn run(args: &PruneArgs, root: Option<&Path>) -> Result<ExitCode> {
    let pruned = image_store::open(root)?.prune()?;
    match args.output {
        TableFormat::Table => image_store::print(&sentence(&pruned))?,
        TableFormat::Json => image_store::print_json(&serde_json::json!({
            "blobs": pruned.blobs,
            "downloads": pruned.downloads,
            "rootFileSystems": pruned.root_file_systems,
            "bytes": pruned.bytes,
        }))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What was removed, in one line.
pub(crate) fn sentence(pruned: &Pruned) -> String {
    let counted = |count: u64, one: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        more => Some(format!("{more} {one}s")),
    };
    let parts: Vec<String> = [
        counted(pruned.blobs, "blob"),
        counted(pruned.downloads, "broken-off download"),
        counted(pruned.root_file_systems, "root file system"),
    ]
    .into_iter()
    .flatten()
    .collect();
    match parts.as_slice() {
        [] => "nothing to prune\n".to_owned(),
        parts => format!("pruned {}: {}\n", parts.join(", "), HumanBytes(pruned.bytes)),
    }
}
