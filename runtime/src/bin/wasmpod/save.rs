//! `wasmpod save`: images into an OCI archive.

use super::args::SaveArgs;
use super::image_store;
use std::io::{BufWriter, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;
use tempfile::NamedTempFile;
use wasmpod::image::archive;
use wasmpod::{Error, Result};

/// Writes the archive beside its place and puts it there when it is complete.
pub(crate) fn run(args: &SaveArgs, root: Option<&Path>) -> Result<ExitCode> {
    let store = image_store::open(root)?;
    let images = args.images.iter().map(|name| image_store::find(&store, name)).collect::<Result<Vec<_>>>()?;
    if args.output == Path::new("-") {
        let stdout = std::io::stdout().lock();
        if stdout.is_terminal() {
            return Err(
                Error::invalid("an archive is nothing for a terminal").hint("name a file by -o, or send the output into one")
            );
        }
        archive::save(&store, &images, BufWriter::new(stdout))?;
        return Ok(ExitCode::SUCCESS);
    }
    let failed = |error| Error::io("cannot write the archive", error).at(args.output.display().to_string());
    let folder = args.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = NamedTempFile::new_in(folder).map_err(failed)?;
    archive::save(&store, &images, BufWriter::new(&file)).map_err(|error| error.within(&args.output.display().to_string()))?;
    // Like any file that a program writes, and unlike a temporary one: for others to read.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(permissions).map_err(failed)?;
    file.persist(&args.output).map_err(|error| failed(error.error))?;
    Ok(ExitCode::SUCCESS)
}
