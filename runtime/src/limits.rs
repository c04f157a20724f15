//! Every bound of wasmpod, in one place: its value, its unit in its name, and why it is what it is.
//!
//! Whatever a guest, a client or a file can make grow has its limit here, and a test that fails without it.

use std::time::Duration;

// ---- The life of a pod (`pod::{backoff, state}`) ----

/// The shortest first wait before a restart: a container that fails at once must not turn into a busy loop of starts.
pub const RESTART_BACKOFF_MIN: Duration = Duration::from_millis(10);

/// The least time between the stop signal and the kill, however short the grace period (the kubelet's floor).
pub const TERMINATION_GRACE_MIN: Duration = Duration::from_secs(2);

/// The grace period of an evicted pod (the kubelet's, for a pod that broke a local storage limit).
pub const EVICTION_GRACE: Duration = Duration::from_secs(1);

/// The shortest time between two questions of one probe; manifests say whole seconds, embedders may say less.
pub const PROBE_PERIOD_MIN: Duration = Duration::from_millis(10);

/// Bytes of an answer to a probe that are read: the start of an HTTP body or of what a command prints (the kubelet's 10 KiB).
pub const PROBE_ANSWER_BYTES_MAX: usize = 10 << 10;

/// Redirects to the same host that an `httpGet` follows (the kubelet's).
pub const PROBE_REDIRECTS_MAX: usize = 10;

/// Events of one pod that are kept, the same ones counted as one; a pod in trouble has a dozen.
pub const POD_EVENTS_MAX: usize = 256;

/// Bytes of an event's message, as in Kubernetes (`NoteLengthLimit`).
pub const POD_EVENT_MESSAGE_BYTES_MAX: usize = 1024;

/// Bytes of all termination messages in one pod's status, shared evenly by its containers (`MaxPodTerminationMessageLogLength`).
pub const POD_TERMINATION_MESSAGES_BYTES_MAX: usize = 12 << 10;

// ---- The engine (`engine`) ----
// ---- workload: several pods in one run ----

/// Pods that one workload may have at once; more than the pool of `wasmpod run` has slots for would wait for nothing.
pub const WORKLOAD_REPLICAS_MAX: u32 = 512;

/// Pods of one Job that have to succeed, and its indexes: what a controller may keep in memory for each is some bytes.
pub const JOB_COMPLETIONS_MAX: u32 = 100_000;

/// The first pause before a failed pod of a Job is replaced (Kubernetes' number); it doubles with every failure.
pub const JOB_BACKOFF_INITIAL: Duration = Duration::from_secs(10);

/// The longest pause before a failed pod of a Job is replaced (Kubernetes' number).
pub const JOB_BACKOFF_MAX: Duration = Duration::from_secs(360);

/// A pod that ran for so long does not count as one that fails again and again, as a container does not (the kubelet's number).
pub const REPLACE_RESET_AFTER: Duration = Duration::from_secs(600);

/// Pods that ended and of which a run keeps the last status for its output; the oldest are forgotten first.
pub const ENDED_PODS_KEPT_MAX: usize = 1024;

/// What the pods of a run may say and its task has not yet heard; a watcher that finds it full waits.
pub const WORKLOAD_EVENTS_MAX: usize = 1024;

/// Entries of `ports` of one Service; Kubernetes has no number, an iptables proxy meets its own first.
pub const SERVICE_PORTS_MAX: usize = 256;

// ---- engine ----

/// How often a busy guest looks up: the resolution of CPU accounting, throttling and kills. Spike: 1 ms costs fib(32) under 1 %.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);
/// Ticks for which the epoch clock stays awake after the last guest went to sleep, so that quick turns do not pay for waking it.
pub const EPOCH_LINGER_TICKS: u32 = 16;
/// Turns of guests after which a guest thread looks for timers and I/O. Busy guests take a millisecond each, and tokio's own 61 of them
/// would hold a timer up as long; looking costs about a microsecond.
pub const GUEST_TURNS_PER_EVENT_LOOK: u32 = 8;
/// A turn of a guest that took at least so long makes its next one be measured by the thread's CPU clock: reading that costs a system
/// call, which guests that only answer and wait again need not pay.
pub const CPU_CLOCK_TURN_MIN: Duration = Duration::from_micros(500);
/// What a container with a CPU limit may save up while it waits, as time at its own rate. A wait ends a few milliseconds late at most;
/// more would let it go over its limit in a second by as much: with a turn of a millisecond that is 4 % at 100m.
pub const CPU_BURST: Duration = Duration::from_millis(30);
/// The longest that a container is held back for one thing that it did, such as a `memory.fill` over 4 GiB, which nobody can interrupt:
/// a container that is silent for minutes would be taken for dead.
pub const CPU_DEBT_MAX: Duration = Duration::from_secs(1);
/// The longest file that a variable is read from (`fileKeyRef`): it is read at each start of its container.
pub const ENV_FILE_BYTES_MAX: u64 = 64 << 10;
/// Threads that run guests, at least: one busy guest must not stop the others on a small machine.
pub const GUEST_THREADS_MIN: usize = 2;
/// Threads for what guests do to files; each costs a stack, and more than a disk can serve are of no use.
pub const GUEST_BLOCKING_THREADS_MAX: usize = 64;
/// Stack of compiled code in bytes; deeper recursion traps with `stack overflow`. Interpreters written in C need more than 512 KiB.
pub const GUEST_WASM_STACK_BYTES: usize = 1 << 20;
/// Stack of a guest with its host calls in bytes; address space until touched.
pub const GUEST_STACK_BYTES: usize = 2 << 20;

