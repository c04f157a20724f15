//! `wasmpod images`: what is in the store.

use super::args::{ImagesArgs, TableFormat};
use super::image_store;
use indicatif::HumanBytes;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use wasmpod::Result;
use wasmpod::image::store::TaggedImage;
use wasmpod::image::{Contents, ImageStore};

/// One image of the list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    reference: String,
    digest: String,
    /// `wasm`, `files`, or why it cannot be run.
    kind: String,
    /// Bytes on the disk, of what is here.
    size: Option<u64>,
}

/// Prints the list.
pub(crate) fn run(args: &ImagesArgs, root: Option<&Path>) -> Result<ExitCode> {
    let store = image_store::open(root)?;
    let rows: Vec<Row> = store.list()?.into_iter().map(|tagged| row(&store, tagged)).collect();
    match args.output {
        TableFormat::Json => image_store::print_json(&rows)?,
        TableFormat::Table => image_store::print(&table(&rows))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn row(store: &ImageStore, tagged: TaggedImage) -> Row {
    let image = store.image(&tagged.descriptor);
    let kind = match &image {
        Ok(image) => match &image.contents {
            Contents::Module(_) => "wasm".to_owned(),
            Contents::RootFileSystem(_) => "files".to_owned(),
        },
        Err(error) if error.kind() == wasmpod::ErrorKind::NotFound => "incomplete".to_owned(),
        Err(_) => "damaged".to_owned(),
    };
    let size = image.ok().map(|image| image.size());
    Row { reference: tagged.name, digest: tagged.descriptor.digest.to_string(), kind, size }
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.reference.len()).chain(["REFERENCE".len()]).max().unwrap_or_default();
    let mut text = format!("{:width$}  {:19}  {:10}  SIZE\n", "REFERENCE", "DIGEST", "KIND");
    for Row { reference, digest, kind, size } in rows {
        let size = size.map_or_else(|| "-".to_owned(), |size| HumanBytes(size).to_string());
        // `sha256:` and twelve digits, as docker and podman show them.
        let digest: String = digest.chars().take(19).collect();
        text.push_str(&format!("{reference:width$}  {digest}  {kind:10}  {size}\n"));
    }
    text
}
