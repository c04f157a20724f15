//! Requests to a `wasi:http` container, and answers to the requests that it makes of its neighbour.
//!
//! The input is what a client sends, and then what the neighbour answers, connection by connection.

use super::guest::{self, Data, PATIENCE, Surroundings};
use super::{block_on, wire};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use wasmpod::net::{AddressFamily, PodNet, Shutdown};
use wasmpod::wasi::http::{HttpGuests, HttpServer};
use wasmpod::wasi::{component_linker, listen_tcp};
use wasmtime::Store;
use wasmtime::component::Component;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// The component: it asks its neighbour, on port 9000, for what it is asked for itself.
const FRONT: &[u8] = include_bytes!("../../../examples/http/front.wasm");
/// Bytes of everything that is answered.
const ANSWERS_BYTES_MAX: usize = 1 << 20;

struct Guests(Surroundings);

impl HttpGuests<Data> for Guests {
    fn store(&self) -> wasmtime::Result<Store<Data>> {
        Ok(self.0.store())
    }

    fn failed(&self, error: &wasmtime::Error) {
        // The guest's own failures are its own.
        drop(format!("{error:#}"));
    }
}

pub fn run(data: &[u8]) {
    block_on(serve(data));
}

fn proxy() -> ProxyPre<Data> {
    static PROXY: OnceLock<ProxyPre<Data>> = OnceLock::new();
    let make = || {
        let component = Component::new(guest::engine(), FRONT).unwrap();
        ProxyPre::new(component_linker::<Data>(guest::engine()).unwrap().instantiate_pre(&component).unwrap()).unwrap()
    };
    PROXY.get_or_init(make).clone()
}

async fn serve(data: &[u8]) {
    let mut answers = wire::split(data);
    let request = answers.remove(0);
    let guests = Arc::new(Guests(Surroundings::new()));
    let net = guests.0.net.clone();
    let listener = listen_tcp(guests.0.container(), 8080).unwrap();
    let server = HttpServer { listener, proxy: proxy(), guests: Arc::<Guests>::clone(&guests) };
    let served = async {
        tokio::select! {
            served = server.serve(std::future::pending(), client(&net, request)) => served.unwrap(),
            () = wire::answer(&net, 9000, answers) => unreachable!("it serves for ever"),
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("a server that was killed ends");
    Arc::into_inner(guests).expect("the server is gone").0.check();
}

/// Sends everything and reads until the server has nothing more to say.
async fn client(net: &PodNet, request: &[u8]) {
    let container = net.container("client");
    let socket = container.tcp_socket(AddressFamily::Ipv4).unwrap();
    let stream = socket.connected(SocketAddr::from(([127, 0, 0, 1], 8080))).await.unwrap();
    let write = async {
        // The server may have had enough.
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown(Shutdown::Write);
    };
    let read = async {
        let (mut total, mut buffer) = (0, [0; 4096]);
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => total += length,
            }
            assert!(total <= ANSWERS_BYTES_MAX);
        }
    };
    tokio::join!(write, read);
}
