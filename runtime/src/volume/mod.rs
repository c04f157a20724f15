//! Volumes: from the `volumes` of a pod and the `volumeMounts` of its containers to opened directories.
//!
//! ```text
//! <state>/volumes/cache      emptyDir              ┐
//! /dev/shm/wasmpod-1000/…    emptyDir in memory,   ├─ PodVolumes ── VolumeMount ──▶ ContainerFiles: one MountedDir a mount,
//!                            secrets               │   (opened once,                and a private, empty `/`
//! <state>/volumes/settings   configMap             │    resolved beneath)
//! /srv/data                  hostPath              │
//! <root>/volumes/default/db  persistentVolumeClaim │
//! <root>/…                   image                 ┘   (opened when a container starts: images may come late)
//! ```
//!
//! - Everything is opened once; what a guest gets is that open directory, never a path that is looked up again.
//! - A `subPath` is resolved beneath its volume, symbolic links included: nothing leads out.
//! - The folders that hold volumes are private to the user (0700); the volumes themselves have the modes Kubernetes gives them.
//! - What was made here is removed with [`PodVolumes`] and [`ContainerFiles`]; a `hostPath` never is, nor is a claim.
//!
//! All of it is blocking file I/O of a few system calls; [`PodVolumes::over_limit`] walks whole volumes and belongs on a thread
//! that may block.

mod beneath;
mod claim;
mod container;
mod files;
mod host_path;
mod memory;
mod place;
mod removed;
mod tree;
mod usage;

pub use container::{ContainerFiles, FilesConfig, MountedDir};
pub use place::PodDirectory;
pub use removed::RemovedFile;
pub use usage::{OverLimit, Usage};

pub(crate) use usage::quantity;

use crate::directory::open_dir;
use crate::limits::{EMPTY_DIR_MEMORY_BYTES_DEFAULT, VOLUME_ENTRIES_MAX};
use crate::pod::spec::{StorageMedium, VolumeMount, VolumeSource, VolumeSpec};
use crate::{Error, ErrorKind, Result};
use once_cell::sync::OnceCell;
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use tree::{PrivateTree, is_plain_name, make_dir};

/// Where the volumes lie that exist without the pod.
#[derive(Clone, Copy, Debug)]
pub struct VolumePlaces<'a> {
    /// Has a directory for each persistentVolumeClaim of the pod's namespace, and is made when the first one is; without it a pod
    /// with a claim is refused.
    pub claims_dir: Option<&'a Path>,
}

/// The files that one container gets from images: directories of the machine, which it can only read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFiles {
    /// Its own image's, for its `/`; not where it mounts a volume there.
    pub root: Option<PathBuf>,
    /// Those of the image volumes that it mounts, by the volume's name.
    pub volumes: BTreeMap<String, PathBuf>,
}

/// The volumes of one pod, ready to be mounted into its containers.
#[derive(Debug)]
pub struct PodVolumes {
    volumes: BTreeMap<String, Volume>,
    warnings: Vec<VolumeWarning>,
    /// Holds the volumes on disk; made with the first of them.
    disk: OnceCell<PrivateTree>,
    /// Holds the volumes in memory, if there are any.
    memory: Option<PrivateTree>,
    /// The pod's own folder, in which container roots are made too; declared after what lies in it, and so removed after that.
    directory: PodDirectory,
}

/// Something that was not done as the manifest asks, and is not worth failing for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeWarning {
    /// The volume's name.
    pub volume: String,
    /// What was done instead, and why.
    pub message: String,
}

impl fmt::Display for VolumeWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "volume {:?}: {}", self.volume, self.message)
    }
}

#[derive(Debug)]
struct Volume {
    /// The volume itself: a directory, or what a `hostPath` names.
    node: OwnedFd,
    kind: VolumeKind,
    /// Lies on a file system in memory.
    in_memory: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VolumeKind {
    EmptyDir { size_limit_bytes: Option<u64> },
    HostPath,
    Claim { read_only: bool },
    Image,
    Files,
}

/// What a mount turned out to be.
#[derive(Debug)]
enum Target {
    Directory(OwnedFd),
    File(OwnedFd),
}

impl PodVolumes {
    /// Makes, checks and opens every volume of a pod. What lives as long as the pod is made in `directory`.
    ///
    /// # Errors
    /// Reason `FailedMount`, at the volume's field: a `hostPath` that is not what its type says, a file that cannot be written,
    /// a claim that nobody has made, a `directory` in which there are volumes already.
    pub fn prepare(specs: &[VolumeSpec], directory: PodDirectory, places: &VolumePlaces<'_>) -> Result<Self> {
        Self::prepare_in(specs, directory, places, Path::new(memory::SHARED_MEMORY_DIR))
    }

