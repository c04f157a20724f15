//! A guest that does what its arguments say, one thing after the other: `write /data/x hello then exit 3`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for step in arguments.split(|argument| argument == "then") {
        let step: Vec<&str> = step.iter().map(String::as_str).collect();
        if let Err(error) = perform(&step) {
            eprintln!("toolbox: {}: {error}", step.join(" "));
            std::process::exit(1);
        }
    }
}

fn perform(step: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    match step {
        ["exit", status] => std::process::exit(status.parse()?),
        ["echo", words @ ..] => println!("{}", words.join(" ")),
        ["complain", words @ ..] => eprintln!("{}", words.join(" ")),
        ["env", name] => println!("{}", std::env::var(name).unwrap_or_default()),
        ["pwd"] => println!("{}", std::env::var("PWD").unwrap_or_default()),
        ["cat"] => drop(std::io::copy(&mut std::io::stdin(), &mut std::io::stdout())?),
        ["cat", path] => print!("{}", std::fs::read_to_string(path)?),
        ["write", path, text] => std::fs::write(path, text)?,
        ["append", path, text] => std::fs::OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())?,
        ["fill", path, mebibytes] => fill(path, mebibytes.parse()?)?,
        ["sleep", milliseconds] => std::thread::sleep(Duration::from_millis(milliseconds.parse()?)),
        ["spin"] => spin(None),
        ["spin", milliseconds] => spin(Some(Duration::from_millis(milliseconds.parse()?))),
        ["tick", milliseconds] => tick(Duration::from_millis(milliseconds.parse()?))?,
        ["grow", mebibytes] => grow(mebibytes.parse()?),
        ["serve", port, text] => serve(port.parse()?, text)?,
        ["get", port] => get(port.parse()?)?,
        ["http", port, path] => http(port.parse()?, path)?,
        ["panic"] => panic!("as asked"),
        _ => return Err("no such tool".into()),
    }
    Ok(())
}

fn fill(path: &str, mebibytes: usize) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    let chunk = vec![b'x'; 1 << 20];
    (0..mebibytes).try_for_each(|_| file.write_all(&chunk))
}

fn spin(time: Option<Duration>) {
    let start = Instant::now();
    let mut sum = 0_u64;
    loop {
        for _ in 0..10_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        if time.is_some_and(|time| start.elapsed() >= time) {
            return;
        }
    }
}

/// Writes a dot, waits, and so on for ever.
fn tick(pause: Duration) -> std::io::Result<()> {
    loop {
        std::io::stdout().write_all(b".")?;
        std::io::stdout().flush()?;
        std::thread::sleep(pause);
    }
}

/// Takes memory and uses it.
fn grow(mebibytes: usize) {
    let mut taken = Vec::new();
    for _ in 0..mebibytes {
        taken.push(vec![1_u8; 1 << 20]);
    }
    println!("{}", taken.iter().map(Vec::len).sum::<usize>());
}

fn serve(port: u16, text: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("serving");
    for stream in listener.incoming() {
        stream?.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn get(port: u16) -> std::io::Result<()> {
    let mut text = String::new();
    TcpStream::connect(("127.0.0.1", port))?.read_to_string(&mut text)?;
    println!("{text}");
    Ok(())
}

/// Asks for `path` and prints the first line of the answer.
fn http(port: u16, path: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    println!("{}", answer.lines().next().unwrap_or_default());
    Ok(())
}
