//! From a reference to an image that is here: what is asked, of whom, and when.
//!
//! ```text
//!   reference ──policy──▶ in the store? ── yes ──────────────────────────────────────────▶ ObtainedImage (leased)
//!                              │ no                                                              ▲
//!                              └──▶ mirrors, then the registry ──▶ resolve ──▶ fetch_image ──▶ tag
//! ```
//!
//! Tasks that want one reference at the same time share one pull; processes share the downloads of blobs, by the store.

use super::archive::LocalLayout;
use super::registry::{Access, Credentials, Location, RegistryConfig, Session};
use super::{Descriptor, FetchObserver, FetchProgress, Image, ImageReference, ImageStore, Lease, RegistryReference};
use crate::limits::{BLOB_ATTEMPTS_MAX, BLOB_RETRY_WAIT, IMAGE_PULLS_MAX};
use crate::observe::{Phase, span};
use crate::pod::spec::{PullPolicy, PullSecret};
use crate::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::spawn_blocking;

/// The images of this machine and of the registries: cheap to clone, one a process.
#[derive(Clone)]
pub struct Images(Arc<Inner>);

struct Inner {
    store: ImageStore,
    registries: RegistryConfig,
    /// Pulls that load something at the same time.
    permits: Semaphore,
    /// The pulls under way, by reference.
    pulling: Mutex<HashMap<String, Weak<OnceCell<ObtainedImage>>>>,
}

/// An image that is in the store and stays there as long as this or a clone of it lives.
#[derive(Clone, Debug)]
pub struct ObtainedImage {
    /// The image.
    pub image: Image,
    /// `imageID` in a pod's status: the reference with the digest for its tag, or the digest alone where there is no registry.
    pub id: String,
    /// Whether the registry was asked.
    pub pulled: bool,
    /// What keeps it.
    pub lease: Lease,
}