    fn prepare_in(specs: &[VolumeSpec], directory: PodDirectory, places: &VolumePlaces<'_>, shared_memory: &Path) -> Result<Self> {
        let mut volumes = Self { volumes: BTreeMap::new(), warnings: Vec::new(), disk: OnceCell::new(), memory: None, directory };
        volumes.open_memory(specs, shared_memory);
        let of_images = |spec: &VolumeSpec| matches!(spec.source, VolumeSource::Image { .. });
        for (index, spec) in specs.iter().enumerate().filter(|(_, spec)| !of_images(spec)) {
            let volume = volumes.prepare_volume(spec, places).map_err(|error| {
                let field = format!("spec.volumes[{index}]{}", field(&spec.source));
                error.at(field).with_reason("FailedMount")
            })?;
            if volumes.volumes.insert(spec.name.clone(), volume).is_some() {
                return Err(Error::new(ErrorKind::Conflict, format!("two volumes have the name {:?}", spec.name)));
            }
        }
        Ok(volumes)
    }

    /// Finds a place in memory if a volume wants one; each that does is named in a warning when there is none.
    fn open_memory(&mut self, specs: &[VolumeSpec], shared_memory: &Path) {
        if !specs.iter().any(|spec| wants_memory(&spec.source)) {
            return;
        }
        match memory::private_tree(shared_memory) {
            Ok(tree) => self.memory = Some(tree),
            Err(why) => {
                let warning = |spec: &VolumeSpec| VolumeWarning {
                    volume: spec.name.clone(),
                    message: format!("kept on disk, as there is no file system in memory to use: {why}"),
                };
                self.warnings.extend(specs.iter().filter(|spec| wants_memory(&spec.source)).map(warning));
            }
        }
    }

    fn prepare_volume(&self, spec: &VolumeSpec, places: &VolumePlaces<'_>) -> Result<Volume> {
        let name = &spec.name;
        if !is_plain_name(name) {
            return Err(Error::invalid(format!("{name:?} is no name for a volume")));
        }
        if let Some((node, kind)) = open_existing(spec, places)? {
            return Ok(Volume { node, kind, in_memory: false });
        }
        let memory = self.memory.as_ref().filter(|_| wants_memory(&spec.source));
        let parent = memory.map_or_else(|| self.disk(), |memory| Ok(memory.dir()))?;
        let failed = |error: io::Error| Error::io(format!("cannot make the volume {name:?}"), error);
        let (node, kind) = match &spec.source {
            VolumeSource::EmptyDir { size_limit_bytes, medium } => {
                let node = make_dir(parent, name, 0o777).map_err(failed)?;
                let default = (*medium == StorageMedium::Memory).then_some(EMPTY_DIR_MEMORY_BYTES_DEFAULT);
                (node, VolumeKind::EmptyDir { size_limit_bytes: size_limit_bytes.or(default) })
            }
            VolumeSource::Files { files, .. } => {
                let node = make_dir(parent, name, 0o755).map_err(failed)?;
                files::write(node.as_fd(), files)?;
                (node, VolumeKind::Files)
            }
            VolumeSource::HostPath { .. } | VolumeSource::PersistentVolumeClaim { .. } | VolumeSource::Image { .. } => {
                return Err(Error::internal(format!("the volume {name:?} is not made here")));
            }
        };
        Ok(Volume { node, kind, in_memory: memory.is_some() })
    }

    /// The folder of the volumes on disk.
    fn disk(&self) -> Result<BorrowedFd<'_>> {
        let make = || {
            PrivateTree::create(self.directory.open()?, "volumes")
                .map_err(|error| Error::io("cannot make a folder for the pod's volumes", error))
        };
        self.disk.get_or_try_init(make).map(PrivateTree::dir)
    }

    /// What was not done as the manifest asks: to be shown to whoever started the pod.
    pub fn warnings(&self) -> &[VolumeWarning] {
        &self.warnings
    }

    /// Whether nothing was made for the pod: there are no volumes, and no container has looked at its files.
    pub fn are_empty(&self) -> bool {
        self.volumes.is_empty() && self.memory.is_none() && !self.directory.is_made()
    }