/// Pool slots of a containerd shim: one pod, and one instance an HTTP request that it serves at once.
pub const ENGINE_SLOTS_SHIM: u32 = 64;
/// Pool slots of `wasmpod run`.
pub const ENGINE_SLOTS_RUN: u32 = 512;
/// Pool slots of a node: 10,000 pods. With 5 kernel mappings each they stay below the default `vm.max_map_count` of 65,530.
pub const ENGINE_SLOTS_NODE: u32 = 10_240;
/// Pools smaller than this are not worth having; instances are allocated on demand instead.
pub const ENGINE_SLOTS_MIN: u32 = 16;
/// Tables in the pool for each slot: a component has some small ones beside that of its program.
pub const TABLES_PER_SLOT: u32 = 4;
/// Elements a table in the pool can grow to; 1 MiB of address space. The biggest programs seen have some 60,000.
pub const TABLE_ELEMENTS_MAX: usize = 128 << 10;
/// What one element of a table counts against the memory limit of its container, in bytes: a pointer in the host.
pub const TABLE_ELEMENT_BYTES: u64 = 8;
/// Tables one module may have in the pool.
pub const TABLES_PER_MODULE_MAX: u32 = 16;
/// Memories one module may have in the pool; toolchains emit one.
pub const MEMORIES_PER_MODULE_MAX: u32 = 4;
/// What wasmtime may keep about one instance of a module, in bytes: 8 to 32 a function, global or import.
pub const MODULE_METADATA_BYTES_MAX: usize = 16 << 20;
/// What wasmtime may keep about one instance of a component with all its modules, in bytes.
pub const COMPONENT_METADATA_BYTES_MAX: usize = 32 << 20;
/// Memory of a freed slot that is cleared by writing instead of returned to the kernel, in bytes: page faults cost more.
pub const MEMORY_KEEP_RESIDENT_BYTES: usize = 1 << 20;
/// The same for a table.
pub const TABLE_KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// Freed slots returned to the kernel together.
pub const POOL_DECOMMIT_BATCH: usize = 16;
/// Freed slots that stay mapped for the next instance of their module.
pub const POOL_WARM_SLOTS_MAX: u32 = 256;

/// Kernel mappings of one linear memory: the image, what lies behind it, and the guard that they are cut from.
pub const MAPPINGS_PER_MEMORY: u64 = 3;
/// Kernel mappings of one table outside the pool.
pub const MAPPINGS_PER_TABLE: u64 = 1;
/// Kernel mappings of one stack outside the pool: the stack and its guard page.
pub const MAPPINGS_PER_STACK: u64 = 2;
/// Kernel mappings that instances take before anybody counts what else the process has mapped: few beside any `vm.max_map_count`.
pub const MAPPINGS_UNCOUNTED_MAX: u64 = 1024;
/// One part in so many of `vm.max_map_count` is left to threads, artifacts and the allocator.
pub const MAPPING_RESERVE_DIVISOR: u64 = 8;

/// The biggest WebAssembly file in bytes: the biggest interpreters have some 60 MiB.
pub const WASM_BYTES_MAX: usize = 256 << 20;
/// The biggest text form in bytes; parsing it takes a multiple in memory, in this process.
pub const WAT_BYTES_MAX: usize = 16 << 20;
/// Imports or exports that a program may have; real ones have some hundreds.
pub const WASM_NAMES_MAX: usize = 100_000;
// ---- The pod network (`net`) ----

/// Sockets that one container may have open at once, TCP and UDP together; what a guest's `RLIMIT_NOFILE` would be.
pub const SOCKETS_PER_CONTAINER_MAX: usize = 4096;

