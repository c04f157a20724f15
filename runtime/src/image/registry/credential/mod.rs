//! Credentials for registries: what they are, where they are written down, and which of them is for which repository.
//!
//! ```text
//!  imagePullSecrets ──┐
//!  auth.json ─────────┼─ docker_config ──▶ Credentials ── for_repository("ghcr.io", "acme/app") ──▶ Credential, or none
//!  config.json ───────┘        └── helper: docker-credential-NAME get
//! ```
//!
//! A credential is looked up for one registry and is sent to that one alone; see [`authorize`](super::authorize).

mod docker_config;
mod helper;
mod secret;

pub use docker_config::DockerConfig;
pub use secret::Secret;

use crate::pod::spec::PullSecret;
use crate::{Error, Result};
use std::sync::Arc;

/// What opens a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A user's name and password.
    Basic {
        /// The name.
        username: String,
        /// The password, or an access token that stands for it.
        password: Secret,
    },
    /// A refresh token: exchanged for access tokens at the registry's token service (`identitytoken` in docker's file).
    IdentityToken(Secret),
    /// An access token that is sent as it is (`registrytoken` in docker's file).
    RegistryToken(Secret),
}

/// The files that are asked for a credential, in their order: the first that has one decides.
#[derive(Clone, Debug)]
pub struct Credentials(Arc<[DockerConfig]>);

impl Credentials {
    /// These files.
    pub fn new(files: Vec<DockerConfig>) -> Self {
        Self(files.into())
    }

    /// No file at all: everything is asked for anonymously.
    pub fn anonymous() -> Self {
        Self::new(Vec::new())
    }

    /// The same with the `imagePullSecrets` of a pod before them. A secret comes with a manifest, so the helper programs that it names
    /// are not run.
    ///
    /// # Errors
    /// A secret whose `.dockerconfigjson` cannot be read, with its name.
    pub fn with_pull_secrets(&self, secrets: &[PullSecret]) -> Result<Self> {
        let read = |secret: &PullSecret| {
            let config = DockerConfig::parse(&secret.docker_config, &format!("the pull secret {}", secret.name));
            config.map(DockerConfig::without_helpers).map_err(|error: Error| error.with_reason("ErrImagePull"))
        };
        let secrets = secrets.iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok(Self::new(secrets.into_iter().chain(self.0.iter().cloned()).collect()))
    }

    /// The credential for a repository of a registry, if there is one. Runs the credential helper that a file names for it.
    ///
    /// # Errors
    /// A helper that fails or cannot be started.
    pub async fn for_repository(&self, registry: &str, repository: &str) -> Result<Option<Credential>> {
        for file in self.0.iter() {
            if let Some(found) = file.credential(registry, repository).await? {
                tracing::debug!(target: "wasmpod::image", registry, file = file.source(), "a credential was found");
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
