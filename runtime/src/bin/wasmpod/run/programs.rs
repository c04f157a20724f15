//! From what the containers name under `image` to programs that are linked: files, images of registries, layouts and archives.
//!
//! What is on this machine is loaded before anything runs, so that a mistake in it is said at once. Images of registries are brought by
//! each pod as its state machine asks for them, every container's beside the others', and compiled as soon as they are here.

use super::target::Target;
use crate::args::{RegistryArgs, RunArgs};
use crate::progress::Progress;
use crate::{image_store, registries};
use async_trait::async_trait;
use futures::future::try_join_all;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::time::Instant;
use wasmpod::container::Program;
use wasmpod::engine::{self, Engine};
use wasmpod::image::{self, FetchProgress, Image, ImageReference, Images, Lease, ObtainedImage, PullObserver, PullProgress};
use wasmpod::pod::spec::{ContainerSpec, EXEC_IMAGE_ANNOTATION, PodSpec, PullPolicy, VolumeSource, VolumeSpec};
use wasmpod::pod::state::{ContainerIndex, PulledImage, Transfer};
use wasmpod::pod::{ContainerImage, FailedPull, ImagePuller, PullNotice, PulledContainer};
use wasmpod::{Error, Result};

/// What brings programs, and keeps those of this machine: a pod that is made later finds them.
pub(super) struct Programs {
    engine: Engine,
    /// The store and its registries: opened when the first pod names anything but a file.
    images: OnceLock<Images>,
    root: Option<PathBuf>,
    registry: RegistryArgs,
    progress: Progress,
    base: PathBuf,
    /// A single file is what the user named: no need to say in which container of which pod it is.
    is_file: bool,
    /// `--pull`.
    policy: Option<PullPolicy>,
    /// What was loaded before anything ran.
    local: Mutex<Local>,
}

/// Programs and image volumes of this machine.
#[derive(Default)]
struct Local {
    programs: BTreeMap<ProgramKey, ContainerImage>,
    volumes: BTreeMap<String, VolumeFiles>,
}

/// What decides which program of this machine a container runs: its image, command and arguments.
type ProgramKey = (String, Vec<String>, Vec<String>);

/// Where the files of an image volume are, and what keeps them.
#[derive(Clone)]
struct VolumeFiles {
    dir: PathBuf,
    lease: Lease,
}

impl Programs {
    /// Has nothing yet.
    pub(super) fn new(args: &RunArgs, root: Option<&Path>, engine: &Engine, target: &Target, progress: &Progress) -> Self {
        Self {
            engine: engine.clone(),
            images: OnceLock::new(),
            root: root.map(Path::to_path_buf),
            registry: args.registry.clone(),
            progress: progress.clone(),
            base: target.base.clone(),
            is_file: target.is_file,
            policy: args.pull.map(PullPolicy::from),
            local: Mutex::default(),
        }
    }

