//! The pod network against the kernel's: the same random operations on both, and every answer compared.
//!
//! ```text
//!   seed ──▶ plan: [Open, Bind, Listen, Connect, …] ─┬─▶ PodSystem (wasmpod::net) ────────▶ answer ─┐
//!                                                    └─▶ KernelSystem (a namespace of its own) ─────┴─▶ equal, or a written difference
//! ```
//!
//! The kernel's side runs in a network namespace that the test makes, with the pod's two virtual addresses on its loopback. Where that
//! is not permitted it runs on the machine's own loopback, without those addresses. Ephemeral ports differ by nature, so they are
//! compared by the socket they belong to. The only differences allowed are those of [`differences::TABLE`]; `docs/network.md` tells
//! about each.
//!
//! A failure prints the seed and the shortest plan found that still fails.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod differences;
mod kernel;
mod plan;
mod pod;

use differences::{Counts, Difference};
use kernel::{KernelSystem, Namespace};
use plan::{Op, Plan, SLOTS};
use pod::PodSystem;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;
use wasmpod::net::NetError;

/// Sequences in the ordinary test run, and with `WASMPOD_SLOW=1`.
const SEQUENCES: u64 = 10_000;
const SEQUENCES_SLOW: u64 = 200_000;
/// Threads, each with a namespace.
const THREADS: usize = 4;
/// Sequences in one namespace: each has ports of its own, so that no `TIME_WAIT` of an earlier one is in its way.
const SEQUENCES_PER_NAMESPACE: u64 = 2_500;
/// How often a plan has to fail: the kernel delivers by its own threads when the machine is busy.
const ATTEMPTS: u16 = 3;
/// Ports of one sequence.
const PORTS: u16 = 4;

/// What an operation answered.
#[derive(Clone, PartialEq, Eq)]
enum Answer {
    Done,
    Count(usize),
    Bytes(Vec<u8>),
    Datagram(Vec<u8>, SocketAddr),
    Address(SocketAddr),
    Error(NetError),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let brief = |bytes: &[u8]| format!("{} bytes {:?}…", bytes.len(), &bytes[..bytes.len().min(4)]);
        match self {
            Self::Done => f.write_str("Done"),
            Self::Count(count) => write!(f, "Count({count})"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", brief(bytes)),
            Self::Datagram(bytes, remote) => write!(f, "Datagram({} from {remote})", brief(bytes)),
            Self::Address(address) => write!(f, "Address({address})"),
            Self::Error(error) => write!(f, "Error({error:?})"),
        }
    }
}

/// One of the two networks.
trait System {
    /// Does `op`, whose sockets exist. `expected` is what the other one answered, if that is known: who answers late may wait for it.
    fn run(&mut self, op: &Op, expected: Option<&Answer>) -> Answer;
    /// The local address of a socket.
    fn local_address(&self, slot: usize) -> Option<SocketAddr>;
    /// Closes a socket.
    fn close(&mut self, slot: usize);
    /// Closes all sockets, so that they leave no trace for those who come after.
    fn end(&mut self);
}

/// A network, and whose its ephemeral ports are.
struct Side<S> {
    system: S,
    /// The latest owner of an ephemeral port, by transport and family.
    owners: HashMap<(bool, bool, u16), usize>,
}

impl<S: System> Side<S> {
    fn new(system: S) -> Self {
        Self { system, owners: HashMap::new() }
    }

    /// Notes who has the local port of a slot.
    fn note_owner(&mut self, slot: usize, sockets: &Sockets) {
        let (Some(number), Some(address)) = (sockets.number[slot], self.system.local_address(slot)) else { return };
        // An accepted socket has the port of its listener.
        if is_ephemeral(address.port()) && !sockets.accepted[slot] {
            self.owners.insert((sockets.is_tcp[slot], address.is_ipv4(), address.port()), number);
        }
    }

    /// The answer with each ephemeral port replaced by the number of the socket that has it.
    fn named(&self, answer: &Answer, is_tcp: bool) -> (Answer, Option<usize>) {
        let name = |mut address: SocketAddr| {
            if !is_ephemeral(address.port()) {
                return (address, None);
            }
            let owner = self.owners.get(&(is_tcp, address.is_ipv4(), address.port())).copied();
            address.set_port(u16::MAX);
            (address, Some(owner.unwrap_or(usize::MAX)))
        };
        match answer {
            Answer::Address(address) => {
                let (address, owner) = name(*address);
                (Answer::Address(address), owner)
            }
            Answer::Datagram(bytes, address) => {
                let (address, owner) = name(*address);
                (Answer::Datagram(bytes.clone(), address), owner)
            }
            answer => (answer.clone(), None),
        }
    }
}

fn is_ephemeral(port: u16) -> bool {
    (32768..=60999).contains(&port)
}

