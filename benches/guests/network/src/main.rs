//! Both ends of every network benchmark: the servers serve one measurement, the clients time it and print nanoseconds.
//!
//! It uses nothing but the standard library, so that the same file runs in a pod and under plain wasmtime.

use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Rounds before the clock starts.
const WARM_UP: u64 = 50;
/// Bytes of one read or write of the stream.
const PIECE_BYTES: usize = 64 << 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let address = SocketAddr::from(([127, 0, 0, 1], number(1) as u16));
    let elapsed = match arguments.first().map(String::as_str) {
        Some("tcp-echo") => return tcp_echo(address, number(2) as usize),
        Some("tcp-ping") => tcp_ping(address, number(2) as usize, number(3))?,
        Some("sink") => return sink(address),
        Some("pour") => pour(address, number(2))?,
        Some("accept") => return accept(address, number(2)),
        Some("dial") => dial(address, number(2))?,
        Some("udp-echo") => return udp_echo(address, number(2) as usize),
        Some("calls") => host_calls(address, number(2))?,
        Some("udp-ping") => udp_ping(address, number(2) as usize, number(3))?,
        _ => return Err(std::io::Error::other("which measurement?")),
    };
    println!("{}", elapsed.as_nanos());
    Ok(())
}

/// The server may not listen yet.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let start = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Err(error) if start.elapsed() > Duration::from_secs(10) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
            connected => return connected,
        }
    }
}

fn tcp_echo(address: SocketAddr, bytes: usize) -> Result<()> {
    let (mut stream, _) = TcpListener::bind(address)?.accept()?;
    let mut message = vec![0; bytes];
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&message)?;
    }
    Ok(())
}

/// `rounds` round trips of `bytes`.
fn tcp_ping(address: SocketAddr, bytes: usize, rounds: u64) -> Result<Duration> {
    let mut stream = connect(address)?;
    let mut message = vec![1; bytes];
    let mut start = Instant::now();
    for round in 0..WARM_UP + rounds {
        if round == WARM_UP {
            start = Instant::now();
        }
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
    }
    Ok(start.elapsed())
}

fn sink(address: SocketAddr) -> Result<()> {
    let (mut stream, _) = TcpListener::bind(address)?.accept()?;
    let mut piece = vec![0; PIECE_BYTES];
    while stream.read(&mut piece)? > 0 {}
    // The client stops its clock at this.
    stream.write_all(&[1])
}

/// `pieces` of [`PIECE_BYTES`], until the last byte has been read.
fn pour(address: SocketAddr, pieces: u64) -> Result<Duration> {
    let mut stream = connect(address)?;
    let piece = vec![1; PIECE_BYTES];
    let start = Instant::now();
    for _ in 0..pieces {
        stream.write_all(&piece)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Ok(start.elapsed())
}

fn accept(address: SocketAddr, connections: u64) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    for _ in 0..WARM_UP + connections {
        listener.accept()?.0.write_all(&[1])?;
    }
    Ok(())
}

/// `connections` one after the other, each until its first byte.
fn dial(address: SocketAddr, connections: u64) -> Result<Duration> {
    let mut start = Instant::now();
    for connection in 0..WARM_UP + connections {
        if connection == WARM_UP {
            start = Instant::now();
        }
        connect(address)?.read_exact(&mut [0])?;
    }
    Ok(start.elapsed())
}

/// Ends at an empty datagram.
fn udp_echo(address: SocketAddr, bytes: usize) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    let mut message = vec![0; bytes];
    loop {
        let (length, from) = socket.recv_from(&mut message)?;
        socket.send_to(&message[..length], from)?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn udp_ping(address: SocketAddr, bytes: usize, rounds: u64) -> Result<Duration> {
    let socket = UdpSocket::bind((address.ip(), 0))?;
    let mut message = vec![1; bytes];
    // The server may not be there yet, and nobody says so.
    std::thread::sleep(Duration::from_millis(20));
    let mut start = Instant::now();
    for round in 0..WARM_UP + rounds {
        if round == WARM_UP {
            start = Instant::now();
        }
        socket.send_to(&message, address)?;
        socket.recv_from(&mut message)?;
    }
    let elapsed = start.elapsed();
    socket.send_to(&[], address)?;
    Ok(elapsed)
}

/// `calls` of the host that do nothing but look at a socket: what no network can be faster than.
fn host_calls(address: SocketAddr, calls: u64) -> Result<Duration> {
    let socket = UdpSocket::bind((address.ip(), 0))?;
    let start = Instant::now();
    for _ in 0..calls {
        std::hint::black_box(socket.ttl()?);
    }
    Ok(start.elapsed())
}