/// Told how a pull comes along. Called from the task that pulls, so it must not block.
pub type PullObserver = Arc<dyn Fn(&RegistryReference, PullProgress<'_>) + Send + Sync>;

/// How far a pull is.
#[derive(Clone, Copy, Debug)]
pub enum PullProgress<'a> {
    /// A registry is to be asked.
    Asking,
    /// This blob comes along.
    Blob(&'a Descriptor, FetchProgress),
}

impl Images {
    /// Images in `store`, from registries that are asked as `registries` says.
    pub fn new(store: ImageStore, registries: RegistryConfig) -> Self {
        let permits = Semaphore::new(IMAGE_PULLS_MAX);
        Self(Arc::new(Inner { store, registries, permits, pulling: Mutex::default() }))
    }

    /// The store.
    pub fn store(&self) -> &ImageStore {
        &self.0.store
    }

    /// How registries are asked.
    pub fn registries(&self) -> &RegistryConfig {
        &self.0.registries
    }

    /// Makes sure that an image is in the store: one of a layout or archive is read anew, one of a registry as `policy` has it, with
    /// `secrets` tried before the user's own credentials.
    ///
    /// # Errors
    /// With the words that Kubernetes has for it: `ErrImageNeverPull` when it is not here and must not be pulled;
    /// `RegistryUnavailable` when no registry answers; `ErrImagePull` for everything else. The kind is
    /// [`Unavailable`](ErrorKind::Unavailable) for what may pass by itself.
    pub async fn obtain(
        &self,
        reference: &ImageReference,
        policy: PullPolicy,
        secrets: &[PullSecret],
        observer: &PullObserver,
    ) -> Result<ObtainedImage> {
        let _phase = span(Phase::Pull);
        let obtained = match reference {
            ImageReference::Registry(reference) => self.of_registry(reference, policy, secrets, observer).await,
            ImageReference::Layout { .. } | ImageReference::Archive { .. } => self.of_layout(reference).await,
            ImageReference::File(_) => Err(Error::internal("a file is no image of the store").at(reference.to_string())),
        };
        obtained.map_err(|error| if error.reason().is_some() { error } else { error.with_reason("ErrImagePull") })
    }

    async fn of_layout(&self, reference: &ImageReference) -> Result<ObtainedImage> {
        let (wanted, store) = (reference.clone(), self.0.store.clone());
        let (layout, top, lease) = blocking(move || {
            let (layout, top) = LocalLayout::open(&wanted)?;
            Ok((layout, top, store.lease()?))
        })
        .await?;
        let image = self.0.store.fetch_image(&lease, &top, &layout, &|_, _| {}).await;
        let image = image.map_err(|error| error.within(&reference.to_string()))?;
        Ok(ObtainedImage { id: image.digest.to_string(), image, pulled: true, lease })
    }

    async fn of_registry(
        &self,
        reference: &RegistryReference,
        policy: PullPolicy,
        secrets: &[PullSecret],
        observer: &PullObserver,
    ) -> Result<ObtainedImage> {
        let found = match policy {
            PullPolicy::Always => None,
            PullPolicy::IfNotPresent | PullPolicy::Never => self.find(reference).await?,
        };
        match (found, policy) {
            (Some(found), _) => Ok(found),
            (None, PullPolicy::Never) => Err(Error::not_found("the image is not in the store, and its pull policy is Never")
                .at(reference.to_string())
                .hint(format!("bring it there: wasmpod pull {reference}"))
                .with_reason("ErrImageNeverPull")),
            (None, _) => self.pull_once(reference, secrets, observer).await,
        }
    }

    /// The image as it is in the store; none when some of it is missing.
    async fn find(&self, reference: &RegistryReference) -> Result<Option<ObtainedImage>> {
        let (store, wanted) = (self.0.store.clone(), reference.clone());
        blocking(move || {
            let Some(top) = store.resolve(&wanted.to_string())? else { return Ok(None) };
            let lease = store.lease()?;
            lease.hold_blocking(top.digest)?;
            match store.image(&top) {
                Ok(image) => Ok(Some(ObtainedImage { id: id(&wanted, &image), image, pulled: false, lease })),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.within(&wanted.to_string())),
            }
        })
        .await
    }

    /// Pulls, or waits for the pull of the same reference that is under way. One that fails leaves the next waiter to try.
    async fn pull_once(
        &self,
        reference: &RegistryReference,
        secrets: &[PullSecret],
        observer: &PullObserver,
    ) -> Result<ObtainedImage> {
        let cell = {
            let mut pulling = self.0.pulling.lock().unwrap_or_else(PoisonError::into_inner);
            pulling.retain(|_, cell| cell.strong_count() > 0);
            let name = reference.to_string();
            pulling.get(&name).and_then(Weak::upgrade).unwrap_or_else(|| {
                let cell = Arc::new(OnceCell::new());
                pulling.insert(name, Arc::downgrade(&cell));
                cell
            })
        };
        observer(reference, PullProgress::Asking);
        cell.get_or_try_init(|| self.pull(reference, secrets, observer)).await.cloned()
    }

    async fn pull(&self, reference: &RegistryReference, secrets: &[PullSecret], observer: &PullObserver) -> Result<ObtainedImage> {
        let _permit = self.0.permits.acquire().await.map_err(|_| Error::internal("nothing is pulled any more"))?;
        let credentials = self.0.registries.credentials.with_pull_secrets(secrets)?;
        let repository = Location::parse(&format!("{}/{}", reference.registry(), reference.repository()), false);
        let locations = self.0.registries.registries.locations(&repository, reference.digest().is_some());
        let mut locations = locations.map_err(|error| error.at(reference.to_string()))?.into_iter().peekable();
        while let Some(location) = locations.next() {
            match self.pull_from(location.clone(), reference, &credentials, observer).await {
                Err(error) if locations.peek().is_some() => {
                    let error = error.chain();
                    tracing::warn!(target: "wasmpod::image", mirror = %location, error, "a mirror failed; the next is asked");
                }
                outcome => return outcome.map_err(|error| about(reference, error)),
            }
        }
        Err(Error::internal("there is no registry to ask").at(reference.to_string()))
    }

    /// Pulls from one registry. What breaks off is taken up again, a few times, where it ended.
    async fn pull_from(
        &self,
        location: Location,
        reference: &RegistryReference,
        credentials: &Credentials,
        observer: &PullObserver,
    ) -> Result<ObtainedImage> {
        let session = Session::open(&self.0.registries, credentials.clone(), location, Access::Pull).await?;
        let top = session.resolve(&reference.manifest_name()).await?;
        let store = self.0.store.clone();
        let lease = blocking(move || store.lease()).await?;
        let observer: &FetchObserver<'_> = &|blob, progress| observer(reference, PullProgress::Blob(blob, progress));
        let mut wait = BLOB_RETRY_WAIT;
        let mut attempt = 1;
        let image = loop {
            match self.0.store.fetch_image(&lease, &top, &session, observer).await {
                Err(error) if error.kind() == ErrorKind::Unavailable && attempt < BLOB_ATTEMPTS_MAX => {
                    tracing::info!(target: "wasmpod::image", %reference, error = error.chain(), "the download broke off; it goes on");
                    tokio::time::sleep(wait).await;
                    (wait, attempt) = (wait * 2, attempt + 1);
                }
                outcome => break outcome?,
            }
        };
        let (store, name) = (self.0.store.clone(), reference.to_string());
        blocking(move || store.tag(&name, &top)).await?;
        Ok(ObtainedImage { id: id(reference, &image), image, pulled: true, lease })
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Images").field(&self.0.store).finish()
    }
}

/// Says which image an error is about, unless it does already.
fn about(reference: &RegistryReference, error: Error) -> Error {
    let name = reference.to_string();
    if error.subject().is_some_and(|subject| subject.starts_with(&name)) { error } else { error.within(&name) }
}

fn id(reference: &RegistryReference, image: &Image) -> String {
    reference.with_digest(image.digest).to_string()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.map_err(|error| Error::internal("a task of the image store ended early").because(error))?
}
