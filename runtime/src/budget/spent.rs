//! Which limit stops an account.

use std::fmt;
use std::time::Duration;

use super::Cost;
use crate::refused::{Kind, Refused};

/// Which limit stops an account, and how far it was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spent {
    /// More steps than there may be. Refused ones count.
    #[non_exhaustive]
    Steps {
        /// Attempts, this one included.
        taken: u64,
        /// The limit.
        most: u64,
    },
    /// Deeper than it may be.
    #[non_exhaustive]
    Depth {
        /// How deep.
        depth: u64,
        /// The limit.
        most: u64,
    },
    /// Open for longer than it may be.
    #[non_exhaustive]
    Duration {
        /// How long.
        elapsed: Duration,
        /// The limit.
        most: Duration,
    },
    /// More money than there may be.
    #[non_exhaustive]
    Cost {
        /// What was asked for.
        asked: Cost,
        /// What is reserved and spent already.
        held: Cost,
        /// The limit.
        most: Cost,
    },
}

impl Spent {
    pub(super) fn cost(asked: Cost, held: u64, most: Cost) -> Self {
        Spent::Cost { asked, held: Cost::from_micros_in(held, most), most }
    }

    /// The refusal that it makes.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Spent::Steps { .. } => Kind::BudgetSteps,
            Spent::Depth { .. } => Kind::BudgetDepth,
            Spent::Duration { .. } => Kind::BudgetDuration,
            Spent::Cost { .. } => Kind::BudgetCost,
        }
    }

    /// What it says of a task, such as `Task t exceeded step budget: 51 steps taken, max 50`.
    #[must_use]
    pub fn of_task(&self, id: &str) -> String {
        match self {
            Spent::Steps { taken, most } => format!("Task {id} exceeded step budget: {taken} steps taken, max {most}"),
            Spent::Depth { depth, most } => {
                format!("Task {id} exceeded depth budget: proposed depth {depth}, max {most}")
            }
            Spent::Duration { elapsed, most } => {
                let (elapsed, most) = (elapsed.as_secs_f64().round_ties_even(), most.as_secs_f64());
                format!("Task {id} exceeded duration budget: {elapsed}s elapsed, max {most}s")
            }
            Spent::Cost { asked, held, most } => {
                format!("Task {id} exceeded cost budget: {asked} on top of {held}, max {most}")
            }
        }
    }

    #[cold]
    pub(super) fn refuse_task(&self, id: &str) -> Refused {
        Refused::new(self.kind(), id, self.of_task(id)).advise(match self {
            Spent::Steps { .. } => {
                "stop here and report what was reached; refused steps count, so trying again helps nobody"
            }
            Spent::Depth { .. } => "do the work at this level, or hand it back to the level above",
            Spent::Duration { .. } => "stop here and report what was reached; the time does not come back",
            Spent::Cost { .. } => "stop spending, and report what was reached",
        })
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spent::Steps { taken, most } => write!(f, "step {taken} of at most {most}"),
            Spent::Depth { depth, most } => write!(f, "{depth} guarded calls deep, at most {most}"),
            Spent::Duration { elapsed, most } => {
                write!(f, "{} after it was opened, at most {}", brief(*elapsed), brief(*most))
            }
            Spent::Cost { asked, held, most } => write!(f, "{asked} on top of {held}, at most {most}"),
        }
    }
}

/// Durations in messages: no more digits than a person reads.
pub(super) fn brief(duration: Duration) -> humantime::FormattedDuration {
    let nanos = duration.as_nanos();
    let grain = match nanos {
        0..1_000_000 => 1,
        1_000_000..1_000_000_000 => 1_000_000,
        _ => 10_000_000,
    };
    let rounded = Duration::from_nanos(u64::try_from(nanos / grain * grain).unwrap_or(u64::MAX));
    humantime::format_duration(rounded)
}
