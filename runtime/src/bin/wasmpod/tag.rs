//! `wasmpod tag`: one more name for an image.

use super::args::TagArgs;
use super::image_store;
use std::path::Path;
use std::process::ExitCode;
use wasmpod::{Error, Result};

/// Tags, and says the whole name.
pub(crate) fn run(args: &TagArgs, root: Option<&Path>) -> Result<ExitCode> {
    let store = image_store::open(root)?;
    let image = image_store::find(&store, &args.image)?;
    let name = image_store::registry_reference(&args.name)?;
    if name.digest().is_some() {
        return Err(Error::invalid("a new name cannot have a digest").at(name.to_string()).hint("leave out what begins with @"));
    }
    store.tag(&name.to_string(), &image.descriptor)?;
    image_store::print(&format!("tagged {name}\n"))?;
    Ok(ExitCode::SUCCESS)
}
