//! What one container sees of the file system: its volume mounts, and an empty directory of its own for everything else.
//!
//! WASI gives a guest directories, never single files. So a mount that is a single file (a `subPath`, a `hostPath` of type `File`)
//! becomes a further name (a hard link) of that file in a directory of the container's own: writes go to the one file, as they do
//! through the bind mount that Kubernetes makes, and a file put in its place later is not seen, as there.
//!
//! - A writable file gets its name in the container's `/`.
//! - A read-only file gets it in a read-only directory that stands for the folder above its `mountPath`, shared by all such files
//!   of that folder; the container cannot write anything else into that folder.

mod guest_path;

use super::removed::{self, OpenFiles, RemovedFile};
use super::tree::PrivateTree;
use super::{ImageFiles, PodVolumes, Target, Usage, Volume, VolumeKind, beneath, config_error, explain};
use crate::directory::open_dir;
use crate::limits::CONTAINER_ROOT_ENTRIES_MAX;
use crate::pod::spec::VolumeMount;
use crate::{Error, Result};
use once_cell::sync::OnceCell;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// A directory that a container may see, opened.
#[derive(Debug)]
pub struct MountedDir {
    dir: OwnedFd,
    read_only: bool,
    /// Holds what others made.
    foreign: bool,
    guest_path: String,
}

impl MountedDir {
    pub(super) fn new(dir: OwnedFd, read_only: bool, foreign: bool, mount_path: &str) -> Result<Self> {
        Ok(Self { dir, read_only, foreign, guest_path: normalize(mount_path)? })
    }

    /// Whether others than guests make files in it (`hostPath`): among them may be named pipes and devices, which block whoever opens
    /// them. Guests cannot make any.
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Where the container sees it: an absolute path without `.`, `..` or a slash at its end.
    pub fn guest_path(&self) -> &str {
        &self.guest_path
    }

    /// Whether the container may only read. Nothing but the one who gives it to the guest enforces that.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// A path that leads to this very open directory, for those who take nothing but paths; good as long as this lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.dir.as_raw_fd()).into()
    }
}

impl AsFd for MountedDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// All directories of one run of one container; what was made for them is removed when this is dropped.
///
/// A container without mounts has nothing but a directory of its own, which is made when its guest first looks at files. Most never do.
#[derive(Debug)]
pub struct ContainerFiles {
    wanted: FilesConfig,
    made: OnceCell<Made>,
    /// What its guests have open to write.
    open: OpenFiles,
    volumes: Arc<PodVolumes>,
}

/// What a container is to find in its file system besides its mounts.
#[derive(Clone, Debug, Default)]
pub struct FilesConfig {
    /// A folder that is there from the start: its `workingDir`.
    pub working_dir: Option<String>,
    /// An empty file that it can write to, with the folders above it: for its termination message.
    pub file: Option<String>,
    /// Whether its own `/` is only read (`readOnlyRootFilesystem`).
    pub read_only_root: bool,
    /// The files that it gets from images.
    pub images: ImageFiles,
}

#[derive(Debug)]
struct Made {
    /// Dropped before what they lie in.
    dirs: Vec<MountedDir>,
    root: PrivateTree,
    single_files: Vec<PrivateTree>,
    /// The field of a mount that is a single file in `root`, for writing.
    written_in_root: Option<String>,
}

impl ContainerFiles {
    /// Opens the container's mounts and its image's files, and makes its private, empty `/`, with the places where volumes are mounted
    /// in it; without any of them that is left for later.
    ///
    /// # Errors
    /// Reason `CreateContainerConfigError`, at the mount's field (`volumeMounts[1].subPath`): see [`PodVolumes::mount`]; a single
    /// file that cannot be had at that path, with what works instead; a `workingDir` that cannot be made.
    pub fn prepare(volumes: &Arc<PodVolumes>, mounts: &[VolumeMount], wanted: FilesConfig) -> Result<Self> {
        let files = Self { wanted, made: OnceCell::new(), open: OpenFiles::default(), volumes: Arc::clone(volumes) };
        // What can be wrong with mounts and folders is said before anything runs.
        if !mounts.is_empty() || files.wanted.working_dir.is_some() || files.wanted.images.root.is_some() {
            files.made.get_or_try_init(|| Made::new(volumes, mounts, &files.wanted))?;
        }
        Ok(files)
    }

