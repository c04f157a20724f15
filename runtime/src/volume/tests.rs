//! Volumes as pods use them.

use super::*;
use crate::pod::spec::{HostPathType, PullPolicy, VolumeFile};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

fn volume(name: &str, source: VolumeSource) -> VolumeSpec {
    VolumeSpec { name: name.into(), source }
}

fn empty_dir(name: &str) -> VolumeSpec {
    volume(name, VolumeSource::EmptyDir { medium: StorageMedium::Disk, size_limit_bytes: None })
}

fn in_memory(name: &str) -> VolumeSpec {
    volume(name, VolumeSource::EmptyDir { medium: StorageMedium::Memory, size_limit_bytes: None })
}

fn limited(name: &str, size_limit_bytes: u64) -> VolumeSpec {
    volume(name, VolumeSource::EmptyDir { medium: StorageMedium::Disk, size_limit_bytes: Some(size_limit_bytes) })
}

fn host_path(name: &str, path: impl Into<PathBuf>, kind: HostPathType) -> VolumeSpec {
    volume(name, VolumeSource::HostPath { path: path.into(), kind })
}

fn files(name: &str, sensitive: bool) -> VolumeSpec {
    let file = |path: &str| VolumeFile { path: path.into(), contents: format!("{name}:{path}").into_bytes(), mode: 0o644 };
    volume(name, VolumeSource::Files { sensitive, files: vec![file("app.conf"), file("keys/a")] })
}

fn mount(volume: &str, mount_path: &str) -> VolumeMount {
    VolumeMount { volume: volume.into(), mount_path: mount_path.into(), read_only: false, sub_path: None }
}

fn sub_path(volume: &str, mount_path: &str, sub_path: &str) -> VolumeMount {
    VolumeMount { sub_path: Some(sub_path.into()), ..mount(volume, mount_path) }
}

fn read_only(mount: VolumeMount) -> VolumeMount {
    VolumeMount { read_only: true, ..mount }
}

/// Places with no room for claims.
fn places() -> VolumePlaces<'static> {
    VolumePlaces { claims_dir: None }
}

fn prepare(specs: &[VolumeSpec], directory: &Path) -> Result<PodVolumes> {
    PodVolumes::prepare(specs, PodDirectory::given(directory), &places())
}

fn claim(name: &str, declared: bool, read_only: bool) -> VolumeSpec {
    volume(name, VolumeSource::PersistentVolumeClaim { claim: "data".into(), read_only, declared })
}

struct Setup {
    folder: TempDir,
    volumes: Arc<PodVolumes>,
}

fn setup(specs: &[VolumeSpec]) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let volumes = Arc::new(prepare(specs, folder.path()).unwrap());
    Setup { folder, volumes }
}

impl Setup {
    /// The one file system path of a file that a container names.
    fn path(&self, files: &ContainerFiles, guest_path: &str) -> PathBuf {
        let above = files.dirs().unwrap().iter().filter(|dir| Path::new(guest_path).starts_with(dir.guest_path()));
        let dir = above.max_by_key(|dir| dir.guest_path().len()).unwrap();
        dir.path().join(Path::new(guest_path).strip_prefix(dir.guest_path()).unwrap())
    }

    fn container(&self, mounts: &[VolumeMount]) -> ContainerFiles {
        ContainerFiles::prepare(&self.volumes, mounts, FilesConfig::default()).unwrap()
    }

    /// Removes the volumes; the folder that they lay in stays.
    fn remove(self) -> TempDir {
        Arc::into_inner(self.volumes).unwrap().remove().unwrap();
        self.folder
    }

    fn refusal(&self, mounts: &[VolumeMount]) -> String {
        let error = ContainerFiles::prepare(&self.volumes, mounts, FilesConfig::default()).unwrap_err();
        assert_eq!(error.reason(), Some("CreateContainerConfigError"), "{error}");
        format!("{error} | {}", error.advice().unwrap_or("-"))
    }
}

fn guest_paths(files: &ContainerFiles) -> Vec<(&str, bool)> {
    files.dirs().unwrap().iter().map(|dir| (dir.guest_path(), dir.is_read_only())).collect()
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn an_empty_dir_is_open_to_its_containers_and_closed_to_everyone_else() {
    let setup = setup(&[empty_dir("cache")]);
    assert_eq!(mode(setup.folder.path().join("volumes")), 0o700);
    assert_eq!(mode(setup.folder.path().join("volumes/cache")), 0o777);
    let mounted = setup.volumes.mount(&mount("cache", "/cache/")).unwrap();
    assert_eq!((mounted.guest_path(), mounted.is_read_only()), ("/cache", false));
    assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 0);
}

