//! From what the containers name under `image` to programs that are linked: files, images of registries, layouts and archives.
//!
//! Every container's image is brought and compiled beside the others', each as soon as it is here. A registry that does not answer is
//! asked again after a while, as the kubelet does it (`ImagePullBackOff`: 10 s, doubled up to 300 s), until `--timeout` is over; what a
//! wait cannot mend, such as an image that does not exist, is an error at once.

use super::target::Target;
use crate::args::{RegistryArgs, RunArgs};
use crate::progress::Progress;
use crate::{image_store, registries, report};
use futures::future::try_join_all;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use wasmpod::container::Program;
use wasmpod::engine::{self, Engine};
use wasmpod::image::{self, Image, ImageReference, Images, Lease, ObtainedImage, PullObserver};
use wasmpod::pod::ContainerImage;
use wasmpod::pod::backoff::{Backoff, BackoffPolicy};
use wasmpod::pod::spec::{ContainerSpec, EXEC_IMAGE_ANNOTATION, PodSpec, PullPolicy, PullSecret, VolumeSource, VolumeSpec};
use wasmpod::{Error, ErrorKind, Result};

/// What brings programs, and keeps those that it brought: a pod that is made later finds them.
pub(super) struct Programs {
    engine: Engine,
    /// The store and its registries: opened when the first pod names anything but a file.
    images: OnceLock<Images>,
    root: Option<PathBuf>,
    registry: RegistryArgs,
    observer: PullObserver,
    base: PathBuf,
    /// A single file is what the user named: no need to say in which container of which pod it is.
    is_file: bool,
    /// `--pull`.
    policy: Option<PullPolicy>,
    /// For how long a registry that does not answer is asked again.
    patience: Option<Duration>,
    ready: Mutex<Ready>,
}

/// What is here, with the leases that keep it in the store.
#[derive(Default)]
struct Ready {
    programs: BTreeMap<Key, Loaded>,
    volumes: BTreeMap<Key, (PathBuf, Lease)>,
}

/// A program, before it is anybody's in particular.
#[derive(Clone)]
struct Loaded {
    runs: ContainerImage,
    /// The image of the store that it is from; none for a file.
    obtained: Option<ObtainedImage>,
    /// Where the image's files are.
    root: Option<PathBuf>,
}

impl Programs {
    /// Has nothing yet.
    pub(super) fn new(args: &RunArgs, root: Option<&Path>, engine: &Engine, target: &Target, progress: &Progress) -> Self {
        Self {
            engine: engine.clone(),
            images: OnceLock::new(),
            root: root.map(Path::to_path_buf),
            registry: args.registry.clone(),
            observer: progress.pull_observer(),
            base: target.base.clone(),
            is_file: target.is_file,
            policy: args.pull.map(PullPolicy::from),
            patience: args.timeout,
            ready: Mutex::default(),
        }
    }