    /// What the container sees, `/` first, then in the order of its mounts. A path belongs to the directory with the longest
    /// guest path above it.
    ///
    /// # Errors
    /// Reason `CreateContainerError`: its `/` is made now, and cannot be.
    pub fn dirs(&self) -> Result<&[MountedDir]> {
        let made = self.made.get_or_try_init(|| Made::new(&self.volumes, &[], &self.wanted))?;
        Ok(&made.dirs)
    }

    /// Where the container sees its directories, in their order; nothing is made for this.
    pub fn guest_paths(&self) -> Vec<String> {
        match self.made.get() {
            Some(made) => made.dirs.iter().map(|dir| dir.guest_path.clone()).collect(),
            None => vec!["/".to_owned()],
        }
    }

    /// To be told of every file that a guest of the container opens to write: what it takes counts even when it has no name any more.
    pub fn note_open(&self, file: &Arc<File>) {
        self.open.note(file);
    }

    /// What the container has removed and still holds open, wherever it was.
    pub fn removed(&self) -> Vec<RemovedFile> {
        self.open.removed()
    }

    /// How much the container has written into its own `/`, with what it has `removed` there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn root_usage(&self, removed: &[RemovedFile]) -> Result<Usage> {
        let Some(made) = self.made.get() else { return Ok(Usage { bytes: 0, complete: true }) };
        let usage = super::usage::measure(made.root.dir(), CONTAINER_ROOT_ENTRIES_MAX)
            .map_err(|error| Error::io("cannot measure the container's root folder", error))?;
        Ok(usage.plus(removed::bytes_below(removed, made.root.dir())).plus(removed::bytes_nowhere(removed)))
    }
}

impl Made {
    fn new(volumes: &PodVolumes, mounts: &[VolumeMount], wanted: &FilesConfig) -> Result<Self> {
        let images = &wanted.images;
        let failed =
            |error: io::Error| Error::io("cannot make the container's root folder", error).with_reason("CreateContainerError");
        let state = volumes.directory.open().map_err(|error| error.with_reason("CreateContainerError"))?;
        let root = private_dir(state, "root").map_err(failed)?;
        let mut dirs = Vec::new();
        let mut files = Vec::new();
        for (index, mount) in mounts.iter().enumerate() {
            let at = |error: Error| error.at(field(index, mount));
            let of_image = images.volumes.get(&mount.volume).map(|dir| Volume::of_image(dir)).transpose()?;
            let volume = match &of_image {
                Some(volume) => volume,
                None => volumes.volume(mount).map_err(at)?,
            };
            let read_only = volume.is_read_only(mount);
            match volume.open(mount).map_err(at)? {
                Target::Directory(dir) => dirs.push(volume.mounted(dir, mount).map_err(at)?),
                Target::File(node) => {
                    let copied = volume.kind == VolumeKind::Files;
                    files.push(SingleFile::new(index, mount, node, read_only, copied, volume.in_memory).map_err(at)?);
                }
            }
        }
        if let Some(dir) = images.root.as_ref().filter(|_| !dirs.iter().any(|dir| dir.guest_path == "/")) {
            let dir = Volume::of_image(dir)?.node;
            dirs.insert(0, MountedDir { dir, read_only: true, foreign: false, guest_path: "/".to_owned() });
        }
        let written_in_root = files.iter().find(|file| !file.read_only).map(|file| file.field.clone());
        let single_files = place_files(volumes, root.dir(), &mut dirs, files)?;
        for dir in dirs.iter().filter(|dir| dir.guest_path != "/") {
            // Not where a volume is mounted above it: there it would be hidden.
            beneath::make_dirs(root.dir(), below_root(&dir.guest_path), Some(0o755)).map_err(failed)?;
        }
        if !dirs.iter().any(|dir| dir.guest_path == "/") {
            let dir = open_dir(root.dir(), c".").map_err(failed)?;
            dirs.insert(0, MountedDir { dir, read_only: false, foreign: false, guest_path: "/".to_owned() });
        }
        let mut made = Self { dirs, root, single_files, written_in_root };
        if let Some(dir) = &wanted.working_dir {
            made.make_dir(dir)?;
        }
        if wanted.read_only_root {
            made.make_root_read_only()?;
        }
        if let Some(path) = &wanted.file
            && let Err(error) = made.make_file(volumes, path)
        {
            tracing::warn!(target: "wasmpod::volume", path, error = error.chain(), "no file for a termination message");
        }
        Ok(made)
    }

