//! From what the containers name under `image` to programs that are linked: files, images of registries, layouts and archives.
//!
//! Every container's image is brought and compiled beside the others', each as soon as it is here. A registry that does not answer is
//! asked again after a while, as the kubelet does it (`ImagePullBackOff`: 10 s, doubled up to 300 s), until `--timeout` is over; what a
//! wait cannot mend, such as an image that does not exist, is an error at once.

use super::target::Target;
use crate::args::RunArgs;
use crate::progress::Progress;
use crate::{image_store, registries, report};
use futures::future::try_join_all;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use wasmpod::container::Program;
use wasmpod::engine::{self, Engine};
use wasmpod::image::{self, Image, ImageReference, Images, Lease, ObtainedImage, PullObserver};
use wasmpod::pod::ContainerImage;
use wasmpod::pod::backoff::{Backoff, BackoffPolicy};
use wasmpod::pod::spec::{ContainerSpec, PodSpec, PullPolicy, PullSecret, VolumeSource, VolumeSpec};
use wasmpod::{Error, ErrorKind, Result};

/// What a pod's containers run, in their order, and what keeps it.
pub(super) struct LoadedPod {
    pub(super) images: Vec<ContainerImage>,
    /// Where the files of image volumes are, by their reference.
    pub(super) volumes: BTreeMap<String, PathBuf>,
    pub(super) leases: Vec<Lease>,
}

/// What brings programs.
pub(super) struct Programs {
    engine: Engine,
    /// None as long as no container needs it: a file needs no store.
    images: Option<Images>,
    observer: PullObserver,
    base: PathBuf,
    /// A single file is what the user named: no need to say in which container of which pod it is.
    is_file: bool,
    /// `--pull`.
    policy: Option<PullPolicy>,
    /// For how long a registry that does not answer is asked again.
    patience: Option<Duration>,
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
    /// Opens the store and reads the registries' configuration, if the pods name anything but files.
    pub(super) fn new<'a>(
        args: &RunArgs,
        root: Option<&Path>,
        engine: &Engine,
        target: &Target,
        pods: impl Iterator<Item = &'a PodSpec>,
        progress: &Progress,
    ) -> Result<Self> {
        let open = || Ok::<_, Error>(Images::new(image_store::open(root)?, registries::config(&args.registry)?));
        Ok(Self {
            engine: engine.clone(),
            images: names_images(pods).then(open).transpose()?,
            observer: progress.pull_observer(),
            base: target.base.clone(),
            is_file: target.is_file,
            policy: args.pull.map(PullPolicy::from),
            patience: args.timeout,
        })
    }

    /// Brings what the pods name, and gives the containers what their images' configs say. What several containers run alike is
    /// brought once.
    pub(super) async fn load<'a>(&self, specs: impl Iterator<Item = &'a mut PodSpec>) -> Result<Vec<LoadedPod>> {
        let mut specs: Vec<&mut PodSpec> = specs.collect();
        let mut wanted = BTreeMap::new();
        for spec in &specs {
            for container in &spec.containers {
                wanted.entry(key(spec, container)).or_insert((&**spec, container));
            }
        }
        let programs = try_join_all(wanted.into_iter().map(|(key, (spec, container))| async move {
            let user = format!("container {} of pod {}", container.name, spec.name);
            let within = |error: Error| if self.is_file { error } else { error.within(&user) };
            self.load_one(spec, container).await.map(|loaded| (key, loaded)).map_err(within)
        }));
        let volumes = try_join_all(specs.iter().map(|spec| self.image_volumes(spec)));
        let (programs, volumes) = tokio::try_join!(programs, volumes)?;
        let programs: BTreeMap<_, _> = programs.into_iter().collect();
        specs.iter_mut().zip(volumes).map(|(spec, volumes)| apply(spec, &programs, volumes)).collect()
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

    /// The files of a pod's image volumes: the volume's reference, where they are, and what keeps them.
    async fn image_volumes(&self, spec: &PodSpec) -> Result<Vec<(String, PathBuf, Lease)>> {
        let wanted = spec.volumes.iter().filter_map(|volume| match &volume.source {
            VolumeSource::Image { reference, pull_policy } => Some((&volume.name, reference, *pull_policy)),
            _ => None,
        });
        try_join_all(wanted.map(|(name, reference, policy)| async move {
            let within = |error: Error| error.within(&format!("volume {name} of pod {}", spec.name));
            let parsed = ImageReference::parse(reference, Some(&self.base)).map_err(within)?;
            let obtained = self.obtain(&parsed, self.policy.unwrap_or(policy), &spec.pull_secrets).await.map_err(within)?;
            let root =
                self.blocking(&obtained.image, (), |image, store, ()| image.root_file_system(store)).await.map_err(within)?;
            let root =
                root.ok_or_else(|| within(Error::invalid("the image has no files to mount: it is one program").at(reference)))?;
            Ok((reference.clone(), root.path().to_path_buf(), obtained.lease))
        }))
        .await
    }

    /// Brings an image, in as many attempts as it takes when only time can mend what is wrong.
    async fn obtain(&self, reference: &ImageReference, policy: PullPolicy, secrets: &[PullSecret]) -> Result<ObtainedImage> {
        let images =
            self.images.as_ref().ok_or_else(|| Error::internal("the image store is not open").at(reference.to_string()))?;
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
        let store = self.images.as_ref().map(|images| images.store().clone());
        let store = store.ok_or_else(|| Error::internal("the image store is not open"))?;
        let image = image.clone();
        let done = tokio::task::spawn_blocking(move || work(&image, &store, with)).await;
        done.map_err(|error| Error::internal("reading an image ended early").because(error))?
    }
}

