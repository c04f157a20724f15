//! Serves on a descriptor that it was given. Preview 1 can neither bind nor listen; so the runtime listens on the container's ports,
//! passes the listeners as open descriptors after those of the directories, and says so in two variables, as systemd does:
//! `LISTEN_FDS` is how many there are, `LISTEN_FDNAMES` the names of their ports with colons in between.

use std::env;
use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpListener;
use std::os::fd::{FromRawFd, RawFd};

fn main() -> Result<()> {
    println!("{} listener(s): {}", env::var("LISTEN_FDS").unwrap_or_default(), env::var("LISTEN_FDNAMES").unwrap_or_default());
    let descriptor = first_listener().expect("no listener was passed: the manifest must declare a containerPort");
    // SAFETY: the descriptor was passed to this program, and nothing else in it uses it.
    let listener = unsafe { TcpListener::from_raw_fd(descriptor) };

    let (mut stream, _) = listener.accept()?;
    let mut requests = BufReader::new(&mut stream);
    let mut line = String::new();
    while requests.read_line(&mut line)? > 0 {
        println!("heard: {}", line.trim_end());
        requests.get_mut().write_all(line.to_uppercase().as_bytes())?;
        line.clear();
    }
    Ok(())
}

/// The first socket among the descriptors that were open at the start.
fn first_listener() -> Option<RawFd> {
    // SAFETY: asking for the kind of a descriptor changes nothing.
    let kind = |fd| unsafe { wasi::fd_fdstat_get(fd) }.map(|status| status.fs_filetype);
    (3..)
        .map_while(|fd| Some((fd, kind(fd).ok()?)))
        .find(|(_, kind)| *kind == wasi::FILETYPE_SOCKET_STREAM)
        .map(|(fd, _)| fd as RawFd)
}