    /// Loads what the pods name of this machine and is not loaded yet; what several containers run alike is loaded once. What cannot be
    /// understood is left to the pod, which says so in Kubernetes' words.
    pub(super) async fn load_local<'a>(&self, specs: impl IntoIterator<Item = &'a PodSpec>) -> Result<()> {
        let (mut programs, mut volumes) = (BTreeMap::new(), BTreeMap::new());
        for spec in specs {
            for container in programs_of(spec) {
                if let Some(reference) = self.local_reference(&container.image) {
                    let key = key(&reference, &container);
                    if !self.local().programs.contains_key(&key) {
                        programs.entry(key).or_insert((spec, container, reference));
                    }
                }
            }
            for (volume, name, _) in image_volumes(spec) {
                if let Some(reference) = self.local_reference(name)
                    && !self.local().volumes.contains_key(name)
                {
                    volumes.entry(name.to_owned()).or_insert((spec, volume, reference));
                }
            }
        }
        let programs = try_join_all(programs.into_iter().map(|(key, (spec, container, reference))| async move {
            let within = |error: Error| if self.is_file { error } else { error.within(&user_of(spec, &container)) };
            self.load_program(&reference, &container).await.map(|loaded| (key, loaded)).map_err(within)
        }));
        let volumes = try_join_all(volumes.into_iter().map(|(name, (spec, volume, reference))| async move {
            let within = |error: Error| error.within(&format!("volume {} of pod {}", volume.name, spec.name));
            let obtained = self.obtain(spec, &reference, PullPolicy::IfNotPresent, None).await.map_err(within)?;
            self.volume_files(&name, &obtained).await.map(|files| (name, files)).map_err(within)
        }));
        let (programs, volumes) = tokio::try_join!(programs, volumes)?;
        let mut local = self.local();
        local.programs.extend(programs);
        local.volumes.extend(volumes);
        Ok(())
    }

    /// Who brings the images of a pod.
    pub(super) fn puller(self: &Arc<Self>, spec: &Arc<PodSpec>) -> Arc<dyn ImagePuller> {
        Arc::new(PodPuller { programs: Arc::clone(self), spec: Arc::clone(spec) })
    }

    fn local(&self) -> MutexGuard<'_, Local> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of an image, if it is one of this machine.
    fn local_reference(&self, name: &str) -> Option<ImageReference> {
        let reference = ImageReference::parse(name, Some(&self.base)).ok()?;
        (!matches!(reference, ImageReference::Registry(_))).then_some(reference)
    }

    /// The store, opened when it is first needed: a file needs none.
    fn images(&self) -> Result<&Images> {
        if let Some(images) = self.images.get() {
            return Ok(images);
        }
        let images = Images::new(image_store::open(self.root.as_deref())?, registries::config(&self.registry)?);
        Ok(self.images.get_or_init(|| images))
    }

    /// The program of a container whose image is on this machine.
    async fn load_program(&self, reference: &ImageReference, container: &ContainerSpec) -> Result<ContainerImage> {
        if let ImageReference::File(_) = reference {
            return self.load_file(reference, &container.image).await;
        }
        let obtained = self.images()?.obtain(reference, PullPolicy::IfNotPresent, &[], &self.progress.pull_observer()).await?;
        self.program(reference, container, obtained).await
    }

    async fn load_file(&self, reference: &ImageReference, name: &str) -> Result<ContainerImage> {
        let contents = image::load(reference)?;
        let artifact = self.engine.load(name, contents.bytes.clone()).await?;
        // The artifact is known by the hash of the binary form: a file that has it need not be hashed again.
        let id = match contents.bytes.starts_with(b"\0asm") {
            true => format!("sha256:{}", artifact.digest()),
            false => image::Digest::of(&contents.bytes).to_string(),
        };
        let program = Program::link(&artifact).map_err(|error| error.at(name))?;
        let entrypoint = contents.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(ContainerImage::of_program(program, id, entrypoint))
    }

    /// The program of an image that is in the store, compiled and linked, and its files.
    async fn program(
        &self,
        reference: &ImageReference,
        container: &ContainerSpec,
        obtained: ObtainedImage,
    ) -> Result<ContainerImage> {
        let ObtainedImage { image, id, lease, .. } = obtained;
        let artifact = match image.module_digest() {
            Some(digest) => self.engine.cached(&engine::Digest(digest.bytes())).await?,
            None => None,
        };
        let artifact = match artifact {
            Some(artifact) => artifact,
            None => {
                let module = self.blocking(&image, image.argv(container), |image, store, argv| image.module(store, &argv)).await;
                let module = module.map_err(|error| error.within(&container.image))?;
                self.engine.load(&container.image, module.bytes).await?
            }
        };
        let program = Program::link(&artifact).map_err(|error| error.at(&container.image))?;
        let root = self.blocking(&image, (), |image, store, ()| image.root_file_system(store)).await?;
        let entrypoint = match reference {
            ImageReference::Registry(reference) => last_part(reference.repository()),
            other => last_part(&other.to_string()),
        };
        let mut runs = ContainerImage::of_program(program, id, entrypoint);
        runs.files.root = root.map(|root| root.path().to_path_buf());
        runs.image = Some(image);
        runs.leases.push(lease);
        Ok(runs)
    }

    /// Brings an image into the store; tells `notice` when a registry is asked, and the user what was loaded.
    async fn obtain(
        &self,
        spec: &PodSpec,
        reference: &ImageReference,
        policy: PullPolicy,
        notice: Option<(PullNotice, String)>,
    ) -> Result<ObtainedImage> {
        let bars = self.progress.pull_observer();
        let has_loaded = Arc::new(AtomicBool::new(false));
        let loads = Arc::clone(&has_loaded);
        let observer: PullObserver = Arc::new(move |reference, progress| {
            match (progress, &notice) {
                (PullProgress::Asking, Some((notice, name))) => notice(name),
                (PullProgress::Blob(_, FetchProgress::Received(_)), _) => loads.store(true, Ordering::Relaxed),
                _ => {}
            }
            bars(reference, progress);
        });
        let policy = self.policy.unwrap_or(policy);
        let obtained = self.images()?.obtain(reference, policy, &spec.pull_secrets, &observer).await?;
        if has_loaded.load(Ordering::Relaxed) {
            self.progress.say_pulled(reference, &obtained.image);
        }
        Ok(obtained)
    }

    /// The files of an image volume.
    async fn volume_files(&self, name: &str, obtained: &ObtainedImage) -> Result<VolumeFiles> {
        let root = self.blocking(&obtained.image, (), |image, store, ()| image.root_file_system(store)).await?;
        let root = root.ok_or_else(|| Error::invalid("the image has no files to mount: it is one program").at(name))?;
        Ok(VolumeFiles { dir: root.path().to_path_buf(), lease: obtained.lease.clone() })
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

/// Brings the images of one pod.
struct PodPuller {
    programs: Arc<Programs>,
    spec: Arc<PodSpec>,
}

#[async_trait]
impl ImagePuller for PodPuller {
    async fn pull(&self, index: ContainerIndex, notice: PullNotice) -> Result<PulledContainer, FailedPull> {
        let lost = || FailedPull { image: String::new(), error: Error::internal("the pod has no such container") };
        let container = self.spec.containers.get(index.0).ok_or_else(lost)?;
        let failed = |image: &str| {
            let image = image.to_owned();
            move |error| FailedPull { image, error }
        };
        let program = async { self.program(container, &notice).await.map_err(failed(&container.image)) };
        let mounted =
            image_volumes(&self.spec).filter(|(volume, ..)| container.mounts.iter().any(|mount| mount.volume == volume.name));
        let volumes = try_join_all(mounted.map(|(volume, name, policy)| {
            let notice = &notice;
            async move {
                let brought = self.volume(name, policy, notice).await;
                brought.map(|brought| (volume.name.clone(), brought)).map_err(failed(name))
            }
        }));
        let exec = async {
            let Some(exec) = self.spec.exec_container() else { return Ok(None) };
            let brought = self.program(&exec, &notice).await;
            brought.map(|brought| Some((exec.image.clone(), brought))).map_err(failed(&exec.image))
        };
        let ((mut image, transfer), exec, volumes) = tokio::try_join!(program, exec, volumes)?;
        let mut images = vec![PulledImage { image: container.image.clone(), transfer }];
        if let Some((name, (exec, transfer))) = exec {
            images.push(PulledImage { image: name, transfer });
            image.exec_program = Some(exec.program);
            image.leases.extend(exec.leases);
        }
        for (volume, (name, files, transfer)) in volumes {
            images.push(PulledImage { image: name, transfer });
            image.files.volumes.insert(volume, files.dir);
            image.leases.push(files.lease);
        }
        Ok(PulledContainer { image, images })
    }
}

impl PodPuller {
    async fn program(&self, container: &ContainerSpec, notice: &PullNotice) -> Result<(ContainerImage, Option<Transfer>)> {
        let name = &container.image;
        let reference = ImageReference::parse(name, Some(&self.programs.base))?;
        if !matches!(reference, ImageReference::Registry(_)) {
            let loaded = self.programs.local().programs.get(&key(&reference, container)).cloned();
            let loaded = loaded.ok_or_else(|| Error::internal("an image of this machine was not loaded").at(name))?;
            return Ok((loaded, None));
        }
        let (obtained, transfer) = self.obtain(&reference, name, container.image_pull_policy, notice).await?;
        Ok((self.programs.program(&reference, container, obtained).await?, transfer))
    }

    async fn volume(&self, name: &str, policy: PullPolicy, notice: &PullNotice) -> Result<(String, VolumeFiles, Option<Transfer>)> {
        let loaded = self.programs.local().volumes.get(name).cloned();
        if let Some(files) = loaded {
            return Ok((name.to_owned(), files, None));
        }
        let reference = ImageReference::parse(name, Some(&self.programs.base))?;
        let (obtained, transfer) = self.obtain(&reference, name, policy, notice).await?;
        Ok((name.to_owned(), self.programs.volume_files(name, &obtained).await?, transfer))
    }

    async fn obtain(
        &self,
        reference: &ImageReference,
        name: &str,
        policy: PullPolicy,
        notice: &PullNotice,
    ) -> Result<(ObtainedImage, Option<Transfer>)> {
        let asked = Instant::now();
        let notice = (Arc::clone(notice), name.to_owned());
        let obtained = self.programs.obtain(&self.spec, reference, policy, Some(notice)).await?;
        let transfer = obtained.pulled.then(|| Transfer { took: asked.elapsed(), bytes: obtained.image.size() });
        Ok((obtained, transfer))
    }
}

/// All whose programs a pod needs: its containers, and what is exec'd into them if the pod names an image for that.
fn programs_of(spec: &PodSpec) -> impl Iterator<Item = Cow<'_, ContainerSpec>> {
    spec.containers.iter().map(Cow::Borrowed).chain(spec.exec_container().map(Cow::Owned))
}

/// `container web of pod shop`: who wants an image.
pub(super) fn user_of(spec: &PodSpec, container: &ContainerSpec) -> String {
    if spec.containers.iter().any(|own| own == container) {
        format!("container {} of pod {}", container.name, spec.name)
    } else {
        format!("annotation {EXEC_IMAGE_ANNOTATION} of pod {}", spec.name)
    }
}

fn key(reference: &ImageReference, container: &ContainerSpec) -> ProgramKey {
    match reference {
        // The file is the program, whatever its arguments.
        ImageReference::File(_) => (container.image.clone(), Vec::new(), Vec::new()),
        _ => (container.image.clone(), container.command.clone(), container.args.clone()),
    }
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