    /// Makes a folder in the container's own `/`; does nothing where a volume is mounted above it.
    fn make_dir(&self, guest_path: &str) -> Result<()> {
        let path = normalize(guest_path)?;
        if self.dirs.iter().any(|dir| dir.guest_path != "/" && is_at_or_below(&path, &dir.guest_path)) {
            return Ok(());
        }
        let made = beneath::make_dirs(self.root.dir(), below_root(&path), Some(0o755));
        made.map(drop).map_err(|error| config_error(format!("cannot make the folder {path}: {}", explain(&error))))
    }

    /// Takes from the container the right to write into its own `/`; its volumes stay as they are. A single file that is mounted for
    /// writing may not lie there.
    fn make_root_read_only(&mut self) -> Result<()> {
        if let Some(field) = &self.written_in_root {
            let error = config_error("a single file cannot be mounted for writing beside readOnlyRootFilesystem");
            return Err(error.at(field).hint("mount the folder that holds the file"));
        }
        self.dirs.iter_mut().filter(|dir| dir.guest_path == "/").for_each(|dir| dir.read_only = true);
        Ok(())
    }
}

/// A mount that is a single file.
struct SingleFile {
    field: String,
    volume: String,
    node: OwnedFd,
    read_only: bool,
    /// Its contents never change, so that a copy is as good as another name.
    copied: bool,
    in_memory: bool,
    /// The folder that holds it in the container.
    folder: String,
    name: String,
}

impl SingleFile {
    fn new(index: usize, mount: &VolumeMount, node: OwnedFd, read_only: bool, copied: bool, in_memory: bool) -> Result<Self> {
        let path = normalize(&mount.mount_path)?;
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name.is_empty() {
            return Err(config_error(format!("the volume {:?} has a single file there, which cannot be /", mount.volume)));
        }
        let folder = if folder.is_empty() { "/" } else { folder };
        let field = format!("volumeMounts[{index}].mountPath");
        let (folder, name, volume) = (folder.to_owned(), name.to_owned(), mount.volume.clone());
        Ok(Self { field, volume, node, read_only, copied, in_memory, folder, name })
    }

    fn refuse(&self, why: impl std::fmt::Display) -> Error {
        let message = format!(
            "the single file of the volume {:?} cannot be mounted at {}/{}: {why}",
            self.volume,
            self.folder_prefix(),
            self.name
        );
        config_error(message).at(&self.field)
    }

    fn folder_prefix(&self) -> &str {
        if self.folder == "/" { "" } else { &self.folder }
    }

    /// Gives the file its name in `dir`.
    fn place(&self, dir: BorrowedFd<'_>) -> Result<()> {
        let source = format!("/proc/self/fd/{}", self.node.as_raw_fd());
        match rustix::fs::linkat(CWD, &source, dir, &self.name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(()),
            Err(Errno::XDEV) if self.copied => {
                copy(&source, dir, &self.name).map_err(|error| self.refuse(error).with_reason("CreateContainerError"))
            }
            Err(Errno::XDEV) => Err(self
                .refuse("it lies on another file system than the pod's own folder")
                .hint("mount the folder that holds the file, at a folder of its own")),
            Err(Errno::EXIST) => Err(self.refuse("something is mounted there already")),
            Err(errno) => Err(self.refuse(errno).hint("mount the folder that holds the file, at a folder of its own")),
        }
    }
}

