//! Sends three pings to the container next door and waits for the answer to each.

use std::io::{ErrorKind, Result};
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

const RECEIVER: &str = "127.0.0.1:5000";
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

fn main() -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    for number in 1..=3 {
        // A datagram may be lost, as the first one will be when nobody waits for it yet; so it is sent until it is answered.
        let pong = loop {
            socket.send_to(format!("ping {number}").as_bytes(), RECEIVER)?;
            if let Some(answer) = receive(&socket)? {
                break answer;
            }
        };
        assert_eq!(pong, format!("pong {number}"));
        println!("answered: {pong}");
    }
    Ok(())
}

/// The next datagram, if one comes in time.
fn receive(socket: &UdpSocket) -> Result<Option<String>> {
    let mut buffer = [0; 64];
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    while Instant::now() < deadline {
        match socket.recv(&mut buffer) {
            Ok(length) => return Ok(Some(String::from_utf8_lossy(&buffer[..length]).into_owned())),
            // Some hosts report here that the receiver's port was closed.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
            Err(error) => return Err(error),
        }
        sleep(Duration::from_millis(1));
    }
    Ok(None)
}
