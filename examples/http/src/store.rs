//! The store behind the service: keys and values in memory, over TCP. It speaks as much of HTTP/1.1 as `front.rs` needs, so that
//! the front can call it with nothing but `wasi:http`, all that the proxy world gives it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};

/// Values longer than this are refused.
const VALUE_BYTES_MAX: usize = 1024 * 1024;

type Values = HashMap<String, Vec<u8>>;

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:9000")?;
    println!("listening on {}", listener.local_addr()?);

    let mut values = Values::new();
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(error) = serve(stream, &mut values) {
            eprintln!("a request failed: {error}");
        }
    }
}

/// Answers the one request of a connection.
fn serve(mut stream: TcpStream, values: &mut Values) -> Result<()> {
    let (method, key, body) = read_request(&stream)?;
    println!("{method} {key}");
    let (status, value) = match method.as_str() {
        "GET" => match values.get(&key) {
            Some(value) => ("200 OK", value.as_slice()),
            None => ("404 Not Found", &b"no such key\n"[..]),
        },
        "PUT" => match values.insert(key, body) {
            Some(_) => ("200 OK", &b"replaced\n"[..]),
            None => ("201 Created", &b"stored\n"[..]),
        },
        "DELETE" => match values.remove(&key) {
            Some(_) => ("200 OK", &b"forgotten\n"[..]),
            None => ("404 Not Found", &b"no such key\n"[..]),
        },
        _ => ("405 Method Not Allowed", &b""[..]),
    };
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", value.len())?;
    stream.write_all(value)
}

/// Reads a request's method, path and body; of its headers only the body's length matters.
fn read_request(stream: &TcpStream) -> Result<(String, String, Vec<u8>)> {
    let invalid = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut reader = BufReader::new(stream.take(64 * 1024 + VALUE_BYTES_MAX as u64));

    let mut request_line = String::new();
    reader.read_line(&mut request_line)?;
    let mut words = request_line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(invalid("the request line is malformed"));
    };

    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(|_| invalid("the length is no number"))?;
            }
            Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => {
                return Err(invalid("chunked bodies are not read"));
            }
            Some(_) => {}
            None => break,
        }
    }
    if length > VALUE_BYTES_MAX {
        return Err(invalid("the value is too long"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((method, path, body))
}
