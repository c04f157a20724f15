//! Every bound of the shim: value, unit in its name, why. The bounds of what guests can do are the library's.

use std::time::Duration;

// ---- The containerd shim (`shim`) ----

/// Bytes that `start` reads from its standard input: options of the runtime, or the parameters that containerd 2.3 sends.
pub(crate) const BOOTSTRAP_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a `config.json`; those of Kubernetes have some ten thousand.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// Events that wait for containerd while it is away; at one more the oldest of them would no longer be news, so the new one is dropped.
pub(crate) const EVENTS_WAITING_MAX: usize = 512;
/// How long one attempt to hand over an event may take.
pub(crate) const EVENT_TIME_MAX: Duration = Duration::from_secs(5);
/// Attempts to hand over one event: with [`EVENT_RETRY`] about as long as a restart of containerd takes.
pub(crate) const EVENT_ATTEMPTS_MAX: u32 = 10;
/// How long to wait before an event is sent again.
pub(crate) const EVENT_RETRY: Duration = Duration::from_secs(1);
/// Processes that a task may have besides its first: instances of `exec` that run or wait to be deleted.
pub(crate) const EXECS_PER_TASK_MAX: usize = 128;
/// Tasks of one pod: as many containers as the library lets a pod have, and the sandbox.
pub(crate) const TASKS_MAX: usize = 257;
/// Bytes of one blob that is read to find out what an image is: a manifest, an index.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// How many indexes may lead to a manifest.
pub(crate) const INDEX_DEPTH_MAX: usize = 3;
/// Bytes of a WebAssembly file in a root file system or in the content store.
pub(crate) const MODULE_BYTES_MAX: u64 = 512 << 20;
/// Bytes that one mount can have as options: a page, says mount(2).
pub(crate) const MOUNT_OPTIONS_BYTES_MAX: usize = 4095;
/// Bytes that are carried at a time between a terminal and containerd.
pub(crate) const TERMINAL_CHUNK_BYTES: usize = 8 << 10;
/// How long the server waits for its connections to end after its last task was deleted.
pub(crate) const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(2);
/// How often the removal of a control group is tried, with [`CGROUP_REMOVAL_RETRY`] between: containerd waits for it.
pub(crate) const CGROUP_REMOVALS_MAX: u32 = 100;
/// How long to wait for the last process of a control group to be gone.
pub(crate) const CGROUP_REMOVAL_RETRY: Duration = Duration::from_millis(5);
