//! TLS for outgoing requests, over the same connections of the pod's network.

use crate::net::PodStream;
use crate::tls::{self, Trust};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::Error;

/// The configuration with the machine's root certificates: read once, by the first `https` request that has no other.
static NATIVE_ROOTS: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// Makes a TLS session with `host`, a name or an IP address, which the server's certificate must be for.
pub(super) async fn connect(
    config: Option<Arc<ClientConfig>>,
    host: &str,
    stream: PodStream,
) -> Result<TlsStream<PodStream>, Error> {
    let server = ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
    let config = match config {
        Some(config) => config,
        None => Arc::clone(NATIVE_ROOTS.get_or_try_init(native_roots).await?),
    };
    TlsConnector::from(config).connect(server, stream).await.map_err(Error::Tls)
}

/// Reads the machine's root certificates: many files, so not on a thread that runs guests. A failure is not kept: they may be
/// installed later.
async fn native_roots() -> Result<Arc<ClientConfig>, Error> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let loaded = loaded.map_err(|_| Error::ConfigurationError)?;
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(loaded.certs);
    if usable == 0 {
        tracing::warn!(target: "wasmpod::http", errors = ?loaded.errors, "the machine has no root certificates: https requests fail");
        return Err(Error::ConfigurationError);
    }
    trusting(roots).map(Arc::new)
}

/// The configuration that trusts `roots` and speaks HTTP/1.1.
pub(super) fn trusting(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let mut config = tls::client_config(Trust::Roots(roots)).map_err(|_| Error::ConfigurationError)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
