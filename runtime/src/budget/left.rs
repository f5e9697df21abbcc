//! What an account still allows.

use std::fmt;
use std::time::Duration;

use super::spent::brief;
use super::{Cost, stricter, stricter_cost};

/// What an account still allows. `None`: not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Left {
    /// Steps.
    pub steps: Option<u64>,
    /// Levels below the deepest one that was reached.
    pub depth: Option<u64>,
    /// Time.
    pub duration: Option<Duration>,
    /// Money.
    pub cost: Option<Cost>,
}

impl Left {
    /// The lesser of both, limit by limit: what is left to work that is charged to two accounts. Costs in two currencies cannot be
    /// compared: `self`'s stays.
    #[must_use]
    pub fn strictest(self, other: Left) -> Left {
        Left {
            steps: stricter(self.steps, other.steps),
            depth: stricter(self.depth, other.depth),
            duration: stricter(self.duration, other.duration),
            cost: stricter_cost(self.cost, other.cost),
        }
    }

    /// `true` if not one step more is allowed.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.steps == Some(0)
    }
}

/// Words that an agent can read, such as `12 steps, 28m, 3.20 USD left`.
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.steps.map(|steps| format!("{steps} steps")),
            self.depth.map(|depth| format!("{depth} levels")),
            self.duration.map(|duration| brief(duration).to_string()),
            self.cost.map(|cost| cost.to_string()),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() { f.write_str("no limit") } else { write!(f, "{} left", parts.join(", ")) }
    }
}
