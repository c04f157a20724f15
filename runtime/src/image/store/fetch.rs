//! Bringing blobs into the store from wherever they are.
//!
//! ```text
//!   fetch ──▶ here already? ──▶ somebody else at it? wait ──▶ bytes of an earlier try? ask for the rest ──▶ verify ──▶ rename
//! ```
//!
//! The source is believed nothing: never more bytes are written than the descriptor says, and they count only with the right digest.

use super::super::{Descriptor, Digest};
use super::ingest::{Begun, Finished, Ingest};
use super::{ImageStore, Lease};
use crate::limits::{FETCH_BATCH_BYTES, FETCH_BYTES_PER_STALL_TIMEOUT_MIN, FETCH_STALL_TIMEOUT, STORE_LOCK_POLL};
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use std::sync::{Arc, PoisonError};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Where blobs come from: a registry, a layout on disk, an archive.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// Begins to deliver a blob, from `offset` if the source can do that, else from an earlier byte: the body says from which.
    ///
    /// # Errors
    /// Whatever keeps the source from delivering; it is passed on as it is.
    async fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobBody>;
}

/// The bytes of a blob, from some offset on.
pub struct BlobBody {
    /// The offset in the blob of the first byte; at most the one that was asked for.
    pub offset: u64,
    /// The bytes. The stream ends with the blob.
    pub chunks: BoxStream<'static, Result<Bytes>>,
}

impl std::fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobBody").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// How far a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchProgress {
    /// Another task or process is bringing the same blob.
    Waiting,
    /// So many bytes of the blob are here; the first of these says where a resumed download begins.
    Received(u64),
    /// The blob is in the store, whoever brought it.
    Stored,
}

/// Told how each blob comes along; called from the task that fetches, so it must not block.
pub type FetchObserver<'a> = dyn Fn(&Descriptor, FetchProgress) + Send + Sync + 'a;

/// A blob in memory, as a source.
#[derive(Clone, Debug)]
pub struct MemorySource(pub Bytes);

#[async_trait]
impl BlobSource for MemorySource {
    async fn open(&self, _: &Descriptor, offset: u64) -> Result<BlobBody> {
        let rest = self.0.clone().split_off(usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len()));
        Ok(BlobBody { offset, chunks: futures::stream::iter([Ok(rest)]).boxed() })
    }
}

impl ImageStore {
    /// Makes sure that the blob is in the store, and that `lease` keeps it there.
    ///
    /// However many tasks and processes ask for a blob, one of them downloads it. A download that was broken off goes on where it
    /// ended. When the future is dropped, what came is kept for the next try. Needs a tokio runtime with time.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the bytes have another digest or are more than declared (nothing of them is kept),
    /// [`Unavailable`](ErrorKind::Unavailable) when they are fewer, or when nothing, or too little, comes for
    /// [`FETCH_STALL_TIMEOUT`]; [`Limit`](ErrorKind::Limit) when the declared size is above
    /// [`BLOB_BYTES_MAX`](crate::limits::BLOB_BYTES_MAX), or the disk is full; and what the source answers.
    pub async fn fetch(
        &self,
        lease: &Lease,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
        observer: &FetchObserver<'_>,
    ) -> Result<()> {
        descriptor.check_size()?;
        lease.hold(descriptor.digest).await?;
        let turn = self.turn(descriptor.digest);
        let _turn = match turn.try_lock() {
            Ok(turn) => turn,
            Err(_) => {
                observer(descriptor, FetchProgress::Waiting);
                turn.lock().await
            }
        };
        if let Some(ingest) = self.begin(descriptor, observer).await? {
            download(ingest, descriptor, source, observer).await?;
        }
        observer(descriptor, FetchProgress::Stored);
        Ok(())
    }

    /// Puts bytes that are in memory into the store, and has `lease` keep them.
    ///
    /// # Errors
    /// As for [`fetch`](Self::fetch).
    pub async fn put(&self, lease: &Lease, media_type: &str, bytes: Bytes) -> Result<Descriptor> {
        let descriptor = Descriptor::of(media_type, &bytes);
        self.fetch(lease, &descriptor, &MemorySource(bytes), &|_, _| {}).await?;
        Ok(descriptor)
    }

    /// The lock of this process's downloads of one blob.
    fn turn(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.0.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = fetching.get(&digest).and_then(std::sync::Weak::upgrade) {
            return turn;
        }
        fetching.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        fetching.insert(digest, Arc::downgrade(&turn));
        turn
    }

    /// Waits for the turn to download; `None` when the blob is there by then.
    async fn begin(&self, descriptor: &Descriptor, observer: &FetchObserver<'_>) -> Result<Option<Box<Ingest>>> {
        let mut waits = false;
        loop {
            let (store, wanted) = (self.clone(), descriptor.clone());
            match blocking(move || Ingest::begin(&store, &wanted)).await? {
                Begun::Present => return Ok(None),
                Begun::Ours(ingest) => return Ok(Some(ingest)),
                Begun::Busy if waits => {}
                Begun::Busy => {
                    waits = true;
                    observer(descriptor, FetchProgress::Waiting);
                }
            }
            tokio::time::sleep(STORE_LOCK_POLL).await;
        }
    }
}

/// Brings the rest of a blob; once more from its beginning when the bytes of an earlier try turn out to be wrong.
async fn download(
    mut ingest: Box<Ingest>,
    descriptor: &Descriptor,
    source: &dyn BlobSource,
    observer: &FetchObserver<'_>,
) -> Result<()> {
    loop {
        let resumed = ingest.len() > 0;
        if ingest.len() < descriptor.size || descriptor.size == 0 {
            ingest = receive(ingest, descriptor, source, observer).await?;
        }
        match blocking(move || ingest.finish()).await? {
            Finished::Stored => return Ok(()),
            Finished::WrongDigest(emptied, _) if resumed => ingest = emptied,
            Finished::WrongDigest(emptied, error) => {
                emptied.discard();
                return Err(error);
            }
        }
    }
}