/// Bytes under way in one direction of a TCP connection, until a guest sets it otherwise.
pub const TCP_BUFFER_DEFAULT_BYTES: usize = 64 << 10;

/// Bytes of one read from, or one permit to write to, a TCP stream of WASI 0.2: a quarter of its buffer, so that the two ends can work
/// at the same time instead of waiting for each other after every piece.
pub const TCP_PIECE_BYTES_MAX: usize = 16 << 10;

/// The smallest TCP buffer a guest can set: below it every byte costs a task switch.
pub const TCP_BUFFER_MIN_BYTES: usize = 4 << 10;

/// The largest TCP buffer a guest can set: 4096 sockets times this stays below what a machine has.
pub const TCP_BUFFER_MAX_BYTES: usize = 256 << 10;

/// Connections that wait to be accepted, until a guest sets it otherwise; the default of the Rust standard library.
pub const TCP_BACKLOG_DEFAULT_CONNECTIONS: usize = 128;

/// The longest backlog, as Linux' `somaxconn`.
pub const TCP_BACKLOG_MAX_CONNECTIONS: usize = 4096;

/// Bytes of datagrams that wait to be received on one UDP socket, each counted with its overhead; Linux' `rmem_default`.
pub const UDP_BUFFER_DEFAULT_BYTES: usize = 208 << 10;

/// The smallest UDP buffer a guest can set; Linux' `SOCK_MIN_RCVBUF`, rounded up so that any datagram fits an empty queue.
pub const UDP_BUFFER_MIN_BYTES: usize = 68 << 10;

/// The largest UDP buffer a guest can set.
pub const UDP_BUFFER_MAX_BYTES: usize = 256 << 10;

/// What a waiting datagram counts for beyond its payload, so that empty ones are not free.
pub const UDP_DATAGRAM_OVERHEAD_BYTES: usize = 256;

/// The largest datagram over IPv4: 65535 less the headers of IP (20) and UDP (8).
pub const UDP_PAYLOAD_IPV4_MAX_BYTES: usize = 65507;

/// The largest datagram over IPv6: 65535 less the header of UDP (8); the IPv6 header does not count.
pub const UDP_PAYLOAD_IPV6_MAX_BYTES: usize = 65527;

/// Tasks that may wait for one and the same readiness; one more wakes the one that waits longest, which then has to wait anew.
pub const WAKERS_PER_WAIT_MAX: usize = 16;

/// The lowest ephemeral port, as Linux' `ip_local_port_range`.
pub const EPHEMERAL_PORT_FIRST: u16 = 32768;

/// The highest ephemeral port, as Linux' `ip_local_port_range`.
pub const EPHEMERAL_PORT_LAST: u16 = 60999;

/// Length of a name that is looked up; DNS allows 253.
pub const HOST_NAME_MAX_BYTES: usize = 253;

/// Connections that a published port serves at once; one more is closed at once.
pub const PUBLISHED_CONNECTIONS_PER_PORT_MAX: usize = 1024;

/// Clients that a published UDP port remembers, to bring them the answers; one more replaces the one idle for longest.
pub const PUBLISHED_UDP_CLIENTS_MAX: usize = 1024;

/// How long a published port rests after it could not accept, in milliseconds: descriptors may be free again then.
pub const PUBLISHED_ACCEPT_PAUSE_MILLISECONDS: u64 = 50;

/// Clients of UDP Services that are remembered, to bring them the answers; one more replaces the one idle for longest.
pub const SERVICE_UDP_FLOWS_MAX: usize = 4096;

/// Connections, UDP sockets and lookups out of one pod at once.
pub const EGRESS_CONNECTIONS_PER_POD_MAX: usize = 1024;

/// Datagrams on their way from one socket out of the pod; one more is dropped.
pub const EGRESS_DATAGRAMS_QUEUED_MAX: usize = 64;

/// Addresses outside the pod that one UDP socket has written to and may hear from; at one more the memory is wiped.
pub const EGRESS_CORRESPONDENTS_MAX: usize = 1024;

/// Entries of one list of what a pod may reach outside: each connection is compared with all of them.
pub const EGRESS_ENTRIES_MAX: usize = 256;

/// Addresses whose names are remembered for the names of such a list; at one more the memory is wiped, and names are looked up anew.
pub const EGRESS_NAMED_ADDRESSES_MAX: usize = 4096;

/// Names that are remembered for one address; one more replaces the oldest. Many sites of one provider share an address.
pub const EGRESS_NAMES_PER_ADDRESS_MAX: usize = 32;

