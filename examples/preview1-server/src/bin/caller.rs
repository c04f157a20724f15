//! Calls the server with the socket extension of WasmEdge, through which preview-1 programs can connect, bind and listen.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::Shutdown;
use std::thread::sleep;
use std::time::Duration;
use wasmedge_wasi_socket::TcpStream;

fn main() -> Result<()> {
    let mut stream = connect("127.0.0.1:7000")?;
    stream.write_all(b"hello\nis anybody there?\n")?;
    stream.shutdown(Shutdown::Write)?;
    for line in BufReader::new(stream).lines() {
        println!("heard: {}", line?);
    }
    Ok(())
}

/// The runtime listens for the server from its start, but the server may start a moment later than this program.
fn connect(address: &str) -> Result<TcpStream> {
    for _ in 0..100 {
        if let Ok(stream) = TcpStream::connect(address) {
            return Ok(stream);
        }
        sleep(Duration::from_millis(20));
    }
    TcpStream::connect(address)
}
