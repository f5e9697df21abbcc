//! The durable tasks of a ledger, looked at from outside.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::budget::{Cost, Limits};
use crate::refused::{Kind, Refused};
use crate::tasks::lifecycle::{Change, TaskState};

/// The durable tasks of a ledger, opened to be looked at: for operators, and for the command `portcullis task`; and whose agents sleep.
///
/// It blocks: inside an async runtime, use it on a thread for blocking work. It makes no ledger, and starts nothing.
///
/// ```no_run
/// use portcullis::ledger::{TaskBook, TaskFilter};
/// use portcullis::tasks::lifecycle::TaskState;
///
/// # fn main() -> Result<(), portcullis::Refused> {
/// let tasks = TaskBook::open("sqlite:/var/lib/shop/ledger.sqlite")?;
/// for task in tasks.list(&TaskFilter::new().state(TaskState::Blocked))? {
///     println!("{} has taken {} steps", task.id, task.steps);
/// }
/// # Ok(())
/// # }
/// ```
pub struct TaskBook(Mutex<Box<dyn ReadTasks>>);

/// A ledger that can be asked about its tasks.
pub(crate) trait ReadTasks: Send {
    /// Those that `filter` lets through, latest first.
    fn list(&mut self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, Refused>;
    fn history(&mut self, id: &str) -> Result<Vec<Change>, Refused>;
    /// Until then, or not any more.
    fn sleep(&mut self, agent: &str, time: Option<Duration>) -> Result<(), Refused>;
}

/// Which tasks to list; all of them, unless it says otherwise.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    pub(crate) id: Option<String>,
    pub(crate) root: Option<String>,
    pub(crate) state: Option<TaskState>,
    pub(crate) kind: Option<String>,
    pub(crate) limit: Option<u32>,
}

impl TaskFilter {
    /// Every task.
    #[must_use]
    pub fn new() -> Self {
        TaskFilter::default()
    }

    /// Only tasks that stand here.
    #[must_use]
    pub fn state(mut self, state: TaskState) -> Self {
        self.state = Some(state);
        self
    }

    /// Only this kind of work.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Only this task and everything below it.
    #[must_use]
    pub fn below(mut self, id: impl Into<String>) -> Self {
        self.root = Some(id.into());
        self
    }

    /// At most this many.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// As the value of a `LIMIT`.
    pub(crate) fn most(&self) -> i64 {
        self.limit.map_or(i64::MAX, i64::from)
    }
}

/// A durable task, as it stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskRecord {
    /// Its id.
    pub id: String,
    /// What kind of work it is.
    pub kind: String,
    /// Who has opened it.
    pub agent: String,
    /// The task of which it is a part.
    pub parent: Option<String>,
    /// How many ancestors it has.
    pub depth: u64,
    /// Where it stands. In progress with an owner that is dead, it may be entered again.
    pub state: TaskState,
    /// How often it was entered.
    pub entries: u64,
    /// When it was opened.
    pub opened_at: SystemTime,
    /// What it may use, by the code that has entered it last.
    pub limits: Limits,
    /// Steps that are counted.
    pub steps: u64,
    /// Money that is spent or set aside, where it is limited.
    pub cost: Option<Cost>,
    /// For how long it has been open.
    pub elapsed: Duration,
    /// The process that has entered it last.
    pub owner: Option<TaskOwner>,
}

/// The process that has entered a task last.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskOwner {
    /// The machine.
    pub host: String,
    /// The process's number there.
    pub pid: u32,
    /// It still runs, as far as the ledger knows.
    pub alive: bool,
}

impl TaskOwner {
    pub(crate) fn new(host: String, pid: u32, alive: bool) -> Self {
        TaskOwner { host, pid, alive }
    }
}

impl TaskRecord {
    /// `true` if its process has died in the middle of it: whoever enters it goes on.
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.state == TaskState::InProgress && !self.owner.as_ref().is_some_and(|owner| owner.alive)
    }
}

