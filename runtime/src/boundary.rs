//! The points where authority is asked.

use std::fmt;

/// A point where authority is asked, in the order in which a job usually meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Boundary {
    /// Before the process takes any work. Registers the device where you can see it.
    Startup,
    /// Before a unit of work begins.
    BeforeJob,
    /// Before something that costs money: a model call, a metered API.
    BeforeCost,
    /// Before the outside world is changed: a payment, a mail, a write.
    BeforeSideEffect,
    /// Before work is spread: spawning agents, sending batches.
    BeforeFanOut,
}

impl Boundary {
    /// Every boundary there is.
    pub const ALL: [Boundary; 5] = [
        Boundary::Startup,
        Boundary::BeforeJob,
        Boundary::BeforeCost,
        Boundary::BeforeSideEffect,
        Boundary::BeforeFanOut,
    ];

    /// The name as the attribute and the wire spell it, such as `before_side_effect`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Boundary::Startup => "startup",
            Boundary::BeforeJob => "before_job",
            Boundary::BeforeCost => "before_cost",
            Boundary::BeforeSideEffect => "before_side_effect",
            Boundary::BeforeFanOut => "before_fan_out",
        }
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What follows a refusal at a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRefusal {
    /// The process ends with exit code 77, where nothing can catch it.
    Exit,
    /// The call returns a [`Refused`](crate::Refused).
    Return,
}
