//! What a pod gives to a program that imports something.

/// Interfaces, the longest fitting name first, and what stands behind them in a pod.
const GRANTS: [(&str, &str); 24] = [
    ("wasi:cli/environment", "the container's arguments and environment"),
    ("wasi:cli/exit", "its exit status"),
    ("wasi:cli/stdin", "standard input, if the pod's user gives one"),
    ("wasi:cli/stdout", "the container's log"),
    ("wasi:cli/stderr", "the container's log"),
    ("wasi:cli/terminal", "no terminal"),
    ("wasi:clocks/", "the machine's clocks"),
    ("wasi:filesystem/", "the image's files, read-only, and the container's volumeMounts"),
    ("wasi:http/outgoing-handler", "HTTP to the pod, and outside as the pod's egress allows"),
    ("wasi:http/types", "HTTP messages"),
    ("wasi:io/", "streams of what it has opened"),
    ("wasi:random/", "the machine's random numbers"),
    ("wasi:sockets/ip-name-lookup", "names of the pod, and outside as the pod's egress allows"),
    ("wasi:sockets/", "the pod's network, and outside as the pod's egress allows"),
    ("wasi_snapshot_preview1.args_", "the container's arguments"),
    ("wasi_snapshot_preview1.environ_", "the container's environment"),
    ("wasi_snapshot_preview1.clock_", "the machine's clocks"),
    ("wasi_snapshot_preview1.fd_", "its log, the image's files and the container's volumeMounts"),
    ("wasi_snapshot_preview1.path_", "the image's files, read-only, and the container's volumeMounts"),
    ("wasi_snapshot_preview1.poll_oneoff", "waiting"),
    ("wasi_snapshot_preview1.proc_", "its exit status"),
    ("wasi_snapshot_preview1.random_get", "the machine's random numbers"),
    ("wasi_snapshot_preview1.sched_yield", "a pause"),
    ("wasi_snapshot_preview1.sock_", "the pod's network, and outside as the pod's egress allows"),
];

/// What a pod gives for an import; `None` for what nobody provides.
pub(super) fn grant(import: &str) -> Option<&'static str> {
    let is_other_wasi = import.starts_with("wasi:") && !import.contains("@0.2");
    GRANTS.iter().find(|(name, _)| import.starts_with(name) && !is_other_wasi).map(|(_, grant)| *grant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_provides_is_not_granted() {
        assert_eq!(grant("wasi:sockets/tcp@0.2.3"), Some("the pod's network, and outside as the pod's egress allows"));
        assert_eq!(grant("wasi:keyvalue/store@0.2.0"), None);
        assert_eq!(grant("wasi:cli/stdout@0.3.0"), None);
        assert_eq!(grant("env.print"), None);
    }
}