#[test]
fn two_containers_see_each_others_writes_at_once() {
    let setup = setup(&[empty_dir("shared")]);
    let (one, two) = (setup.container(&[mount("shared", "/a")]), setup.container(&[mount("shared", "/b")]));
    let mut written = fs::File::create(setup.path(&one, "/a/log")).unwrap();
    written.write_all(b"first").unwrap();
    assert_eq!(fs::read_to_string(setup.path(&two, "/b/log")).unwrap(), "first");
    written.write_all(b" second").unwrap();
    assert_eq!(fs::read_to_string(setup.path(&two, "/b/log")).unwrap(), "first second");
}

#[test]
fn memory_volumes_and_secrets_lie_in_memory() {
    let setup = setup(&[in_memory("fast"), files("secret", true), files("config", false), empty_dir("disk")]);
    if setup.volumes.memory.is_none() {
        assert_eq!(setup.volumes.warnings().len(), 2);
        return;
    }
    assert_eq!(setup.volumes.warnings(), []);
    let memory = fs::metadata("/dev/shm").unwrap().dev();
    let on = |name: &str| fs::metadata(setup.volumes.mount(&mount(name, "/x")).unwrap().path()).unwrap().dev() == memory;
    assert!(on("fast") && on("secret") && !on("config") && !on("disk"));
    assert_eq!(mode(setup.volumes.mount(&mount("fast", "/x")).unwrap().path()), 0o777);
}

#[test]
fn without_memory_it_is_disk_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let specs = [in_memory("fast"), files("secret", true), empty_dir("disk")];
    let volumes = PodVolumes::prepare_in(&specs, PodDirectory::given(folder.path()), &places(), Path::new("/proc")).unwrap();
    let warnings: Vec<String> = volumes.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "volume \"fast\": kept on disk, as there is no file system in memory to use: /proc is not in memory",
            "volume \"secret\": kept on disk, as there is no file system in memory to use: /proc is not in memory",
        ]
    );
    assert!(folder.path().join("volumes/fast").is_dir());
}

#[test]
fn config_maps_and_secrets_are_read_only_whatever_the_mount_says() {
    let setup = setup(&[files("config", false), files("secret", true)]);
    let container = setup.container(&[mount("config", "/config"), mount("secret", "/secret")]);
    assert_eq!(guest_paths(&container), [("/", false), ("/config", true), ("/secret", true)]);
    assert_eq!(fs::read_to_string(setup.path(&container, "/secret/keys/a")).unwrap(), "secret:keys/a");
}

#[test]
fn a_host_path_is_used_as_it_is_and_never_removed() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "kept").unwrap();
    let setup = setup(&[host_path("data", host.path(), HostPathType::Directory)]);
    let container = setup.container(&[read_only(mount("data", "/data"))]);
    assert_eq!(guest_paths(&container), [("/", false), ("/data", true)]);
    assert_eq!(fs::read_to_string(setup.path(&container, "/data/file")).unwrap(), "kept");
    drop(container);
    setup.remove();
    assert_eq!(fs::read_to_string(host.path().join("file")).unwrap(), "kept");
}

