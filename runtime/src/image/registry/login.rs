//! Finding out whether a credential is good.

use super::endpoint::Location;
use super::session::{Access, Session};
use super::{Credential, Credentials, DockerConfig, RegistryConfig};
use crate::{Error, Result};
use http::{HeaderMap, Method, StatusCode};

/// Asks `registry` (`host[:port]`) whether it takes `credential`.
///
/// # Errors
/// [`Denied`](crate::ErrorKind::Denied) with the registry's own words when it does not; whatever keeps it from answering.
pub async fn check_login(config: &RegistryConfig, registry: &str, credential: &Credential) -> Result<()> {
    let credentials = Credentials::new(vec![DockerConfig::of(registry, credential.clone())]);
    let location = Location::parse(registry, false);
    let session = Session::open(config, credentials, location, Access::LogIn).await?;
    let response = session.send(Method::GET, session.url("")?, HeaderMap::new()).await.map_err(|error| error.within(registry))?;
    match response.status() {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND => Err(Error::invalid("there is no registry here: it does not know /v2/").at(registry)),
        _ => Err(session.refuse(response, registry).await),
    }
}
