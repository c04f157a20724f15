//! What is done to both networks: random, but the same for the same seed.

use super::PORTS;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wasmpod::net::Shutdown;

/// Sockets at once.
pub(super) const SLOTS: usize = 7;
/// The pod's virtual addresses: the first of a pool.
pub(super) const POD_V4: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
pub(super) const POD_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x6173, 0x6d70, 0x6f64, 0, 0, 0, 2);

/// Where a socket is bound or a peer is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// An address and one of the sequence's ports.
    At(IpAddr, u16),
    /// An address and port 0.
    AnyPort(IpAddr),
    /// Where the socket of a slot is bound.
    Of(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Open { slot: usize, is_tcp: bool, is_ipv4: bool },
    Bind { slot: usize, place: Place },
    Listen { slot: usize, backlog: usize },
    Connect { slot: usize, to: Place },
    Accept { slot: usize, into: usize },
    Send { slot: usize, to: Option<Place>, length: usize, first: u8 },
    Receive { slot: usize, length: usize },
    Shutdown { slot: usize, how: Shutdown },
    Close { slot: usize },
    RemoteAddress { slot: usize },
}

impl Op {
    pub(super) fn slot(&self) -> usize {
        match *self {
            Self::Open { slot, .. }
            | Self::Bind { slot, .. }
            | Self::Listen { slot, .. }
            | Self::Connect { slot, .. }
            | Self::Accept { slot, .. }
            | Self::Send { slot, .. }
            | Self::Receive { slot, .. }
            | Self::Shutdown { slot, .. }
            | Self::Close { slot }
            | Self::RemoteAddress { slot } => slot,
        }
    }

    /// The slot into which it puts a new socket.
    pub(super) fn fills(&self) -> Option<usize> {
        match *self {
            Self::Open { slot, .. } => Some(slot),
            Self::Accept { into, .. } => Some(into),
            _ => None,
        }
    }

    /// Whether it may let a connect in that waits for a backlog, or refuse it.
    pub(super) fn may_let_in(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Accept { .. } | Self::Close { .. } | Self::Shutdown { .. } | Self::Listen { .. })
    }

    /// Whether the sockets it needs exist and are of the kind that it is for.
    pub(super) fn applies_to(&self, number: &[Option<usize>; SLOTS], is_tcp: &[bool; SLOTS]) -> bool {
        let slot = self.slot();
        let exists = |place: &Place| !matches!(place, Place::Of(slot) if number[*slot].is_none());
        match self {
            Self::Open { .. } => true,
            Self::Connect { to, .. } | Self::Bind { place: to, .. } => number[slot].is_some() && exists(to),
            Self::Listen { .. } | Self::Shutdown { .. } => number[slot].is_some() && is_tcp[slot],
            Self::Accept { into, .. } => number[slot].is_some() && is_tcp[slot] && *into != slot,
            Self::Send { to: Some(to), .. } => number[slot].is_some() && !is_tcp[slot] && exists(to),
            Self::Send { .. } | Self::Receive { .. } | Self::Close { .. } | Self::RemoteAddress { .. } => number[slot].is_some(),
        }
    }
}

pub(super) struct Plan {
    pub(super) ops: Vec<Op>,
}