    /// Opens the directory that `mount` names, and makes it where only its `subPath` is missing, as kubelet does.
    /// Files made from objects, images and claims for reading are read-only whatever the mount says.
    ///
    /// # Errors
    /// Reason `CreateContainerConfigError`: there is no such volume, the `subPath` leads out of it or is missing from a
    /// `configMap` or `secret`, or it is a single file ([`ContainerFiles`] can mount those).
    pub fn mount(&self, mount: &VolumeMount) -> Result<MountedDir> {
        let volume = self.volume(mount)?;
        match volume.open(mount)? {
            Target::Directory(dir) => volume.mounted(dir, mount),
            Target::File(_) => Err(config_error(format!("the volume {:?} has a single file there, not a directory", mount.volume))
                .hint("mount the folder that holds the file")),
        }
    }

    /// The contents of a regular file in a volume, of `bytes_max` bytes at most; `None` when there is none at that path.
    ///
    /// # Errors
    /// Reason `CreateContainerConfigError`: there is no such volume, the path leads out of it, or to something else than a file; the file
    /// is too long or cannot be read.
    pub fn read_file(&self, volume: &str, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let failed = |error: io::Error| config_error(format!("cannot read {path:?} in the volume {volume:?}: {}", explain(&error)));
        let found = self.volumes.get(volume).ok_or_else(|| config_error(format!("the pod has no volume {volume:?}")))?;
        let node = match beneath::open(found.node.as_fd(), path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let kind = file_type(node.as_fd()).map_err(failed)?;
        if kind != FileType::RegularFile {
            return Err(config_error(format!("{path:?} in the volume {volume:?} is {}, no file", describe(kind))));
        }
        let file = fs::File::open(format!("/proc/self/fd/{}", node.as_raw_fd())).map_err(failed)?;
        let mut contents = Vec::new();
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut contents).map_err(failed)?;
        if contents.len() as u64 > bytes_max {
            return Err(config_error(format!("{path:?} in the volume {volume:?} has more than {bytes_max} bytes")));
        }
        Ok(Some(contents))
    }

    fn volume(&self, mount: &VolumeMount) -> Result<&Volume> {
        self.volumes.get(&mount.volume).ok_or_else(|| config_error(format!("the pod has no volume {:?}", mount.volume)))
    }

