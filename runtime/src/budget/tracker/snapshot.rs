//! What a tracker leaves behind for the next process.

use std::collections::HashMap;
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
    /// The task of which it is a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<String>,
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
        let tasks = self.read();
        let by_account: HashMap<_, _> =
            tasks.values().map(|budget| (Arc::as_ptr(budget.account()), budget.name())).collect();
        let store = |budget: &Arc<Budget>| {
            let (limits, used) = (budget.limits(), budget.used());
            let whole = budget.account().whole().and_then(|whole| by_account.get(&Arc::as_ptr(whole)));
            Stored {
                id: budget.name().to_owned(),
                whole: whole.map(|&name| name.to_owned()),
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
        Snapshot { taken: self.stamp(), tasks: tasks.values().map(store).collect() }
    }

    /// A tracker that goes on from where another one was. Time that has passed in between counts, also over a restart of the machine. A part of
    /// another task is still one: what it does not use goes back there. One that was carved from a budget that no tracker knows stays
    /// taken from it.
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
        // Wholes before their parts, in as many rounds as parts have parts.
        let mut left: Vec<&Stored> = snapshot.tasks.iter().collect();
        while !left.is_empty() {
            let is_next = |stored: &&Stored| stored.whole.as_deref().is_none_or(|whole| tasks.contains_key(whole));
            let (next, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(is_next);
            if next.is_empty() {
                return Err(unusable(&rest[0].id, "it is a part of what is not in there, or of itself"));
            }
            for stored in next {
                let budget =
                    self.reopened(stored, since, stored.whole.as_deref().and_then(|whole| tasks.get(whole)))?;
                if tasks.insert(stored.id.clone().into_boxed_str(), Arc::new(budget)).is_some() {
                    return Err(unusable(&stored.id, "it is in there twice"));
                }
            }
            left = rest;
        }
        self.tasks = RwLock::new(tasks);
        Ok(self)
    }
}

impl Tracker {
    fn reopened(&self, stored: &Stored, since: Duration, whole: Option<&Arc<Budget>>) -> Result<Budget, Refused> {
        named(&stored.id)?;
        let limits = stored.limits()?;
        let elapsed = stored.elapsed.saturating_add(since);
        let used = Used { steps: stored.steps, micros: stored.micros, elapsed };
        let (name, opened) = (stored.id.clone(), self.stopwatch(limits));
        let budget = match whole {
            Some(whole) => Budget::open_part(name, limits, opened, used, whole),
            None => Budget::open(name, limits, opened, used),
        };
        budget.restore_depth(stored.depth);
        if stored.ended {
            budget.end();
        }
        Ok(budget)
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
