//! A connection with one piece of work at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use super::super::Digest;
use super::super::program::{host, program};
use super::super::rules::OnReassert;
use super::hot::{self, Answer};
use super::queue::{Chained, Claiming, Settling};
use super::reassert::{self, Findings, Grant};
use super::room::{Lease, Parameter, Room};
use super::rows::bytes;
use super::schema::Create;
use super::session::{Backend, Session};
use super::trouble::{Trouble, TroubleKind};
use super::{chained, sql};

pub(super) struct Lane {
    session: Option<Session>,
    /// The last session, if it was lost with something under way.
    former: Option<Backend>,
    /// When to try again after a failure.
    pub(super) not_before: Instant,
    pause: Duration,
}

/// A piece of work.
#[derive(Debug)]
pub(super) enum Work {
    Open,
    Claims(Vec<Box<Claiming>>),
    Settles(Vec<Box<Settling>>),
    Chained(Vec<Chained>),
    /// The lease: renewed, or taken.
    Renew,
    /// Which of these claims still run?
    Look(Vec<Digest>),
    /// Are these claims of ours still on record, and is the owner?
    Check(Vec<Arc<Grant>>),
    Reassert(Vec<Arc<Grant>>),
}

/// What became of a piece of work.
pub(super) enum Done {
    Opened(Result<(), Trouble>),
    Claims(Vec<Box<Claiming>>, Result<Vec<Answer>, Trouble>),
    /// For each: is it on record?
    Settles(Vec<Box<Settling>>, Result<Vec<bool>, Trouble>),
    Chained(Vec<Chained>, Result<Vec<chained::Outcome>, Trouble>),
    /// When the lease was asked for.
    Renewed(Instant, Result<(), Trouble>),
    Looked(Result<Vec<Digest>, Trouble>),
    Checked(Result<Findings, Trouble>),
    Reasserted(Vec<Arc<Grant>>, Result<Vec<OnReassert>, Trouble>),
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Lane {
    pub(super) fn new() -> Self {
        Lane { session: None, former: None, not_before: Instant::now(), pause: SHORTEST_PAUSE }
    }

    pub(super) fn is_open(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.client.is_closed())
    }

    /// For whoever has statements of its own; what they fail with is to be [`looked_at`](Self::looked_at).
    pub(super) fn session(&mut self) -> Result<&mut Session, Trouble> {
        self.session.as_mut().ok_or_else(closed)
    }

    pub(super) async fn run(mut self, room: Arc<Room>, work: Work) -> (Self, Done) {
        // More than the server's own limit: this one is for a server, or a network, that says nothing any more.
        let patience = room.limits.statement * 2;
        let done = match work {
            Work::Open => Done::Opened(self.open(&room).await),
            Work::Claims(batch) => {
                let result = match &self.session {
                    Some(session) => within(patience, hot::claim(session, &room, &batch)).await,
                    None => Err(closed()),
                };
                Done::Claims(batch, self.looked_at(result))
            }
            Work::Settles(batch) => {
                let result = match &self.session {
                    Some(session) => within(patience, hot::settle(session, &batch)).await,
                    None => Err(closed()),
                };
                Done::Settles(batch, self.looked_at(result))
            }
            Work::Chained(batch) => {
                let result = match &mut self.session {
                    Some(session) => within(patience * 2, chained::run(session, &room, &batch)).await,
                    None => Err(closed()),
                };
                Done::Chained(batch, self.looked_at(result))
            }
            Work::Renew => {
                let asked = Instant::now();
                let result = match &self.session {
                    Some(session) => within(patience, renew(session, &room)).await,
                    None => Err(closed()),
                };
                Done::Renewed(asked, self.looked_at(result))
            }
            Work::Look(digests) => {
                let result = match &self.session {
                    Some(session) => within(patience, look(session, &digests)).await,
                    None => Err(closed()),
                };
                Done::Looked(self.looked_at(result))
            }
            Work::Check(grants) => {
                let result = match &self.session {
                    Some(session) => within(patience, reassert::check(session, &room, &grants)).await,
                    None => Err(closed()),
                };
                Done::Checked(self.looked_at(result))
            }
            Work::Reassert(batch) => {
                let result = match &mut self.session {
                    Some(session) => within(patience * 2, reassert::run(session, &room, &batch)).await,
                    None => Err(closed()),
                };
                Done::Reasserted(batch, self.looked_at(result))
            }
        };
        (self, done)
    }

