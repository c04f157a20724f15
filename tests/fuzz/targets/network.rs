//! Sequences of operations on the network of two pods, against a model: no byte is lost, doubled or out of its order, whoever waits is
//! woken, and once all is closed nothing is left.
//!
//! Each socket writes a stream of its own, in which every byte says by whom it was written and where it belongs. So a reader needs no
//! book-keeping about who is connected to whom: the first bytes tell.

use arbitrary::{Result, Unstructured};
use std::collections::{HashMap, HashSet};
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use wasmpod::limits::{TCP_BUFFER_MAX_BYTES, UDP_PAYLOAD_IPV6_MAX_BYTES};
use wasmpod::net::{
    AddressFamily, AddressPool, ContainerNet, NetError, PodNet, PodNetConfig, Shutdown, TcpSocket, TcpState, TcpStream, UdpSocket,
};

const SLOTS: usize = 8;
const OPERATIONS_MAX: usize = 200;
const LENGTHS: [usize; 9] = [0, 1, 2, 5, 100, 1000, 5000, 70_000, 300_000];

pub fn run(data: &[u8]) {
    let mut world = World::new();
    let mut input = Unstructured::new(data);
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() || world.operate(&mut input).is_err() {
            break;
        }
        world.check_waiters();
    }
    world.end();
}

struct World {
    nets: [PodNet; 2],
    containers: [ContainerNet; 3],
    slots: [Option<Socket>; SLOTS],
    books: Books,
}

/// What was written, by the number of the socket.
#[derive(Default)]
struct Books {
    sockets: u16,
    /// Bytes of each stream.
    written: HashMap<u16, usize>,
    /// Which reader hears a stream.
    heard_by: HashMap<u16, u16>,
    /// Datagrams under way, each with its length.
    datagrams: HashMap<(u16, u32), usize>,
    sequence: u32,
}

enum Socket {
    Tcp(Tcp),
    Udp(Udp),
}

struct Tcp {
    number: u16,
    socket: TcpSocket,
    /// Bytes read.
    position: usize,
    /// The first two of them.
    head: [u8; 2],
    /// Whose stream it is.
    from: Option<u16>,
    /// Whether the end of the stream says that all of it was read: not after a reset, nor once this end would not read.
    whole: bool,
    readable: Option<Arc<Woken>>,
    writable: Option<Arc<Woken>>,
    ready: Option<Arc<Woken>>,
}