    /// Brings what the pods name and is not here yet; what several containers run alike is brought once.
    pub(super) async fn load<'a>(&self, specs: impl IntoIterator<Item = &'a PodSpec>) -> Result<()> {
        let (mut programs, mut volumes) = (BTreeMap::new(), BTreeMap::new());
        {
            let ready = self.ready();
            for spec in specs {
                let containers = spec.containers.iter().map(Cow::Borrowed).chain(spec.exec_container().map(Cow::Owned));
                for container in containers {
                    let key = key(spec, &container);
                    if !ready.programs.contains_key(&key) {
                        programs.entry(key).or_insert((spec, container));
                    }
                }
                for (volume, reference, policy) in image_volumes(spec) {
                    let key = volume_key(spec, reference);
                    if !ready.volumes.contains_key(&key) {
                        volumes.entry(key).or_insert((spec, volume, reference, policy));
                    }
                }
            }
        }
        let programs = try_join_all(programs.into_iter().map(|(key, (spec, container))| async move {
            let user = match &container {
                Cow::Borrowed(container) => format!("container {} of pod {}", container.name, spec.name),
                Cow::Owned(_) => format!("annotation {EXEC_IMAGE_ANNOTATION} of pod {}", spec.name),
            };
            let within = |error: Error| if self.is_file { error } else { error.within(&user) };
            self.load_one(spec, &container).await.map(|loaded| (key, loaded)).map_err(within)
        }));
        let volumes = try_join_all(volumes.into_iter().map(|(key, (spec, volume, reference, policy))| async move {
            let within = |error: Error| error.within(&format!("volume {} of pod {}", volume.name, spec.name));
            self.load_volume(spec, reference, policy).await.map(|loaded| (key, loaded)).map_err(within)
        }));
        let (programs, volumes) = tokio::try_join!(programs, volumes)?;
        let mut ready = self.ready();
        ready.programs.extend(programs);
        ready.volumes.extend(volumes);
        Ok(())
    }

    /// Gives the containers what their images' configs say; says what the containers run, in their order, and where the files of
    /// image volumes are, by their reference. All of it was loaded before.
    pub(super) fn apply(&self, spec: &mut PodSpec) -> Result<(Vec<ContainerImage>, BTreeMap<String, PathBuf>)> {
        let ready = self.ready();
        let lost = || Error::internal("an image was not loaded");
        let keys: Vec<Key> = spec.containers.iter().map(|container| key(spec, container)).collect();
        let mut images = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let loaded = ready.programs.get(key).ok_or_else(lost)?;
            if let (Some(obtained), Some(container)) = (&loaded.obtained, spec.containers.get_mut(index)) {
                obtained.image.configure(container);
            }
            if let Some(root) = &loaded.root {
                spec.mount_image_root(index, root);
            }
            images.push(loaded.runs.clone());
        }
        let files = |(_, reference, _): (&VolumeSpec, &str, PullPolicy)| {
            let (root, _) = ready.volumes.get(&volume_key(spec, reference)).ok_or_else(lost)?;
            Ok((reference.to_owned(), root.clone()))
        };
        let volumes = image_volumes(spec).map(files).collect::<Result<_>>()?;
        Ok((images, volumes))
    }

    /// What is exec'd into the pod's containers, if it names an image for that; it was loaded before.
    pub(super) fn exec_program(&self, spec: &PodSpec) -> Option<Program> {
        let container = spec.exec_container()?;
        self.ready().programs.get(&key(spec, &container)).map(|loaded| loaded.runs.program.clone())
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store, opened when it is first needed: a file needs none.
    fn images(&self) -> Result<&Images> {
        if let Some(images) = self.images.get() {
            return Ok(images);
        }
        let images = Images::new(image_store::open(self.root.as_deref())?, registries::config(&self.registry)?);
        Ok(self.images.get_or_init(|| images))
    }

    async fn load_one(&self, spec: &PodSpec, container: &ContainerSpec) -> Result<Loaded> {
        let reference = ImageReference::parse(&container.image, Some(&self.base))?;
        if matches!(reference, ImageReference::File(_)) {
            return self.load_file(&reference, &container.image).await;
        }
        let policy = self.policy.unwrap_or(container.image_pull_policy);
        let obtained = self.obtain(&reference, policy, &spec.pull_secrets).await?;
        let image = &obtained.image;
        let artifact = match image.module_digest() {
            Some(digest) => self.engine.cached(&engine::Digest(digest.bytes())).await?,
            None => None,
        };
        let artifact = match artifact {
            Some(artifact) => artifact,
            None => {
                let module = self.blocking(image, image.argv(container), |image, store, argv| image.module(store, &argv)).await;
                let module = module.map_err(|error| error.within(&container.image))?;
                self.engine.load(&container.image, module.bytes).await?
            }
        };
        let program = Program::link(&artifact).map_err(|error| error.at(&container.image))?;
        let root = self.blocking(image, (), |image, store, ()| image.root_file_system(store)).await?;
        let entrypoint = match &reference {
            ImageReference::Registry(reference) => last_part(reference.repository()),
            other => last_part(&other.to_string()),
        };
        let runs = ContainerImage { program, id: obtained.id.clone(), entrypoint };
        Ok(Loaded { runs, root: root.map(|root| root.path().to_path_buf()), obtained: Some(obtained) })
    }

    async fn load_file(&self, reference: &ImageReference, name: &str) -> Result<Loaded> {
        let contents = image::load(reference)?;
        let artifact = self.engine.load(name, contents.bytes).await?;
        let program = Program::link(&artifact).map_err(|error| error.at(name))?;
        let entrypoint = contents.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let runs = ContainerImage { program, id: format!("sha256:{}", contents.digest), entrypoint };
        Ok(Loaded { runs, obtained: None, root: None })
    }

    /// Where the files of an image volume are, and what keeps them.
    async fn load_volume(&self, spec: &PodSpec, reference: &str, policy: PullPolicy) -> Result<(PathBuf, Lease)> {
        let parsed = ImageReference::parse(reference, Some(&self.base))?;
        let obtained = self.obtain(&parsed, self.policy.unwrap_or(policy), &spec.pull_secrets).await?;
        let root = self.blocking(&obtained.image, (), |image, store, ()| image.root_file_system(store)).await?;
        let root = root.ok_or_else(|| Error::invalid("the image has no files to mount: it is one program").at(reference))?;
        Ok((root.path().to_path_buf(), obtained.lease))
    }

    /// Brings an image, in as many attempts as it takes when only time can mend what is wrong.
    async fn obtain(&self, reference: &ImageReference, policy: PullPolicy, secrets: &[PullSecret]) -> Result<ObtainedImage> {
        let images = self.images()?;
        let mut backoff = Backoff::new(BackoffPolicy::KUBELET);
        let until = self.patience.map(|patience| Instant::now() + patience);
        loop {
            let error = match images.obtain(reference, policy, secrets, &self.observer).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => error,
                outcome => return outcome,
            };
            let wait = backoff.after_failed_start();
            let next = Instant::now() + wait;
            if until.is_some_and(|until| until < next) {
                return Err(error);
            }
            report::warn(&format!("{}; trying again in {} s (ImagePullBackOff)", error.chain(), wait.as_secs()));
            tokio::time::sleep_until(next).await;
        }
    }

    /// Does something with an image that reads and writes files.
    async fn blocking<A: Send + 'static, T: Send + 'static>(
        &self,
        image: &Image,
        with: A,
        work: impl FnOnce(&Image, &image::ImageStore, A) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.images()?.store().clone();
        let image = image.clone();
        let done = tokio::task::spawn_blocking(move || work(&image, &store, with)).await;
        done.map_err(|error| Error::internal("reading an image ended early").because(error))?
    }
}

