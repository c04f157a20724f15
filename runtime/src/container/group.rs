//! The control group of a container, in the kernel's sense: what all its instances share. The one of a program, those of a
//! `wasi:http` container that each answer a request, and what is exec'd into either are counted, limited, paused and ended together.
//! Where the pod has limits of its own, the groups of its containers are parts of one more.

use super::control::Control;
use super::cpu::{CpuAccount, CpuRate};
use super::memory::MemoryBudget;
use crate::limits::{CONTAINER_MEMORY_BYTES_DEFAULT, STORAGE_LOOK_CPU};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a container may use; they can be changed while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerLimits {
    /// Linear memory and tables in bytes; [`CONTAINER_MEMORY_BYTES_DEFAULT`] when there is none.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a processor; as many as the guest threads give when there is none.
    pub cpu_millicores: Option<u64>,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// CPU time of its guests with their host calls since it started, in nanoseconds.
    pub cpu_ns: u64,
    /// Time that its guests were held back for their CPU limit, all together, in nanoseconds.
    pub throttled_ns: u64,
    /// Linear memory and tables in bytes.
    pub memory_bytes: u64,
    /// The most that it had of them at any time.
    pub memory_peak_bytes: u64,
    /// The most that it may have.
    pub memory_limit_bytes: u64,
}

/// The control group of a pod: the limits that all its containers share.
#[derive(Debug)]
pub(crate) struct PodGroup {
    memory: Option<Arc<MemoryBudget>>,
    cpu: CpuAccount,
    rate: Option<CpuRate>,
}

impl PodGroup {
    /// The group of a pod with these limits; what is `None` is not limited.
    pub(crate) fn new(limits: ContainerLimits) -> Arc<Self> {
        let rate = limits.cpu_millicores.map(CpuRate::of_millicores);
        Arc::new(Self { memory: limits.memory_bytes.map(MemoryBudget::new), cpu: CpuAccount::new(), rate })
    }
}

/// What is to be done when guests have worked: called where they run.
pub(crate) type OnWork = Box<dyn Fn() + Send + Sync>;

/// What the instances of a container share.
pub(crate) struct ControlGroup {
    settings: watch::Sender<Settings>,
    memory: Arc<MemoryBudget>,
    cpu: CpuAccount,
    pod: Option<Arc<PodGroup>>,
    /// The container has ended, and what was exec'd into it must.
    over: CancellationToken,
    /// What was exec'd and has not ended yet.
    execs: TaskTracker,
    /// Called whenever the guests have worked for [`STORAGE_LOOK_CPU`] more, long enough to have written something, and at the end.
    on_work: OnWork,
}

impl fmt::Debug for ControlGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlGroup").field("settings", &self.settings).field("usage", &self.usage()).finish_non_exhaustive()
    }
}

/// What can change while a container runs.
#[derive(Clone, Copy, Debug)]
struct Settings {
    paused: bool,
    cpu: Option<CpuRate>,
}

/// Why a guest is held back.
#[derive(Clone, Copy)]
enum HeldBack {
    Paused,
    Throttled(Duration),
}

impl ControlGroup {
    /// The group of a container that starts. `on_work` is called whenever its guests have worked for [`STORAGE_LOOK_CPU`] more, and when
    /// it ends.
    pub(crate) fn new(limits: ContainerLimits, on_work: OnWork) -> Arc<Self> {
        Self::in_pod(None, limits, on_work)
    }

    /// The same for a container of a pod with limits of its own.
    pub(crate) fn in_pod(pod: Option<Arc<PodGroup>>, limits: ContainerLimits, on_work: OnWork) -> Arc<Self> {
        let cpu = limits.cpu_millicores.map(CpuRate::of_millicores);
        let pod_memory = pod.as_ref().and_then(|pod| pod.memory.clone());
        // Without a limit of its own, a container may have what its pod may.
        let pod_limit_bytes = pod_memory.as_ref().map(|memory| memory.limit_bytes());
        let limit_bytes = limits.memory_bytes.or(pod_limit_bytes).unwrap_or(CONTAINER_MEMORY_BYTES_DEFAULT);
        Arc::new(Self {
            settings: watch::Sender::new(Settings { paused: false, cpu }),
            memory: MemoryBudget::part_of(pod_memory, limit_bytes),
            cpu: CpuAccount::new(),
            pod,
            over: CancellationToken::new(),
            execs: TaskTracker::new(),
            on_work,
        })
    }

    /// What it uses now.
    pub(super) fn usage(&self) -> ContainerUsage {
        ContainerUsage {
            cpu_ns: self.cpu.used_ns(),
            throttled_ns: self.cpu.throttled_ns(),
            memory_bytes: self.memory.used_bytes(),
            memory_peak_bytes: self.memory.peak_bytes(),
            memory_limit_bytes: self.memory.limit_bytes(),
        }
    }

    /// Lets no guest run, or lets them run again.
    pub(super) fn set_paused(&self, paused: bool) {
        self.settings.send_modify(|settings| settings.paused = paused);
    }