struct Udp {
    number: u16,
    socket: UdpSocket,
    /// The last datagram of each sender.
    last: HashMap<u16, u32>,
    readable: Option<Arc<Woken>>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A waker that remembers, kept where `poll` says that one has to wait.
fn wait_for(poll: impl FnOnce(&mut Context<'_>) -> Poll<()>) -> Option<Arc<Woken>> {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    poll(&mut Context::from_waker(&waker)).is_pending().then_some(woken)
}

/// Whether nobody has to wait.
fn is_ready(poll: impl FnOnce(&mut Context<'_>) -> Poll<()>) -> bool {
    poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// What stands at a position of the stream of a socket.
fn byte_at(number: u16, position: usize) -> u8 {
    let [low, high] = number.to_le_bytes();
    let [first, second, ..] = (position / 4).to_le_bytes();
    [low, high, first, second][position % 4]
}

impl World {
    fn new() -> Self {
        let pool = AddressPool::new();
        let nets = ["one", "two"].map(|hostname| {
            let addresses = pool.take().unwrap();
            PodNet::new(PodNetConfig { hostname: hostname.into(), host_aliases: Vec::new(), addresses, gateway: None })
        });
        let containers = [nets[0].container("a"), nets[0].container("b"), nets[1].container("c")];
        Self { nets, containers, slots: Default::default(), books: Books::default() }
    }

    fn operate(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let slot = input.int_in_range(0..=SLOTS - 1)?;
        match input.int_in_range(0..=23_u8)? {
            0..=2 => self.open(slot, input)?,
            3 => self.slots[slot] = None,
            4 => {
                let at = input.int_in_range(0..=2_usize)?;
                self.containers[at].close();
                self.containers[at] = self.nets[usize::from(at == 2)].container("again");
            }
            5 | 6 => {
                let address = self.address(input)?;
                match &self.slots[slot] {
                    Some(Socket::Tcp(tcp)) => _ = tcp.socket.bind(address),
                    Some(Socket::Udp(udp)) => _ = udp.socket.bind(address),
                    None => {}
                }
            }
            7 | 8 => {
                let backlog = input.int_in_range(0..=3)?;
                if let Some(Socket::Tcp(tcp)) = &self.slots[slot] {
                    let _ = tcp.socket.listen();
                    tcp.socket.set_backlog(backlog);
                }
            }
            9..=11 => {
                let address = self.address(input)?;
                match &self.slots[slot] {
                    Some(Socket::Tcp(tcp)) => _ = tcp.socket.connect(address),
                    Some(Socket::Udp(udp)) => _ = udp.socket.connect(address),
                    None => {}
                }
            }
            12 | 13 => {
                let into = input.int_in_range(0..=SLOTS - 1)?;
                if let Some(Socket::Tcp(tcp)) = &self.slots[slot]
                    && let Ok(socket) = tcp.socket.accept()
                {
                    assert_eq!(socket.state(), TcpState::Connected);
                    self.slots[into] = Some(Socket::Tcp(self.books.tcp(socket)));
                }
            }
            14..=16 => self.write(slot, input)?,
            17..=19 => self.read(slot, input)?,
            20 => {
                let how = *input.choose(&[Shutdown::Read, Shutdown::Write, Shutdown::Both])?;
                if let Some(Socket::Tcp(tcp)) = &mut self.slots[slot]
                    && tcp.socket.shutdown(how).is_ok()
                {
                    tcp.whole &= how == Shutdown::Write;
                }
            }
            21 => {
                let bytes = *input.choose(&LENGTHS)?;
                match &self.slots[slot] {
                    Some(Socket::Tcp(tcp)) => tcp.socket.set_options(|options| {
                        options.send_buffer_bytes = bytes;
                        options.receive_buffer_bytes = bytes;
                    }),
                    Some(Socket::Udp(udp)) => udp.socket.set_options(|options| options.receive_buffer_bytes = bytes),
                    None => {}
                }
            }
            _ => self.wait(slot),
        }
        Ok(())
    }

    fn open(&mut self, slot: usize, input: &mut Unstructured<'_>) -> Result<()> {
        let container = &self.containers[input.int_in_range(0..=2_usize)?];
        let family = *input.choose(&[AddressFamily::Ipv4, AddressFamily::Ipv6])?;
        self.slots[slot] = Some(if input.ratio(1, 3)? {
            let socket = container.udp_socket(family).unwrap();
            Socket::Udp(Udp { number: self.books.number(), socket, last: HashMap::new(), readable: None })
        } else {
            Socket::Tcp(self.books.tcp(container.tcp_socket(family).unwrap()))
        });
        Ok(())
    }

    /// An address: where another socket is, or one out of a few.
    fn address(&self, input: &mut Unstructured<'_>) -> Result<SocketAddr> {
        let choice = input.int_in_range(0..=15_usize)?;
        if let Some(socket) = self.slots.get(choice) {
            let address = match socket {
                Some(Socket::Tcp(tcp)) => tcp.socket.local_address().ok(),
                Some(Socket::Udp(udp)) => udp.socket.local_address().ok(),
                None => None,
            };
            return Ok(address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 80))));
        }
        let family = *input.choose(&[AddressFamily::Ipv4, AddressFamily::Ipv6])?;
        let ip: IpAddr = match choice {
            8 | 9 => family.loopback(),
            10 | 11 => family.unspecified(),
            12 => self.nets[0].address(family),
            13 => self.nets[1].address(family),
            14 => IpAddr::from([10, 88, 0, 200]),
            _ => IpAddr::from([224, 0, 0, 1]),
        };
        Ok(SocketAddr::new(ip, *input.choose(&[0, 80, 81, 40_000])?))
    }

    fn write(&mut self, slot: usize, input: &mut Unstructured<'_>) -> Result<()> {
        let length = *input.choose(&LENGTHS)?;
        let parts = input.int_in_range(1..=3_usize)?;
        let to = if input.arbitrary()? { Some(self.address(input)?) } else { None };
        match &mut self.slots[slot] {
            Some(Socket::Tcp(tcp)) => tcp.write(&mut self.books, length, parts),
            Some(Socket::Udp(udp)) => udp.send(&mut self.books, length, to),
            None => {}
        }
        Ok(())
    }

    fn read(&mut self, slot: usize, input: &mut Unstructured<'_>) -> Result<()> {
        let length = *input.choose(&LENGTHS)?;
        let in_one_piece = input.arbitrary()?;
        match &mut self.slots[slot] {
            Some(Socket::Tcp(tcp)) => _ = tcp.read(&mut self.books, length, in_one_piece),
            Some(Socket::Udp(udp)) => _ = udp.receive(&mut self.books),
            None => {}
        }
        Ok(())
    }

    /// Begins to wait for whatever the socket can be waited for.
    fn wait(&mut self, slot: usize) {
        match &mut self.slots[slot] {
            Some(Socket::Tcp(tcp)) => {
                tcp.ready = wait_for(|cx| tcp.socket.poll_ready(cx));
                if let Some(stream) = tcp.stream() {
                    tcp.readable = wait_for(|cx| stream.poll_readable(cx));
                    tcp.writable = wait_for(|cx| stream.poll_writable(cx));
                }
            }
            Some(Socket::Udp(udp)) => udp.readable = wait_for(|cx| udp.socket.poll_readable(cx)),
            None => {}
        }
    }

    /// Whoever waits and need not was woken.
    fn check_waiters(&mut self) {
        for socket in self.slots.iter_mut().flatten() {
            match socket {
                Socket::Tcp(tcp) => tcp.check_waiters(),
                Socket::Udp(udp) => {
                    if udp.readable.is_some() && udp.socket.peek().err() != Some(NetError::WouldBlock) {
                        must_be_woken(&mut udp.readable, "a reader of datagrams");
                    }
                }
            }
        }
    }

    /// Everything that was written to somebody who reads can be read, in the end.
    fn end(mut self) {
        for slot in 0..SLOTS {
            match &mut self.slots[slot] {
                Some(Socket::Tcp(tcp)) => tcp.read_to_the_end(&mut self.books),
                Some(Socket::Udp(udp)) => while udp.receive(&mut self.books).is_some() {},
                None => {}
            }
        }
        self.slots = Default::default();
        let held = self.nets.each_ref().map(PodNet::bound_count);
        assert_eq!((held, self.containers.each_ref().map(ContainerNet::socket_count)), ([0; 2], [0; 3]));
    }
}

fn must_be_woken(waiting: &mut Option<Arc<Woken>>, who: &str) {
    if let Some(woken) = waiting.take() {
        assert!(woken.0.load(Ordering::Relaxed), "{who} could go on and was not woken");
    }
}

impl Books {
    fn number(&mut self) -> u16 {
        self.sockets += 1;
        self.sockets
    }

