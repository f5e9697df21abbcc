//! Rows of `task` and `task_change`, read and written.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::super::super::tasks::{
    CancelTask, ChargeTask, EnterTask, EnteredTask, LeaveTask, TaskKey, asleep, may_go_on, notes, outdated, read_state,
    running, state_code, taken_over, unknown,
};
use super::super::super::{TaskAnswer, TaskRequest};
use super::super::room::Parameter;
use super::super::session::Session;
use super::super::trouble::{Trouble, TroubleKind};
use crate::budget::Used;
use crate::refused::Refused;
use crate::tasks::lifecycle::{By, Change, InvalidTransition, TaskState};
use crate::tasks::loops::{Known, Node, Nodes, decide_again};

macro_rules! now_ms {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

/// Does this process's lease still run?
macro_rules! alive {
    ($owner:literal) => {
        concat!("EXISTS(SELECT FROM portcullis.owner WHERE id = ", $owner, " AND lease_until > clock_timestamp())")
    };
}

/// Row, epoch, steps, micros, owner.
const CHARGE: &str = concat!(
    "UPDATE portcullis.task SET steps = steps + $3, micros = greatest(0, micros + $4)
     WHERE id = $1 AND epoch = $2 AND state = 2 AND ",
    alive!("$5")
);

/// Row, owner.
const STANDS: &str = concat!("SELECT state, epoch, ", alive!("$2"), " FROM portcullis.task WHERE id = $1 FOR UPDATE");

/// A task to be changed: name, owner.
const FIND: &str = concat!(
    "SELECT task.id, task.state, task.epoch, task.attempt, task.owner, task.depth, task.steps, task.micros,
       greatest(0, ",
    now_ms!(),
    " - task.opened_ms), coalesce(owner.lease_until > clock_timestamp(), false), owner.host, owner.pid
     FROM portcullis.task LEFT JOIN portcullis.owner ON owner.id = task.owner WHERE task.name = $1 FOR UPDATE OF task"
);

/// Owner, agent: does the lease run, and does the agent sleep?
const ALIVE: &str = concat!(
    "SELECT ",
    alive!("$1"),
    ", EXISTS(SELECT FROM portcullis.agent WHERE id = $2 AND idle_until > clock_timestamp())"
);

/// What the loop check asks about: name, parent.
const TREE: &str = "WITH RECURSIVE above(name, level) AS (
       SELECT $2::text, 0 UNION ALL
       SELECT task.parent, level + 1 FROM portcullis.task JOIN above ON task.name = above.name
       WHERE task.parent IS NOT NULL AND level < 10000)
     SELECT name, agent, kind, depth, parent, state FROM portcullis.task
     WHERE name = $1 OR name IN (SELECT name FROM above)";

/// Name, kind, agent, parent, depth, attempt, owner, steps, depth, time, money, currency.
const INSERT: &str = concat!(
    "INSERT INTO portcullis.task(name, kind, agent, parent, depth, state, epoch, attempt, owner, opened_ms,
       max_steps, max_depth, max_ms, max_micros, currency)
     VALUES($1, $2, $3, $4, $5, 2, 1, $6, $7, ",
    now_ms!(),
    ", $8, $9, $10, $11, $12) ON CONFLICT (name) DO NOTHING RETURNING id"
);

/// Row, epoch, attempt, owner, steps, depth, time, money, currency.
const RESTART: &str =
    "UPDATE portcullis.task SET epoch = $2, attempt = $3, owner = $4, max_steps = $5, max_depth = $6, max_ms = $7,
       max_micros = $8, currency = $9 WHERE id = $1";

/// Row, state, steps tried.
const PUT: &str = "UPDATE portcullis.task SET state = $2, steps = greatest(steps, $3) WHERE id = $1";

/// Row, from, to, actor, owner, notes.
const CHANGE: &str = concat!(
    "INSERT INTO portcullis.task_change(task, at_ms, from_state, to_state, actor, owner, notes) VALUES($1, ",
    now_ms!(),
    ", $2, $3, $4, $5, $6)"
);

/// What became of an attempt.
pub(super) enum Written {
    Answer(TaskAnswer),
    /// Somebody else was faster.
    Again,
    /// The lease has lapsed.
    Lapsed,
}

/// One round trip. `false`: not counted.
pub(super) async fn charge(session: &Session, owner: i64, charge: &ChargeTask) -> Result<bool, Trouble> {
    let values: [Parameter<'_>; 5] = [
        (&charge.task.row, Type::INT8),
        (&charge.task.epoch, Type::INT8),
        (&charge.steps, Type::INT8),
        (&charge.micros, Type::INT8),
        (&owner, Type::INT8),
    ];
    Ok(session.client.execute_typed(CHARGE, &values).await? == 1)
}

pub(super) async fn one(session: &mut Session, owner: i64, request: &TaskRequest) -> Result<Written, Trouble> {
    let transaction = session.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    let desk = Desk { transaction, owner };
    let written = match request {
        TaskRequest::Enter(enter) => desk.enter(enter).await?,
        TaskRequest::Charge(charges) => desk.charge(charges).await?,
        TaskRequest::Leave(leave) => desk.leave(leave).await?,
        TaskRequest::Cancel(cancel) => desk.cancel(cancel).await?,
    };
    match written {
        // Whatever is heard from here on that is no success may have been one.
        Written::Answer(_) => desk.transaction.commit().await.map_err(|error| Trouble::from(error).unknown())?,
        Written::Again | Written::Lapsed => desk.transaction.rollback().await?,
    }
    Ok(written)
}

struct Desk<'a> {
    transaction: Transaction<'a>,
    owner: i64,
}

