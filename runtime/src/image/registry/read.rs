//! Reading from a repository: manifests and blobs (distribution specification, "pull").

use super::session::Session;
use super::transport::{broken, host_of, read_document};
use crate::image::format::{MANIFEST, is_manifest_or_index};
use crate::image::{BlobBody, BlobSource, Descriptor, Digest};
use crate::limits::IMAGE_MANIFEST_BYTES_MAX;
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use futures::StreamExt as _;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;

/// The manifests that are understood, as a registry wants to hear them.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// The header in which registries give a manifest's digest.
const CONTENT_DIGEST: &str = "docker-content-digest";

impl Session {
    /// The manifest or index that a tag or digest stands for now. Asks for its headers; for the document only if they do not say it.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`Denied`](ErrorKind::Denied), what [`Session::send`] says, and
    /// [`Limit`](ErrorKind::Limit) or [`Invalid`](ErrorKind::Invalid) for a document that is too long or not the one that was asked for.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Descriptor> {
        let response = self.send(Method::HEAD, self.url(&format!("manifests/{name}"))?, accept_manifests()).await?;
        // An answer to HEAD has no body that could say what is wrong; the one to GET has.
        let promised = if response.status().is_success() { self.promised(&response, name)? } else { None };
        match promised {
            Some(descriptor) => Ok(descriptor),
            None => self.manifest(name).await,
        }
    }

    /// What the headers of a manifest say, when they say it all.
    fn promised(&self, response: &Response, name: &str) -> Result<Option<Descriptor>> {
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let digest =
            header(CONTENT_DIGEST).map(str::parse::<Digest>).transpose().map_err(|error| error.within(&self.named(name)))?;
        let size = header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
        let media_type = header(CONTENT_TYPE.as_str()).map(essence).filter(|media_type| is_manifest_or_index(media_type));
        let Some(((digest, size), media_type)) = digest.zip(size).zip(media_type) else { return Ok(None) };
        match name.parse::<Digest>() {
            Ok(asked) if asked != digest => Err(self.another(name, asked, digest)),
            _ => Ok(Some(Descriptor::new(media_type, digest, size))),
        }
    }

    /// The same by its bytes, for registries that give no headers.
    async fn manifest(&self, name: &str) -> Result<Descriptor> {
        let response = self.send(Method::GET, self.url(&format!("manifests/{name}"))?, accept_manifests()).await?;
        if !response.status().is_success() {
            return Err(self.refuse(response, &self.named(name)).await);
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (promised, media_type) = (header(CONTENT_DIGEST), header(CONTENT_TYPE.as_str()));
        let bytes = read_document(response, IMAGE_MANIFEST_BYTES_MAX, "the manifest").await?;
        let digest = Digest::of(&bytes);
        let promised =
            promised.map(|digest| digest.parse::<Digest>()).transpose().map_err(|error| error.within(&self.named(name)))?;
        if let Some(other) = [name.parse().ok(), promised].into_iter().flatten().find(|other| *other != digest) {
            return Err(self.another(name, other, digest));
        }
        Ok(Descriptor::new(media_type_of(media_type.as_deref(), &bytes), digest, bytes.len() as u64))
    }

    fn another(&self, name: &str, wanted: Digest, found: Digest) -> Error {
        let message = format!("the manifest is not the one that was asked for: it should be {wanted} and is {found}");
        Error::invalid(message).at(self.named(name))
    }

    /// How messages name something of this repository.
    pub(super) fn named(&self, name: &str) -> String {
        let separator = if name.contains(':') { '@' } else { ':' };
        format!("{}{separator}{name}", self.location())
    }

    /// Where the bytes of an answer to a request for a range start.
    fn starts_at(&self, response: &Response, offset: u64, descriptor: &Descriptor) -> Result<u64> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(0);
        }
        // bytes 100-199/200
        let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
        match start {
            Some(start) if start == offset => Ok(start),
            _ => Err(Error::invalid("the registry answers with another part of the blob than was asked for")
                .at(descriptor.digest.to_string())),
        }
    }
}

#[async_trait]
impl BlobSource for Session {
    async fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobBody> {
        let name = descriptor.digest.to_string();
        let is_manifest = is_manifest_or_index(&descriptor.media_type);
        let url = self.url(&format!("{}/{name}", if is_manifest { "manifests" } else { "blobs" }))?;
        let mut headers = if is_manifest { accept_manifests() } else { HeaderMap::new() };
        // A compressed transfer would have another length than the blob.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut response = None;
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-")).map_err(|_| Error::internal("no header"))?;
            headers.insert(RANGE, range);
            let resumed = self.send(Method::GET, url.clone(), headers.clone()).await?;
            headers.remove(RANGE);
            // What cannot be resumed is loaded anew.
            response = resumed.status().is_success().then_some(resumed);
        }
        let response = match response {
            Some(response) => response,
            None => self.send(Method::GET, url, headers).await?,
        };
        if !response.status().is_success() {
            return Err(self.refuse(response, &self.named(&name)).await);
        }
        let start = self.starts_at(&response, offset, descriptor)?;
        let whole = response.content_length().map(|length| start.saturating_add(length));
        if let Some(whole) = whole.filter(|whole| *whole != descriptor.size) {
            let message = format!("the registry has {whole} bytes of the blob, and its manifest says {}", descriptor.size);
            return Err(Error::new(ErrorKind::Invalid, message).at(self.named(&name)));
        }
        let host = host_of(response.url());
        let chunks = response.bytes_stream().map(move |chunk| chunk.map_err(|error| broken(&host, error)));
        Ok(BlobBody { offset: start, chunks: chunks.boxed() })
    }
}

fn accept_manifests() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MANIFESTS))])
}

/// What a manifest is: by the registry's word if that is a manifest's, else by its own, else the commonest.
fn media_type_of(header: Option<&str>, bytes: &[u8]) -> String {
    let own = || serde_json::from_slice::<serde_json::Value>(bytes).ok()?.get("mediaType")?.as_str().map(str::to_owned);
    let known = |text: &String| is_manifest_or_index(text);
    header.map(essence).filter(known).or_else(|| own().filter(known)).unwrap_or_else(|| MANIFEST.to_owned())
}

/// A media type without its parameters.
fn essence(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_owned()
}