#[test]
fn a_volume_that_cannot_be_had_is_named_with_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let specs = [empty_dir("ok"), host_path("data", "/no/such/path", HostPathType::Directory)];
    let error = prepare(&specs, folder.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.volumes[1].hostPath: hostPath type check failed for the volume \"data\": /no/such/path is not a directory, it does not exist"
    );
    assert_eq!((error.reason(), error.advice()), (Some("FailedMount"), Some("create it, or write type: DirectoryOrCreate")));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_folder_that_holds_volumes_already_is_refused() {
    let setup = setup(&[empty_dir("one")]);
    let error = prepare(&[empty_dir("two")], setup.folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(setup.folder.path().join("volumes").exists());
}

#[test]
fn a_sub_path_is_made_when_it_is_missing() {
    let setup = setup(&[empty_dir("data")]);
    let container = setup.container(&[sub_path("data", "/db", "stores/db")]);
    fs::write(setup.path(&container, "/db/file"), "x").unwrap();
    assert!(setup.folder.path().join("volumes/data/stores/db/file").is_file());
    assert_eq!(mode(setup.folder.path().join("volumes/data/stores/db")), 0o777);
}

#[test]
fn a_sub_path_never_leads_out_of_its_volume() {
    let setup = setup(&[empty_dir("data"), empty_dir("other")]);
    let data = setup.folder.path().join("volumes/data");
    symlink("../other", data.join("out")).unwrap();
    symlink("/etc", data.join("etc")).unwrap();
    fs::create_dir(data.join("inside")).unwrap();
    symlink("inside", data.join("link")).unwrap();
    for path in ["out", "etc", "etc/new", "out/new", "../other"] {
        let refused = format!("cannot open the volume \"data\" at subPath {path:?}: it leads out of the volume");
        assert_eq!(setup.refusal(&[sub_path("data", "/x", path)]), format!("volumeMounts[0].subPath: {refused} | -"));
    }
    setup.container(&[sub_path("data", "/x", "link")]);
    assert_eq!(fs::read_dir(setup.folder.path().join("volumes/other")).unwrap().count(), 0);
}

#[test]
fn a_sub_path_missing_from_a_config_map_is_an_error() {
    let setup = setup(&[files("config", false)]);
    assert_eq!(
        setup.refusal(&[sub_path("config", "/etc/app.toml", "app.toml")]),
        "volumeMounts[0].subPath: cannot open the volume \"config\" at subPath \"app.toml\": there is no such file in it | -"
    );
    assert_eq!(setup.refusal(&[mount("none", "/x")]), "volumeMounts[0].name: the pod has no volume \"none\" | -");
}

#[test]
fn single_files_of_config_maps_and_secrets_are_read_only_in_their_folder() {
    let setup = setup(&[files("config", false), files("secret", true), empty_dir("logs")]);
    let container = setup.container(&[
        sub_path("config", "/etc/app.conf", "app.conf"),
        sub_path("secret", "/etc/key", "keys/a"),
        mount("logs", "/var/log"),
    ]);
    assert_eq!(guest_paths(&container), [("/", false), ("/var/log", false), ("/etc", true)]);
    assert_eq!(fs::read_to_string(setup.path(&container, "/etc/app.conf")).unwrap(), "config:app.conf");
    assert_eq!(fs::read_to_string(setup.path(&container, "/etc/key")).unwrap(), "secret:keys/a");
    let error = setup.volumes.mount(&sub_path("config", "/etc/app.conf", "app.conf")).unwrap_err();
    assert_eq!(error.to_string(), "the volume \"config\" has a single file there, not a directory");
}

#[test]
fn a_single_writable_file_is_the_file_itself() {
    let setup = setup(&[empty_dir("data")]);
    let original = setup.folder.path().join("volumes/data/state");
    fs::write(&original, "old").unwrap();
    let container = setup.container(&[sub_path("data", "/state", "state"), sub_path("data", "/run/copy", "state")]);
    assert_eq!(guest_paths(&container), [("/", false)]);
    fs::write(setup.path(&container, "/run/copy"), "new").unwrap();
    assert_eq!(fs::read_to_string(&original).unwrap(), "new");
    assert_eq!(fs::read_to_string(setup.path(&container, "/state")).unwrap(), "new");
    drop(container);
    assert_eq!(fs::read_to_string(&original).unwrap(), "new");
}

#[test]
fn a_container_can_be_kept_from_writing_outside_of_its_volumes() {
    let setup = setup(&[empty_dir("data")]);
    let read_only = |mounts: &[VolumeMount]| {
        let file = Some("/dev/termination-log".to_owned());
        let wanted = FilesConfig { read_only_root: true, file, ..FilesConfig::default() };
        ContainerFiles::prepare(&setup.volumes, mounts, wanted)
    };
    let files = read_only(&[mount("data", "/data")]).unwrap();
    assert_eq!(guest_paths(&files), [("/", true), ("/data", false), ("/dev", false)]);
    fs::write(setup.path(&files, "/data/file"), "x").unwrap();
    let error = read_only(&[sub_path("data", "/etc/file", "file")]).unwrap_err();
    assert_eq!(error.reason(), Some("CreateContainerConfigError"));
    assert_eq!(
        format!("{error} | {}", error.advice().unwrap()),
        "volumeMounts[0].mountPath: a single file cannot be mounted for writing beside readOnlyRootFilesystem | mount the folder that \
         holds the file"
    );
}

#[test]
fn a_single_file_of_the_host_is_mounted_or_refused_with_what_works() {
    let setup = setup(&[]);
    let file = setup.folder.path().join("host.txt");
    fs::write(&file, "host").unwrap();
    let volumes = tempfile::tempdir_in(setup.folder.path()).unwrap();
    let specs = [host_path("file", &file, HostPathType::File), host_path("proc", "/proc/version", HostPathType::File)];
    let setup = Setup { volumes: Arc::new(prepare(&specs, volumes.path()).unwrap()), folder: setup.folder };
    let container = setup.container(&[read_only(mount("file", "/etc/host.txt"))]);
    assert_eq!(fs::read_to_string(setup.path(&container, "/etc/host.txt")).unwrap(), "host");
    assert_eq!(
        setup.refusal(&[read_only(mount("proc", "/etc/version"))]),
        "volumeMounts[0].mountPath: the single file of the volume \"proc\" cannot be mounted at /etc/version: \
         it lies on another file system than the pod's own folder | mount the folder that holds the file, at a folder of its own"
    );
    drop((container, setup));
}

#[test]
fn a_single_file_that_cannot_be_placed_is_refused_with_what_works() {
    let setup = setup(&[files("config", false), empty_dir("data")]);
    fs::write(setup.folder.path().join("volumes/data/state"), "").unwrap();
    assert_eq!(
        setup.refusal(&[mount("data", "/etc"), sub_path("config", "/etc/app.conf", "app.conf")]),
        "volumeMounts[1].mountPath: the single file of the volume \"config\" cannot be mounted at /etc/app.conf: \
         a volume is mounted at /etc | choose a mountPath whose folder is not in another mount"
    );
    assert_eq!(
        setup.refusal(&[sub_path("config", "/app.conf", "app.conf")]),
        "volumeMounts[0].mountPath: the single file of the volume \"config\" cannot be mounted at /app.conf: \
         a read-only file needs a folder of its own | use a mountPath such as /app.conf/app.conf"
    );
    assert_eq!(
        setup.refusal(&[sub_path("config", "/etc/app.conf", "app.conf"), sub_path("data", "/etc/state", "state")]),
        "volumeMounts[1].mountPath: the single file of the volume \"data\" cannot be mounted at /etc/state: \
         its folder holds a read-only file too | mount it in another folder"
    );
}

#[test]
fn a_socket_cannot_be_mounted() {
    let host = tempfile::tempdir().unwrap();
    std::os::unix::net::UnixListener::bind(host.path().join("socket")).unwrap();
    let setup = setup(&[host_path("socket", host.path().join("socket"), HostPathType::Socket)]);
    assert_eq!(
        setup.refusal(&[mount("socket", "/run/socket")]),
        "volumeMounts[0].name: the volume \"socket\" has a socket there \
         | a WebAssembly container can only be given directories and regular files"
    );
}

#[test]
fn the_root_is_private_empty_but_for_mount_points_and_gone_afterwards() {
    let setup = setup(&[empty_dir("data")]);
    let wanted = |dir: &str| FilesConfig { working_dir: Some(dir.to_owned()), ..FilesConfig::default() };
    let mounts = [mount("data", "/var/lib/data"), mount("data", "/data")];
    let container = ContainerFiles::prepare(&setup.volumes, &mounts, wanted("/work/here")).unwrap();
    let other = setup.container(&[]);
    assert_eq!(fs::read_dir(setup.path(&other, "/")).unwrap().count(), 0);
    assert!(setup.path(&container, "/var/lib").join("data").is_dir());
    assert_eq!(mode(setup.path(&container, "/")), 0o700);
    fs::write(setup.path(&container, "/work/here/file"), vec![1; 10_000]).unwrap();
    assert!(container.root_usage(&[]).unwrap().bytes >= 10_000);
    let above = ContainerFiles::prepare(&setup.volumes, &mounts, wanted("/data/not-made")).unwrap();
    assert!(!setup.path(&above, "/data/not-made").exists());
    drop((container, other, above));
    assert_eq!(fs::read_dir(setup.folder.path()).unwrap().count(), 1, "only the volumes are left");
}

#[test]
fn a_container_without_mounts_has_nothing_on_disk_until_it_looks_at_its_files() {
    let setup = setup(&[]);
    let wanted = FilesConfig { file: Some("/dev/termination-log".to_owned()), ..FilesConfig::default() };
    let container = ContainerFiles::prepare(&setup.volumes, &[], wanted.clone()).unwrap();
    assert_eq!(container.guest_paths(), ["/"]);
    assert!(container.open_file("/dev/termination-log").unwrap().is_none());
    assert_eq!(container.root_usage(&[]).unwrap(), Usage { bytes: 0, complete: true });
    container.trim_file("/dev/termination-log", 0).unwrap();
    assert!(setup.volumes.are_empty());
    assert_eq!(fs::read_dir(setup.folder.path()).unwrap().count(), 0);

    assert_eq!(guest_paths(&container), [("/", false)]);
    assert!(container.open_file("/dev/termination-log").unwrap().is_some());
    assert!(!setup.volumes.are_empty());
    let other = ContainerFiles::prepare(&setup.volumes, &[], wanted).unwrap();
    fs::write(setup.path(&container, "/secret"), "mine").unwrap();
    assert!(!setup.path(&other, "/secret").exists(), "each has one of its own");
    drop((container, other));
    assert_eq!(fs::read_dir(setup.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_volume_can_be_the_root() {
    let setup = setup(&[empty_dir("data"), files("config", false)]);
    assert_eq!(guest_paths(&setup.container(&[read_only(mount("data", "//"))])), [("/", true)]);
    assert!(setup.refusal(&[mount("data", "/"), sub_path("config", "/etc/x", "app.conf")]).contains("a volume is mounted at /"));
    for path in ["data", "/a/../b", ""] {
        assert!(ContainerFiles::prepare(&setup.volumes, &[mount("data", path)], FilesConfig::default()).is_err(), "{path:?}");
    }
}

#[test]
fn an_empty_dir_over_its_limit_is_found() {
    let setup = setup(&[empty_dir("free"), limited("small", 1 << 20), limited("large", 1 << 30)]);
    let container = setup.container(&[mount("small", "/small"), mount("free", "/free")]);
    fs::write(setup.path(&container, "/free/file"), vec![1; 2 << 20]).unwrap();
    fs::write(setup.path(&container, "/small/file"), vec![1; 1 << 19]).unwrap();
    assert_eq!(setup.volumes.over_limit(&[]).unwrap(), None);
    fs::write(setup.path(&container, "/small/more"), vec![1; 1 << 20]).unwrap();
    let over = setup.volumes.over_limit(&[]).unwrap().unwrap();
    assert_eq!(over.to_string(), "Usage of EmptyDir volume \"small\" exceeds the limit \"1Mi\".");
    assert!(over.used.complete && over.used.bytes > 1 << 20);
    assert_eq!(setup.volumes.usage("small", &[]).unwrap(), Some(over.used));
    assert_eq!(setup.volumes.usage("none", &[]).unwrap(), None);
}

#[test]
fn a11_a_file_that_was_removed_while_it_is_open_counts_until_it_is_closed() {
    let setup = setup(&[limited("small", 1 << 20)]);
    let container = setup.container(&[mount("small", "/small")]);
    let open = |guest_path: &str| {
        let path = setup.path(&container, guest_path);
        fs::write(&path, vec![1; 2 << 20]).unwrap();
        let file = Arc::new(fs::File::open(&path).unwrap());
        container.note_open(&file);
        fs::remove_file(&path).unwrap();
        file
    };
    let (in_volume, in_root) = (open("/small/file"), open("/file"));
    let removed = container.removed();
    assert_eq!(removed.len(), 2);
    assert_eq!(setup.volumes.over_limit(&[]).unwrap(), None, "a walk does not find it");
    assert!(setup.volumes.over_limit(&removed).unwrap().is_some());
    let own = container.root_usage(&removed).unwrap().bytes - container.root_usage(&[]).unwrap().bytes;
    assert!((2 << 20..3 << 20).contains(&own), "{own}");
    drop((in_volume, in_root));
    assert_eq!(container.removed(), []);
}

#[test]
fn volumes_are_gone_after_the_pod_but_not_before_a_guest_lets_go() {
    let setup = setup(&[empty_dir("data"), in_memory("fast")]);
    let container = setup.container(&[mount("data", "/data")]);
    let mut open = fs::File::create(setup.path(&container, "/data/file")).unwrap();
    drop(container);
    let folder = setup.remove();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    open.write_all(b"to nobody").unwrap();
}

#[test]
fn a_claim_outlives_its_pod() {
    let root = tempfile::tempdir().unwrap();
    let claims_dir = root.path().join("volumes/default");
    let prepare = |specs: &[VolumeSpec]| {
        let folder = tempfile::tempdir().unwrap();
        let places = VolumePlaces { claims_dir: Some(&claims_dir) };
        let volumes = Arc::new(PodVolumes::prepare(specs, PodDirectory::given(folder.path()), &places)?);
        Ok::<_, Error>(Setup { folder, volumes })
    };
    let error = prepare(&[claim("db", false, false)]).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Some("FailedMount")));
    assert!(error.to_string().starts_with("spec.volumes[0].persistentVolumeClaim: there is no claim \"data\""), "{error}");
    assert!(error.advice().unwrap().contains("kind: PersistentVolumeClaim, metadata: {name: data}"));

    let first = prepare(&[claim("db", true, false)]).unwrap();
    assert_eq!((mode(&claims_dir), mode(claims_dir.join("data"))), (0o700, 0o777));
    let container = first.container(&[mount("db", "/db"), sub_path("db", "/logs", "logs")]);
    fs::write(first.path(&container, "/db/file"), "kept").unwrap();
    fs::write(first.path(&container, "/logs/log"), "log").unwrap();
    assert_eq!(first.volumes.usage("db", &[]).unwrap(), None, "it is not the pod's own");
    drop(container);
    first.remove();

    let second = prepare(&[claim("db", false, false), claim("again", true, false)]).unwrap();
    let container = second.container(&[mount("db", "/db"), mount("again", "/again")]);
    assert_eq!(fs::read_to_string(second.path(&container, "/db/file")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(second.path(&container, "/again/logs/log")).unwrap(), "log");
}

#[test]
fn a_claim_for_reading_is_read_only_and_nothing_is_made_in_it() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("data")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let places = VolumePlaces { claims_dir: Some(root.path()) };
    let volumes = Arc::new(PodVolumes::prepare(&[claim("db", false, true)], PodDirectory::given(folder.path()), &places).unwrap());
    let setup = Setup { folder, volumes };
    assert_eq!(guest_paths(&setup.container(&[mount("db", "/db")])), [("/", false), ("/db", true)]);
    assert!(setup.refusal(&[sub_path("db", "/db", "new")]).contains("there is no such file in it"));
    assert_eq!(fs::read_dir(root.path().join("data")).unwrap().count(), 0);
}

#[test]
fn a_claim_is_a_directory_of_its_own_and_no_link() {
    let root = tempfile::tempdir().unwrap();
    symlink("/etc", root.path().join("data")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let places = VolumePlaces { claims_dir: Some(root.path()) };
    assert!(PodVolumes::prepare(&[claim("db", true, false)], PodDirectory::given(folder.path()), &places).is_err());
    let error = prepare(&[claim("db", true, false)], folder.path()).unwrap_err();
    assert!(error.to_string().contains("there is no place for the claim \"data\""), "{error}");
}

#[test]
fn the_files_of_images_are_read_only() {
    let image = tempfile::tempdir().unwrap();
    fs::create_dir(image.path().join("models")).unwrap();
    fs::write(image.path().join("models/a"), "weights").unwrap();
    let source = VolumeSource::Image { reference: "example.com/models:1".into(), pull_policy: PullPolicy::IfNotPresent };
    let setup = setup(&[volume("models", source), empty_dir("own")]);
    let dir = image.path().to_owned();
    let container = |mounts: &[VolumeMount], images: ImageFiles| {
        ContainerFiles::prepare(&setup.volumes, mounts, FilesConfig { images, ..FilesConfig::default() })
    };
    let volumes = BTreeMap::from([("models".to_owned(), dir.clone())]);
    let mounted = container(&[sub_path("models", "/models", "models")], ImageFiles { root: None, volumes }).unwrap();
    assert_eq!(guest_paths(&mounted), [("/", false), ("/models", true)]);
    assert_eq!(fs::read_to_string(setup.path(&mounted, "/models/a")).unwrap(), "weights");
    // Its own image's are its root, unless it mounts a volume there.
    let root = ImageFiles { root: Some(dir), volumes: BTreeMap::new() };
    assert_eq!(guest_paths(&container(&[mount("own", "/own")], root.clone()).unwrap()), [("/", true), ("/own", false)]);
    assert_eq!(guest_paths(&container(&[mount("own", "/")], root).unwrap()), [("/", false)]);
    let error = container(&[mount("models", "/models")], ImageFiles::default()).unwrap_err();
    assert_eq!(error.to_string(), "volumeMounts[0].name: the pod has no volume \"models\"");
}
