//! Socket options: kept, clamped, inherited by accepted sockets, and otherwise without effect inside one process.

use crate::limits;
use std::time::Duration;

/// The options of a TCP socket; an accepted socket starts with those of its listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Whether keep-alive probes are asked for. Kept only: inside a process a peer cannot vanish silently.
    pub keep_alive: bool,
    /// Idle time before the first probe; clamped to 1 to 32767 s as Linux does.
    pub keep_alive_idle: Duration,
    /// Time between probes; clamped likewise.
    pub keep_alive_interval: Duration,
    /// Unanswered probes before the connection counts as lost; clamped to 1 to 127.
    pub keep_alive_count: u32,
    /// Hop limit, 1 to 255. Kept only.
    pub hop_limit: u8,
    /// Bytes that may wait for this end to read them.
    pub receive_buffer_bytes: usize,
    /// Bytes that this end may have under way. One queue lies between two ends, as large as the smaller of what its writer may
    /// send and its reader may receive.
    pub send_buffer_bytes: usize,
    /// Whether small writes are sent at once. Kept only: they always are.
    pub no_delay: bool,
}

impl Default for TcpOptions {
    /// What Linux starts with, but for the buffer sizes, which are ours.
    fn default() -> Self {
        Self {
            keep_alive: false,
            keep_alive_idle: Duration::from_secs(7200),
            keep_alive_interval: Duration::from_secs(75),
            keep_alive_count: 9,
            hop_limit: 64,
            receive_buffer_bytes: limits::TCP_BUFFER_DEFAULT_BYTES,
            send_buffer_bytes: limits::TCP_BUFFER_DEFAULT_BYTES,
            no_delay: false,
        }
    }
}

impl TcpOptions {
    /// The same options with every value within its bounds.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            keep_alive_idle: clamp_keep_alive(self.keep_alive_idle),
            keep_alive_interval: clamp_keep_alive(self.keep_alive_interval),
            keep_alive_count: self.keep_alive_count.clamp(1, 127),
            hop_limit: self.hop_limit.max(1),
            receive_buffer_bytes: clamp_tcp_buffer(self.receive_buffer_bytes),
            send_buffer_bytes: clamp_tcp_buffer(self.send_buffer_bytes),
            ..self
        }
    }
}

/// The options of a UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// Hop limit, 1 to 255. Kept only.
    pub hop_limit: u8,
    /// Bytes that may wait to be received, each datagram counted with its overhead.
    pub receive_buffer_bytes: usize,
    /// Kept only: a datagram inside the pod is received or dropped while it is sent.
    pub send_buffer_bytes: usize,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self {
            hop_limit: 64,
            receive_buffer_bytes: limits::UDP_BUFFER_DEFAULT_BYTES,
            send_buffer_bytes: limits::UDP_BUFFER_DEFAULT_BYTES,
        }
    }
}

impl UdpOptions {
    /// The same options with every value within its bounds.
    #[must_use]
    pub fn clamped(self) -> Self {
        let clamp = |bytes: usize| bytes.clamp(limits::UDP_BUFFER_MIN_BYTES, limits::UDP_BUFFER_MAX_BYTES);
        Self {
            hop_limit: self.hop_limit.max(1),
            receive_buffer_bytes: clamp(self.receive_buffer_bytes),
            send_buffer_bytes: clamp(self.send_buffer_bytes),
        }
    }
}

fn clamp_tcp_buffer(bytes: usize) -> usize {
    bytes.clamp(limits::TCP_BUFFER_MIN_BYTES, limits::TCP_BUFFER_MAX_BYTES)
}

fn clamp_keep_alive(time: Duration) -> Duration {
    time.clamp(Duration::from_secs(1), Duration::from_secs(32767))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_bounds_are_clamped() {
        let wild = TcpOptions {
            keep_alive_idle: Duration::ZERO,
            keep_alive_interval: Duration::MAX,
            keep_alive_count: 1000,
            hop_limit: 0,
            receive_buffer_bytes: usize::MAX,
            send_buffer_bytes: 0,
            ..TcpOptions::default()
        };
        let clamped = wild.clamped();
        assert_eq!(clamped.keep_alive_idle, Duration::from_secs(1));
        assert_eq!(clamped.keep_alive_interval, Duration::from_secs(32767));
        assert_eq!((clamped.keep_alive_count, clamped.hop_limit), (127, 1));
        assert_eq!(clamped.receive_buffer_bytes, limits::TCP_BUFFER_MAX_BYTES);
        assert_eq!(clamped.send_buffer_bytes, limits::TCP_BUFFER_MIN_BYTES);
        assert_eq!(TcpOptions::default().clamped(), TcpOptions::default());
        assert_eq!(UdpOptions::default().clamped(), UdpOptions::default());
    }
}
