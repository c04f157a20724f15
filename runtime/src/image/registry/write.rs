//! Writing to a repository: blobs, then the manifest that names them (distribution specification, "push").

use super::session::Session;
use super::transport::{Upload, host_of};
use crate::image::{Descriptor, Digest};
use crate::limits::UPLOAD_CHUNK_BYTES;
use crate::{Error, Result};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::{Body, Response, Url};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Told how many bytes more are on their way.
pub(crate) type OnSent = Arc<dyn Fn(u64) + Send + Sync>;

impl Session {
    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied), and what [`Session::send`] says.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let response = self.send(Method::HEAD, self.url(&format!("blobs/{digest}"))?, HeaderMap::new()).await?;
        Ok(response.status().is_success())
    }

    /// Uploads a blob in one piece. `open` opens its bytes from their beginning.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied), and what [`Session::send`] says; a registry that does not follow the specification.
    pub(crate) async fn put_blob(&self, blob: &Descriptor, open: impl Fn() -> Result<File>, on_sent: OnSent) -> Result<()> {
        let name = blob.digest.to_string();
        let response = self.send(Method::POST, self.url("blobs/uploads/")?, HeaderMap::new()).await?;
        if !response.status().is_success() {
            return Err(self.refuse(response, &self.location().to_string()).await);
        }
        let mut url = self.upload_url(&response)?;
        url.query_pairs_mut().append_pair("digest", &name);
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]);
        // Opened here to fail here; a second time only if the registry wants a credential in the midst.
        drop(open()?);
        let make = || {
            let sent = Arc::new(AtomicU64::new(0));
            let body = match open() {
                Ok(file) => body(tokio::fs::File::from_std(file), Arc::clone(&sent), Arc::clone(&on_sent)),
                Err(_) => Body::from(Bytes::new()),
            };
            Upload { body, length: blob.size, sent }
        };
        let response = self.upload(Method::PUT, url, headers, make).await?;
        if response.status().is_success() { Ok(()) } else { Err(self.refuse(response, &self.named(&name)).await) }
    }

    /// Uploads a manifest and gives it a name: a tag or its digest.
    ///
    /// # Errors
    /// As [`put_blob`](Self::put_blob).
    pub(crate) async fn put_manifest(&self, name: &str, manifest: &Descriptor, bytes: Bytes) -> Result<()> {
        let media_type =
            HeaderValue::from_str(&manifest.media_type).map_err(|_| Error::invalid("the manifest's media type is none"))?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
        let make = || Upload { length: bytes.len() as u64, body: Body::from(bytes.clone()), sent: Arc::default() };
        let response = self.upload(Method::PUT, self.url(&format!("manifests/{name}"))?, headers, make).await?;
        if response.status().is_success() { Ok(()) } else { Err(self.refuse(response, &self.named(name)).await) }
    }

    /// Where the registry wants the blob: at itself, or elsewhere, where no credential goes.
    fn upload_url(&self, response: &Response) -> Result<Url> {
        let wrong = |message: String| Error::invalid(message).at(host_of(response.url()));
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let url = location.and_then(|location| response.url().join(location).ok());
        let url = url.ok_or_else(|| wrong("the registry does not say where to upload to".to_owned()))?;
        // Registries behind a proxy that ends TLS often name themselves by `http`: the origin that works is the one that is used.
        let (own, host) = (response.url(), host_of(&url));
        if url.host() == own.host() && url.port_or_known_default() != own.port_or_known_default() && url.scheme() != own.scheme() {
            return own
                .join(&format!("{}?{}", url.path(), url.query().unwrap_or_default()))
                .map_err(|_| wrong("no URL".to_owned()));
        }
        if url.scheme() != "https" && !self.is_own(&url) {
            return Err(wrong(format!("the registry wants the upload at {}://{host}, which is not safe", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(format!("the registry wants the upload at {host}, with a password in the URL")));
        }
        Ok(url)
    }
}

/// A body that reads as fast as it is sent.
fn body(bytes: impl AsyncRead + Send + Unpin + 'static, sent: Arc<AtomicU64>, on_sent: OnSent) -> Body {
    Body::wrap_stream(futures::stream::try_unfold(bytes, move |mut bytes| {
        let (sent, on_sent) = (Arc::clone(&sent), Arc::clone(&on_sent));
        async move {
            let mut chunk = BytesMut::with_capacity(UPLOAD_CHUNK_BYTES);
            let read = bytes.read_buf(&mut chunk).await? as u64;
            sent.fetch_add(read, Ordering::Relaxed);
            on_sent(read);
            Ok::<_, std::io::Error>((read > 0).then_some((chunk.freeze(), bytes)))
        }
    }))
}
