//! WASI 0.2, called directly.

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};

/// A descriptor of a directory.
pub struct Dir(Descriptor);

fn flags(follow: bool) -> PathFlags {
    if follow { PathFlags::SYMLINK_FOLLOW } else { PathFlags::empty() }
}

/// The directories that the host opened, with their names.
pub fn preopens() -> Vec<(String, Dir)> {
    get_directories().into_iter().map(|(descriptor, name)| (name, Dir(descriptor))).collect()
}

impl Dir {
    fn open(&self, path: &str, follow: bool, open: OpenFlags, access: DescriptorFlags) -> Result<Descriptor, ()> {
        self.0.open_at(flags(follow), path, open, access).map_err(drop)
    }

    pub fn read(&self, path: &str, follow: bool) -> Result<Vec<u8>, ()> {
        let file = self.open(path, follow, OpenFlags::empty(), DescriptorFlags::READ)?;
        file.read(4096, 0).map(|(bytes, _)| bytes).map_err(drop)
    }

    pub fn write(&self, path: &str, create: bool) -> Result<(), ()> {
        let open = if create { OpenFlags::CREATE } else { OpenFlags::empty() };
        let file = self.open(path, true, open, DescriptorFlags::READ | DescriptorFlags::WRITE)?;
        file.write(b"intruder", 0).map(drop).map_err(drop)
    }

    pub fn append(&self, path: &str) -> Result<(), ()> {
        let file = self.open(path, true, OpenFlags::empty(), DescriptorFlags::WRITE)?;
        let stream = file.append_via_stream().map_err(drop)?;
        stream.blocking_write_and_flush(b"intruder").map_err(drop)
    }

    pub fn truncate(&self, path: &str) -> Result<(), ()> {
        // Asks for no more than to read: a host that looks at the access alone would let it pass.
        self.open(path, true, OpenFlags::TRUNCATE, DescriptorFlags::READ).map(drop)
    }

    pub fn list(&self, path: &str, follow: bool) -> Result<Vec<String>, ()> {
        let dir = self.open(path, follow, OpenFlags::DIRECTORY, DescriptorFlags::READ)?;
        let entries = dir.read_directory().map_err(drop)?;
        let mut names = Vec::new();
        while let Ok(Some(entry)) = entries.read_directory_entry() {
            names.push(entry.name);
        }
        drop(entries);
        let inner = Dir(dir).read("secret.txt", true).unwrap_or_default();
        names.push(String::from_utf8_lossy(&inner).into_owned());
        Ok(names)
    }

    pub fn stat(&self, path: &str, follow: bool) -> Result<(), ()> {
        self.0.stat_at(flags(follow), path).map(drop).map_err(drop)
    }

    pub fn set_times(&self, path: &str, follow: bool) -> Result<(), ()> {
        self.0.set_times_at(flags(follow), path, NewTimestamp::Now, NewTimestamp::Now).map_err(drop)
    }

    pub fn read_link(&self, path: &str) -> Result<Vec<u8>, ()> {
        self.0.readlink_at(path).map(String::into_bytes).map_err(drop)
    }

    pub fn make_dir(&self, path: &str) -> Result<(), ()> {
        self.0.create_directory_at(path).map_err(drop)
    }

    pub fn remove_dir(&self, path: &str) -> Result<(), ()> {
        self.0.remove_directory_at(path).map_err(drop)
    }

    pub fn unlink(&self, path: &str) -> Result<(), ()> {
        self.0.unlink_file_at(path).map_err(drop)
    }

    pub fn symlink(&self, target: &str, path: &str) -> Result<(), ()> {
        self.0.symlink_at(target, path).map_err(drop)
    }

    pub fn link(&self, from: &str, to: &str, follow: bool) -> Result<(), ()> {
        self.0.link_at(flags(follow), from, &self.0, to).map_err(drop)
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<(), ()> {
        self.rename_to(from, self, to)
    }

    pub fn link_to(&self, from: &str, dir: &Dir, to: &str) -> Result<(), ()> {
        self.0.link_at(PathFlags::empty(), from, &dir.0, to).map_err(drop)
    }

    pub fn rename_to(&self, from: &str, dir: &Dir, to: &str) -> Result<(), ()> {
        self.0.rename_at(from, &dir.0, to).map_err(drop)
    }
}
