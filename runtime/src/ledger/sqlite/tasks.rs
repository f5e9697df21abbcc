//! Tasks in an SQLite ledger.

use std::time::{Duration, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::super::tasks::{
    CancelTask, ChargeTask, EnterTask, EnteredTask, LeaveTask, TaskAnswer, TaskKey, TaskRequest, asleep, may_go_on,
    notes, outdated, read_state, running, state_code, taken_over, unknown,
};
use super::apply::Context;
use crate::budget::{Cost, Limits, Stamp, Used};
use crate::refused::Refused;
use crate::sqlite::{OwnerId, Trouble, TroubleKind, holder, millis, now_ms};
use crate::tasks::lifecycle::{By, Change, TaskState};
use crate::tasks::loops::{Known, Node, Nodes, decide_again};

mod book;

pub(in crate::ledger) use book::open;

/// One operation, inside a write transaction.
pub(super) fn one(context: &Context<'_>, request: &TaskRequest) -> Result<TaskAnswer, Trouble> {
    let answer = match request {
        TaskRequest::Enter(request) => enter(context, request)?.map(TaskAnswer::Entered),
        TaskRequest::Charge(charges) => charge(context.connection, charges)?.map(|()| TaskAnswer::Charged),
        TaskRequest::Leave(request) => leave(context, request)?.map(TaskAnswer::Changed),
        TaskRequest::Cancel(request) => cancel(context, request)?.map(TaskAnswer::Changed),
    };
    Ok(answer.unwrap_or_else(TaskAnswer::Refused))
}

/// What an entry needs to know of a task.
struct Row {
    id: i64,
    state: TaskState,
    epoch: i64,
    attempt: Uuid,
    owner: OwnerId,
    depth: u64,
    used: Used,
}

fn find(connection: &Connection, name: &str) -> Result<Option<Row>, Trouble> {
    let found = connection
        .prepare_cached(
            "SELECT id, state, epoch, attempt, owner, depth, steps, micros, elapsed_ms, boot, up_ms, wall_ms
             FROM task WHERE name = ?1",
        )?
        .query_row([name], |row| {
            let elapsed = elapsed(row, 8)?;
            let used = Used {
                steps: row.get::<_, i64>(6)?.unsigned_abs(),
                micros: row.get::<_, i64>(7)?.unsigned_abs(),
                elapsed,
            };
            Ok((
                row.get::<_, i64>(1)?,
                Row {
                    id: row.get(0)?,
                    state: TaskState::InProgress,
                    epoch: row.get(2)?,
                    attempt: Uuid::from_bytes(row.get(3)?),
                    owner: OwnerId(row.get(4)?),
                    depth: row.get::<_, i64>(5)?.unsigned_abs(),
                    used,
                },
            ))
        })
        .optional()?;
    found.map(|(code, row)| Ok(Row { state: state(code)?, ..row })).transpose()
}

/// For how long a task has been open: what was written of it, in four columns from `first` on, and the time since.
fn elapsed(row: &rusqlite::Row<'_>, first: usize) -> Result<Duration, rusqlite::Error> {
    let moment = Stamp {
        boot: row.get(first + 1)?,
        since_boot: duration(row.get(first + 2)?),
        wall: UNIX_EPOCH + duration(row.get(first + 3)?),
    };
    Ok(duration(row.get(first)?).saturating_add(Stamp::now().since(&moment)))
}

fn state(code: i64) -> Result<TaskState, Trouble> {
    read_state(code)
        .ok_or_else(|| Trouble::new(TroubleKind::Statement, format!("a task is in the unknown state {code}")))
}

fn duration(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn number(limit: Option<u64>) -> Option<i64> {
    limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn enter(context: &Context<'_>, enter: &EnterTask) -> Result<Result<EnteredTask, Refused>, Trouble> {
    let connection = context.connection;
    let row = find(connection, &enter.id)?;
    // It was granted, and the acknowledgement lost.
    if let Some(row) = &row
        && row.attempt == enter.attempt
        && row.state == TaskState::InProgress
    {
        return Ok(Ok(entered(row.id, row.epoch, row.depth, row.used)));
    }
    let (depth, known) = match decide_again(&Rows(connection), &enter.proposal(), enter.max_depth) {
        Ok(decided) => decided,
        Err(refused) => return Ok(Err(refused)),
    };
    let Some(row) = row else {
        if is_asleep(connection, &enter.agent)? {
            return Ok(Err(asleep(enter)));
        }
        let id = insert(context, enter, depth)?;
        must(change(context, id, TaskState::Todo, TaskState::InProgress, By::actor(&*enter.agent))?)?;
        return Ok(Ok(entered(id, 1, depth, Used::default())));
    };
    if let Err(refused) = may_go_on(enter, &known, row.used) {
        return Ok(Err(refused));
    }
    if is_asleep(connection, &enter.agent)? {
        return Ok(Err(asleep(enter)));
    }
    let mut from = row.state;
    if from == TaskState::InProgress {
        let holder = holder(connection, context.side, row.owner)?;
        if row.owner == context.owner || holder.as_ref().is_some_and(|holder| holder.alive) {
            let place = holder.map_or_else(|| "elsewhere".to_owned(), |holder| format!("in {holder}"));
            return Ok(Err(running(&enter.id, &place)));
        }
        must(change(context, row.id, from, TaskState::Blocked, taken_over(holder.map(|holder| holder.pid)))?)?;
        from = TaskState::Blocked;
    }
    if let Err(refused) = change(context, row.id, from, TaskState::InProgress, By::actor(&*enter.agent))? {
        return Ok(Err(refused.refuse(&enter.id)));
    }
    let epoch = row.epoch + 1;
    restart(context, enter, row.id, epoch, row.used)?;
    Ok(Ok(entered(row.id, epoch, row.depth, row.used)))
}

fn is_asleep(connection: &Connection, agent: &str) -> Result<bool, Trouble> {
    let mut asleep =
        connection.prepare_cached("SELECT EXISTS(SELECT 1 FROM agent WHERE id = ?1 AND idle_until_ms > ?2)")?;
    Ok(asleep.query_row(params![agent, now_ms()], |row| row.get(0))?)
}

fn entered(row: i64, epoch: i64, depth: u64, used: Used) -> EnteredTask {
    EnteredTask { task: TaskKey { row, epoch }, depth, used }
}

fn insert(context: &Context<'_>, enter: &EnterTask, depth: u64) -> Result<i64, Trouble> {
    let now = Stamp::now();
    let (steps, levels, time, cost) = limits(&enter.limits);
    context
        .connection
        .prepare_cached(
            "INSERT INTO task(name, kind, agent, parent, depth, state, epoch, attempt, owner, opened_ms,
               max_steps, max_depth, max_ms, max_micros, currency, boot, up_ms, wall_ms)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            enter.id,
            enter.kind,
            enter.agent,
            enter.parent,
            i64::try_from(depth).unwrap_or(i64::MAX),
            state_code(TaskState::InProgress),
            enter.attempt.as_bytes(),
            context.owner.0,
            now_ms(),
            steps,
            levels,
            time,
            cost.map(|cost| number(Some(cost.micros()))),
            cost.map(|cost| cost.currency().to_owned()),
            now.boot,
            ms(now.since_boot),
            millis(now.wall),
        ])?;
    Ok(context.connection.last_insert_rowid())
}

/// The next start. The limits are those of the code that is running now.
fn restart(context: &Context<'_>, enter: &EnterTask, row: i64, epoch: i64, used: Used) -> Result<(), Trouble> {
    let now = Stamp::now();
    let (steps, levels, time, cost) = limits(&enter.limits);
    context
        .connection
        .prepare_cached(
            "UPDATE task SET epoch = ?2, attempt = ?3, owner = ?4, max_steps = ?5, max_depth = ?6, max_ms = ?7, max_micros = ?8,
               currency = ?9, elapsed_ms = ?10, boot = ?11, up_ms = ?12, wall_ms = ?13
             WHERE id = ?1",
        )?
        .execute(params![
            row,
            epoch,
            enter.attempt.as_bytes(),
            context.owner.0,
            steps,
            levels,
            time,
            cost.map(|cost| number(Some(cost.micros()))),
            cost.map(|cost| cost.currency().to_owned()),
            ms(used.elapsed),
            now.boot,
            ms(now.since_boot),
            millis(now.wall),
        ])?;
    Ok(())
}

fn limits(limits: &Limits) -> (Option<i64>, Option<i64>, Option<i64>, Option<Cost>) {
    (number(limits.max_steps()), number(limits.max_depth()), limits.max_duration().map(ms), limits.max_cost())
}

/// Counts before the body starts (invariant 2). Whether it fits is known already: whoever has entered a task counts along.
fn charge(connection: &Connection, charges: &[ChargeTask]) -> Result<Result<(), Refused>, Trouble> {
    let mut add = connection.prepare_cached(
        "UPDATE task SET steps = steps + ?3, micros = max(0, micros + ?4) WHERE id = ?1 AND epoch = ?2 AND state = 2",
    )?;
    // Before anything is written: one that is outdated must not leave the others counted.
    for charge in charges {
        if let Some(state) = outdated_since(connection, charge.task)? {
            return Ok(Err(outdated(&charge.id, state)));
        }
    }
    for charge in charges {
        add.execute(params![charge.task.row, charge.task.epoch, charge.steps, charge.micros])?;
    }
    Ok(Ok(()))
}

/// Where a task stands, if this start of it is over.
fn outdated_since(connection: &Connection, task: TaskKey) -> Result<Option<TaskState>, Trouble> {
    let found: Option<(i64, i64)> = connection
        .prepare_cached("SELECT state, epoch FROM task WHERE id = ?1")?
        .query_row([task.row], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((code, epoch)) = found else {
        return Err(Trouble::new(TroubleKind::Statement, "a task that was entered is not on record"));
    };
    let state = state(code)?;
    Ok((state != TaskState::InProgress || epoch != task.epoch).then_some(state))
}

fn leave(context: &Context<'_>, leave: &LeaveTask) -> Result<Result<Change, Refused>, Trouble> {
    if let Some(state) = outdated_since(context.connection, leave.task)? {
        return Ok(Err(outdated(&leave.id, state)));
    }
    context
        .connection
        .prepare_cached("UPDATE task SET steps = max(steps, ?2) WHERE id = ?1")?
        .execute(params![leave.task.row, number(Some(leave.tried))])?;
    let changed = change(context, leave.task.row, TaskState::InProgress, leave.to, leave.by.clone())?;
    Ok(changed.map_err(|invalid| invalid.refuse(&leave.id)))
}

fn cancel(context: &Context<'_>, cancel: &CancelTask) -> Result<Result<Change, Refused>, Trouble> {
    let Some(row) = find(context.connection, &cancel.id)? else { return Ok(Err(unknown(&cancel.id))) };
    let changed = change(context, row.id, row.state, TaskState::Cancelled, cancel.by.clone())?;
    Ok(changed.map_err(|invalid| invalid.refuse(&cancel.id)))
}

/// What the table has a way for, whatever the task's state: a refusal here would leave half an entry.
fn must(changed: Changed) -> Result<(), Trouble> {
    changed.map(|_| ()).map_err(|invalid| Trouble::new(TroubleKind::Statement, invalid.to_string()))
}

type Changed = Result<Change, crate::tasks::lifecycle::InvalidTransition>;

/// State and history change together, by the table.
fn change(context: &Context<'_>, row: i64, from: TaskState, to: TaskState, by: By) -> Result<Changed, Trouble> {
    let change = match from.change(to, by) {
        Ok(change) => change,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let connection = context.connection;
    connection
        .prepare_cached("UPDATE task SET state = ?2 WHERE id = ?1")?
        .execute(params![row, state_code(change.to)])?;
    connection
        .prepare_cached(
            "INSERT INTO task_change(task, at_ms, from_state, to_state, actor, owner, notes) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            row,
            millis(change.at),
            state_code(change.from),
            state_code(change.to),
            change.actor,
            context.owner.0,
            notes(&change)
        ])?;
    Ok(Ok(change))
}

/// The records of the loop check.
struct Rows<'a>(&'a Connection);

impl Nodes for Rows<'_> {
    fn find(&self, id: &str) -> Result<Known, Refused> {
        let read = || -> Result<Option<(Node, i64)>, Trouble> {
            let found = self
                .0
                .prepare_cached("SELECT agent, kind, depth, parent, state FROM task WHERE name = ?1")?
                .query_row([id], |row| {
                    let (agent, kind): (String, String) = (row.get(0)?, row.get(1)?);
                    let mut node = Node::new(agent, kind, row.get::<_, i64>(2)?.unsigned_abs());
                    node.parent = row.get(3)?;
                    Ok((node, row.get(4)?))
                })
                .optional()?;
            Ok(found)
        };
        match read().and_then(|found| found.map(|(node, code)| Ok((node, state(code)?))).transpose()) {
            Ok(Some((node, state))) => Ok(Known::new(Some(node), state.is_terminal())),
            Ok(None) => Ok(Known::default()),
            Err(trouble) => Err(trouble.refuse(id, "the tree of tasks can't be read")),
        }
    }

    fn is_ancestor(&self, ancestor: &str, of: &str) -> Result<bool, Refused> {
        let read = || -> Result<bool, Trouble> {
            // A task is younger than its parent, so every walk ends; `UNION` would end it in any case.
            let found = self
                .0
                .prepare_cached(
                    "WITH RECURSIVE above(name) AS (VALUES(?2) UNION SELECT parent FROM task JOIN above USING(name) WHERE parent IS NOT NULL)
                     SELECT EXISTS(SELECT 1 FROM above WHERE name = ?1)",
                )?
                .query_row([ancestor, of], |row| row.get(0))?;
            Ok(found)
        };
        read().map_err(|trouble| trouble.refuse(ancestor, "the tree of tasks can't be read"))
    }
}