/// How long a connection out of the pod may take to be made, in seconds; about Linux' `tcp_syn_retries`.
pub const EGRESS_CONNECT_SECONDS_MAX: u64 = 127;
// ---- Container output (`log`) ----

/// How many bytes of a container's output may wait for their reader, bookkeeping included.
///
/// As much as a Linux pipe holds: enough that a burst does not wait, little enough that 10,000 containers whose output nobody reads
/// cost no more than 640 MiB. A full pipe blocks its writer.
pub const LOG_PIPE_BYTES_MAX: usize = 64 * 1024;

/// The longest line that is handed over in one piece; the rest follows in further, partial pieces. The CRI's own limit.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;

/// How many different tasks may wait for room in one output pipe before the first of them is woken to look again.
///
/// A pollable that was dropped leaves its waker behind until the pipe is next read, so the number has to end somewhere.
pub const LOG_WRITERS_WAITING_MAX: usize = 1024;

/// How many runs of containers `wasmpod run` lets wait for the thread that shows their output, when a terminal has stopped and that
/// thread with it. What starts beyond that is not shown. Each holds up to [`LOG_PIPE_BYTES_MAX`].
pub const LOG_READERS_WAITING_MAX: usize = 4096;

// ---- Images (`image`) ----

/// The largest WebAssembly file that is read; an interpreter with its whole library has 30 to 80 MiB.
pub const IMAGE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// How many names of a folder are looked at to guess which file was meant.
pub const IMAGE_FOLDER_ENTRIES_MAX: usize = 1000;
/// Names of it that a hint lists.
pub const IMAGE_FOLDER_NAMES_LISTED_MAX: usize = 5;

/// Bytes of one manifest, index or config of an image, as in containerd and distribution.
pub const IMAGE_MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Indexes inside each other; what people build has one.
pub const IMAGE_INDEX_DEPTH_MAX: usize = 4;
/// Manifests of one index: a platform and an attestation for each of some dozens.
pub const IMAGE_INDEX_MANIFESTS_MAX: usize = 1000;
/// Layers of one image, as in Docker.
pub const IMAGE_LAYERS_MAX: usize = 127;
/// Layers of one image that are downloaded at the same time, as in containerd and Docker.
pub const IMAGE_LAYERS_PARALLEL: usize = 3;
/// Bytes of one blob: a compressed layer. Linux images, which are larger, are refused before their layers are asked for.
pub const BLOB_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a repository's name with its host, as in distribution.
pub const IMAGE_REPOSITORY_BYTES_MAX: usize = 255;
/// Bytes of a tag, as in distribution.
pub const IMAGE_TAG_BYTES_MAX: usize = 128;
/// Bytes of an image's entrypoint, arguments and environment together, as for a process on Linux.
pub const IMAGE_CONFIG_STRINGS_BYTES_MAX: usize = 2 << 20;

/// How long a download may bring nothing, or take to begin.
pub const FETCH_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that a download must bring in each [`FETCH_STALL_TIMEOUT`]: a registry that sends a byte a second holds a pod up for years.
pub const FETCH_BYTES_PER_STALL_TIMEOUT_MIN: u64 = 30 << 10;
/// Bytes of a download that are written, and hashed, at once; twice that is in memory.
pub const FETCH_BATCH_BYTES: usize = 512 << 10;
/// Bytes of a blob that are read at once, to hash it or to decompress it.
pub const BLOB_READ_BYTES: usize = 128 << 10;
/// How long to wait before asking again whether another process is done with a download or a root file system.
pub const STORE_LOCK_POLL: Duration = Duration::from_millis(20);
/// Bytes of the store's index: some ten thousand tags.
pub const STORE_INDEX_BYTES_MAX: u64 = 4 << 20;
/// Bytes of one lease: what one pod or one pull holds, a line of 72 bytes each.
pub const STORE_LEASE_BYTES_MAX: u64 = 1 << 20;

/// Bytes that the layers of one image may come to unpacked, headers and all.
pub const UNPACKED_BYTES_MAX: u64 = 2 << 30;
/// Entries of the layers of one image: each is an inode.
pub const UNPACKED_ENTRIES_MAX: u64 = 100_000;
/// How many times its compressed size a layer may unpack to, beyond [`UNPACKED_RATIO_FREE_BYTES`]; text compresses to a tenth.
pub const UNPACKED_RATIO_MAX: u64 = 200;
/// Bytes that a layer may unpack to whatever its compressed size: sparse files of some megabytes are harmless.
pub const UNPACKED_RATIO_FREE_BYTES: u64 = 64 << 20;
/// Directories inside each other in a layer.
pub const UNPACKED_DEPTH_MAX: usize = 64;
/// Bytes of a path, or of a symbolic link's target, in a layer: Linux' `PATH_MAX`.
pub const UNPACKED_PATH_BYTES_MAX: usize = 4096;
/// Bytes of the extended header (PAX) of one entry of a layer.
pub const UNPACKED_EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Bytes of zstd's window: all levels below `--ultra` and `--long` fit.
pub const UNPACKED_ZSTD_WINDOW_BYTES_MAX: u64 = 8 << 20;

