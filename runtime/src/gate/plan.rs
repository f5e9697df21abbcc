//! What a gate is built from.

use std::sync::Arc;
use std::time::Duration;

use crate::authority::{Authority, Device};
use crate::budget::Limits;
use crate::config::{ConfigError, TaskLayers};
use crate::ledger::{Receipts, Store};
use crate::refused::Refused;
use crate::tasks::loops::Detector;
use crate::tasks::settings::Settings;

/// All of it, once every source of configuration has been heard.
pub(crate) struct Plan {
    pub(crate) namespace: Option<String>,
    /// `Err`: why no authority can be asked.
    pub(crate) authority: Result<(Arc<dyn Authority>, Device), String>,
    pub(crate) ledger: LedgerPlan,
    pub(crate) receipts: Receipts,
    pub(crate) deadline: Duration,
    pub(crate) limits: Limits,
    pub(crate) tasks: TaskPlan,
    pub(crate) unwinds: bool,
}

/// What tasks may do where their attribute says nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskPlan {
    /// Limits that a task's attribute leaves open.
    pub(crate) budget: Limits,
    /// What the working directory's files allow at most, whatever the attribute says.
    pub(crate) lowered: Limits,
    /// How deep the tree of tasks may be.
    pub(crate) max_depth: u64,
}

impl TaskPlan {
    pub(crate) fn of(layers: TaskLayers) -> Result<Self, ConfigError> {
        let (settings, lowered) = Settings::of(layers)?;
        Ok(TaskPlan { budget: settings.budget.limits(), lowered, max_depth: settings.lifecycle.max_depth })
    }

    /// What a task may use whose attribute states `limits`.
    pub(super) fn limits(&self, limits: Limits) -> Limits {
        limits.or(self.budget).tightened_by(self.lowered)
    }
}

impl Default for TaskPlan {
    fn default() -> Self {
        TaskPlan { budget: Limits::TASK, lowered: Limits::new(), max_depth: Detector::MAX_DEPTH }
    }
}

/// How the ledger is opened, on the first claim.
pub(crate) type LedgerPlan = Box<dyn Fn() -> Result<Arc<dyn Store>, Refused> + Send + Sync>;
