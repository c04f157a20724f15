//! The documents of an image: indexes, manifests, configs, as a registry may give them out.
//!
//! The input is documents with a zero byte between them, the last one being what the reference led to. `@0d` and `@0s` in a document
//! stand for the digest and the size of the first one, and so on, and `@0b` for all of it: what is damaged is the documents, not what
//! ties them together.

use super::folder::Folder;
use super::{block_on, check_error};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use std::collections::HashMap;
use wasmpod::image::format::Document;
use wasmpod::image::{BlobBody, BlobSource, Descriptor, Digest, ImageStore};
use wasmpod::{Error, Result};

/// Documents of one image.
const DOCUMENTS_MAX: usize = 10;

/// The documents of an input.
pub fn documents(data: &[u8]) -> Vec<Bytes> {
    let mut documents = Vec::new();
    for document in data.splitn(DOCUMENTS_MAX, |byte| *byte == 0) {
        documents.push(filled_in(document, &documents));
    }
    documents
}

pub fn run(data: &[u8]) {
    let documents = documents(data);
    for document in &documents {
        // Whatever it is said to be.
        for media_type in ["", "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"] {
            if let Err(error) = Document::parse(&Descriptor::of(media_type, document), document) {
                check_error(&error);
            }
        }
    }
    let Some(top) = documents.last().map(|top| Descriptor::of("", top)) else { return };
    block_on(fetch(&top, &Documents(documents.iter().map(|bytes| (Digest::of(bytes), bytes.clone())).collect())));
}

/// The text with what it says about earlier documents. Bytes that name none stay as they are, text or not.
pub fn filled_in(text: &[u8], earlier: &[Bytes]) -> Bytes {
    let mut filled = Vec::new();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let named = match rest {
            [b'@', number @ b'0'..=b'9', what, ..] => earlier.get(usize::from(number - b'0')).zip(Some(*what)),
            _ => None,
        };
        let replaced = match named {
            Some((bytes, b'd')) => Digest::of(bytes).to_string().into_bytes(),
            Some((bytes, b's')) => bytes.len().to_string().into_bytes(),
            Some((bytes, b'b')) => bytes.to_vec(),
            _ => {
                filled.push(byte);
                rest = tail;
                continue;
            }
        };
        filled.extend(replaced);
        rest = &rest[3..];
        if filled.len() > 1 << 16 {
            break;
        }
    }
    filled.into()
}

async fn fetch(top: &Descriptor, documents: &Documents) {
    let folder = Folder::new();
    let store = ImageStore::open(&folder.path("store")).unwrap();
    let lease = store.lease().unwrap();
    match store.fetch_image(&lease, top, documents, &|_, _| ()).await {
        Ok(image) => {
            // What was fetched is there, and is read the same way again.
            assert_eq!(store.image(top).unwrap(), image);
            let argv = image.config.argv(&[], &[]);
            match image.module(&store, &argv) {
                Ok(module) => assert!(module.bytes.starts_with(b"\0asm")),
                Err(error) => check_error(&error),
            }
        }
        Err(error) => check_error(&error),
    }
    folder.check(&["store"]);
}

/// What a registry has.
struct Documents(HashMap<Digest, Bytes>);

#[async_trait]
impl BlobSource for Documents {
    async fn open(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobBody> {
        let blob = self.0.get(&descriptor.digest).ok_or_else(|| Error::not_found("the registry does not have it"))?;
        let rest = blob.slice(usize::try_from(offset).unwrap().min(blob.len())..);
        Ok(BlobBody { offset, chunks: futures::stream::iter([Ok(rest)]).boxed() })
    }
}