    /// How much a volume made here holds, with what guests have `removed` from it and still hold open; `None` for what is not the pod's
    /// own (a `hostPath`, a claim, an image) and for a name that no volume has.
    ///
    /// # Errors
    /// The volume cannot be read.
    pub fn usage(&self, volume: &str, removed: &[RemovedFile]) -> Result<Option<Usage>> {
        match self.volumes.get(volume) {
            Some(Volume { node, kind: VolumeKind::EmptyDir { .. } | VolumeKind::Files, .. }) => {
                measure(volume, node.as_fd(), removed).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The first `emptyDir` that holds more than its `sizeLimit`, with what guests have `removed` and still hold open: a reason to evict
    /// the pod.
    ///
    /// # Errors
    /// A volume cannot be read.
    pub fn over_limit(&self, removed: &[RemovedFile]) -> Result<Option<OverLimit>> {
        for (name, volume) in &self.volumes {
            let VolumeKind::EmptyDir { size_limit_bytes: Some(limit_bytes) } = volume.kind else { continue };
            let used = measure(name, volume.node.as_fd(), removed)?;
            if used.exceeds(limit_bytes) {
                return Ok(Some(OverLimit { volume: name.clone(), used, limit_bytes }));
            }
        }
        Ok(None)
    }

    /// Removes everything that was made for the volumes. Dropping them does the same, but only logs what cannot be removed.
    ///
    /// # Errors
    /// What could not be removed; the rest of it stays too.
    pub fn remove(mut self) -> Result<()> {
        let failed = |error: io::Error| Error::io("cannot remove the pod's volumes", error);
        self.volumes.clear();
        // All of them, whatever becomes of the first.
        let memory = self.memory.as_mut().map_or(Ok(()), PrivateTree::remove);
        let disk = self.disk.get_mut().map_or(Ok(()), PrivateTree::remove);
        let directory = self.directory.remove();
        disk.and(memory).and(directory).map_err(failed)
    }
}

impl Volume {
    /// The files of an image.
    fn of_image(dir: &Path) -> Result<Self> {
        let opened = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let node = opened.map_err(|errno| {
            Error::io("cannot open the files of an image", errno.into())
                .at(dir.display().to_string())
                .with_reason("CreateContainerError")
        })?;
        Ok(Self { node, kind: VolumeKind::Image, in_memory: false })
    }

    /// Whether it is read-only whatever a mount says.
    fn is_never_written(&self) -> bool {
        matches!(self.kind, VolumeKind::Files | VolumeKind::Image | VolumeKind::Claim { read_only: true })
    }

    fn is_read_only(&self, mount: &VolumeMount) -> bool {
        mount.read_only || self.is_never_written()
    }

    /// The directory as the container sees it.
    fn mounted(&self, dir: OwnedFd, mount: &VolumeMount) -> Result<MountedDir> {
        MountedDir::new(dir, self.is_read_only(mount), self.kind == VolumeKind::HostPath, &mount.mount_path)
    }

    fn open(&self, mount: &VolumeMount) -> Result<Target> {
        let failed = |error: io::Error| {
            let place = mount.sub_path.as_ref().map(|path| format!(" at subPath {path:?}")).unwrap_or_default();
            config_error(format!("cannot open the volume {:?}{place}: {}", mount.volume, explain(&error)))
        };
        let node = match mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
            None => self.node.try_clone().map_err(failed)?,
            Some(path) => match beneath::open(self.node.as_fd(), path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_never_written() => {
                    beneath::make_dirs(self.node.as_fd(), path, None).map_err(failed)?
                }
                opened => opened.map_err(failed)?,
            },
        };
        match file_type(node.as_fd()).map_err(failed)? {
            FileType::Directory => open_dir(node.as_fd(), c".").map(Target::Directory).map_err(failed),
            FileType::RegularFile => Ok(Target::File(node)),
            found => Err(config_error(format!("the volume {:?} has {} there", mount.volume, describe(found)))
                .hint("a WebAssembly container can only be given directories and regular files")),
        }
    }
}

/// Opens the volumes that exist without the pod; nothing for the others.
fn open_existing(spec: &VolumeSpec, places: &VolumePlaces<'_>) -> Result<Option<(OwnedFd, VolumeKind)>> {
    Ok(Some(match &spec.source {
        VolumeSource::HostPath { path, kind } => (host_path::open(&spec.name, path, *kind)?, VolumeKind::HostPath),
        VolumeSource::PersistentVolumeClaim { claim, read_only, declared } => {
            (claim::open(claim, *declared, places.claims_dir)?, VolumeKind::Claim { read_only: *read_only })
        }
        VolumeSource::EmptyDir { .. } | VolumeSource::Files { .. } | VolumeSource::Image { .. } => return Ok(None),
    }))
}

/// Reason `CreateContainerConfigError`: the volume is there, but not as the container wants it.
fn config_error(message: impl Into<String>) -> Error {
    Error::invalid(message).with_reason("CreateContainerConfigError")
}

fn measure(name: &str, dir: BorrowedFd<'_>, removed: &[RemovedFile]) -> Result<Usage> {
    let usage = usage::measure(dir, VOLUME_ENTRIES_MAX);
    let usage = usage.map_err(|error| Error::io(format!("cannot measure the volume {name:?}"), error))?;
    Ok(usage.plus(removed::bytes_below(removed, dir)))
}

fn wants_memory(source: &VolumeSource) -> bool {
    matches!(source, VolumeSource::EmptyDir { medium: StorageMedium::Memory, .. } | VolumeSource::Files { sensitive: true, .. })
}

/// The field of a volume that says where its files come from.
fn field(source: &VolumeSource) -> &'static str {
    match source {
        VolumeSource::EmptyDir { .. } => ".emptyDir",
        VolumeSource::HostPath { .. } => ".hostPath",
        VolumeSource::PersistentVolumeClaim { .. } => ".persistentVolumeClaim",
        VolumeSource::Image { .. } => ".image",
        VolumeSource::Files { sensitive: true, .. } => ".secret",
        VolumeSource::Files { sensitive: false, .. } => ".configMap",
    }
}

fn file_type(node: BorrowedFd<'_>) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(node)?.st_mode))
}

/// What a file is, for messages.
fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::RegularFile => "a regular file",
        FileType::Symlink => "a symbolic link",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Fifo => "a named pipe",
        FileType::Unknown => "something of an unknown kind",
    }
}

/// The operating system's answer, in the terms of volumes where those are clearer.
fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::CrossesDevices => "it leads out of the volume".to_owned(),
        io::ErrorKind::NotFound => "there is no such file in it".to_owned(),
        io::ErrorKind::NotADirectory => "part of that path is not a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
