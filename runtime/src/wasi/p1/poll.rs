//! `poll_oneoff`: waits for clocks, files, standard streams and sockets together.
//!
//! All of it is ours: wasmtime-wasi's own knows no sockets, and sleeps on the thread where files may block it, so that nothing could
//! end the guest.

use super::descriptors::{Descriptor, Standard};
use super::errno::Errno;
use super::guest::{Bytes, Guest};
use super::sockets::{Socket, SocketDescriptor};
use crate::limits;
use crate::net::TcpState;
use crate::wasi::{HasWasi, Output, Stdin, WasiState};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi::HostMonotonicClock as _;

/// Sizes in the guest's memory.
const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;

/// `eventtype`.
const CLOCK: u8 = 0;
const READ: u8 = 1;
const WRITE: u8 = 2;

/// `subclockflags.subscription_clock_abstime`.
const ABSOLUTE: u16 = 1;

/// `eventrwflags.fd_readwrite_hangup`.
const HANGUP: u16 = 1;

/// One thing to wait for.
struct Subscription {
    userdata: u64,
    event_type: u8,
    what: What,
}

enum What {
    /// A time; `None` never comes.
    Until(Option<Instant>),
    /// Files, and what cannot be waited for: at once, with this error.
    Now(Option<Errno>),
    Input(Stdin),
    Output(Output),
    Read(SocketDescriptor),
    Write(SocketDescriptor),
}

/// What has happened.
struct Event {
    userdata: u64,
    error: Option<Errno>,
    event_type: u8,
    bytes: u64,
    flags: u16,
}

impl<T: HasWasi> Guest<'_, '_, T> {
    /// `poll_oneoff`.
    pub(super) async fn poll_oneoff(&mut self, input: u32, output: u32, count: u32, count_out: u32) -> Result<(), Errno> {
        if count == 0 || count > limits::POLL_SUBSCRIPTIONS_MAX {
            return Err(Errno::Inval);
        }
        let (memory, state) = self.parts();
        memory.slice(output, count.checked_mul(EVENT_BYTES).ok_or(Errno::Fault)?)?;
        let subscriptions = (0..count).map(|index| subscription(&memory, state, input, index)).collect::<Result<Vec<_>, _>>()?;

        let events = wait(&subscriptions).await;
        let mut memory = self.memory();
        for (event, index) in events.iter().zip(0..) {
            memory.put(output.checked_add(index * EVENT_BYTES).ok_or(Errno::Fault)?, &event.bytes())?;
        }
        memory.put_length(count_out, events.len())
    }
}

/// Reads the `index`-th subscription.
fn subscription(memory: &Bytes<'_>, state: &WasiState, array: u32, index: u32) -> Result<Subscription, Errno> {
    let at = index.checked_mul(SUBSCRIPTION_BYTES).and_then(|offset| array.checked_add(offset)).ok_or(Errno::Fault)?;
    let field = |offset: u32| at.checked_add(offset).ok_or(Errno::Fault);
    let userdata = memory.u64(at)?;
    let event_type = memory.u8(field(8)?)?;
    let what = match event_type {
        CLOCK => {
            let (id, timeout, flags) = (memory.u32(field(16)?)?, memory.u64(field(24)?)?, memory.u16(field(40)?)?);
            deadline(state, id, Duration::from_nanos(timeout), flags & ABSOLUTE != 0)
        }
        READ | WRITE => descriptor(state, memory.u32(field(16)?)?, event_type),
        _ => return Err(Errno::Inval),
    };
    Ok(Subscription { userdata, event_type, what })
}

/// The time at which a clock has gone far enough.
fn deadline(state: &WasiState, clock: u32, timeout: Duration, absolute: bool) -> What {
    let elapsed = match (clock, absolute) {
        (0 | 1, false) => Duration::ZERO,
        (0, true) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        (1, true) => Duration::from_nanos(state.clock.now()),
        // The clocks of processor time.
        _ => return What::Now(Some(Errno::Notsup)),
    };
    What::Until(Instant::now().checked_add(timeout.saturating_sub(elapsed)))
}

