//! Answers every `ping N` with `pong N`, until the third.

use std::io::Result;
use std::net::UdpSocket;

fn main() -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:5000")?;
    println!("waiting on {}", socket.local_addr()?);

    let mut buffer = [0; 64];
    let mut last = String::new();
    while last != "ping 3" {
        let (length, sender) = socket.recv_from(&mut buffer)?;
        let ping = String::from_utf8_lossy(&buffer[..length]).into_owned();
        socket.send_to(ping.replace("ping", "pong").as_bytes(), sender)?;
        // A sender that waited too long for its answer repeats itself.
        if ping != last {
            println!("received: {ping}");
            last = ping;
        }
    }
    Ok(())
}