/// Files in an image archive: each image has some, and an archive may hold hundreds of images.
pub const ARCHIVE_ENTRIES_MAX: usize = 10_000;

// ---- Registries (`image::registry`) ----

/// How long a connection to a registry, with its TLS handshake, may take to be made.
pub const REGISTRY_CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a registry may say nothing: before its answer, and while it takes an upload.
pub const REGISTRY_STALL_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a small document (a manifest, a token, an error) may take to arrive: a byte a second is no answer.
pub const REGISTRY_DOCUMENT_TIME_MAX: Duration = Duration::from_secs(30);
/// Redirects of one request; real registries redirect a blob once, to a storage service.
pub const REGISTRY_REDIRECTS_MAX: usize = 5;
/// Header fields of one answer.
pub const REGISTRY_HEADERS_MAX: usize = 100;
/// Connections to one host that are kept for the next request.
pub const REGISTRY_CONNECTIONS_IDLE_MAX: usize = 8;
/// Bytes of a token service's answer: a token with many groups has some kilobytes.
pub const REGISTRY_TOKEN_BYTES_MAX: u64 = 256 << 10;
/// Bytes of an error that are read to find its message.
pub const REGISTRY_ERROR_BYTES_MAX: u64 = 64 << 10;
/// Characters of a registry's message that are shown.
pub const REGISTRY_MESSAGE_CHARS_MAX: usize = 500;
/// Words of one `WWW-Authenticate` header that are looked at.
pub const REGISTRY_CHALLENGES_MAX: usize = 64;
/// Mirrors of one registry: each that does not answer costs its time limit.
pub const REGISTRY_MIRRORS_MAX: usize = 16;
/// Bytes of one `registries.conf`.
pub const REGISTRIES_CONF_BYTES_MAX: usize = 1 << 20;
/// Bytes of one file of certificates: the machine's whole bundle has some 200 KiB.
pub const CA_FILE_BYTES_MAX: u64 = 4 << 20;
/// Files in a registry's directory of certificates.
pub const CA_FILES_PER_HOST_MAX: usize = 100;
/// Bytes of a file with credentials.
pub const CREDENTIAL_FILE_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a credential helper's answer.
pub const CREDENTIAL_HELPER_OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// How long a credential helper may take: it may ask a cloud, or its user to unlock a key ring.
pub const CREDENTIAL_HELPER_TIME_MAX: Duration = Duration::from_secs(60);
/// Bytes of an upload that are read at once.
pub const UPLOAD_CHUNK_BYTES: usize = 128 << 10;
/// Images that a process pulls at once; each loads a few layers at once.
pub const IMAGE_PULLS_MAX: usize = 8;
/// Blobs of one image that are uploaded at once.
pub const BLOB_TRANSFERS_MAX: usize = 4;
/// How often a transfer that broke off is taken up again before the pull fails.
pub const BLOB_ATTEMPTS_MAX: u32 = 4;
/// The wait before a broken transfer is taken up again; it doubles.
pub const BLOB_RETRY_WAIT: Duration = Duration::from_millis(500);

// ---- Manifests (`manifest`): what a file may ask of its parser; what people write stays far below ----