/// What the driver knows of the sockets, which exist on both sides alike.
#[derive(Default)]
struct Sockets {
    /// The number of the socket in each slot, in the order in which they were made.
    number: [Option<usize>; SLOTS],
    made: usize,
    is_tcp: [bool; SLOTS],
    accepted: [bool; SLOTS],
    /// It had a connect that failed or was shut down, or a shut down listener: its ephemeral port is given back.
    gave_back: [bool; SLOTS],
    /// Its connect waits for room in a backlog.
    waiting: [bool; SLOTS],
    /// Ports that connections have used.
    connected_ports: Vec<u16>,
}

impl Sockets {
    fn open(&mut self, slot: usize, is_tcp: bool, accepted: bool) {
        self.number[slot] = Some(self.made);
        self.made += 1;
        (self.is_tcp[slot], self.accepted[slot]) = (is_tcp, accepted);
        (self.gave_back[slot], self.waiting[slot]) = (false, false);
    }
}

/// Both networks under one plan.
struct Run {
    pod: Side<PodSystem>,
    kernel: Side<KernelSystem>,
    sockets: Sockets,
    transcript: String,
}

impl Run {
    fn new(base_port: u16) -> Self {
        Self {
            pod: Side::new(PodSystem::new(base_port)),
            kernel: Side::new(KernelSystem::new(base_port)),
            sockets: Sockets::default(),
            transcript: String::new(),
        }
    }

    fn close(&mut self, slot: usize) {
        self.pod.system.close(slot);
        self.kernel.system.close(slot);
        self.sockets.number[slot] = None;
        self.sockets.waiting[slot] = false;
    }

    /// Does one operation on both; the error is the transcript up to a difference that is not allowed.
    fn step(&mut self, op: &Op, counts: &mut Counts) -> Result<(), String> {
        if op.may_let_in() {
            self.end_waiting(counts);
        }
        if !op.applies_to(&self.sockets.number, &self.sockets.is_tcp) {
            return Ok(());
        }
        if let Some(slot) = op.fills() {
            self.close(slot);
        }
        let ours = self.pod.system.run(op, None);
        let kernels = self.kernel.system.run(op, Some(&ours));
        let _ = writeln!(self.transcript, "{op:?}\n    pod    {ours:?}\n    kernel {kernels:?}");
        self.note(op, &ours, &kernels);
        let is_tcp = self.sockets.is_tcp[op.slot()];
        if self.pod.named(&ours, is_tcp) != self.kernel.named(&kernels, is_tcp) {
            let difference = Difference::find(op, &ours, &kernels, self).ok_or_else(|| self.transcript.clone())?;
            let _ = writeln!(self.transcript, "    allowed: {}", difference.name);
            counts.add(difference);
            self.close(op.slot());
        } else if differences::leaves_a_mark(op, &ours) {
            counts.add(&differences::SHUTDOWN_UNCONNECTED);
            self.close(op.slot());
        }
        self.compare_local_address(op, counts)
    }

    /// A connect that waits for a backlog completes at another time than the kernel's: ends those that do, before one is let in.
    fn end_waiting(&mut self, counts: &mut Counts) {
        for slot in 0..SLOTS {
            if !self.sockets.waiting[slot] {
                continue;
            }
            let _ = writeln!(self.transcript, "(slot {slot} gives up waiting)");
            counts.add(&differences::WAITING_CONNECT);
            self.close(slot);
        }
    }

    /// Draws the conclusions of an operation on which both agree, or which will be undone.
    fn note(&mut self, op: &Op, ours: &Answer, kernels: &Answer) {
        match op {
            Op::Open { slot, is_tcp, .. } => self.sockets.open(*slot, *is_tcp, false),
            Op::Accept { into, .. } if *ours == Answer::Done && *kernels == Answer::Done => self.sockets.open(*into, true, true),
            Op::Accept { into: slot, .. } | Op::Close { slot } => self.close(*slot),
            Op::Connect { slot, .. } => {
                self.sockets.gave_back[*slot] |= matches!(ours, Answer::Error(_));
                self.sockets.waiting[*slot] |= *ours == Answer::Error(NetError::WouldBlock);
            }
            Op::Shutdown { slot, .. } => self.sockets.gave_back[*slot] |= *ours == Answer::Done,
            _ => {}
        }
        for slot in [Some(op.slot()), op.fills()].into_iter().flatten() {
            self.pod.note_owner(slot, &self.sockets);
            self.kernel.note_owner(slot, &self.sockets);
        }
        if matches!(op, Op::Connect { slot, .. } if self.sockets.is_tcp[*slot]) && *kernels == Answer::Done {
            let ends = [self.kernel.system.local_address(op.slot()), self.kernel.system.remote_address(op.slot())];
            self.sockets.connected_ports.extend(ends.into_iter().flatten().map(|address| address.port()));
        }
    }

