//! The mode `density`: how many idle pods a process holds, and what memory each takes.
//!
//! They live in a process of their own (`wasmpod bench --fill`), so that its memory is theirs and nothing else's.

use super::super::interrupt::Interrupt;
use super::super::machine::kibibytes;
use super::super::plan::Plan;
use super::super::process::answer_of;
use super::super::result::{DensityPoint, Group};
use super::super::subject::{Subject, Traits};
use crate::args::Mode;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wasmpod::engine::EngineMode;
use wasmpod::{Error, Result};

/// How long the pods are left alone before memory is looked at.
const SETTLE: Duration = Duration::from_millis(100);

/// What the process that is filled says about itself.
#[derive(Serialize, Deserialize)]
struct Filled {
    points: Vec<DensityPoint>,
    /// Why it holds no more.
    stopped: Option<String>,
}

/// Lets a process be filled and takes down what it says.
pub(crate) fn measure(plan: &Plan<'_>, subject: &Subject, traits: &Traits) -> Result<Group> {
    if traits.ends {
        return Err(Error::invalid("its pods end, and --mode density measures pods that stay")
            .at(&subject.name)
            .hint("take a server, or leave the target out: an idle pod is built in"));
    }
    let (mut group, _) = plan.enter(subject, traits, Mode::Density)?;
    let answer = answer_of(subject.fill_command(plan.args.pods)?, &plan.interrupt)?;
    let Filled { points, stopped } = serde_json::from_slice(&answer)
        .map_err(|error| Error::internal("what a filled process says cannot be read").because(error))?;
    group.density = points;
    group.notes.extend(stopped.map(|why| format!("no more of them: {why}")));
    group.notes.push("memory is that of the whole process, by smaps_rollup and VmPTE; a pod's is what came with it".to_owned());
    Ok(group)
}

/// Fills this process with pods and says what that took, as JSON for [`measure`].
pub(crate) async fn fill(subject: &Subject, most: u32, interrupt: &Interrupt) -> Result<String> {
    let pods = subject.pods(EngineMode::Node).await?;
    let mut filled = Filled { points: vec![memory(0)?], stopped: None };
    let mut running = Vec::new();
    for wanted in steps(most) {
        while running.len() < wanted && filled.stopped.is_none() {
            let next = async {
                let started = pods.start().await?;
                started.running().await?;
                Ok::<_, Error>(started)
            };
            let next = tokio::select! {
                biased;
                () = interrupt.asked() => break,
                next = next => next,
            };
            match next {
                Ok(started) => running.push(started),
                Err(error) if running.is_empty() => return Err(error),
                Err(error) => filled.stopped = Some(error.chain()),
            }
        }
        if running.is_empty() {
            break;
        }
        tokio::time::sleep(SETTLE).await;
        filled.points.push(memory(running.len() as u64)?);
        if filled.stopped.is_some() || interrupt.is_asked() {
            break;
        }
    }
    serde_json::to_string(&filled).map_err(|error| Error::internal("cannot write JSON").because(error))
}

/// 1, 10, 100 and so on, and at last `most`.
fn steps(most: u32) -> impl Iterator<Item = usize> {
    let powers = std::iter::successors(Some(1_u32), |pods| pods.checked_mul(10)).take_while(move |pods| *pods < most);
    powers.chain([most]).map(|pods| pods as usize)
}

/// The memory of this process.
fn memory(pods: u64) -> Result<DensityPoint> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| Error::io("cannot be read", error).at(path));
    let (rollup, status) = (read("/proc/self/smaps_rollup")?, read("/proc/self/status")?);
    let bytes = |text: &str, key: &str| kibibytes(text, key).ok_or_else(|| Error::invalid(format!("/proc does not say {key}")));
    Ok(DensityPoint {
        pods,
        rss_bytes: bytes(&rollup, "Rss:")?,
        pss_bytes: bytes(&rollup, "Pss:")?,
        page_table_bytes: bytes(&status, "VmPTE:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_looked_at_on_the_way() {
        let all = |most| steps(most).collect::<Vec<_>>();
        assert_eq!(all(1), [1]);
        assert_eq!(all(1000), [1, 10, 100, 1000]);
        assert_eq!(all(2500), [1, 10, 100, 1000, 2500]);
    }
}
