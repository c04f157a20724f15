//! The tar stream of a layer: decompressed, counted, hashed, and cut off where it grows out of all proportion.

use super::super::format::Compression;
use crate::limits::{
    BLOB_READ_BYTES, UNPACKED_BYTES_MAX, UNPACKED_RATIO_FREE_BYTES, UNPACKED_RATIO_MAX, UNPACKED_ZSTD_WINDOW_BYTES_MAX,
};
use crate::{Error, Result};
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

/// What went through a stream so far, shared by its ends.
#[derive(Debug, Default)]
pub(super) struct Meter {
    compressed: Cell<u64>,
    unpacked: Cell<u64>,
    /// Bytes of the layers below.
    before: u64,
    exceeded: Cell<Option<Exceeded>>,
}

#[derive(Clone, Copy, Debug)]
enum Exceeded {
    Total,
    Ratio,
}

impl Meter {
    /// A meter for a layer above others that had `before` bytes.
    pub(super) fn new(before: u64) -> Rc<Self> {
        Rc::new(Self { before, ..Self::default() })
    }

    /// Bytes of this layer and those below, unpacked.
    pub(super) fn total(&self) -> u64 {
        self.before.saturating_add(self.unpacked.get())
    }

    /// Why the stream was cut off, if it was: what the reader of the stream made of it says less.
    pub(super) fn error(&self) -> Option<Error> {
        let error = match self.exceeded.get()? {
            Exceeded::Total => format!("the image is larger than {} MiB unpacked", UNPACKED_BYTES_MAX >> 20),
            Exceeded::Ratio => format!(
                "the layer unpacks to more than {UNPACKED_RATIO_MAX} times its size: {} bytes are {} already",
                self.compressed.get(),
                self.unpacked.get()
            ),
        };
        Some(Error::limit(error).hint("it looks like a bomb; build the image with less in it"))
    }

    fn count(&self, unpacked: usize) -> io::Result<()> {
        self.unpacked.set(self.unpacked.get().saturating_add(unpacked as u64));
        let free = self.unpacked.get() <= UNPACKED_RATIO_FREE_BYTES;
        if self.total() > UNPACKED_BYTES_MAX {
            self.exceeded.set(Some(Exceeded::Total));
        } else if !free && self.unpacked.get() > self.compressed.get().saturating_mul(UNPACKED_RATIO_MAX) {
            self.exceeded.set(Some(Exceeded::Ratio));
        }
        match self.exceeded.get() {
            None => Ok(()),
            Some(_) => Err(io::Error::new(io::ErrorKind::FileTooLarge, "the layer is too large")),
        }
    }
}

/// The tar stream of a layer.
pub(super) struct TarStream {
    inner: Box<dyn Read>,
    meter: Rc<Meter>,
    hasher: Sha256,
}

impl TarStream {
    /// Begins to read a blob.
    pub(super) fn new(blob: File, compression: Compression, meter: Rc<Meter>) -> Self {
        let counted = BufReader::with_capacity(BLOB_READ_BYTES, Counted { inner: blob, meter: Rc::clone(&meter) });
        let inner: Box<dyn Read> = match compression {
            Compression::None => Box::new(counted),
            // Several gzip streams after one another are one: tools that compress in parallel write such.
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(counted)),
            Compression::Zstd => Box::new(Zstd::new(counted)),
        };
        Self { inner, meter, hasher: Sha256::new() }
    }

    /// The digest of everything that was read.
    pub(super) fn digest(self) -> super::super::Digest {
        self.hasher.into()
    }
}

impl Read for TarStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.meter.count(read)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Counts the compressed bytes.
struct Counted {
    inner: File,
    meter: Rc<Meter>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.meter.compressed.set(self.meter.compressed.get() + read as u64);
        Ok(read)
    }
}

/// zstd: any number of frames after one another, some of which are to be skipped (zstd:chunked puts its table of contents there).
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(UNPACKED_ZSTD_WINDOW_BYTES_MAX);
        Self { source, decoder, in_frame: false }
    }

    /// Begins the next frame; false at the end of the source.
    fn begin_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame {
                self.in_frame = self.begin_frame()?;
                if !self.in_frame {
                    return Ok(0);
                }
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let strategy = ruzstd::decoding::BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.source, strategy);
                decoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.check()?;
            self.in_frame = false;
        }
    }
}

impl<R> Zstd<R> {
    /// Compares the frame's checksum, where it has one.
    fn check(&self) -> io::Result<()> {
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(said), Some(found)) if said != found => Err(io::Error::new(io::ErrorKind::InvalidData, "wrong checksum")),
            _ => Ok(()),
        }
    }
}

/// Reads the rest of a stream, so that all of it is hashed.
pub(super) fn drain(stream: &mut TarStream) -> Result<()> {
    match io::copy(stream, &mut io::sink()) {
        Ok(_) => Ok(()),
        Err(error) => Err(stream.meter.error().unwrap_or_else(|| Error::invalid("the layer is damaged").because(error))),
    }
}