impl Plan {
    pub(super) fn random(seed: u64, has_pod_address: bool) -> Self {
        let mut maker = Maker { random: Random(seed), has_pod_address, ops: Vec::new() };
        for _ in 0..maker.random.below(3) {
            maker.scene();
        }
        for _ in 0..10 + maker.random.below(30) {
            let op = maker.op();
            maker.ops.push(op);
        }
        Self { ops: maker.ops }
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

struct Maker {
    random: Random,
    has_pod_address: bool,
    ops: Vec<Op>,
}

impl Maker {
    /// What most programs do, so that the random operations after it meet something.
    fn scene(&mut self) {
        let is_ipv4 = self.random.one_in(2);
        let [a, b, c] = [self.random.below(SLOTS), self.random.below(SLOTS), self.random.below(SLOTS)];
        let place = self.local_place(is_ipv4);
        let ops = if self.random.one_in(3) {
            vec![
                Op::Open { slot: a, is_tcp: false, is_ipv4 },
                Op::Bind { slot: a, place },
                Op::Open { slot: b, is_tcp: false, is_ipv4 },
                Op::Connect { slot: b, to: Place::Of(a) },
                Op::Send { slot: b, to: None, length: 5, first: 0 },
                Op::Receive { slot: a, length: 2000 },
            ]
        } else {
            let backlog = self.random.of(&[0, 1, 8, 8, 8]);
            let mut ops = vec![
                Op::Open { slot: a, is_tcp: true, is_ipv4 },
                Op::Bind { slot: a, place },
                Op::Listen { slot: a, backlog },
                Op::Open { slot: b, is_tcp: true, is_ipv4 },
                Op::Connect { slot: b, to: Place::Of(a) },
            ];
            if self.random.one_in(3) {
                // Enough to fill a short backlog.
                for slot in (0..SLOTS).filter(|slot| ![a, b, c].contains(slot)) {
                    ops.extend([Op::Open { slot, is_tcp: true, is_ipv4 }, Op::Connect { slot, to: Place::Of(a) }]);
                }
            }
            ops.push(Op::Accept { slot: a, into: c });
            ops
        };
        self.ops.extend(ops);
    }

    fn op(&mut self) -> Op {
        let slot = self.random.below(SLOTS);
        let is_ipv4 = self.random.one_in(2);
        match self.random.below(40) {
            0..=3 => Op::Open { slot, is_tcp: !self.random.one_in(3), is_ipv4 },
            4..=6 => Op::Bind { slot, place: self.local_place(is_ipv4) },
            7..=8 => Op::Listen { slot, backlog: self.random.of(&[0, 1, 2, 8]) },
            9..=13 => Op::Connect { slot, to: self.remote_place(is_ipv4) },
            14..=17 => Op::Accept { slot, into: self.random.below(SLOTS) },
            18..=23 => Op::Send { slot, to: None, length: self.length(), first: self.byte() },
            24..=25 => Op::Send { slot, to: Some(self.remote_place(is_ipv4)), length: self.length(), first: self.byte() },
            26..=32 => Op::Receive { slot, length: self.random.of(&[1, 10, 2000]) },
            33..=35 => Op::Shutdown { slot, how: self.random.of(&[Shutdown::Read, Shutdown::Write, Shutdown::Both]) },
            36..=37 => Op::Close { slot },
            _ => Op::RemoteAddress { slot },
        }
    }

    /// Small enough that nothing is ever full.
    fn length(&mut self) -> usize {
        self.random.of(&[0, 1, 7, 100, 1000])
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.random.below(256)).unwrap()
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.random.below(usize::from(PORTS))).unwrap()
    }

    fn ip(&mut self, is_ipv4: bool) -> IpAddr {
        let own: IpAddr = if is_ipv4 { POD_V4.into() } else { POD_V6.into() };
        let loopback: IpAddr = if is_ipv4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let any: IpAddr = if is_ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        match self.random.below(10) {
            0 if is_ipv4 => [127, 0, 0, 2].into(),
            1..=3 => any,
            4..=5 if self.has_pod_address => own,
            _ => loopback,
        }
    }

    fn local_place(&mut self, is_ipv4: bool) -> Place {
        if self.random.one_in(30) {
            // Nobody's address.
            return Place::At(if is_ipv4 { [10, 88, 0, 99].into() } else { Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 99).into() }, 0);
        }
        let ip = self.ip(is_ipv4);
        if self.random.one_in(4) { Place::AnyPort(ip) } else { Place::At(ip, self.port()) }
    }

    fn remote_place(&mut self, is_ipv4: bool) -> Place {
        match self.random.below(60) {
            0 => Place::AnyPort(self.ip(is_ipv4)),
            // Only in a namespace without a way out it is certain what becomes of this.
            1 if self.has_pod_address => {
                Place::At(if is_ipv4 { [192, 0, 2, 1].into() } else { Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into() }, 0)
            }
            2 if !is_ipv4 => Place::At(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), 0),
            3 if is_ipv4 => Place::At([224, 0, 0, 1].into(), 0),
            4..=20 => Place::At(self.ip(is_ipv4), self.port()),
            _ => Place::Of(self.random.below(SLOTS)),
        }
    }
}
