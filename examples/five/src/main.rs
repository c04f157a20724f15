//! One of five equal containers: serves its own port, and calls each of the other four by TCP and by UDP, over 127.0.0.1, ::1 and
//! the pod's name. It ends when all its 24 calls were answered and all 24 calls to it were, too.
//!
//! WASI 0.2 has no threads, so nothing here blocks: [`Server::turn`] and [`Call::turn`] do what can be done now, in turns.

use std::collections::BTreeSet;
use std::env;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

const CONTAINERS: u16 = 5;
const FIRST_PORT: u16 = 7001;
const TURN: Duration = Duration::from_millis(1);
/// A datagram may come before its receiver has bound: then it is lost, and sent again after this time.
const UDP_RETRY: Duration = Duration::from_millis(50);

fn main() -> Result<()> {
    let number = variable("NUMBER").parse().expect("NUMBER is 1 to 5");
    let hosts = ["127.0.0.1".to_owned(), "::1".to_owned(), variable("POD_NAME")];
    let peers = (1..=CONTAINERS).filter(|peer| *peer != number);

    let mut server = Server::start(number)?;
    let mut calls = Vec::new();
    for peer in peers {
        for host in &hosts {
            for transport in [Transport::Tcp, Transport::Udp] {
                calls.push(Call::new(number, peer, host, transport));
            }
        }
    }
    let expected = calls.len();
    while !calls.is_empty() || server.served.len() < expected {
        server.turn()?;
        let mut pending = Vec::new();
        for mut call in calls {
            if !call.turn()? {
                pending.push(call);
            }
        }
        calls = pending;
        sleep(TURN);
    }
    println!("container {number}: {expected} calls answered, {} served", server.served.len());
    Ok(())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("the variable {name} is not set"))
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp,
    Udp,
}

/// What container `number` answers to a request.
fn reply(number: u16, request: &str) -> String {
    format!("{number} heard: {request}")
}

/// Gives `None` where the operation would have blocked.
fn ready<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads one line; gives it once it is whole.
fn read_line(mut stream: &TcpStream, line: &mut Vec<u8>) -> Result<Option<String>> {
    let mut buffer = [0; 128];
    while let Some(length) = ready(stream.read(&mut buffer))? {
        if length == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended within a line"));
        }
        line.extend_from_slice(&buffer[..length]);
        if let Some(text) = line.strip_suffix(b"\n") {
            return Ok(Some(String::from_utf8_lossy(text).into_owned()));
        }
    }
    Ok(None)
}

/// Answers the calls of the others, on both families of addresses.
struct Server {
    number: u16,
    listeners: Vec<TcpListener>,
    connections: Vec<(TcpStream, Vec<u8>)>,
    sockets: Vec<UdpSocket>,
    /// The requests that were answered; a repeated one counts once.
    served: BTreeSet<String>,
}

impl Server {
    fn start(number: u16) -> Result<Server> {
        let port = FIRST_PORT + number - 1;
        let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
        // An IPv6 socket of WASI takes no IPv4, so each family gets its own.
        for wildcard in ["0.0.0.0", "::"] {
            let listener = TcpListener::bind((wildcard, port))?;
            listener.set_nonblocking(true)?;
            listeners.push(listener);
            let socket = UdpSocket::bind((wildcard, port))?;
            socket.set_nonblocking(true)?;
            sockets.push(socket);
        }
        Ok(Server { number, listeners, connections: Vec::new(), sockets, served: BTreeSet::new() })
    }

    fn turn(&mut self) -> Result<()> {
        for listener in &self.listeners {
            while let Some((stream, _)) = ready(listener.accept())? {
                stream.set_nonblocking(true)?;
                self.connections.push((stream, Vec::new()));
            }
        }
        let mut open = Vec::new();
        for (mut stream, mut line) in self.connections.drain(..) {
            match read_line(&stream, &mut line)? {
                Some(request) => {
                    writeln!(stream, "{}", reply(self.number, &request))?;
                    self.served.insert(request);
                }
                None => open.push((stream, line)),
            }
        }
        self.connections = open;

        let mut buffer = [0; 128];
        for socket in &self.sockets {
            while let Some((length, caller)) = ready(socket.recv_from(&mut buffer))? {
                let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
                socket.send_to(reply(self.number, &request).as_bytes(), caller)?;
                self.served.insert(request);
            }
        }
        Ok(())
    }
}

/// One call of another container, from its start to its answer.
struct Call {
    host: String,
    port: u16,
    transport: Transport,
    request: String,
    answer: String,
    progress: Progress,
}

enum Progress {
    NotStarted,
    /// The connection, and what was read of the answer.
    Tcp(TcpStream, Vec<u8>),
    /// The socket, where to send to, and when last something was sent.
    Udp(UdpSocket, SocketAddr, Instant),
}

impl Call {
    fn new(from: u16, to: u16, host: &str, transport: Transport) -> Call {
        let request = format!("{from} calls {to} at {host} by {transport:?}");
        let answer = reply(to, &request);
        Call { host: host.to_owned(), port: FIRST_PORT + to - 1, transport, request, answer, progress: Progress::NotStarted }
    }

    /// Whether the call is done.
    fn turn(&mut self) -> Result<bool> {
        let answer = match &mut self.progress {
            Progress::NotStarted => {
                self.progress = self.start()?;
                None
            }
            Progress::Tcp(stream, line) => read_line(stream, line)?,
            Progress::Udp(socket, address, sent) => {
                if sent.elapsed() > UDP_RETRY {
                    socket.send_to(self.request.as_bytes(), *address)?;
                    *sent = Instant::now();
                }
                let mut buffer = [0; 128];
                ready(socket.recv_from(&mut buffer))?.map(|(length, _)| String::from_utf8_lossy(&buffer[..length]).into_owned())
            }
        };
        if let Some(answer) = &answer {
            assert_eq!(*answer, self.answer);
        }
        Ok(answer.is_some())
    }

    fn start(&self) -> Result<Progress> {
        match self.transport {
            Transport::Tcp => match TcpStream::connect((self.host.as_str(), self.port)) {
                Ok(mut stream) => {
                    stream.set_nonblocking(true)?;
                    writeln!(stream, "{}", self.request)?;
                    Ok(Progress::Tcp(stream, Vec::new()))
                }
                // The other one does not listen yet.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Progress::NotStarted),
                Err(error) => Err(error),
            },
            Transport::Udp => {
                let address = (self.host.as_str(), self.port).to_socket_addrs()?.next().expect("the host has an address");
                let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
                socket.set_nonblocking(true)?;
                socket.send_to(self.request.as_bytes(), address)?;
                Ok(Progress::Udp(socket, address, Instant::now()))
            }
        }
    }
}
