//! The flags of the verbs about images that are here.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// The form in which `wasmpod images` and `wasmpod prune` print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// The form in which `wasmpod inspect`, `validate` and `explain` print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The flags of `wasmpod images`.
#[derive(Debug, Parser)]
pub(crate) struct ImagesArgs {
    /// The form of the list.
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table)]
    pub(crate) output: TableFormat,
}

/// The flags of `wasmpod inspect`.
#[derive(Debug, Parser)]
pub(crate) struct InspectArgs {
    /// An image that is here, a .wasm file, oci:DIR[:TAG] or oci-archive:FILE[:TAG].
    pub(crate) image: String,
    /// The form of the description.
    #[arg(short, long, value_enum, default_value_t = TextFormat::Text)]
    pub(crate) output: TextFormat,
}

/// The flags of `wasmpod rmi`.
#[derive(Debug, Parser)]
pub(crate) struct RemoveArgs {
    /// The images' names.
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

/// The flags of `wasmpod prune`.
#[derive(Debug, Parser)]
pub(crate) struct PruneArgs {
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table)]
    pub(crate) output: TableFormat,
}

/// The flags of `wasmpod save`.
#[derive(Debug, Parser)]
pub(crate) struct SaveArgs {
    /// The images' names.
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// The archive to write; - for standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// The flags of `wasmpod load`.
#[derive(Debug, Parser)]
pub(crate) struct LoadArgs {
    /// The archive, a tar file that is not compressed.
    pub(crate) archive: PathBuf,
    /// The image's name, where the archive holds one image and names it not, or otherwise.
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) name: Option<String>,
}

/// The flags of `wasmpod tag`.
#[derive(Debug, Parser)]
pub(crate) struct TagArgs {
    /// An image that is here.
    pub(crate) image: String,
    /// Its further name.
    pub(crate) name: String,
}
