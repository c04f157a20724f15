//! `caller reach ADDRESS...` tries TCP and UDP to each address and prints what came of it; `caller serve NAME` answers whoever
//! connects to port 8080 with its name; `caller ask ADDRESS...` asks each address for its name.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

fn main() {
    let mut args = std::env::args().skip(1);
    let verb = args.next().expect("what to do");
    match verb.as_str() {
        "reach" => args.for_each(|address| reach(&address)),
        "serve" => serve(&args.next().expect("a name")),
        "ask" => args.for_each(|address| ask(&address)),
        other => panic!("{other}?"),
    }
}

fn reach(address: &str) {
    let Ok(mut resolved) = address.to_socket_addrs() else { return println!("{address}: no such name") };
    let Some(to) = resolved.next() else { return println!("{address}: no address") };
    let tcp = TcpStream::connect(to).and_then(|mut stream| stream.write_all(b"hello")).map_err(|error| error.kind());
    println!("{address}: tcp {tcp:?} udp {:?}", datagram(to));
}

fn datagram(to: SocketAddr) -> Result<usize, std::io::ErrorKind> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    UdpSocket::bind(any).and_then(|socket| socket.send_to(b"hello", to)).map_err(|error| error.kind())
}

fn serve(name: &str) {
    let listener = TcpListener::bind("0.0.0.0:8080").expect("port 8080 is free");
    println!("listening");
    for stream in listener.incoming() {
        let _ = stream.and_then(|mut stream| stream.write_all(name.as_bytes()));
    }
}

fn ask(address: &str) {
    let mut answer = String::new();
    let asked = TcpStream::connect(address).and_then(|mut stream| stream.read_to_string(&mut answer));
    match asked {
        Ok(_) => println!("{address}: {answer}"),
        Err(error) => println!("{address}: {:?}", error.kind()),
    }
}
