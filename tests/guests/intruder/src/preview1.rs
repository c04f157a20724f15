//! WASI preview 1, called directly.

use wasip1 as wasi;

const LINKS: wasi::Lookupflags = wasi::LOOKUPFLAGS_SYMLINK_FOLLOW;

/// A descriptor of a directory.
pub struct Dir(wasi::Fd);

fn flags(follow: bool) -> wasi::Lookupflags {
    if follow { LINKS } else { 0 }
}

/// The directories that the host opened, with their names.
pub fn preopens() -> Vec<(String, Dir)> {
    let mut found = Vec::new();
    for fd in 3.. {
        let Ok(stat) = (unsafe { wasi::fd_prestat_get(fd) }) else { return found };
        if stat.tag != wasi::PREOPENTYPE_DIR.raw() {
            continue;
        }
        let mut name = vec![0; unsafe { stat.u.dir.pr_name_len }];
        if unsafe { wasi::fd_prestat_dir_name(fd, name.as_mut_ptr(), name.len()) }.is_ok() {
            found.push((String::from_utf8_lossy(&name).into_owned(), Dir(fd)));
        }
    }
    found
}

impl Dir {
    fn open(&self, path: &str, follow: bool, oflags: wasi::Oflags, rights: wasi::Rights, fdflags: wasi::Fdflags) -> Result<wasi::Fd, ()> {
        unsafe { wasi::path_open(self.0, flags(follow), path, oflags, rights, rights, fdflags) }.map_err(drop)
    }

    pub fn read(&self, path: &str, follow: bool) -> Result<Vec<u8>, ()> {
        let fd = self.open(path, follow, 0, wasi::RIGHTS_FD_READ, 0)?;
        let mut bytes = vec![0; 4096];
        let iovec = [wasi::Iovec { buf: bytes.as_mut_ptr(), buf_len: bytes.len() }];
        let read = unsafe { wasi::fd_read(fd, &iovec) };
        let _ = unsafe { wasi::fd_close(fd) };
        bytes.truncate(read.map_err(drop)?);
        Ok(bytes)
    }

    fn put(&self, path: &str, oflags: wasi::Oflags, fdflags: wasi::Fdflags) -> Result<(), ()> {
        let fd = self.open(path, true, oflags, wasi::RIGHTS_FD_WRITE | wasi::RIGHTS_FD_READ, fdflags)?;
        let iovec = [wasi::Ciovec { buf: b"intruder".as_ptr(), buf_len: 8 }];
        let written = unsafe { wasi::fd_write(fd, &iovec) };
        let _ = unsafe { wasi::fd_close(fd) };
        written.map(drop).map_err(drop)
    }

    pub fn write(&self, path: &str, create: bool) -> Result<(), ()> {
        self.put(path, if create { wasi::OFLAGS_CREAT } else { 0 }, 0)
    }

    pub fn append(&self, path: &str) -> Result<(), ()> {
        self.put(path, 0, wasi::FDFLAGS_APPEND)
    }

    pub fn truncate(&self, path: &str) -> Result<(), ()> {
        // Asks for no more than to read: a host that looks at the rights alone would let it pass.
        let fd = self.open(path, true, wasi::OFLAGS_TRUNC, wasi::RIGHTS_FD_READ, 0)?;
        let _ = unsafe { wasi::fd_close(fd) };
        Ok(())
    }

    pub fn list(&self, path: &str, follow: bool) -> Result<Vec<String>, ()> {
        let fd = self.open(path, follow, wasi::OFLAGS_DIRECTORY, wasi::RIGHTS_FD_READDIR, 0)?;
        let mut bytes = vec![0; 4096];
        let read = unsafe { wasi::fd_readdir(fd, bytes.as_mut_ptr(), bytes.len(), 0) };
        let inner = Dir(fd).read("secret.txt", true);
        let _ = unsafe { wasi::fd_close(fd) };
        bytes.truncate(read.map_err(drop)?);
        bytes.extend(inner.unwrap_or_default());
        Ok(vec![String::from_utf8_lossy(&bytes).into_owned()])
    }

    pub fn stat(&self, path: &str, follow: bool) -> Result<(), ()> {
        unsafe { wasi::path_filestat_get(self.0, flags(follow), path) }.map(drop).map_err(drop)
    }

    pub fn set_times(&self, path: &str, follow: bool) -> Result<(), ()> {
        let which = wasi::FSTFLAGS_ATIM | wasi::FSTFLAGS_MTIM;
        unsafe { wasi::path_filestat_set_times(self.0, flags(follow), path, 1, 1, which) }.map_err(drop)
    }

    pub fn read_link(&self, path: &str) -> Result<Vec<u8>, ()> {
        let mut bytes = vec![0; 4096];
        let read = unsafe { wasi::path_readlink(self.0, path, bytes.as_mut_ptr(), bytes.len()) }.map_err(drop)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    pub fn make_dir(&self, path: &str) -> Result<(), ()> {
        unsafe { wasi::path_create_directory(self.0, path) }.map_err(drop)
    }

    pub fn remove_dir(&self, path: &str) -> Result<(), ()> {
        unsafe { wasi::path_remove_directory(self.0, path) }.map_err(drop)
    }

    pub fn unlink(&self, path: &str) -> Result<(), ()> {
        unsafe { wasi::path_unlink_file(self.0, path) }.map_err(drop)
    }

    pub fn symlink(&self, target: &str, path: &str) -> Result<(), ()> {
        unsafe { wasi::path_symlink(target, self.0, path) }.map_err(drop)
    }

    pub fn link(&self, from: &str, to: &str, follow: bool) -> Result<(), ()> {
        unsafe { wasi::path_link(self.0, flags(follow), from, self.0, to) }.map_err(drop)
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<(), ()> {
        self.rename_to(from, self, to)
    }

    pub fn link_to(&self, from: &str, dir: &Dir, to: &str) -> Result<(), ()> {
        unsafe { wasi::path_link(self.0, 0, from, dir.0, to) }.map_err(drop)
    }

    pub fn rename_to(&self, from: &str, dir: &Dir, to: &str) -> Result<(), ()> {
        unsafe { wasi::path_rename(self.0, from, dir.0, to) }.map_err(drop)
    }
}