impl TaskBook {
    /// Opens the ledger at `sqlite:PATH` or `postgres://…`.
    ///
    /// # Errors
    /// [`Kind::NotConfigured`] for a URL that can't be used; [`Kind::LedgerUnavailable`] if there is no ledger, or it can't be opened, or
    /// was written by a newer release, or its feature is not compiled in.
    pub fn open(url: &str) -> Result<Self, Refused> {
        crate::ledger::open_tasks(url).map(|reader| TaskBook(Mutex::new(reader)))
    }

    /// The tasks that `filter` lets through, latest first.
    ///
    /// # Errors
    /// [`Kind::LedgerUnavailable`] if it can't be read; [`Kind::Forked`] in a fork of the process that opened it.
    pub fn list(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, Refused> {
        self.reader(|reader| reader.list(filter))
    }

    /// The task with this id.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn find(&self, id: &str) -> Result<Option<TaskRecord>, Refused> {
        let filter = TaskFilter { id: Some(id.to_owned()), ..TaskFilter::new() };
        self.list(&filter).map(|mut found| found.pop())
    }

    /// Every change of a task's state, the first one first.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn history(&self, id: &str) -> Result<Vec<Change>, Refused> {
        self.reader(|reader| reader.history(id))
    }

    /// Puts an agent to sleep: for so long it enters no durable task of this ledger, in whatever process (refused as `idle`). What it is in the
    /// middle of goes on.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] if it is no [name](crate::tasks::check_name); [`Kind::LedgerUnavailable`] if it can't be written.
    pub fn sleep(&self, agent: &str, time: Duration) -> Result<(), Refused> {
        crate::tasks::check_name(agent).map_err(|flaw| {
            Refused::new(Kind::InvalidArgument, "agent", format!("the agent's id {agent:?} is no name: {flaw}"))
        })?;
        self.reader(|reader| reader.sleep(agent, Some(time)))
    }

    /// Wakes an agent up. One that does not sleep is left alone.
    ///
    /// # Errors
    /// [`Kind::LedgerUnavailable`] if it can't be written.
    pub fn wake(&self, agent: &str) -> Result<(), Refused> {
        self.reader(|reader| reader.sleep(agent, None))
    }

    fn reader<T>(&self, ask: impl FnOnce(&mut dyn ReadTasks) -> Result<T, Refused>) -> Result<T, Refused> {
        ask(&mut **self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for TaskBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskBook").finish_non_exhaustive()
    }
}

/// The columns of an account, as both stores hold them.
pub(crate) struct Columns {
    pub(crate) max_steps: Option<i64>,
    pub(crate) max_depth: Option<i64>,
    pub(crate) max_ms: Option<i64>,
    pub(crate) max_micros: Option<i64>,
    pub(crate) currency: Option<String>,
    pub(crate) micros: i64,
}

impl Columns {
    /// What a task may use, and what money of it is gone.
    pub(crate) fn read(self) -> Result<(Limits, Option<Cost>), String> {
        let mut limits = Limits::new();
        if let Some(most) = self.max_steps {
            limits = limits.steps(most.unsigned_abs());
        }
        if let Some(most) = self.max_depth {
            limits = limits.depth(most.unsigned_abs());
        }
        if let Some(most) = self.max_ms {
            limits = limits.duration(Duration::from_millis(most.unsigned_abs()));
        }
        let (Some(most), Some(currency)) = (self.max_micros, self.currency) else { return Ok((limits, None)) };
        // By its text, because a currency on record need not be one.
        let unit: Cost = format!("0 {currency}").parse().map_err(|error| format!("{error}"))?;
        let cost = |micros: i64| Cost::from_micros_in(micros.unsigned_abs(), unit);
        Ok((limits.cost(cost(most)), Some(cost(self.micros))))
    }
}

/// A change that is on record.
pub(crate) fn change(
    (from, to): (TaskState, TaskState),
    actor: String,
    at: SystemTime,
    notes: Map<String, Value>,
) -> Change {
    let reason = from.transition(to).map_or("", |way| way.reason);
    Change { from, to, reason: reason.into(), actor, at, notes }
}

pub(crate) fn not_a_url(why: &str) -> Refused {
    Refused::new(Kind::NotConfigured, "ledger", format!("the ledger's URL can't be used: {why}"))
}