    /// Gives a session up that is not to be believed any more, and pauses after any failure.
    pub(super) fn looked_at<T>(&mut self, result: Result<T, Trouble>) -> Result<T, Trouble> {
        if result.is_err() {
            self.not_before = Instant::now() + SHORTEST_PAUSE;
        }
        if let (Err(trouble), Some(session)) = (&result, &self.session)
            && (trouble.kind() == TroubleKind::Unreachable || session.client.is_closed())
        {
            self.former = Some(session.backend);
            self.session = None;
        }
        result
    }

    async fn open(&mut self, room: &Room) -> Result<(), Trouble> {
        let opened = self.try_open(room).await;
        match &opened {
            Ok(()) => self.pause = SHORTEST_PAUSE,
            Err(trouble) => {
                tracing::debug!(ledger = room.target.shown(), %trouble, "no connection to the ledger");
                // Not all at the same moment, when a server comes back.
                let spread = Duration::from_micros(fastrand::u64(0..25_000));
                self.not_before = Instant::now() + self.pause + spread;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
        opened
    }

    async fn try_open(&mut self, room: &Room) -> Result<(), Trouble> {
        // One that has closed by itself may still have been at work.
        if let Some(session) = self.session.take() {
            self.former = Some(session.backend);
        }
        let tls = room.tls()?;
        let create = if room.known.get().is_some() { Create::No } else { Create::Yes };
        let opening = Session::open(&room.target, tls.as_ref(), create, room.limits.statement, self.former);
        let session = opening.await?;
        match room.known.get() {
            Some(known) if known != session.ledger => {
                return Err(Trouble::new(TroubleKind::Replaced, "another ledger has taken its place"));
            }
            Some(_) | None => room.known.set(Some(session.ledger)),
        }
        if session.follower_lags && !room.warned.get() {
            room.warned.set(true);
            tracing::warn!(
                ledger = room.target.shown(),
                "its server has a standby and does not wait for it: a claim that was acknowledged may be missing after a failover, \
                 and its effect may then happen twice; set `synchronous_standby_names`"
            );
        }
        self.former = None;
        self.session = Some(session);
        Ok(())
    }

    /// Tells the others at once that this owner is done.
    pub(super) async fn resign(&self, owner: i64) {
        if let Some(session) = &self.session {
            let values: [Parameter<'_>; 1] = [(&owner, Type::INT8)];
            let resigned = session.client.execute_typed(sql::RESIGN, &values);
            drop(tokio::time::timeout(Duration::from_secs(1), resigned).await);
        }
    }
}

fn closed() -> Trouble {
    Trouble::new(TroubleKind::Unreachable, "there is no connection")
}

async fn within<T>(patience: Duration, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    match tokio::time::timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => Err(Trouble::new(TroubleKind::Unreachable, format!("no answer within {patience:?}")).unknown()),
    }
}

async fn renew(session: &Session, room: &Room) -> Result<(), Trouble> {
    let millis = room.limits.lease.as_secs_f64() * 1000.0;
    if let Some(lease) = room.lease.get() {
        let Lease { owner, since_ms, .. } = lease;
        let values: [Parameter<'_>; 3] = [(&owner, Type::INT8), (&millis, Type::FLOAT8), (&since_ms, Type::INT8)];
        if let [row] = session.client.query_typed(sql::RENEW, &values).await?.as_slice() {
            room.lease.set(Some(Lease { until: row.try_get(0)?, server: session.server, ..lease }));
            return Ok(());
        }
        tracing::warn!(ledger = room.target.shown(), owner, "the ledger does not know this process any more");
        room.lease.set(None);
        room.owner.set(None);
    }
    let (host, program, pid) = (host(), program(), std::process::id().cast_signed());
    let values: [Parameter<'_>; 4] =
        [(&host, Type::TEXT), (&pid, Type::INT4), (&program, Type::TEXT), (&millis, Type::FLOAT8)];
    // If its acknowledgement is lost, an owner is left behind that never claims anything.
    let rows = session.client.query_typed(sql::ENROL, &values).await?;
    let row = rows.first().ok_or_else(|| Trouble::new(TroubleKind::Statement, "no owner was made"))?;
    let (owner, since_ms, until) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    room.lease.set(Some(Lease { owner, since_ms, until, server: session.server }));
    room.owner.set(Some(owner));
    Ok(())
}

async fn look(session: &Session, digests: &[Digest]) -> Result<Vec<Digest>, Trouble> {
    let asked: Vec<&[u8]> = digests.iter().map(|digest| digest.0.as_slice()).collect();
    let rows = session.client.query_typed(sql::STILL_RUNNING, &[(&asked, Type::BYTEA_ARRAY)]).await?;
    rows.iter().map(|row| bytes(row, 0).map(Digest)).collect()
}