/// Bytes of one manifest, all its documents together; an object in Kubernetes has the same limit. Checked before parsing.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Documents in one manifest.
pub const MANIFEST_DOCUMENTS_MAX: usize = 1000;
/// Lists and objects inside each other: a Pod has about ten; bounds the stack of the parser.
pub const MANIFEST_DEPTH_MAX: usize = 64;
/// Stack on which a manifest is read, in bytes: unoptimised builds take up to 50 KiB a level. Only what is used takes up memory.
pub const MANIFEST_STACK_BYTES: usize = 16 << 20;
/// Values (scalars, lists, objects) of one manifest with its aliases expanded: about 64 bytes each in memory.
pub const MANIFEST_NODES_MAX: usize = 50_000;
/// Bytes of all scalars of one manifest with its aliases expanded, against bombs made of aliases.
pub const MANIFEST_TEXT_BYTES_MAX: usize = 4 << 20;
/// Aliases (`*name`) in one manifest.
pub const MANIFEST_ALIASES_MAX: usize = 1000;
/// Problems that one error lists; the rest are counted.
pub const MANIFEST_PROBLEMS_MAX: usize = 50;
/// Known fields that an error about an unknown one lists: where there are more, none.
pub const MANIFEST_KNOWN_FIELDS_LISTED_MAX: usize = 8;
/// Bytes of a word for which a similar one is looked for: the work grows with the square of its length.
pub const SIMILAR_WORD_BYTES_MAX: usize = 64;
/// Known words that it is compared with: a manifest may make up thousands.
pub const SIMILAR_CANDIDATES_MAX: usize = 200;
/// Restart rules of one container, as in Kubernetes.
pub const RESTART_RULES_MAX: usize = 20;
/// Exit codes of one restart rule, as in Kubernetes.
pub const RESTART_RULE_EXIT_CODES_MAX: usize = 255;
/// Rules of a Job's `podFailurePolicy` or `successPolicy`, as in Kubernetes.
pub const JOB_RULES_MAX: usize = 20;
/// Exit codes of one such rule, as in Kubernetes.
pub const JOB_RULE_EXIT_CODES_MAX: usize = 255;
/// Pod conditions of one such rule, as in Kubernetes.
pub const JOB_RULE_CONDITIONS_MAX: usize = 20;
/// Bytes of a rule's `succeededIndexes`, as in Kubernetes.
pub const JOB_INDEXES_BYTES_MAX: usize = 64 << 10;
/// Times that a document is read again after a value of a wrong type, to find the next one; each costs a pass.
pub const MANIFEST_TYPE_ERRORS_MAX: usize = 10;
/// Bytes of a label selector: far more than a command line or a Service has.
pub const SELECTOR_BYTES_MAX: usize = 64 << 10;
/// Containers of a pod, init containers included.
pub const POD_CONTAINERS_MAX: usize = 256;
/// Bytes that a pod's variables, arguments and configMap or secret files may come to once references are resolved and `$(VAR)` is
/// expanded: twenty variables that double each other would otherwise be a gigabyte.
pub const POD_EXPANDED_BYTES_MAX: usize = 16 << 20;
/// Bytes of a pod's annotations, keys and values together, as in Kubernetes.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

// ---- Containers and pods (`container`, `pod::driver`) ----

/// Linear memory of a container whose manifest gives no limit, in bytes: what a 32-bit guest can address, less than a machine has.
pub const CONTAINER_MEMORY_BYTES_DEFAULT: u64 = 1 << 30;
/// Core instances in one store: a component is made of several.
pub const STORE_INSTANCES_MAX: usize = 1000;
/// Tables in one store.
pub const STORE_TABLES_MAX: usize = 100;
/// Linear memories in one store.
pub const STORE_MEMORIES_MAX: usize = 32;
/// Bytes of a termination message, as in Kubernetes (`MaxContainerTerminationMessageLength`).
pub const TERMINATION_MESSAGE_BYTES_MAX: usize = 4096;
/// Bytes of output that may stand in for a termination message, as the kubelet has it (`MaxContainerTerminationMessageLogLength`).
pub const TERMINATION_LOG_TAIL_BYTES_MAX: usize = 2048;
/// Lines of it, as the kubelet has it (`MaxContainerTerminationMessageLogLines`).
pub const TERMINATION_LOG_TAIL_LINES_MAX: usize = 80;
/// Bytes that the file of a termination message takes at rest: more than is ever read of it. What a container writes beyond that is
/// given back to the disk at the next look.
pub const TERMINATION_FILE_BYTES_KEPT: u64 = 64 << 10;
/// Guest time between two looks at what a container may have written: at the speed of a fast disk some 20 MB. A container that does not
/// run cannot write and is not looked at.
pub const STORAGE_LOOK_CPU: Duration = Duration::from_millis(10);
/// What a container without an `ephemeral-storage` limit may write into its own `/`, in bytes: a machine has more.
pub const CONTAINER_ROOT_BYTES_DEFAULT: u64 = 1 << 30;
/// What an `emptyDir` in memory without a `sizeLimit` may hold, in bytes: as much as a container without a memory limit.
pub const EMPTY_DIR_MEMORY_BYTES_DEFAULT: u64 = 1 << 30;
/// Commands waiting for a pod's task; whoever sends one more waits.
pub const POD_COMMANDS_MAX: usize = 8;
/// Questions of probes and hooks that a container can have under way: one of each probe, and those of its hooks.
pub const POD_QUESTIONS_PER_CONTAINER_MAX: usize = 5;
/// What one instance of a container says to its pod's task: that it started, that it ended.
pub const POD_EVENTS_PER_CONTAINER_MAX: usize = 2;
/// How often volumes and container roots are measured at most, while guests work. Between two looks a guest can write more than its
/// limit.
pub const VOLUME_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How many times as long as a look took nobody looks again: the files that guests make cost the host a fifth of a processor at most.
pub const VOLUME_CHECK_REST_FACTOR: u32 = 4;