    fn tcp(&mut self, socket: TcpSocket) -> Tcp {
        Tcp {
            number: self.number(),
            socket,
            position: 0,
            head: [0; 2],
            from: None,
            whole: true,
            readable: None,
            writable: None,
            ready: None,
        }
    }
}

impl Tcp {
    fn stream(&self) -> Option<TcpStream> {
        self.socket.stream().ok()
    }

    fn write(&mut self, books: &mut Books, length: usize, parts: usize) {
        let Some(stream) = self.stream() else { return };
        let written = books.written.entry(self.number).or_default();
        let bytes: Vec<u8> = (*written..*written + length).map(|position| byte_at(self.number, position)).collect();
        let pieces: Vec<IoSlice<'_>> = bytes.chunks(length.div_ceil(parts).max(1)).map(IoSlice::new).collect();
        let result = if parts == 1 { stream.try_write(&bytes) } else { stream.try_write_vectored(&pieces) };
        match result {
            Ok(count) => {
                assert!(count <= length && (count > 0 || length == 0), "{count} of {length}");
                *written += count;
            }
            Err(NetError::WouldBlock) => assert!(length > 0),
            Err(_) => self.whole = false,
        }
    }

    /// Reads, and says whether there may be more.
    fn read(&mut self, books: &mut Books, length: usize, in_one_piece: bool) -> Result<bool, NetError> {
        let Some(stream) = self.stream() else { return Err(NetError::NotConnected) };
        assert!(stream.readable_bytes() <= TCP_BUFFER_MAX_BYTES);
        let result = if in_one_piece {
            stream.try_read_bytes(length).map(|bytes| bytes.to_vec())
        } else {
            let mut buffer = vec![0; length];
            stream.try_read(&mut buffer).map(|count| buffer[..count].to_vec())
        };
        match &result {
            Ok(bytes) if bytes.is_empty() && length > 0 => {
                self.check_whole(books);
                Ok(false)
            }
            Ok(bytes) => {
                bytes.iter().for_each(|byte| self.hear(books, *byte));
                Ok(true)
            }
            Err(NetError::WouldBlock) => {
                self.check_whole(books);
                Err(NetError::WouldBlock)
            }
            Err(error) => {
                self.whole = false;
                Err(*error)
            }
        }
    }

