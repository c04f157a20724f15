//! The probes and hooks that are under way: started as the state machine asks, given up when nobody waits for their answer.

use super::Driver;
use crate::Result;
use crate::container::ExecConfig;
use crate::limits::POD_QUESTIONS_PER_CONTAINER_MAX;
use crate::pod::hook;
use crate::pod::probe::{self, exec::ExecRun};
use crate::pod::spec::{ContainerSpec, Hook, ProbeAction};
use crate::pod::state::{Attempt, ContainerIndex, Event, HookKind, ProbeAnswer, ProbeKind};
use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// What is under way for one container: at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Question {
    Probe(ProbeKind),
    Hook(HookKind),
}

/// All that is under way in one pod. Dropped, it is given up.
#[derive(Debug)]
pub(super) struct Questions {
    tasks: HashMap<(ContainerIndex, Question), AbortOnDropHandle<()>>,
    answers: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
}

impl Questions {
    /// None yet, in a pod of so many containers.
    pub(super) fn new(containers: usize) -> Self {
        let (answers, inbox) = mpsc::channel((containers * POD_QUESTIONS_PER_CONTAINER_MAX).max(1));
        Self { tasks: HashMap::new(), answers, inbox }
    }

    /// The next answer; waits for ever when there is none.
    pub(super) async fn next_answer(&mut self) -> Event {
        match self.inbox.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// The instance of a container is gone.
    pub(super) fn give_up(&mut self, container: ContainerIndex) {
        self.tasks.retain(|(about, _), _| *about != container);
    }

    /// The instance of a container is on its way out, or another hook of it begins.
    pub(super) fn give_up_hooks(&mut self, container: ContainerIndex) {
        self.tasks.retain(|(about, question), _| *about != container || matches!(question, Question::Probe(_)));
    }

    fn begin(&mut self, container: ContainerIndex, question: Question, work: impl Future<Output = Event> + Send + 'static) {
        let answers = self.answers.clone();
        let task = tokio::spawn(async move {
            // An error means that the pod's task has ended.
            drop(answers.send(work.await).await);
        });
        self.tasks.insert((container, question), AbortOnDropHandle::new(task));
    }
}

impl Driver {
    /// Asks a probe; the answer comes as an event.
    pub(super) fn ask(&mut self, container: ContainerIndex, attempt: Attempt, kind: ProbeKind) {
        let answered = move |answer| Event::Probed { container, attempt, kind, answer };
        let probe = self.container_spec(container).and_then(|spec| match kind {
            ProbeKind::Startup => spec.startup_probe.clone(),
            ProbeKind::Liveness => spec.liveness_probe.clone(),
            ProbeKind::Readiness => spec.readiness_probe.clone(),
        });
        let net = self.config.sandbox.network().clone();
        let run = match probe.as_ref().map(|probe| &probe.action) {
            Some(ProbeAction::Exec { command }) => Some(self.exec(container, command)),
            _ => None,
        };
        self.questions.begin(container, Question::Probe(kind), async move {
            match probe {
                Some(probe) => answered(probe::ask(&probe, &net, run).await),
                None => answered(ProbeAnswer::Error("the container has no such probe".to_owned())),
            }
        });
    }

    /// Runs a hook; its end comes as an event.
    pub(super) fn run_hook(&mut self, container: ContainerIndex, attempt: Attempt, kind: HookKind) {
        self.questions.give_up_hooks(container);
        let hook = self.container_spec(container).and_then(|spec| match kind {
            HookKind::PostStart => spec.post_start.clone(),
            HookKind::PreStop => spec.pre_stop.clone(),
        });
        let net = self.config.sandbox.network().clone();
        let run = match &hook {
            Some(Hook::Exec { command }) => Some(self.exec(container, command)),
            _ => None,
        };
        self.questions.begin(container, Question::Hook(kind), async move {
            let ended = match hook {
                Some(hook) => hook::run(&hook, &net, run).await,
                None => Ok(()),
            };
            if let Err(error) = &ended {
                tracing::debug!(target: "wasmpod::pod", error = error.chain(), "a {kind} hook failed");
            }
            Event::HookEnded { container, attempt, hook: kind, succeeded: ended.is_ok() }
        });
    }

    fn container_spec(&self, container: ContainerIndex) -> Option<&ContainerSpec> {
        self.config.sandbox.spec().containers.get(container.0)
    }

    /// One more instance in a container that runs.
    fn exec(&self, container: ContainerIndex, command: &[String]) -> Result<ExecRun> {
        let image = self.images.of(container)?;
        let sandbox = &self.config.sandbox;
        ExecRun::begin(|log, report| sandbox.exec(container, image, ExecConfig::new(command.to_vec(), log), report))
    }
}
