//! Archives as `wasmpod load` takes them: OCI layouts and Docker's, in a tar file.

use super::folder::Folder;
use super::{block_on, check_error, tar_file};
use arbitrary::{Result, Unstructured};
use wasmpod::image::{ImageReference, ImageStore, RegistryReference, archive};

pub fn run(data: &[u8]) {
    // As it is; and the same with its checksums made right, so that names and sizes can be changed.
    block_on(load(data));
    if let Ok(repaired) = repaired(data) {
        block_on(load(&repaired));
    }
}

fn repaired(data: &[u8]) -> Result<Vec<u8>> {
    let mut file = data.to_vec();
    let mut at: usize = 0;
    while let Some(block) = file.get_mut(at..at.saturating_add(512)) {
        let header = tar::Header::from_byte_slice(block).clone();
        let mut header = header;
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let size = usize::try_from(header.entry_size().unwrap_or(0)).unwrap_or(usize::MAX);
        at = at.saturating_add(512).saturating_add(size.saturating_add(511) / 512 * 512);
    }
    match file == data {
        // Nothing to repair: something of its own.
        true => tar_file::make(&mut Unstructured::new(data)),
        false => Ok(file),
    }
}

async fn load(bytes: &[u8]) {
    let folder = Folder::new();
    let store = ImageStore::open(&folder.path("store")).unwrap();
    let path = folder.path("archive.tar");
    std::fs::write(&path, bytes).unwrap();
    let name = RegistryReference::parse("registry.example/app:1").unwrap();
    for name in [None, Some(&name)] {
        match archive::load(&store, &path, name, &|_, _| ()).await {
            Ok(loaded) => loaded.iter().for_each(|loaded| assert!(!loaded.names.is_empty())),
            Err(error) => check_error(&error),
        }
    }
    let reference = ImageReference::Archive { path, tag: Some("1".to_owned()) };
    if let Err(error) = archive::LocalLayout::open(&reference) {
        check_error(&error);
    }
    folder.check(&["archive.tar", "store"]);
}