    fn hear(&mut self, books: &mut Books, byte: u8) {
        if let Some(place) = self.head.get_mut(self.position) {
            *place = byte;
        }
        self.position += 1;
        if self.position < self.head.len() {
            return;
        }
        let from = *self.from.get_or_insert_with(|| u16::from_le_bytes(self.head));
        let reader = *books.heard_by.entry(from).or_insert(self.number);
        assert_eq!(reader, self.number, "two sockets read what {from} wrote");
        assert!(self.position <= books.written.get(&from).copied().unwrap_or(0), "{from} did not write that much");
        assert_eq!(byte, byte_at(from, self.position - 1), "byte {} of {from} is another one", self.position - 1);
    }

    /// There is nothing more to be read, for now or for ever: everything was.
    fn check_whole(&self, books: &Books) {
        if let Some(from) = self.from
            && self.whole
        {
            assert_eq!(self.position, books.written[&from], "bytes of {from} are lost");
        }
    }

    fn read_to_the_end(&mut self, books: &mut Books) {
        while self.read(books, 100_000, false) == Ok(true) {}
    }

    fn check_waiters(&mut self) {
        if self.ready.is_some() && is_ready(|cx| self.socket.poll_ready(cx)) {
            must_be_woken(&mut self.ready, "whoever waits for a socket");
        }
        let Some(stream) = self.stream() else { return };
        if self.readable.is_some() {
            match stream.try_peek(&mut [0]) {
                Err(NetError::WouldBlock) => {}
                Err(_) => {
                    self.whole = false;
                    must_be_woken(&mut self.readable, "a reader whose connection broke");
                }
                Ok(_) => must_be_woken(&mut self.readable, "a reader"),
            }
        }
        if self.writable.is_some() && is_ready(|cx| stream.poll_writable(cx)) {
            must_be_woken(&mut self.writable, "a writer");
        }
    }
}

impl Udp {
    fn send(&mut self, books: &mut Books, length: usize, to: Option<SocketAddr>) {
        let length = length.min(UDP_PAYLOAD_IPV6_MAX_BYTES + 1);
        books.sequence += 1;
        let [low, high] = self.number.to_le_bytes();
        let head = [&[low, high][..], &books.sequence.to_le_bytes()].concat();
        let payload: Vec<u8> = head.iter().copied().chain(std::iter::repeat(low)).take(length).collect();
        if self.socket.send(&payload, to).is_ok() && length >= head.len() {
            books.datagrams.insert((self.number, books.sequence), length);
        }
    }

    /// Takes a datagram, if there is one: each comes once, whole, and after those that its sender sent before.
    fn receive(&mut self, books: &mut Books) -> Option<()> {
        let datagram = self.socket.receive().ok()?;
        if let Some((&[low, high, a, b, c, d], rest)) = datagram.payload.split_first_chunk() {
            let (sender, sequence) = (u16::from_le_bytes([low, high]), u32::from_le_bytes([a, b, c, d]));
            let length = books.datagrams.remove(&(sender, sequence));
            assert_eq!(length, Some(datagram.payload.len()), "a datagram that nobody sent, or one that came before");
            assert_eq!(rest.iter().collect::<HashSet<_>>().len(), usize::from(!rest.is_empty()));
            let last = self.last.insert(sender, sequence);
            assert!(last.is_none_or(|last| last < sequence), "datagrams of {sender} changed their order");
        }
        Some(())
    }
}