fn copy(source: &str, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut source = File::open(source)?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&source)?.st_mode);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    io::copy(&mut source, &mut File::from(target.try_clone()?))?;
    Ok(rustix::fs::fchmod(&target, mode)?)
}

/// Gives each file its name; adds the directories for read-only ones to `dirs`, and returns what was made for them.
fn place_files(
    volumes: &PodVolumes,
    root: BorrowedFd<'_>,
    dirs: &mut Vec<MountedDir>,
    files: Vec<SingleFile>,
) -> Result<Vec<PrivateTree>> {
    let mut folders: BTreeMap<String, Vec<SingleFile>> = BTreeMap::new();
    for file in files {
        if let Some(above) = dirs.iter().find(|dir| is_at_or_below(&file.folder, &dir.guest_path)) {
            let why = format!("a volume is mounted at {}", above.guest_path);
            return Err(file.refuse(why).hint("choose a mountPath whose folder is not in another mount"));
        }
        folders.entry(file.folder.clone()).or_default().push(file);
    }
    let mut made = Vec::new();
    for (folder, files) in folders {
        let failed =
            |error: io::Error| Error::io(format!("cannot make the folder {folder}"), error).with_reason("CreateContainerError");
        let Some(read_only) = files.iter().find(|file| file.read_only) else {
            let dir = beneath::make_dirs(root, below_root(&folder), Some(0o755)).map_err(failed)?;
            files.iter().try_for_each(|file| file.place(dir.as_fd()))?;
            continue;
        };
        if folder == "/" {
            return Err(read_only
                .refuse("a read-only file needs a folder of its own")
                .hint(format!("use a mountPath such as /{0}/{0}", read_only.name)));
        }
        if let Some(writable) = files.iter().find(|file| !file.read_only) {
            return Err(writable.refuse("its folder holds a read-only file too").hint("mount it in another folder"));
        }
        // A secret must not get a name, or a copy, on a disk.
        let memory = volumes.memory.as_ref().filter(|_| files.iter().any(|file| file.in_memory));
        let parent = memory.map_or_else(|| volumes.directory.open(), |memory| Ok(memory.dir()))?;
        let tree = private_dir(parent, "files").map_err(failed)?;
        files.iter().try_for_each(|file| file.place(tree.dir()))?;
        let dir = open_dir(tree.dir(), c".").map_err(failed)?;
        dirs.push(MountedDir { dir, read_only: true, foreign: false, guest_path: folder });
        made.push(tree);
    }
    Ok(made)
}

/// A directory with a name that nothing has yet.
fn private_dir(parent: BorrowedFd<'_>, purpose: &str) -> io::Result<PrivateTree> {
    PrivateTree::create(parent, &format!("{purpose}-{}", uuid::Uuid::new_v4().simple()))
}

fn field(index: usize, mount: &VolumeMount) -> String {
    let field = if mount.sub_path.is_some() { "subPath" } else { "name" };
    format!("volumeMounts[{index}].{field}")
}

/// `/a//b/./` as `/a/b`.
fn normalize(path: &str) -> Result<String> {
    let wrong = |why: &str| config_error(format!("the mountPath {path:?} {why}"));
    if !path.starts_with('/') {
        return Err(wrong("is not absolute"));
    }
    let mut normal = String::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." || part.contains('\0') {
            return Err(wrong("contains .. or a NUL character"));
        }
        normal.push('/');
        normal.push_str(part);
    }
    Ok(if normal.is_empty() { "/".to_owned() } else { normal })
}

fn below_root(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// Whether `path` is `above` or lies in it; both normalized.
fn is_at_or_below(path: &str, above: &str) -> bool {
    above == "/" || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