    /// Whatever was done: the local addresses agree.
    fn compare_local_address(&mut self, op: &Op, counts: &mut Counts) -> Result<(), String> {
        let (slot, is_tcp) = (op.slot(), self.sockets.is_tcp[op.slot()]);
        let ours = self.pod.system.local_address(slot).map(|address| self.pod.named(&Answer::Address(address), is_tcp));
        let kernels = self.kernel.system.local_address(slot).map(|address| self.kernel.named(&Answer::Address(address), is_tcp));
        if ours == kernels {
            return Ok(());
        }
        if self.sockets.gave_back[slot] && self.pod.system.local_address(slot).is_some_and(|address| address.port() == 0) {
            counts.add(&differences::STALE_PORT);
            return Ok(());
        }
        let _ = writeln!(self.transcript, "    local addresses: pod {ours:?}\n                     kernel {kernels:?}");
        Err(self.transcript.clone())
    }
}

/// Runs a plan on both.
fn run(plan: &Plan, base_port: u16, counts: &mut Counts) -> Result<(), String> {
    let mut run = Run::new(base_port);
    for op in &plan.ops {
        run.step(op, counts)?;
    }
    run.pod.system.end();
    run.kernel.system.end();
    let left = run.pod.system.left_over();
    if left == (0, 0) { Ok(()) } else { Err(format!("{}\nleft over (ports, sockets): {left:?}", run.transcript)) }
}

/// Whether the plan fails every time; the transcript of the last failure.
fn fails(plan: &Plan, base_port: u16, counts: &mut Counts) -> Option<String> {
    let mut transcript = None;
    for attempt in 0..ATTEMPTS {
        // Other ports: those of the first attempt may be in TIME_WAIT.
        transcript = Some(run(plan, base_port + attempt * PORTS, counts).err()?);
    }
    transcript
}

/// Leaves out operations as long as the plan fails without them.
fn shortest(mut plan: Plan, base_port: u16, mut transcript: String) -> String {
    let mut counts = Counts::default();
    let mut index = 0;
    while index < plan.ops.len() {
        let op = plan.ops.remove(index);
        // Nothing that an earlier run left in TIME_WAIT may count.
        Namespace::enter();
        match fails(&plan, base_port, &mut counts) {
            Some(shorter) => transcript = shorter,
            None => {
                plan.ops.insert(index, op);
                index += 1;
            }
        }
    }
    transcript
}

/// Runs sequences until all have been taken or one has failed, each share of them in a namespace of its own.
fn work(shares: &Mutex<impl Iterator<Item = u64>>, failure: &Mutex<Option<String>>) -> Counts {
    let mut counts = Counts::default();
    while failure.lock().unwrap().is_none() {
        let Some(first) = shares.lock().unwrap().next() else { break };
        let has_pod_address = Namespace::enter() == Namespace::Own;
        if !has_pod_address && first > 0 {
            // The machine's loopback has ports for one share at a time.
            continue;
        }
        for (index, seed) in (first..first + SEQUENCES_PER_NAMESPACE).enumerate() {
            let plan = Plan::random(seed, has_pod_address);
            let base_port = 1100 + u16::try_from(index).unwrap() * PORTS * ATTEMPTS;
            if let Some(transcript) = fails(&plan, base_port, &mut counts) {
                let shortest = shortest(plan, base_port, transcript);
                *failure.lock().unwrap() = Some(format!("seed {seed}:\n{shortest}"));
                break;
            }
        }
    }
    counts
}

#[test]
fn the_pod_network_answers_as_the_kernel_does() {
    let is_slow = std::env::var("WASMPOD_SLOW").is_ok();
    let sequences = if is_slow { SEQUENCES_SLOW } else { SEQUENCES };
    let shares = Mutex::new((0..sequences).step_by(usize::try_from(SEQUENCES_PER_NAMESPACE).unwrap()));
    let failure = Mutex::new(None);
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| work(&shares, &failure))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Counts::default(), Counts::merge)
    });
    if let Some(failure) = failure.into_inner().unwrap() {
        panic!("{failure}");
    }
    // A smaller run may miss one.
    let is_whole = Namespace::enter() == Namespace::Own;
    for (difference, count) in counts.all() {
        assert!(count > 0 || !is_whole, "the difference {:?} is not met any more: remove it from the table", difference.name);
    }
}

#[test]
fn every_difference_is_documented() {
    let documented = include_str!("../docs/network.md");
    for difference in differences::TABLE {
        assert!(documented.contains(difference.name), "docs/network.md does not tell about: {}", difference.name);
        assert!(!difference.reason.is_empty());
    }
}