/// What decides which program a container runs, and who may bring it.
type Key = (String, Vec<String>, Vec<String>, Vec<String>);

fn key(spec: &PodSpec, container: &ContainerSpec) -> Key {
    match ImageReference::parse(&container.image, None) {
        // The file is the program, whatever its arguments.
        Ok(ImageReference::File(_)) => (container.image.clone(), Vec::new(), Vec::new(), Vec::new()),
        _ => (container.image.clone(), container.command.clone(), container.args.clone(), secrets(spec)),
    }
}

fn volume_key(spec: &PodSpec, reference: &str) -> Key {
    (reference.to_owned(), Vec::new(), Vec::new(), secrets(spec))
}

fn secrets(spec: &PodSpec) -> Vec<String> {
    spec.pull_secrets.iter().map(|secret| format!("{}/{}", spec.namespace, secret.name)).collect()
}

fn image_volumes(spec: &PodSpec) -> impl Iterator<Item = (&VolumeSpec, &str, PullPolicy)> {
    spec.volumes.iter().filter_map(|volume| match &volume.source {
        VolumeSource::Image { reference, pull_policy } => Some((volume, reference.as_str(), *pull_policy)),
        _ => None,
    })
}

fn last_part(name: &str) -> String {
    name.rsplit('/').next().unwrap_or_default().to_owned()
}