// ---- Volumes (`volume`) ----

/// How often a path is resolved again when something in it was renamed meanwhile.
pub const PATH_ATTEMPTS_MAX: usize = 8;
/// How often a walk through a volume begins anew before it counts as too restless to be measured, and so as over its limit.
pub const VOLUME_WALKS_MAX: usize = 8;

/// How many files and directories of a volume are counted; a volume with more is over its size limit, whatever they hold.
///
/// A second or so of work; names cost the file system memory or disk that the size of the files does not show.
pub const VOLUME_ENTRIES_MAX: usize = 1_000_000;

/// As [`VOLUME_ENTRIES_MAX`], for what a container writes beside its volumes.
pub const CONTAINER_ROOT_ENTRIES_MAX: usize = 100_000;
/// Where a `wasi:http` container listens when it declares no port.
pub const HTTP_PORT_DEFAULT: u16 = 8080;
// ---- WASI (`wasi`): what a guest can make the host hold ----

/// Entries of a component's resource table: sockets with their two streams, files, pollables, bodies. Far above what a program of
/// thousands of connections needs, and a table of that size costs a few megabytes.
pub const WASI_RESOURCES_MAX: usize = 16_384;

/// Descriptors that a preview-1 module may have open at once: files and sockets together, its `RLIMIT_NOFILE`.
pub const DESCRIPTORS_PER_CONTAINER_MAX: usize = 4096;

/// One part in so many of the process' descriptors that no guest gets: with every last one taken by the files of one container, no pod
/// could start and nobody could connect.
pub const DESCRIPTOR_RESERVE_DIVISOR: u64 = 4;

/// Bytes of a directory that are read at once for `fd_readdir`; between two such pieces others have their turn.
pub const DIRECTORY_READ_BYTES: usize = 32 << 10;

/// Bytes of a directory that one `directory-entry-stream` of a component reads ahead; it can have [`WASI_RESOURCES_MAX`] of them.
pub const DIRECTORY_STREAM_BYTES_MAX: usize = 2 << 10;

/// Streams on files that a component may have open where there are files that may block (`hostPath`): each can hold
/// [`STREAM_CHUNK_BYTES_MAX`] until a thread has done its work.
pub const BLOCKING_FILE_STREAMS_MAX: usize = 1024;

/// Bytes that preview 1 reads from or writes to a file in one call; more is done in several, as for any file.
pub const FILE_TRANSFER_BYTES_MAX: u32 = 4 << 20;

/// Bytes that the host may allocate for one call of a guest; wasmtime's own default is 128 MiB.
pub const HOSTCALL_BYTES_MAX: usize = 8 << 20;

/// Random bytes of one call; wasmtime-wasi's own default is 64 MiB.
pub const RANDOM_BYTES_PER_CALL_MAX: u64 = 1 << 20;

/// Arguments and environment together, as Linux' `ARG_MAX` for the usual stack of 8 MiB.
pub const ARGS_AND_ENV_BYTES_MAX: usize = 2 << 20;

/// Bytes of standard input that are read ahead of the guest.
pub const STDIN_BUFFER_BYTES: usize = 8 << 10;

/// Bytes of one read from, or one permit to write to, a stream of ours; what wasmtime-wasi uses.
pub const STREAM_CHUNK_BYTES_MAX: usize = 64 << 10;

/// Bytes that a guest was permitted to write to its output and that found the sink full: a permit on each of its two streams.
pub const OUTPUT_PENDING_BYTES_MAX: usize = 128 << 10;

/// Datagrams of one `receive` or one permit to `send`; what wasmtime-wasi uses.
pub const DATAGRAMS_PER_CALL_MAX: usize = 16;

/// Buffers of one scattered read or gathered write in preview 1, as Linux' `UIO_MAXIOV`.
pub const IOVECS_PER_CALL_MAX: u32 = 1024;

/// Subscriptions of one `poll_oneoff`: two for every descriptor a module can have, and a timeout.
pub const POLL_SUBSCRIPTIONS_MAX: u32 = 2 * 4096 + 1;