/// Whether the pods name anything but files.
fn names_images<'a>(pods: impl Iterator<Item = &'a PodSpec>) -> bool {
    let is_file = |container: &ContainerSpec| matches!(ImageReference::parse(&container.image, None), Ok(ImageReference::File(_)));
    let is_image = |volume: &VolumeSpec| matches!(volume.source, VolumeSource::Image { .. });
    let mut pods = pods;
    pods.any(|pod| !pod.containers.iter().all(is_file) || pod.volumes.iter().any(is_image))
}

/// What decides which program a container runs, and who may bring it.
type Key = (String, Vec<String>, Vec<String>, Vec<String>);

fn key(spec: &PodSpec, container: &ContainerSpec) -> Key {
    let secrets = spec.pull_secrets.iter().map(|secret| format!("{}/{}", spec.namespace, secret.name)).collect();
    (container.image.clone(), container.command.clone(), container.args.clone(), secrets)
}

/// Puts what was brought into the pod.
fn apply(spec: &mut PodSpec, programs: &BTreeMap<Key, Loaded>, volumes: Vec<(String, PathBuf, Lease)>) -> Result<LoadedPod> {
    let mut pod = LoadedPod { images: Vec::new(), volumes: BTreeMap::new(), leases: Vec::new() };
    let keys: Vec<Key> = spec.containers.iter().map(|container| key(spec, container)).collect();
    for (index, key) in keys.iter().enumerate() {
        let loaded = programs.get(key).cloned().ok_or_else(|| Error::internal("an image was not loaded"))?;
        if let (Some(obtained), Some(container)) = (loaded.obtained, spec.containers.get_mut(index)) {
            obtained.image.configure(container);
            pod.leases.push(obtained.lease);
        }
        if let Some(root) = &loaded.root {
            spec.mount_image_root(index, root);
        }
        pod.images.push(loaded.runs);
    }
    for (reference, root, lease) in volumes {
        pod.volumes.insert(reference, root);
        pod.leases.push(lease);
    }
    Ok(pod)
}

fn last_part(name: &str) -> String {
    name.rsplit('/').next().unwrap_or_default().to_owned()
}
