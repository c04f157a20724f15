//! Says a few lines to the server in the next container, and checks that each one comes back.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

const SERVER: &str = "127.0.0.1:7000";

fn main() -> Result<()> {
    let stream = connect()?;
    let mut answers = BufReader::new(&stream).lines();
    for line in ["hello", "how is it over there?", "goodbye"] {
        writeln!(&stream, "{line}")?;
        let answer = answers.next().transpose()?;
        assert_eq!(answer.as_deref(), Some(line), "the echo differs");
        println!("echoed: {line}");
    }
    Ok(())
}

/// Containers of a pod start together, so the server may need a moment before it listens.
fn connect() -> Result<TcpStream> {
    for _ in 0..100 {
        if let Ok(stream) = TcpStream::connect(SERVER) {
            return Ok(stream);
        }
        sleep(Duration::from_millis(20));
    }
    TcpStream::connect(SERVER)
}