    /// Whether it is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.settings.borrow().paused
    }

    /// Sets other limits, which hold from now on.
    pub(crate) fn set_limits(&self, limits: ContainerLimits) {
        self.memory.set_limit(limits.memory_bytes.unwrap_or(CONTAINER_MEMORY_BYTES_DEFAULT));
        self.settings.send_modify(|settings| settings.cpu = limits.cpu_millicores.map(CpuRate::of_millicores));
    }

    /// Whether the container has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// What says that the container has ended.
    pub(super) fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// Where the tasks of what is exec'd belong.
    pub(super) fn execs(&self) -> &TaskTracker {
        &self.execs
    }

    /// Ends what was exec'd into the container, and waits until it is gone.
    pub(super) async fn end(&self) {
        self.over.cancel();
        self.execs.close();
        self.execs.wait().await;
        (self.on_work)();
    }

    /// The memory that its instances share.
    pub(super) fn memory(&self) -> &Arc<MemoryBudget> {
        &self.memory
    }

    /// Counts a guest's turn.
    pub(super) fn charge(&self, spent: Duration) {
        let limit = self.settings.borrow().cpu;
        let before = self.cpu.charge(spent, limit);
        if let Some(pod) = &self.pod {
            pod.cpu.charge(spent, pod.rate);
        }
        let looks = |used: Duration| used.as_nanos() / STORAGE_LOOK_CPU.as_nanos();
        if looks(before) != looks(before + spent) {
            (self.on_work)();
        }
    }

    /// Waits until a guest may take its next turn: at once for one that is to die.
    pub(super) async fn may_run(&self, control: &Control) {
        // A copy: the lock must not be held over what follows.
        let now = *self.settings.borrow();
        if self.held_back(now).is_some() {
            self.released(control).await;
        }
    }

    async fn released(&self, control: &Control) {
        let mut settings = self.settings.subscribe();
        loop {
            let now = *settings.borrow_and_update();
            let held_back = match self.held_back(now) {
                Some(held_back) => held_back,
                None => return,
            };
            let since = Instant::now();
            let enough = async {
                match held_back {
                    HeldBack::Throttled(wait) => tokio::time::sleep(wait).await,
                    HeldBack::Paused => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = control.killed() => return,
                // An error would mean that the sender is gone; `self` holds it.
                _ = settings.changed() => {}
                () = enough => {}
            }
            if let HeldBack::Throttled(wait) = held_back {
                // A timer that comes late is the machine's doing.
                self.cpu.throttled(since.elapsed().min(wait));
            }
        }
    }

    fn held_back(&self, settings: Settings) -> Option<HeldBack> {
        if settings.paused {
            return Some(HeldBack::Paused);
        }
        let by_pod = self.pod.as_ref().and_then(|pod| pod.cpu.wait(pod.rate));
        self.cpu.wait(settings.cpu).max(by_pod).map(HeldBack::Throttled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::state::Signal;
    use futures::FutureExt as _;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn limited(millicores: u64) -> (Arc<ControlGroup>, Control) {
        let limits = ContainerLimits { memory_bytes: None, cpu_millicores: Some(millicores) };
        (ControlGroup::new(limits, Box::new(|| ())), Control::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_over_its_limit_waits_for_what_it_owes() {
        let (group, control) = limited(100);
        group.charge(Duration::from_millis(23));
        let asked = Instant::now();
        group.may_run(&control).await;
        let waited = asked.elapsed();
        assert!((200..=202).contains(&waited.as_millis()), "{waited:?}");
        assert_eq!(group.usage().throttled_ns, 200_000_000, "what it waited beyond that is not its limit's doing");
        assert_eq!(group.usage().cpu_ns, 23_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_containers_of_a_pod_share_its_limits() {
        let pod = PodGroup::new(ContainerLimits { memory_bytes: Some(100), cpu_millicores: Some(100) });
        let own = ContainerLimits { memory_bytes: Some(60), cpu_millicores: Some(900) };
        let [one, two] =
            [own, ContainerLimits::default()].map(|limits| ControlGroup::in_pod(Some(Arc::clone(&pod)), limits, Box::new(|| ())));
        one.charge(Duration::from_millis(23));
        for group in [&one, &two] {
            let asked = Instant::now();
            group.may_run(&Control::new()).await;
            assert!(asked.elapsed() <= Duration::from_millis(202));
        }
        assert_eq!(one.usage().throttled_ns, 200_000_000, "its own limit would have let it run");
        assert_eq!((one.usage().memory_limit_bytes, two.usage().memory_limit_bytes), (60, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_limit_holds_at_once() {
        let (group, control) = limited(1);
        group.charge(Duration::from_secs(1));
        let waiting = group.may_run(&control);
        let raise = async { group.set_limits(ContainerLimits::default()) };
        let asked = Instant::now();
        tokio::join!(waiting, raise);
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_paused_container_runs_again_when_it_is_resumed_or_killed() {
        let (group, control) = (ControlGroup::new(ContainerLimits::default(), Box::new(|| ())), Control::new());
        group.set_paused(true);
        assert!(group.may_run(&control).now_or_never().is_none());
        tokio::join!(group.may_run(&control), async { group.set_paused(false) });
        group.set_paused(true);
        control.send(Signal::Term);
        assert!(group.may_run(&control).now_or_never().is_none());
        tokio::join!(group.may_run(&control), async { control.send(Signal::Kill) });
    }

    #[tokio::test]
    async fn the_end_of_a_container_waits_for_what_was_execd_into_it() {
        let group = ControlGroup::new(ContainerLimits::default(), Box::new(|| ()));
        let control = Control::within(group.over().clone());
        let exec = group.execs().spawn(async move { control.stopped().await });
        group.end().await;
        assert_eq!(exec.now_or_never().unwrap().unwrap(), Signal::Kill);
        assert!(group.is_over());
    }

    #[test]
    fn somebody_looks_after_so_much_work() {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let on_work = Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let group = ControlGroup::new(ContainerLimits::default(), on_work);
        for _ in 0..100 {
            group.charge(STORAGE_LOOK_CPU / 10);
        }
        assert_eq!(looks.load(Ordering::Relaxed), 10);
    }
}
