//! `wasmpod rmi`: remove images.

use super::args::RemoveArgs;
use super::{image_store, prune};
use std::path::Path;
use std::process::ExitCode;
use wasmpod::Result;

/// Takes the names away, then removes what nothing needs any more. All names are looked up first: a wrong one removes nothing.
pub(crate) fn run(args: &RemoveArgs, root: Option<&Path>) -> Result<ExitCode> {
    let store = image_store::open(root)?;
    let found = args.images.iter().map(|name| image_store::find(&store, name)).collect::<Result<Vec<_>>>()?;
    for image in found {
        store.untag(&image.name)?;
        image_store::print(&format!("removed {}\n", image.name))?;
    }
    image_store::print(&prune::sentence(&store.prune()?))?;
    Ok(ExitCode::SUCCESS)
}
