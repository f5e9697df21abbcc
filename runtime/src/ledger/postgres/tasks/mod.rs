//! Durable tasks on PostgreSQL: a thread, a connection and an owner of their own, so that steps and claims do not wait for each other.
//!
//! A step is one round trip, and those that come up together are sent together.
//!
//! # Invariants
//! 1. A charge whose outcome is unknown is refused and not asked again: it may be counted once too often, never once too seldom.
//! 2. Entries and exits name their start, so they are asked again until the server has answered.
//! 3. What is asked for is done in that order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::super::tasks::ChargeTask;
use super::super::{Reply, TaskAnswer, TaskRequest};
use super::Limits;
use super::lane::{Done, Lane, Work};
use super::room::Room;
use super::target::Target;
use super::trouble::{Certainty, Trouble, TroubleKind};
use rows::Written;

mod book;
mod rows;

pub(super) use book::Book;
pub(in crate::ledger) use book::open;

/// How many are sent together at most.
const BATCH: usize = 256;

/// A failure is followed by a pause at least this long.
const PAUSE: Duration = Duration::from_millis(25);

#[derive(Debug)]
pub(super) struct Tasking {
    pub(super) request: TaskRequest,
    pub(super) reply: Reply<TaskAnswer>,
    /// Until when it is tried.
    pub(super) until: Instant,
}

pub(super) fn spawn(target: Target, limits: Limits) -> std::io::Result<UnboundedSender<Tasking>> {
    let (sender, inbox) = unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("portcullis-tasks".to_owned()).spawn(move || {
        // A bug in here costs what is under way (whose tickets then resolve to "unknown"); the next call starts anew.
        let work = AssertUnwindSafe(|| {
            let room = Arc::new(Room::new(target, limits));
            runtime.block_on(Worker { room, inbox, lane: Some(Lane::new()), renew_at: Instant::now() }.run());
        });
        if catch_unwind(work).is_err() {
            tracing::error!("the ledger's thread for tasks panicked");
        }
    })?;
    Ok(sender)
}

struct Worker {
    room: Arc<Room>,
    inbox: UnboundedReceiver<Tasking>,
    /// `None` while it is at work.
    lane: Option<Lane>,
    renew_at: Instant,
}

impl Worker {
    async fn run(mut self) {
        while let Some(first) = self.hear().await {
            let Some(first) = first else {
                // Nothing waits for it: what is wrong, the next operation finds out.
                let _ = self.ready().await;
                continue;
            };
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = self.inbox.try_recv()
            {
                batch.push(next);
            }
            self.serve(batch).await;
        }
        if let (Some(owner), Some(lane)) = (self.room.owner.get(), self.lane.as_ref().filter(|lane| lane.is_open())) {
            lane.resign(owner).await;
        }
    }

    /// `Some(None)`: the lease is to be renewed. `None`: nobody can ask anything any more.
    async fn hear(&mut self) -> Option<Option<Tasking>> {
        if self.room.owner.get().is_none() {
            return self.inbox.recv().await.map(Some);
        }
        let renew_at = self.renew_at.max(Instant::now() + Duration::from_millis(1));
        match tokio::time::timeout_at(renew_at.into(), self.inbox.recv()).await {
            Ok(heard) => heard.map(Some),
            Err(_) => Some(None),
        }
    }

    /// In order; plain charges that stand side by side go together.
    async fn serve(&mut self, batch: Vec<Tasking>) {
        let mut charges: Vec<Tasking> = Vec::new();
        for tasking in batch {
            match &tasking.request {
                TaskRequest::Charge(one) if one.len() == 1 => charges.push(tasking),
                // Its caller had gone before anything was done for it.
                TaskRequest::Enter(_) if tasking.reply.is_abandoned() => {}
                _ => {
                    self.charge(std::mem::take(&mut charges)).await;
                    self.one(tasking).await;
                }
            }
        }
        self.charge(charges).await;
    }

