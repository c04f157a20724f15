//! Listens on the pod's loopback and sends every line back, until it is told `goodbye`.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpListener;

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:7000")?;
    println!("listening on {}", listener.local_addr()?);

    loop {
        let (stream, _) = listener.accept()?;
        for line in BufReader::new(&stream).lines() {
            let line = line?;
            println!("heard: {line}");
            writeln!(&stream, "{line}")?;
            if line == "goodbye" {
                return Ok(());
            }
        }
    }
}
