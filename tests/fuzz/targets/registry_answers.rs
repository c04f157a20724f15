//! What a registry answers to a pull: challenges, tokens, redirects, ranges, errors, manifests.
//!
//! The input is answers as they come over the wire, connection by connection; before them, documents as in `image`, whose digest, size
//! and bytes stand in answers as `@0d`, `@0s` and `@0b`. The registry is reached through a proxy, which is this target's, so that whatever
//! the answers name, nobody outside is asked.

use super::folder::Folder;
use super::{check_error, image, wire};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use wasmpod::image::registry::{ProxyConfig, RegistryConfig};
use wasmpod::image::{ImageReference, ImageStore, Images};
use wasmpod::pod::spec::PullPolicy;

/// Where the registry is: nowhere.
const REGISTRY: &str = "registry.example";
/// What takes longer waits for something: to try again, or for an answer that does not come.
const TIME_MAX: Duration = Duration::from_millis(100);

pub fn run(data: &[u8]) {
    // The loopback is reached without a proxy, and somebody may be there.
    if ["127.", "localhost", "::"].iter().any(|own| data.windows(own.len()).any(|window| window == own.as_bytes())) {
        return;
    }
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
    }
    let mut parts = wire::split(data);
    let documents = image::documents(parts.remove(0));
    let answers = parts.into_iter().map(|answer| image::filled_in(answer, &documents)).collect();
    RUNTIME.with(|runtime| runtime.block_on(pull(answers)));
}

async fn pull(answers: Vec<bytes::Bytes>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let folder = Folder::new();
    let config = RegistryConfig {
        insecure_hosts: vec![REGISTRY.to_owned()],
        proxy: ProxyConfig { https: Some(proxy.clone()), http: Some(proxy), exceptions: None },
        ..RegistryConfig::anonymous()
    };
    let images = Images::new(ImageStore::open(&folder.path("store")).unwrap(), config);
    let reference = ImageReference::parse(&format!("{REGISTRY}/app:1"), None).unwrap();
    let observer: wasmpod::image::PullObserver = Arc::new(|_, _| ());
    tokio::select! {
        pulled = tokio::time::timeout(TIME_MAX, images.obtain(&reference, PullPolicy::Always, &[], &observer)) => match pulled {
            Ok(Ok(obtained)) => drop(obtained.image.module(images.store(), &obtained.image.config.argv(&[], &[]))),
            Ok(Err(error)) => check_error(&error),
            Err(_) => {}
        },
        () = answer(&listener, answers) => unreachable!("it answers for ever"),
    }
    folder.check(&["store"]);
}

/// The proxy: it tunnels to nobody, and answers each other connection with what comes next.
async fn answer(listener: &TcpListener, answers: Vec<bytes::Bytes>) {
    let mut answers = answers.into_iter();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let bytes = match asks_for_a_tunnel(&mut client).await {
            true => b"HTTP/1.1 502 no\r\ncontent-length: 0\r\n\r\n".as_slice().into(),
            false => answers.next().unwrap_or_default(),
        };
        // A client that is gone has had enough.
        let _ = client.write_all(&bytes).await;
        let _ = client.shutdown().await;
    }
}

async fn asks_for_a_tunnel(client: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && client.read_buf(&mut request).await.unwrap_or(0) > 0 {}
    request.starts_with(b"CONNECT ")
}
