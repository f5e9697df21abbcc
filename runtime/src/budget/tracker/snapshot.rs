//! What a tracker leaves behind for the next process.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::account::Used;
use super::super::handle::named;
use super::super::{Budget, Clock, Cost, Limits, Stamp};
use super::{Tasks, Tracker};
use crate::refused::{Kind, Refused};

/// All that a [`Tracker`] knows, to be stored and restored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    taken: Stamp,
    tasks: Vec<Stored>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    id: String,
    max_steps: Option<u64>,
    max_depth: Option<u64>,
    max_duration: Option<Duration>,
    max_cost: Option<String>,
    steps: u64,
    depth: u64,
    micros: u64,
    elapsed: Duration,
    ended: bool,
}

impl Tracker {
    /// All that it knows, as of now. Restoring it in another process, or here, gives nobody anything back.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let store = |budget: &Arc<Budget>| {
            let (limits, used) = (budget.limits(), budget.used());
            Stored {
                id: budget.name().to_owned(),
                max_steps: limits.steps,
                max_depth: limits.depth,
                max_duration: limits.duration,
                max_cost: limits.cost.map(|cost| cost.to_string()),
                steps: used.steps,
                depth: budget.deepest(),
                micros: used.micros,
                elapsed: used.elapsed,
                ended: budget.is_ended(),
            }
        };
        let tasks = self.read();
        Snapshot { taken: self.stamp(), tasks: tasks.values().map(store).collect() }
    }

    /// A tracker that goes on from where another one was. Time that has passed in between counts, also over a restart of the machine. What was
    /// carved from another budget stays taken from it: parts do not go back, and what one spends beyond its own is from here on missing
    /// from the part alone.
    ///
    /// # Errors
    /// `invalid_argument` if it holds what no tracker has stored.
    pub fn restore(snapshot: &Snapshot) -> Result<Self, Refused> {
        Tracker::new().filled(snapshot)
    }

    /// The same, on another clock.
    ///
    /// # Errors
    /// As [`restore`](Tracker::restore).
    pub fn restore_with_clock(snapshot: &Snapshot, clock: Arc<dyn Clock>) -> Result<Self, Refused> {
        Tracker::with_clock(clock).filled(snapshot)
    }

    fn filled(mut self, snapshot: &Snapshot) -> Result<Self, Refused> {
        let since = self.stamp().since(&snapshot.taken);
        let mut tasks = Tasks::default();
        for stored in &snapshot.tasks {
            named(&stored.id)?;
            let limits = stored.limits()?;
            let elapsed = stored.elapsed.saturating_add(since);
            let used = Used { steps: stored.steps, micros: stored.micros, elapsed };
            let budget = Budget::open(stored.id.clone(), limits, self.stopwatch(limits), used);
            budget.restore_depth(stored.depth);
            if stored.ended {
                budget.end();
            }
            if tasks.insert(stored.id.clone().into_boxed_str(), Arc::new(budget)).is_some() {
                return Err(unusable(&stored.id, "it is in there twice"));
            }
        }
        self.tasks = RwLock::new(tasks);
        Ok(self)
    }
}

impl Stored {
    fn limits(&self) -> Result<Limits, Refused> {
        let cost = self.max_cost.as_deref().map(str::parse::<Cost>).transpose();
        let cost = cost.map_err(|error| unusable(&self.id, &error.to_string()))?;
        Ok(Limits { steps: self.max_steps, depth: self.max_depth, duration: self.max_duration, cost })
    }
}

fn unusable(id: &str, why: &str) -> Refused {
    Refused::new(Kind::InvalidArgument, id, format!("the stored budget can't be used: {why}"))
}