/// Addresses of one name that a client tries or is told.
pub const ADDRESSES_PER_NAME_MAX: usize = 16;

/// Names and values of the header of one HTTP message.
pub const HTTP_HEADER_BYTES_MAX: usize = 64 << 10;

/// Fields of the header of one HTTP message.
pub const HTTP_HEADERS_MAX: usize = 128;

/// Bytes that one connection buffers of an HTTP message; hyper's smallest is 8 KiB, its default 400 KiB.
pub const HTTP_BUFFER_BYTES_MAX: usize = 64 << 10;

/// Bytes of one write to an outgoing HTTP body; wasmtime-wasi-http's own default is 1 MiB.
pub const HTTP_BODY_CHUNK_BYTES_MAX: usize = 64 << 10;

/// Connections that an HTTP container serves at once; more wait in the listener's backlog.
pub const HTTP_CONNECTIONS_PER_CONTAINER_MAX: usize = 1024;

/// Requests that an HTTP container handles at once, each on an instance of its own; more wait on their connections.
pub const HTTP_REQUESTS_PER_CONTAINER_MAX: usize = 64;

/// How long an HTTP container waits before it accepts again when it has as many sockets as it may have.
pub const HTTP_ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// Seconds within which a client must have sent the header of its request.
pub const HTTP_HEADER_SECONDS_MAX: u64 = 30;

/// Seconds that an outgoing request may wait for its connection, for the first byte of the answer, and between two bytes; guests can
/// ask for less.
pub const HTTP_CLIENT_SECONDS_MAX: u64 = 600;

/// Seconds that an outgoing request waits for its connection when the guest does not say.
pub const HTTP_CONNECT_SECONDS_DEFAULT: u64 = 30;

// ---- Artifacts and their compiler (`engine`) ----

/// The biggest artifact in bytes; code is some 2 to 5 times as big as the WebAssembly.
pub const ARTIFACT_BYTES_MAX: u64 = 2 << 30;
/// Artifacts up to this size are hashed at every load, as quickly as anything else could be asked; bigger ones when their identity has
/// changed.
pub const CACHE_HASH_ALWAYS_BYTES_MAX: u64 = 32 << 10;
/// Programs and artifacts up to this size are read on the thread that asks for them: in less than a millisecond.
pub const LOAD_AT_ONCE_BYTES_MAX: u64 = 512 << 10;
/// How much of an artifact is read at once to hash it.
pub const CACHE_READ_CHUNK_BYTES: usize = 128 << 10;
/// How long an artifact must have been left alone before its identity says that it is unchanged: coarser than any file system's clock.
pub const CACHE_STAMP_AGE_MIN: Duration = Duration::from_secs(2);

/// Memory of one compilation in bytes (data of the child): a Ruby of 30 MB takes 1 to 2 GiB.
pub const COMPILE_MEMORY_BYTES_MAX: u64 = 4 << 30;
/// CPU time of one compilation over all its threads: a Ruby takes a minute.
pub const COMPILE_CPU_TIME_MAX: Duration = Duration::from_secs(600);
/// Time of one compilation until it is killed; it runs at low priority, so others may hold it up.
pub const COMPILE_WALL_TIME_MAX: Duration = Duration::from_secs(600);
/// Compilations at once; each uses all processors.
pub const COMPILE_PARALLEL_MAX: usize = 2;
/// How much of what a compiler says is kept, in bytes.
pub const COMPILE_MESSAGE_BYTES_MAX: u64 = 16 << 10;
/// How long to wait before asking again whether another process is done with an artifact.
pub const CACHE_LOCK_POLL: Duration = Duration::from_millis(20);

// ---- Benchmarks (`wasmpod bench`) ----

/// Runs of one mode: more than any quantile needs.
pub const BENCH_RUNS_MAX: u32 = 1_000_000;
/// How long one run may take until it ends, or until it is ready; then it is killed.
pub const BENCH_RUN_TIME_MAX: Duration = Duration::from_secs(600);
/// Pods that are started at once; the pool of the engine has fewer slots.
pub const BENCH_CONCURRENCY_MAX: u32 = 4096;
/// Idle pods in one process; the pool of the engine has fewer slots.
pub const BENCH_PODS_MAX: u32 = 100_000;
/// Phases of one run that are noted; a container has some five.
pub const BENCH_PHASES_PER_RUN_MAX: usize = 4096;
/// Bytes of what a run that failed said last that are shown.
pub const BENCH_MESSAGE_BYTES_MAX: u64 = 4096;
/// Bytes that a process which is filled with pods may say about itself.
pub const BENCH_ANSWER_BYTES_MAX: u64 = 1 << 20;
