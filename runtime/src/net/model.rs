//! The pod network against a model, and under threads: no byte is lost, doubled or out of place, nobody waits for ever, and once all
//! is closed nothing is left.

use super::tests::pod;
use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::future::Future;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

#[derive(Clone, Debug)]
enum Op {
    Write { opener: bool, length: usize },
    WriteVectored { opener: bool, lengths: [usize; 3] },
    Read { opener: bool, length: usize },
    ReadBytes { opener: bool, length: usize },
    Peek { opener: bool, length: usize },
    Resize { opener: bool, bytes: usize },
    ShutdownWrite { opener: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let length = prop_oneof![Just(0), 1..200_usize, 1000..80_000_usize];
    prop_oneof![
        8 => (any::<bool>(), length.clone()).prop_map(|(opener, length)| Op::Write { opener, length }),
        3 => (any::<bool>(), [length.clone(), length.clone(), length.clone()])
            .prop_map(|(opener, lengths)| Op::WriteVectored { opener, lengths }),
        8 => (any::<bool>(), length.clone()).prop_map(|(opener, length)| Op::Read { opener, length }),
        4 => (any::<bool>(), length.clone()).prop_map(|(opener, length)| Op::ReadBytes { opener, length }),
        2 => (any::<bool>(), length.clone()).prop_map(|(opener, length)| Op::Peek { opener, length }),
        1 => (any::<bool>(), length).prop_map(|(opener, bytes)| Op::Resize { opener, bytes }),
        1 => any::<bool>().prop_map(|opener| Op::ShutdownWrite { opener }),
    ]
}

/// One direction as it should be.
#[derive(Default)]
struct Expected {
    bytes: VecDeque<u8>,
    ended: bool,
    next: u8,
}

impl Expected {
    fn make(&self, length: usize) -> Vec<u8> {
        (0..length).map(|index| self.next.wrapping_add(u8::try_from(index % 256).unwrap())).collect()
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.next = bytes.last().map_or(self.next, |last| last.wrapping_add(1));
    }