    async fn one(&mut self, tasking: Tasking) {
        let answer = loop {
            match self.attempt(&tasking.request).await {
                Ok(Some(answer)) => break answer,
                Ok(None) if Instant::now() < tasking.until => {}
                Ok(None) => break self.refuse(&tasking.request, &slow()),
                Err(trouble) => {
                    let unsure = trouble.certainty() == Certainty::Unknown;
                    // Invariant 1.
                    let hopeless = unsure && matches!(tasking.request, TaskRequest::Charge(_));
                    if hopeless || !trouble.passes() || Instant::now() >= tasking.until {
                        break self.refuse(&tasking.request, &trouble);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        tasking.reply.send(answer);
    }

    /// `None`: the lease has lapsed, or somebody else was faster: once more.
    async fn attempt(&mut self, request: &TaskRequest) -> Result<Option<TaskAnswer>, Trouble> {
        let owner = self.ready().await?;
        let mut lane = self.lane.take().ok_or_else(away)?;
        let result = match lane.session() {
            Ok(session) => rows::one(session, owner, request).await,
            Err(trouble) => Err(trouble),
        };
        let result = lane.looked_at(result);
        self.lane = Some(lane);
        match result? {
            Written::Answer(answer) => Ok(Some(answer)),
            Written::Again => Ok(None),
            Written::Lapsed => {
                self.room.lapsed.set(true);
                Ok(None)
            }
        }
    }

    /// Single charges, all in one round trip.
    async fn charge(&mut self, batch: Vec<Tasking>) {
        if batch.is_empty() {
            return;
        }
        let charges: Vec<&ChargeTask> = batch.iter().filter_map(single).collect();
        let charged = match self.ready().await {
            Ok(owner) => self.charge_all(owner, &charges).await,
            Err(trouble) => charges.iter().map(|_| Err(trouble.clone())).collect(),
        };
        for (tasking, charged) in batch.into_iter().zip(charged) {
            match charged {
                Ok(true) => tasking.reply.send(TaskAnswer::Charged),
                // Why not, or once more.
                Ok(false) => self.one(tasking).await,
                Err(trouble) if trouble.certainty() == Certainty::Unknown => {
                    let refused = self.refuse(&tasking.request, &trouble);
                    tasking.reply.send(refused);
                }
                Err(_) => self.one(tasking).await,
            }
        }
    }

    async fn charge_all(&mut self, owner: i64, charges: &[&ChargeTask]) -> Vec<Result<bool, Trouble>> {
        let Some(mut lane) = self.lane.take() else { return charges.iter().map(|_| Err(away())).collect() };
        let mut charged = match lane.session() {
            Ok(session) => {
                let all = charges.iter().map(|charge| rows::charge(session, owner, charge));
                futures_util::future::join_all(all).await
            }
            Err(trouble) => charges.iter().map(|_| Err(trouble.clone())).collect(),
        };
        if let Some(first) = charged.iter_mut().find(|charged| charged.is_err()) {
            let failed = std::mem::replace(first, Ok(false));
            *first = lane.looked_at(failed);
        }
        self.lane = Some(lane);
        charged
    }

    /// A connection, and a lease that runs. Says as which owner.
    async fn ready(&mut self) -> Result<i64, Trouble> {
        if !self.lane.as_ref().is_some_and(Lane::is_open) {
            self.work(Work::Open).await?;
        }
        if self.room.owner.get().is_none() || self.room.lapsed.get() || Instant::now() >= self.renew_at {
            self.work(Work::Renew).await?;
            self.room.lapsed.set(false);
        }
        self.room.owner.get().ok_or_else(away)
    }

    async fn work(&mut self, work: Work) -> Result<(), Trouble> {
        let lane = self.lane.take().ok_or_else(away)?;
        let (lane, done) = lane.run(Arc::clone(&self.room), work).await;
        self.lane = Some(lane);
        match done {
            Done::Opened(result) => result,
            Done::Renewed(asked, result) => {
                self.renew_at = asked + self.room.limits.lease / 3;
                result
            }
            Done::Claims(..)
            | Done::Settles(..)
            | Done::Chained(..)
            | Done::Looked(_)
            | Done::Checked(_)
            | Done::Reasserted(..) => Ok(()),
        }
    }

    fn refuse(&self, request: &TaskRequest, trouble: &Trouble) -> TaskAnswer {
        let what = format!("the ledger at {} can't keep the task", self.room.target.shown());
        TaskAnswer::Refused(trouble.refuse(request.id(), &what))
    }
}

fn single(tasking: &Tasking) -> Option<&ChargeTask> {
    match &tasking.request {
        TaskRequest::Charge(charges) => charges.first(),
        TaskRequest::Enter(_) | TaskRequest::Leave(_) | TaskRequest::Cancel(_) => None,
    }
}

fn slow() -> Trouble {
    Trouble::new(TroubleKind::Busy, "it has not come to it in time")
}

fn away() -> Trouble {
    Trouble::new(TroubleKind::Unreachable, "there is no connection")
}