fn descriptor(state: &WasiState, fd: u32, event_type: u8) -> What {
    match (state.descriptors.get(fd), event_type) {
        (Err(errno), _) => What::Now(Some(errno)),
        (Ok(Descriptor::File(_) | Descriptor::Directory(..)), _) => What::Now(None),
        (Ok(Descriptor::Standard { stream: Standard::Input, .. }), READ) => What::Input(state.stdin.clone()),
        (Ok(Descriptor::Standard { stream: Standard::Output, .. }), WRITE) => What::Output(state.stdout.clone()),
        (Ok(Descriptor::Standard { stream: Standard::Error, .. }), WRITE) => What::Output(state.stderr.clone()),
        (Ok(Descriptor::Standard { .. }), _) => What::Now(Some(Errno::Badf)),
        (Ok(Descriptor::Socket(socket)), READ) => What::Read(socket.clone()),
        (Ok(Descriptor::Socket(socket)), _) => What::Write(socket.clone()),
    }
}

/// Waits until at least one thing has happened, and says all that have.
async fn wait(subscriptions: &[Subscription]) -> Vec<Event> {
    let earliest = subscriptions.iter().filter_map(|subscription| match subscription.what {
        What::Until(deadline) => deadline,
        _ => None,
    });
    let mut sleep = earliest.min().map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
    std::future::poll_fn(|cx| {
        let time_is_up = sleep.as_mut().is_some_and(|sleep| poll_sleep(sleep, cx));
        let now = Instant::now();
        let events: Vec<Event> = subscriptions.iter().filter_map(|subscription| subscription.poll(cx, time_is_up, now)).collect();
        if events.is_empty() { Poll::Pending } else { Poll::Ready(events) }
    })
    .await
}

fn poll_sleep(sleep: &mut Pin<Box<Sleep>>, cx: &mut Context<'_>) -> bool {
    sleep.is_elapsed() || sleep.as_mut().poll(cx).is_ready()
}

impl Subscription {
    fn poll(&self, cx: &mut Context<'_>, time_is_up: bool, now: Instant) -> Option<Event> {
        let event = Event { userdata: self.userdata, error: None, event_type: self.event_type, bytes: 0, flags: 0 };
        let ready = match &self.what {
            What::Until(deadline) => time_is_up && deadline.is_some_and(|deadline| deadline <= now),
            What::Now(error) => return Some(Event { error: *error, bytes: 1, ..event }),
            What::Input(input) => input.poll_ready(cx).is_ready(),
            What::Output(output) => output.poll_ready(cx).is_ready(),
            What::Read(socket) => socket.poll_readable(cx).is_ready(),
            What::Write(socket) => socket.poll_writable(cx).is_ready(),
        };
        ready.then(|| match &self.what {
            What::Read(socket) => event.with(readable(socket)),
            What::Write(socket) => event.with(writable(socket)),
            What::Until(_) => event,
            _ => Event { bytes: 1, ..event },
        })
    }
}

/// How much can be read from a socket that is ready, and whether its peer has hung up.
fn readable(socket: &SocketDescriptor) -> (u64, u16) {
    let Socket::Tcp(socket) = &socket.socket else { return (1, 0) };
    match socket.state() {
        TcpState::Listening => (1, 0),
        TcpState::Connected => match socket.stream().map_or(0, |stream| stream.readable_bytes()) {
            0 => (0, HANGUP),
            bytes => (u64::try_from(bytes).unwrap_or(u64::MAX), 0),
        },
        _ => (0, HANGUP),
    }
}

/// How much can be written to a socket that is ready, and whether that is over.
fn writable(socket: &SocketDescriptor) -> (u64, u16) {
    let Socket::Tcp(socket) = &socket.socket else { return (1, 0) };
    match socket.state() {
        TcpState::Connecting => (1, 0),
        _ => match socket.stream().and_then(|stream| stream.writable_bytes()) {
            Ok(bytes) => (u64::try_from(bytes).unwrap_or(u64::MAX), 0),
            Err(_) => (0, HANGUP),
        },
    }
}

impl Event {
    fn with(self, (bytes, flags): (u64, u16)) -> Self {
        Self { bytes, flags, ..self }
    }

    /// As it lies in the guest's memory.
    fn bytes(&self) -> [u8; EVENT_BYTES as usize] {
        let error = self.error.map_or(0, |errno| u16::try_from(errno as i32).unwrap_or_default());
        let mut bytes = [0; EVENT_BYTES as usize];
        let fields: [(usize, &[u8]); 5] = [
            (0, &self.userdata.to_le_bytes()),
            (8, &error.to_le_bytes()),
            (10, &[self.event_type]),
            (16, &self.bytes.to_le_bytes()),
            (24, &self.flags.to_le_bytes()),
        ];
        for (offset, field) in fields {
            if let Some(space) = bytes.get_mut(offset..offset + field.len()) {
                space.copy_from_slice(field);
            }
        }
        bytes
    }
}
