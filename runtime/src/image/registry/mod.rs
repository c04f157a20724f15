//! Registries: the distribution API, spoken without trusting who answers.
//!
//! ```text
//!  RegistryReference ──registries_conf──▶ Location ──▶ Session ──┬─ read:  manifest, blobs ──▶ the store
//!                                                       │        └─ write: blobs, manifest
//!                       config, trust ──▶ transport ◀───┤
//!                credential, challenge ──▶ authorize ◀──┘
//! ```
//!
//! * [`RegistryConfig`] is all that a process asks registries with: plain data.
//! * `transport` bounds every wait and every document, follows redirects and drops the credential on the way to another origin.
//! * `authorize` decides where a credential goes.
//! * `session` is one conversation: what it must answer, and to whom.
//! * `answer` puts a registry's refusal into words: its own, without secrets.
//!
//! The client is written here rather than taken from a library because of what it must not do: read a document without bound, send a
//! credential to wherever a registry points, follow the `urls` of foreign layers, go on without a certificate authority that could not
//! be read.

mod answer;
mod authorize;
mod challenge;
mod config;
mod credential;
mod endpoint;
mod login;
mod read;
mod registries_conf;
mod session;
mod transport;
mod trust;
mod write;

pub use challenge::Challenge;
pub use config::{ProxyConfig, RegistryConfig};
pub use credential::{Credential, Credentials, DockerConfig, Secret};
pub use login::check_login;
pub use registries_conf::RegistriesConf;

pub(crate) use endpoint::Location;
pub(crate) use session::{Access, Session};
pub(crate) use write::OnSent;
