//! A box of small tools for pods: what the manifests of tutorials do with `sh`, `nginx`, `curl` and `cat`.
//!
//! Its arguments are commands, `;` between them, run one after the other until one fails:
//! `write /data/greeting hello ; serve 8080 /data/greeting`.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;
use std::{env, fs};

/// How often, and how many times, what is not there yet is looked for again: pods start together.
const RETRY: (Duration, usize) = (Duration::from_millis(20), 1000);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    for command in arguments.split(|word| word == ";") {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match run(&words) {
            Ok(None) => {}
            Ok(Some(status)) => return ExitCode::from(status),
            Err(error) => {
                eprintln!("{}: {error}", words.join(" "));
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Runs one command; a status ends the program.
fn run(words: &[&str]) -> Result<Option<u8>> {
    match words {
        [] => {}
        ["say", words @ ..] => println!("{}", words.join(" ")),
        ["env", names @ ..] => names.iter().for_each(|name| println!("{name}={}", env::var(name).unwrap_or_default())),
        ["write", file, words @ ..] => fs::write(file, words.join(" ") + "\n")?,
        ["append", file, words @ ..] => {
            fs::OpenOptions::new().create(true).append(true).open(file)?.write_all((words.join(" ") + "\n").as_bytes())?
        }
        ["cat", files @ ..] => {
            for file in files {
                print!("{}", fs::read_to_string(file)?);
            }
        }
        ["list", folder] => list(folder)?,
        ["remove", file] => fs::remove_file(file)?,
        ["await", file] => retry(|| awaited(file))?,
        ["sleep", milliseconds] => sleep(Duration::from_millis(number(milliseconds)?)),
        ["forever"] => loop {
            sleep(Duration::from_secs(3600));
        },
        ["exit", status] => return Ok(Some(number(status)? as u8)),
        ["exit-once", file, status] => {
            // Fails the first time only: what it leaves in a volume outlives it.
            if !Path::new(file).exists() {
                fs::write(file, "")?;
                return Ok(Some(number(status)? as u8));
            }
        }
        ["serve", port] => serve(port, None)?,
        ["serve", port, file] => serve(port, Some(file))?,
        ["get", address, path] => println!("{}", retry(|| get(address, path))?.trim_end()),
        ["get", address, path, times] => {
            for _ in 0..number(times)? {
                println!("{}", retry(|| get(address, path))?.trim_end());
            }
        }
        ["gather", address, path, count] => {
            // Until so many different ones have answered.
            let mut answers = std::collections::BTreeSet::new();
            retry(|| {
                answers.insert(get(address, path)?);
                if answers.len() as u64 >= number(count)? { Ok(()) } else { Err(Error::other("too few answer")) }
            })?
        }
        ["resolve", name] => {
            let addresses = retry(|| (*name, 80_u16).to_socket_addrs())?;
            addresses.filter(|address| address.is_ipv4()).for_each(|address| println!("{name} is {}", address.ip()));
        }
        _ => return Err(Error::other("no such command")),
    }
    Ok(None)
}

/// Another container is still writing what is there and empty.
fn awaited(file: &str) -> Result<()> {
    if fs::metadata(file)?.len() > 0 { Ok(()) } else { Err(Error::other("the file is empty")) }
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| Error::other(format!("{text:?} is no number")))
}

fn retry<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..RETRY.1 {
        if let Ok(value) = attempt() {
            return Ok(value);
        }
        sleep(RETRY.0);
    }
    attempt()
}

fn list(folder: &str) -> Result<()> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<String>>>()?;
    names.retain(|name| !name.starts_with(".."));
    names.sort();
    names.iter().for_each(|name| println!("{name}"));
    Ok(())
}

/// Answers HTTP for ever: with the contents of `file`, or with the name of the pod. `/has/PATH` says whether there is such a file, and
/// `/log/WORDS` prints them.
fn serve(port: &str, file: Option<&str>) -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", number(port)? as u16))?;
    println!("serving on port {port}");
    loop {
        let (mut stream, _) = listener.accept()?;
        let mut line = String::new();
        let mut reader = BufReader::new(&stream).take(64 * 1024);
        reader.read_line(&mut line)?;
        // A client that still writes would see its connection reset.
        let mut header = String::from("-");
        while !header.trim_end().is_empty() {
            header.clear();
            if reader.read_line(&mut header)? == 0 {
                break;
            }
        }
        let path = line.split(' ').nth(1).unwrap_or("/");
        let (status, body) = answer(path, file);
        let sent = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        if let Err(error) = sent {
            eprintln!("a client went away: {error}");
        }
    }
}

fn answer(path: &str, file: Option<&str>) -> (&'static str, String) {
    if let Some(wanted) = path.strip_prefix("/has") {
        let there = Path::new(wanted).exists();
        return if there { ("200 OK", "yes\n".into()) } else { ("503 Service Unavailable", "no\n".into()) };
    }
    if let Some(words) = path.strip_prefix("/log/") {
        println!("{words}");
        return ("200 OK", "logged\n".into());
    }
    match file.map(fs::read_to_string) {
        Some(Ok(contents)) => ("200 OK", contents),
        Some(Err(_)) => ("404 Not Found", "there is no such file\n".into()),
        None => ("200 OK", env::var("HOSTNAME").unwrap_or_default() + "\n"),
    }
}

/// The body of an answer with a status below 400.
fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status: u64 = answer.split(' ').nth(1).map_or(Ok(0), number)?;
    match answer.split_once("\r\n\r\n") {
        Some((_, body)) if (200..400).contains(&status) => Ok(body.to_owned()),
        _ => Err(Error::other(format!("status {status}"))),
    }
}