/// Writes what the source sends after what is there, while the next piece comes.
async fn receive(
    mut ingest: Box<Ingest>,
    descriptor: &Descriptor,
    source: &dyn BlobSource,
    observer: &FetchObserver<'_>,
) -> Result<Box<Ingest>> {
    let wanted = ingest.len();
    let opened = timeout_at(Instant::now() + FETCH_STALL_TIMEOUT, source.open(descriptor, wanted));
    let body = opened.await.map_err(|_| stalled(descriptor, wanted))??;
    if body.offset > wanted {
        let message = format!("the source begins at byte {}, though it was asked for byte {wanted}", body.offset);
        return Err(Error::new(ErrorKind::Unavailable, message).at(descriptor.digest.to_string()));
    }
    if body.offset < wanted {
        ingest = blocking(move || ingest.rewind(body.offset).map(|()| ingest)).await?;
    }
    observer(descriptor, FetchProgress::Received(body.offset));
    let mut batches = Batches::new(body, descriptor);
    let mut next = batches.next().await;
    loop {
        let batch = match next {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(ingest),
            Err(Failure::TooLong(error)) => {
                ingest.discard();
                return Err(error);
            }
            Err(Failure::Broken(error)) => return Err(error),
        };
        let write = blocking(move || ingest.append(&batch).map(|()| ingest));
        let (written, following) = tokio::join!(write, batches.next());
        ingest = written?;
        observer(descriptor, FetchProgress::Received(ingest.len()));
        next = following;
    }
}

/// Why a body is of no use.
enum Failure {
    /// It goes on beyond the declared size: nothing of it can be right.
    TooLong(Error),
    /// It broke off; what came may be right.
    Broken(Error),
}

/// A body in pieces worth a write, with its time limits.
struct Batches<'a> {
    body: BlobBody,
    descriptor: &'a Descriptor,
    /// Bytes of the blob up to here, those not yet written included.
    received: u64,
    pace: Pace,
    ended: Option<Failure>,
}

impl<'a> Batches<'a> {
    fn new(body: BlobBody, descriptor: &'a Descriptor) -> Self {
        Self { received: body.offset, pace: Pace::begin(), body, descriptor, ended: None }
    }

    /// The next batch; `None` at the end. What came before a failure is handed out before the failure.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Failure> {
        if let Some(failure) = self.ended.take() {
            return Err(failure);
        }
        let (mut batch, mut len) = (Vec::new(), 0);
        while len < FETCH_BATCH_BYTES {
            match self.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) => {
                    len += chunk.len();
                    batch.push(chunk);
                }
                Err(Failure::Broken(error)) if !batch.is_empty() => {
                    self.ended = Some(Failure::Broken(error));
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }

    /// The next chunk that is not empty.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let chunk = timeout_at(self.pace.deadline(), self.body.chunks.next()).await;
            let chunk = match chunk {
                Err(_) => return Err(Failure::Broken(stalled(self.descriptor, self.received))),
                Ok(None) => return Ok(None),
                Ok(Some(chunk)) => chunk.map_err(Failure::Broken)?,
            };
            let len = chunk.len() as u64;
            if len > self.descriptor.size.saturating_sub(self.received) {
                return Err(Failure::TooLong(too_long(self.descriptor)));
            }
            self.received += len;
            if !self.pace.keeps_up(len) {
                return Err(Failure::Broken(stalled(self.descriptor, self.received)));
            }
            if len > 0 {
                return Ok(Some(chunk));
            }
            // A stream of nothing must not hold up the others on this thread.
            tokio::task::yield_now().await;
        }
    }
}

/// Whether a body comes fast enough: something within each [`FETCH_STALL_TIMEOUT`], and not too little in any.
struct Pace {
    last_byte: Instant,
    window: Instant,
    window_bytes: u64,
}

impl Pace {
    fn begin() -> Self {
        let now = Instant::now();
        Self { last_byte: now, window: now, window_bytes: 0 }
    }

    /// When the next byte must have come.
    fn deadline(&self) -> Instant {
        self.last_byte + FETCH_STALL_TIMEOUT
    }

    /// Counts what came; false when it is too little.
    fn keeps_up(&mut self, bytes: u64) -> bool {
        let now = Instant::now();
        self.window_bytes += bytes;
        if bytes > 0 {
            self.last_byte = now;
        }
        if now < self.window + FETCH_STALL_TIMEOUT {
            return now < self.deadline();
        }
        let enough = self.window_bytes >= FETCH_BYTES_PER_STALL_TIMEOUT_MIN;
        (self.window, self.window_bytes) = (now, 0);
        enough
    }
}

fn stalled(descriptor: &Descriptor, received: u64) -> Error {
    let seconds = FETCH_STALL_TIMEOUT.as_secs();
    let message = format!("the download stalled at byte {received} of {}: too little came for {seconds} seconds", descriptor.size);
    Error::new(ErrorKind::Unavailable, message).at(descriptor.digest.to_string()).hint("pull again: it goes on from there")
}

fn too_long(descriptor: &Descriptor) -> Error {
    let message = format!("the source sends more than the {} bytes that are declared", descriptor.size);
    Error::invalid(message).at(descriptor.digest.to_string()).hint("the registry is wrong about this image; nothing of it was kept")
}

/// Runs something that waits for the disk where waiting is allowed.
pub(in super::super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.map_err(|error| Error::internal("a task of the image store ended early").because(error))?
}
