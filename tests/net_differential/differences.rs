//! The differences between the pod network and Linux that are meant, each with its reason. `docs/network.md` tells about each.

use super::plan::{Op, Place};
use super::{Answer, Run, System as _};
use std::net::IpAddr;
use wasmpod::net::NetError;

/// A difference that is allowed. The sockets concerned are closed on both sides after it: they are not in the same state any more.
pub(super) struct Difference {
    pub(super) name: &'static str,
    pub(super) reason: &'static str,
    applies: fn(&Case<'_>) -> bool,
}

/// An operation that was answered differently.
struct Case<'a> {
    op: &'a Op,
    ours: &'a Answer,
    kernels: &'a Answer,
    run: &'a Run,
}

impl Case<'_> {
    fn remote(&self) -> Option<Place> {
        match *self.op {
            Op::Connect { to, .. } | Op::Send { to: Some(to), .. } => Some(to),
            _ => None,
        }
    }

    fn remote_ip(&self) -> Option<IpAddr> {
        match self.remote()? {
            Place::At(ip, _) | Place::AnyPort(ip) => Some(ip),
            Place::Of(_) => None,
        }
    }
}

/// Not seen as an answer: the driver avoids it.
fn never(_: &Case<'_>) -> bool {
    false
}

pub(super) static WAITING_CONNECT: Difference = Difference {
    name: "A connect that waits for a full backlog",
    reason: "completes as soon as there is room, and is refused as soon as the listener closes; the kernel only notices when it sends its \
             SYN again, a second or more later. So the test ends such a connect before either can happen.",
    applies: never,
};

pub(super) static SHUTDOWN_UNCONNECTED: Difference = Difference {
    name: "Shutdown of a socket that is not connected",
    reason: "fails and changes nothing; in the kernel it fails too, but a later connection of that socket is born shut down. So the test \
             closes the socket.",
    applies: never,
};

pub(super) static STALE_PORT: Difference = Difference {
    name: "The local address once an ephemeral port is given back",
    reason: "(by a connect that fails, or a listener that is shut down) is 0.0.0.0:0 or [::]:0 again; the kernel still shows the port.",
    applies: never,
};

static PORT_OF_CONNECTIONS: Difference = Difference {
    name: "A port that only connections use",
    reason: "can be bound at once: wasi:sockets demands what SO_REUSEADDR does, and there is no TIME_WAIT in one process. The kernel's \
             sockets are compared without SO_REUSEADDR, because with it two sockets may bind one address as long as neither listens, and \
             here a clash shows at bind.",
    applies: |case| {
        let port = match *case.op {
            Op::Bind { place: Place::At(_, port), .. } => case.run.kernel.system.port(port),
            Op::Bind { place: Place::Of(slot), .. } | Op::Listen { slot, .. } => {
                case.run.kernel.system.local_address(slot).map_or(0, |address| address.port())
            }
            _ => return false,
        };
        *case.ours == Answer::Done
            && *case.kernels == Answer::Error(NetError::AddressInUse)
            && case.run.sockets.connected_ports.contains(&port)
    },
};

static SAME_TWO_ADDRESSES: Difference = Difference {
    name: "A second connection between the same two addresses",
    reason: "(from the port of a former listener to a client that it still serves) is made or refused like any other; the kernel tells \
             connections apart by their addresses and so cannot have it.",
    applies: |case| {
        let local = case.run.kernel.system.local_address(case.op.slot());
        matches!(case.op, Op::Connect { .. })
            && *case.kernels == Answer::Error(NetError::AddressNotAvailable)
            && local.is_some_and(|local| case.run.sockets.connected_ports.contains(&local.port()))
    },
};