/// A locked row.
struct Found {
    task: TaskKey,
    state: TaskState,
    attempt: Uuid,
    owner: i64,
    depth: u64,
    used: Used,
    /// Its owner's lease runs.
    alive: bool,
    holder: Option<(String, i32)>,
}

impl Found {
    fn read(row: &Row) -> Result<Self, Trouble> {
        let host: Option<String> = row.try_get(10)?;
        let holder = match host {
            Some(host) => Some((host, row.try_get(11)?)),
            None => None,
        };
        Ok(Found {
            task: TaskKey { row: row.try_get(0)?, epoch: row.try_get(2)? },
            state: state(row.try_get::<_, i16>(1)?)?,
            attempt: row.try_get(3)?,
            owner: row.try_get(4)?,
            depth: row.try_get::<_, i64>(5)?.unsigned_abs(),
            used: Used {
                steps: row.try_get::<_, i64>(6)?.unsigned_abs(),
                micros: row.try_get::<_, i64>(7)?.unsigned_abs(),
                elapsed: Duration::from_millis(row.try_get::<_, i64>(8)?.unsigned_abs()),
            },
            alive: row.try_get(9)?,
            holder,
        })
    }
}

impl Desk<'_> {
    async fn enter(&self, enter: &EnterTask) -> Result<Written, Trouble> {
        let own: [Parameter<'_>; 1] = [(&enter.id, Type::TEXT)];
        let tree: [Parameter<'_>; 2] = [(&enter.id, Type::TEXT), (&enter.parent, Type::TEXT)];
        let owner: [Parameter<'_>; 2] = [(&self.owner, Type::INT8), (&enter.agent, Type::TEXT)];
        // One after the other on the server, in one round trip: the tree is read under the lock.
        let (found, tree, lease) = futures_util::future::try_join3(
            self.transaction.query_typed(FIND, &own),
            self.transaction.query_typed(TREE, &tree),
            self.transaction.query_typed(ALIVE, &owner),
        )
        .await?;
        let (runs, sleeps) = match lease.first() {
            Some(row) => (row.try_get(0)?, row.try_get(1)?),
            None => (false, false),
        };
        if !runs {
            return Ok(Written::Lapsed);
        }
        let found = found.first().map(Found::read).transpose()?;
        // It was granted, and the acknowledgement lost.
        if let Some(found) = &found
            && found.attempt == enter.attempt
            && found.state == TaskState::InProgress
        {
            return Ok(entered(found.task, found.depth, found.used));
        }
        let (depth, known) = match decide_again(&Tree::read(&tree)?, &enter.proposal(), enter.max_depth) {
            Ok(decided) => decided,
            Err(refused) => return Ok(refuse(refused)),
        };
        if let Some(found) = &found
            && let Err(refused) = may_go_on(enter, &known, found.used)
        {
            return Ok(refuse(refused));
        }
        if sleeps {
            return Ok(refuse(asleep(enter)));
        }
        let Some(found) = found else { return self.open(enter, depth).await };
        let mut from = found.state;
        if from == TaskState::InProgress {
            if found.alive || found.owner == self.owner {
                let place = found
                    .holder
                    .map_or_else(|| "elsewhere".to_owned(), |(host, pid)| format!("in process {pid} on {host}"));
                return Ok(refuse(running(&enter.id, &place)));
            }
            let pid = found.holder.map(|(_, pid)| pid.cast_unsigned());
            must(self.change(found.task.row, from, TaskState::Blocked, taken_over(pid), 0).await?)?;
            from = TaskState::Blocked;
        }
        let by = By::actor(&*enter.agent);
        if let Err(invalid) = self.change(found.task.row, from, TaskState::InProgress, by, 0).await? {
            return Ok(refuse(invalid.refuse(&enter.id)));
        }
        let task = TaskKey { epoch: found.task.epoch + 1, ..found.task };
        let Limits { steps, levels, time, money, currency } = Limits::of(enter);
        let values: [Parameter<'_>; 9] = [
            (&task.row, Type::INT8),
            (&task.epoch, Type::INT8),
            (&enter.attempt, Type::UUID),
            (&self.owner, Type::INT8),
            (&steps, Type::INT8),
            (&levels, Type::INT8),
            (&time, Type::INT8),
            (&money, Type::INT8),
            (&currency, Type::TEXT),
        ];
        self.transaction.execute_typed(RESTART, &values).await?;
        Ok(entered(task, found.depth, found.used))
    }

    /// The first entry.
    async fn open(&self, enter: &EnterTask, depth: u64) -> Result<Written, Trouble> {
        let levels_down = i64::try_from(depth).unwrap_or(i64::MAX);
        let Limits { steps, levels, time, money, currency } = Limits::of(enter);
        let values: [Parameter<'_>; 12] = [
            (&enter.id, Type::TEXT),
            (&enter.kind, Type::TEXT),
            (&enter.agent, Type::TEXT),
            (&enter.parent, Type::TEXT),
            (&levels_down, Type::INT8),
            (&enter.attempt, Type::UUID),
            (&self.owner, Type::INT8),
            (&steps, Type::INT8),
            (&levels, Type::INT8),
            (&time, Type::INT8),
            (&money, Type::INT8),
            (&currency, Type::TEXT),
        ];
        let made = self.transaction.query_typed(INSERT, &values).await?;
        let Some(made) = made.first() else { return Ok(Written::Again) };
        let row: i64 = made.try_get(0)?;
        let by = By::actor(&*enter.agent);
        must(self.change(row, TaskState::Todo, TaskState::InProgress, by, 0).await?)?;
        Ok(entered(TaskKey { row, epoch: 1 }, depth, Used::default()))
    }

    /// All of them or none, in the order of their rows: two such transactions wait for each other in one direction only.
    async fn charge(&self, charges: &[ChargeTask]) -> Result<Written, Trouble> {
        let mut charges: Vec<&ChargeTask> = charges.iter().collect();
        charges.sort_unstable_by_key(|charge| charge.task.row);
        for charge in &charges {
            match self.stands(charge.task).await? {
                Stands::Open => {}
                Stands::Lapsed => return Ok(Written::Lapsed),
                Stands::Over(state, _) => return Ok(refuse(outdated(&charge.id, state))),
            }
        }
        for charge in charges {
            let values: [Parameter<'_>; 5] = [
                (&charge.task.row, Type::INT8),
                (&charge.task.epoch, Type::INT8),
                (&charge.steps, Type::INT8),
                (&charge.micros, Type::INT8),
                (&self.owner, Type::INT8),
            ];
            if self.transaction.execute_typed(CHARGE, &values).await? != 1 {
                return Ok(Written::Lapsed);
            }
        }
        Ok(Written::Answer(TaskAnswer::Charged))
    }

    async fn leave(&self, leave: &LeaveTask) -> Result<Written, Trouble> {
        match self.stands(leave.task).await? {
            // Nobody has taken it over: a lease that has lapsed meanwhile is no objection.
            Stands::Open | Stands::Lapsed => {}
            // It was left, and the acknowledgement lost.
            Stands::Over(state, epoch) if state == leave.to && epoch == leave.task.epoch => {
                return Ok(match TaskState::InProgress.change(leave.to, leave.by.clone()) {
                    Ok(change) => Written::Answer(TaskAnswer::Changed(change)),
                    Err(invalid) => refuse(invalid.refuse(&leave.id)),
                });
            }
            Stands::Over(state, _) => return Ok(refuse(outdated(&leave.id, state))),
        }
        let tried = i64::try_from(leave.tried).unwrap_or(i64::MAX);
        let changed = self.change(leave.task.row, TaskState::InProgress, leave.to, leave.by.clone(), tried).await?;
        Ok(match changed {
            Ok(change) => Written::Answer(TaskAnswer::Changed(change)),
            Err(invalid) => refuse(invalid.refuse(&leave.id)),
        })
    }

    async fn cancel(&self, cancel: &CancelTask) -> Result<Written, Trouble> {
        let own: [Parameter<'_>; 1] = [(&cancel.id, Type::TEXT)];
        let rows = self.transaction.query_typed(FIND, &own).await?;
        let Some(found) = rows.first().map(Found::read).transpose()? else { return Ok(refuse(unknown(&cancel.id))) };
        let changed = self.change(found.task.row, found.state, TaskState::Cancelled, cancel.by.clone(), 0).await?;
        Ok(match changed {
            Ok(change) => Written::Answer(TaskAnswer::Changed(change)),
            Err(invalid) => refuse(invalid.refuse(&cancel.id)),
        })
    }

    /// Locks the row, and says whether this start of it is still the one.
    async fn stands(&self, task: TaskKey) -> Result<Stands, Trouble> {
        let values: [Parameter<'_>; 2] = [(&task.row, Type::INT8), (&self.owner, Type::INT8)];
        let rows = self.transaction.query_typed(STANDS, &values).await?;
        let row = rows
            .first()
            .ok_or_else(|| Trouble::new(TroubleKind::Statement, "a task that was entered is not on record"))?;
        let (state, epoch, alive) = (state(row.try_get::<_, i16>(0)?)?, row.try_get(1)?, row.try_get(2)?);
        Ok(match state {
            TaskState::InProgress if epoch == task.epoch && alive => Stands::Open,
            TaskState::InProgress if epoch == task.epoch => Stands::Lapsed,
            state => Stands::Over(state, epoch),
        })
    }

    /// State and history change together, by the table.
    async fn change(&self, row: i64, from: TaskState, to: TaskState, by: By, tried: i64) -> Result<Changed, Trouble> {
        let change = match from.change(to, by) {
            Ok(change) => change,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let (from, to, notes) = (code(change.from), code(change.to), notes(&change));
        let put: [Parameter<'_>; 3] = [(&row, Type::INT8), (&to, Type::INT2), (&tried, Type::INT8)];
        let entry: [Parameter<'_>; 6] = [
            (&row, Type::INT8),
            (&from, Type::INT2),
            (&to, Type::INT2),
            (&change.actor, Type::TEXT),
            (&self.owner, Type::INT8),
            (&notes, Type::TEXT),
        ];
        futures_util::future::try_join(
            self.transaction.execute_typed(PUT, &put),
            self.transaction.execute_typed(CHANGE, &entry),
        )
        .await?;
        Ok(Ok(change))
    }
}

/// How a start of a task stands.
enum Stands {
    Open,
    /// It is the one, and this process's lease has lapsed.
    Lapsed,
    /// Where the task stands now, and at which start.
    Over(TaskState, i64),
}

type Changed = Result<Change, InvalidTransition>;

/// What the table has a way for, whatever the task's state: a refusal here would leave half an entry.
fn must(changed: Changed) -> Result<(), Trouble> {
    changed.map(|_| ()).map_err(|invalid| Trouble::new(TroubleKind::Statement, invalid.to_string()))
}

fn entered(task: TaskKey, depth: u64, used: Used) -> Written {
    Written::Answer(TaskAnswer::Entered(EnteredTask { task, depth, used }))
}

fn refuse(refused: Refused) -> Written {
    Written::Answer(TaskAnswer::Refused(refused))
}

pub(super) fn state(code: i16) -> Result<TaskState, Trouble> {
    read_state(code.into())
        .ok_or_else(|| Trouble::new(TroubleKind::Statement, format!("a task is in the unknown state {code}")))
}

pub(super) fn code(state: TaskState) -> i16 {
    i16::try_from(state_code(state)).unwrap_or(-1)
}

/// What a task may use, as the columns hold it.
struct Limits {
    steps: Option<i64>,
    levels: Option<i64>,
    time: Option<i64>,
    money: Option<i64>,
    currency: Option<String>,
}

impl Limits {
    fn of(enter: &EnterTask) -> Self {
        let limits = &enter.limits;
        let number = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        Limits {
            steps: limits.max_steps().map(number),
            levels: limits.max_depth().map(number),
            time: limits.max_duration().map(|most| i64::try_from(most.as_millis()).unwrap_or(i64::MAX)),
            money: limits.max_cost().map(|cost| number(cost.micros())),
            currency: limits.max_cost().map(|cost| cost.currency().to_owned()),
        }
    }
}

/// The records that the loop check may ask about.
struct Tree(HashMap<String, (Node, bool)>);

impl Tree {
    fn read(rows: &[Row]) -> Result<Self, Trouble> {
        let mut tree = HashMap::new();
        for row in rows {
            let mut node = Node::new(
                row.try_get::<_, String>(1)?,
                row.try_get::<_, String>(2)?,
                row.try_get::<_, i64>(3)?.unsigned_abs(),
            );
            node.parent = row.try_get(4)?;
            tree.insert(row.try_get(0)?, (node, state(row.try_get::<_, i16>(5)?)?.is_terminal()));
        }
        Ok(Tree(tree))
    }
}

impl Nodes for Tree {
    fn find(&self, id: &str) -> Result<Known, Refused> {
        let found = self.0.get(id);
        Ok(found.map_or_else(Known::default, |(node, ended)| Known::new(Some(node.clone()), *ended)))
    }

    fn is_ancestor(&self, ancestor: &str, of: &str) -> Result<bool, Refused> {
        // A task is younger than its parent, so the walk ends.
        let mut here = Some(of);
        while let Some(name) = here {
            if name == ancestor {
                return Ok(true);
            }
            here = self.0.get(name).and_then(|(node, _)| node.parent.as_deref());
        }
        Ok(false)
    }
}