    /// Checks what a read of `length` gave and, unless it only looked, takes it out.
    fn read(&mut self, result: Result<Vec<u8>, NetError>, length: usize, takes: bool) {
        let expected: Vec<u8> = self.bytes.iter().take(length).copied().collect();
        match result {
            Err(error) => assert!(error == NetError::WouldBlock && expected.is_empty() && !self.ended && length > 0),
            Ok(bytes) => {
                assert!(bytes == expected && (!bytes.is_empty() || self.ended || length == 0));
                if takes {
                    self.bytes.drain(..bytes.len());
                }
            }
        }
    }
}

fn check(ops: Vec<Op>) {
    let net = pod();
    let one = net.container("one");
    let listener = one.tcp_socket(AddressFamily::Ipv4).unwrap();
    listener.listen().unwrap();
    let client = one.tcp_socket(AddressFamily::Ipv4).unwrap();
    client.connect(listener.local_address().unwrap()).unwrap();
    let sockets = [client, listener.accept().unwrap()];
    let streams = [sockets[0].stream().unwrap(), sockets[1].stream().unwrap()];
    let mut flows = [Expected::default(), Expected::default()];
    for op in ops {
        match op {
            Op::Write { opener, length } => {
                let (stream, flow) = (&streams[usize::from(opener)], &mut flows[usize::from(opener)]);
                let bytes = flow.make(length);
                wrote(stream.try_write(&bytes), &bytes, flow);
            }
            Op::WriteVectored { opener, lengths } => {
                let (stream, flow) = (&streams[usize::from(opener)], &mut flows[usize::from(opener)]);
                let bytes = flow.make(lengths.iter().sum());
                let (first, rest) = bytes.split_at(lengths[0]);
                let (second, third) = rest.split_at(lengths[1]);
                wrote(stream.try_write_vectored(&[first, second, third].map(std::io::IoSlice::new)), &bytes, flow);
            }
            Op::Read { opener, length } => {
                let mut buffer = vec![0; length];
                let result = streams[usize::from(opener)].try_read(&mut buffer).map(|read| buffer[..read].to_vec());
                flows[usize::from(!opener)].read(result, length, true);
            }
            Op::ReadBytes { opener, length } => {
                let result = streams[usize::from(opener)].try_read_bytes(length).map(|bytes| bytes.to_vec());
                flows[usize::from(!opener)].read(result, length, true);
            }
            Op::Peek { opener, length } => {
                let mut buffer = vec![0; length];
                let result = streams[usize::from(opener)].try_peek(&mut buffer).map(|read| buffer[..read].to_vec());
                flows[usize::from(!opener)].read(result, length, false);
            }
            Op::Resize { opener, bytes } => sockets[usize::from(opener)].set_options(|options| {
                options.send_buffer_bytes = bytes;
                options.receive_buffer_bytes = bytes;
            }),
            Op::ShutdownWrite { opener } => {
                let is_over = flows.iter().all(|flow| flow.ended);
                assert_eq!(sockets[usize::from(opener)].shutdown(Shutdown::Write).is_ok(), !is_over);
                flows[usize::from(opener)].ended = true;
            }
        }
        for (stream, (own, peer)) in streams.iter().zip([(&flows[0], &flows[1]), (&flows[1], &flows[0])]) {
            assert_eq!((stream.readable_bytes(), stream.writable_bytes().is_err()), (peer.bytes.len(), own.ended));
            assert!(own.bytes.len() <= limits::TCP_BUFFER_MAX_BYTES);
        }
    }
    drop((sockets, listener));
    assert_eq!((net.bound_count(), one.socket_count()), (0, 0));
}

fn wrote(result: Result<usize, NetError>, bytes: &[u8], flow: &mut Expected) {
    match result {
        Ok(written) => {
            assert!(written <= bytes.len() && (written > 0 || bytes.is_empty()) && !flow.ended);
            flow.wrote(&bytes[..written]);
        }
        Err(NetError::BrokenPipe) => assert!(flow.ended),
        Err(error) => assert!(error == NetError::WouldBlock && !flow.bytes.is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_is_two_queues(ops in proptest::collection::vec(op(), 1..60)) {
        check(ops);
    }
}

/// Waits for a future on this thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A byte that says where it belongs.
fn byte_at(position: usize, seed: usize) -> u8 {
    u8::try_from((position.wrapping_mul(31) ^ (position >> 8) ^ seed) & 0xff).unwrap()
}

#[test]
fn threads_that_wait_for_each_other_all_get_every_byte_in_order() {
    const LENGTH: usize = 3 << 20;
    let net = pod();
    let (one, two) = (net.container("one"), net.container("two"));
    let listener = one.tcp_socket(AddressFamily::Ipv6).unwrap();
    listener.bind("[::1]:80".parse().unwrap()).unwrap();
    listener.set_backlog(0);
    listener.listen().unwrap();
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let two = &two;
            scope.spawn(move || {
                let socket = two.tcp_socket(AddressFamily::Ipv6).unwrap();
                let stream = wait(socket.connected("[::1]:80".parse().unwrap())).unwrap();
                wait(stream.write_all(&[u8::try_from(seed).unwrap()])).unwrap();
                let (mut position, mut chunk) = (0, 1 + seed * 977);
                while position < LENGTH {
                    let bytes: Vec<u8> =
                        (position..(position + chunk).min(LENGTH)).map(|position| byte_at(position, seed)).collect();
                    wait(stream.write_all(&bytes)).unwrap();
                    position += bytes.len();
                    chunk = chunk * 7 % 70_001 + 1;
                }
                stream.shutdown(Shutdown::Write).unwrap();
                // The server's verdict.
                assert_eq!(wait(stream.read(&mut [0; 1])), Ok(1));
            });
        }
        for _ in 0..8 {
            let server = wait(listener.accepted()).unwrap();
            scope.spawn(move || {
                let stream = server.stream().unwrap();
                let mut buffer = vec![0; 40_000];
                assert_eq!(wait(stream.read(&mut buffer[..1])), Ok(1));
                let (seed, mut position) = (usize::from(buffer[0]), 0);
                loop {
                    match wait(stream.read(&mut buffer)).unwrap() {
                        0 => break,
                        length => assert!(buffer[..length].iter().all(|byte| {
                            position += 1;
                            *byte == byte_at(position - 1, seed)
                        })),
                    }
                }
                assert_eq!(position, LENGTH);
                wait(stream.write_all(b"!")).unwrap();
            });
        }
    });
    drop(listener);
    assert_eq!((net.bound_count(), one.socket_count(), two.socket_count()), (0, 0, 0));
}

#[test]
fn closing_at_any_moment_wakes_everyone() {
    for round in 0..200 {
        let net = pod();
        let (one, two) = (net.container("one"), net.container("two"));
        let listener = one.tcp_socket(AddressFamily::Ipv4).unwrap();
        listener.bind("127.0.0.1:80".parse().unwrap()).unwrap();
        listener.listen().unwrap();
        let datagrams = one.udp_socket(AddressFamily::Ipv4).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while let Ok(server) = wait(listener.accepted()) {
                    let Ok(stream) = server.stream() else { return };
                    while wait(stream.read(&mut [0; 999])).is_ok_and(|length| length > 0) {}
                }
            });
            scope.spawn(|| while wait(datagrams.received()).is_ok() {});
            scope.spawn(|| {
                while let Ok(socket) = two.tcp_socket(AddressFamily::Ipv4) {
                    let Ok(stream) = wait(socket.connected("127.0.0.1:80".parse().unwrap())) else { return };
                    while wait(stream.write_all(&[0; 5000])).is_ok() {}
                }
            });
            (0..round * 50).for_each(|_| std::hint::spin_loop());
            one.close();
            two.close();
        });
        drop((listener, datagrams));
        assert_eq!((net.bound_count(), one.socket_count(), two.socket_count()), (0, 0, 0));
    }
}