static SELF_CONNECT: Difference = Difference {
    name: "A connect of a socket to itself",
    reason: "is refused, for nobody listens there; the kernel makes a connection with one end (a simultaneous open), which has no use.",
    applies: |case| {
        matches!(case.op, Op::Connect { .. })
            && *case.ours == Answer::Error(NetError::ConnectionRefused)
            && *case.kernels == Answer::Done
            && case.run.kernel.system.remote_address(case.op.slot()) == case.run.kernel.system.local_address(case.op.slot())
    },
};

static SENSELESS_PEER: Difference = Difference {
    name: "A peer that is none",
    reason: "(port 0, a multicast address, an IPv4-mapped address on an IPv6 socket) is an invalid argument at once, as wasi:sockets has \
             it; the kernel's answers vary.",
    applies: |case| {
        let mapped = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        let senseless = case.remote_ip().is_some_and(|ip| ip.is_multicast() || mapped(ip));
        // What a socket is bound to is senseless only while it is not bound.
        let port_zero = matches!(case.remote(), Some(Place::AnyPort(_) | Place::Of(_)));
        *case.ours == Answer::Error(NetError::InvalidArgument) && (senseless || port_zero)
    },
};

static OTHER_FAMILY: Difference = Difference {
    name: "An address of the other family",
    reason: "is always the same error here; the kernel says EAFNOSUPPORT or EINVAL depending on the lengths of the structures, and takes \
             an unspecified address of the other family for its own in places.",
    applies: |case| *case.ours == Answer::Error(NetError::FamilyMismatch),
};

static SECOND_BIND: Difference = Difference {
    name: "A second bind",
    reason: "is invalid, also with an ephemeral port that bind chose; the kernel gives such a port back when a connect fails, a listener is \
             shut down or a connection is over, and then lets the socket be bound anew.",
    applies: |case| {
        let slot = case.op.slot();
        let gave_back = case.run.pod.system.was_connected(slot) || case.run.sockets.gave_back[slot];
        matches!(case.op, Op::Bind { .. }) && *case.ours == Answer::Error(NetError::InvalidArgument) && gave_back
    },
};

static TWO_MISTAKES: Difference = Difference {
    name: "Two mistakes in one bind",
    reason: "(the socket is bound, and the address is not the pod's or of the other family) are reported as the first; the kernel looks \
             at the address first over IPv4, and at the socket first over IPv6.",
    applies: |case| {
        matches!(case.op, Op::Bind { .. })
            && *case.ours == Answer::Error(NetError::InvalidArgument)
            && matches!(case.kernels, Answer::Error(NetError::AddressNotAvailable | NetError::FamilyMismatch))
    },
};

/// All of them.
pub(super) static TABLE: [&Difference; 10] = [
    &WAITING_CONNECT,
    &SHUTDOWN_UNCONNECTED,
    &STALE_PORT,
    &PORT_OF_CONNECTIONS,
    &SAME_TWO_ADDRESSES,
    &SELF_CONNECT,
    &SENSELESS_PEER,
    &OTHER_FAMILY,
    &SECOND_BIND,
    &TWO_MISTAKES,
];

impl Difference {
    /// The difference that two answers show, if it is one of the table.
    pub(super) fn find(op: &Op, ours: &Answer, kernels: &Answer, run: &Run) -> Option<&'static Self> {
        let case = Case { op, ours, kernels, run };
        TABLE.into_iter().find(|difference| (difference.applies)(&case))
    }
}

/// Whether the kernel's socket is not the same after it, although the answers were equal.
pub(super) fn leaves_a_mark(op: &Op, answer: &Answer) -> bool {
    matches!(op, Op::Shutdown { .. }) && *answer == Answer::Error(NetError::NotConnected)
}

/// How often each difference was met.
#[derive(Default)]
pub(super) struct Counts([u64; TABLE.len()]);

impl Counts {
    pub(super) fn add(&mut self, difference: &Difference) {
        let index = TABLE.iter().position(|entry| entry.name == difference.name).unwrap();
        self.0[index] += 1;
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
        self
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&'static Difference, u64)> {
        TABLE.into_iter().zip(self.0)
    }
}
