//! A connection with one piece of work at a time.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::super::holder::{Holder, OwnerId, host, program};
use super::super::rules::{self, OnAction, OnClaim, State, Why};
use super::super::{ClaimRequest, Claimed, Digest, SettleRequest, Settlement, messages};
use super::queue::{Chained, Claiming, Settling};
use super::rows::{Row, Written, bytes, text};
use super::schema::Create;
use super::session::{Backend, Session};
use super::target::Target;
use super::tls::Tls;
use super::trouble::{Trouble, TroubleKind};
use super::{Limits, chained, sql};

pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// What all connections of a store share.
pub(super) struct Room {
    pub(super) target: Target,
    pub(super) limits: Limits,
    /// Made when it is first needed: it reads the platform's certificates.
    pub(super) tls: RefCell<Option<Tls>>,
    /// Which ledger it is: another one at the same address is not ours.
    pub(super) known: Cell<Option<Uuid>>,
    pub(super) owner: Cell<Option<OwnerId>>,
    pub(super) timeline: Cell<Option<i32>>,
    actions: RefCell<Actions>,
}

/// Actions by namespace and name, as they are on record: nobody ever changes them.
type Actions = HashMap<String, HashMap<String, Rc<Action>>>;

const REMEMBERED: usize = 4096;

/// What is known about an action's name.
#[derive(Debug)]
pub(super) struct Action {
    id: i64,
    place: Option<String>,
}

pub(super) struct Lane {
    pub(super) session: Option<Session>,
    /// The last session, if it was lost with something under way.
    former: Option<Backend>,
    /// When to try again to connect.
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
    /// The lease: renewed, or taken anew.
    Renew,
    /// Which of these claims still run?
    Look(Vec<Digest>),
}

/// What a claim is answered with.
#[derive(Debug)]
pub(super) enum Answer {
    Claimed(Claimed),
    /// It runs elsewhere: wait, or be refused.
    Park(crate::refused::Refused),
    /// The rules ask for a write.
    Write,
    /// Neither written nor found: the lease has lapsed, or the row has just been deleted.
    Again,
}

/// What became of a piece of work.
pub(super) enum Done {
    Opened(Result<(), Trouble>),
    Claims(Vec<Box<Claiming>>, Result<Vec<Answer>, Trouble>),
    /// For each: is it on record?
    Settles(Vec<Box<Settling>>, Result<Vec<bool>, Trouble>),
    Chained(Vec<Chained>, Result<Vec<chained::Outcome>, Trouble>),
    /// When the lease was asked for, and whether it was renewed or is another owner's.
    Renewed(Instant, Result<(), Trouble>),
    Looked(Result<Vec<Digest>, Trouble>),
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

    pub(super) async fn run(mut self, room: Rc<Room>, work: Work) -> (Self, Done) {
        // More than the server's own limit: this one is for a server, or a network, that says nothing any more.
        let patience = room.limits.statement * 2;
        let done = match work {
            Work::Open => Done::Opened(self.open(&room).await),
            Work::Claims(batch) => {
                let result = within(patience, claim(&self, &room, &batch)).await;
                Done::Claims(batch, self.looked_at(result))
            }
            Work::Settles(batch) => {
                let result = within(patience, settle(&self, &room, &batch)).await;
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
                let result = within(patience, renew(&self, &room)).await;
                Done::Renewed(asked, self.looked_at(result))
            }
            Work::Look(digests) => {
                let result = within(patience, look(&self, &digests)).await;
                Done::Looked(self.looked_at(result))
            }
        };
        (self, done)
    }

    /// Gives a session up that is not to be believed any more.
    fn looked_at<T>(&mut self, result: Result<T, Trouble>) -> Result<T, Trouble> {
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
        let tls = match room.target.config.get_ssl_mode() {
            tokio_postgres::config::SslMode::Disable => None,
            _ => {
                if room.tls.borrow().is_none() {
                    *room.tls.borrow_mut() = Some(Tls::new(room.target.roots.as_deref())?);
                }
                room.tls.borrow().clone()
            }
        };
        self.session = None;
        let create = if room.known.get().is_some() { Create::No } else { Create::Yes };
        let opening = Session::open(&room.target, tls.as_ref(), create, room.limits.statement, self.former);
        let session = opening.await?;
        match room.known.get() {
            Some(known) if known != session.ledger => {
                return Err(Trouble::new(TroubleKind::Replaced, "another ledger has taken its place"));
            }
            Some(_) | None => room.known.set(Some(session.ledger)),
        }
        self.former = None;
        room.timeline.set(Some(session.timeline));
        self.session = Some(session);
        Ok(())
    }

    fn session(&self) -> Result<&Session, Trouble> {
        self.session.as_ref().ok_or_else(closed)
    }

    /// Tells the others at once that this owner is done.
    pub(super) async fn resign(&self, owner: OwnerId) {
        if let Ok(session) = self.session() {
            let resigned = session.client.execute_typed(sql::RESIGN, &[(&owner.0, Type::INT8)]);
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

/// One round trip, and one more for an action that this process has not used yet.
async fn claim(lane: &Lane, room: &Room, batch: &[Box<Claiming>]) -> Result<Vec<Answer>, Trouble> {
    let session = lane.session()?;
    let Some(owner) = room.owner.get() else { return Ok(batch.iter().map(|_| Answer::Again).collect()) };
    let mut answers = Vec::with_capacity(batch.len());
    let mut asked = Vec::with_capacity(batch.len());
    for claiming in batch {
        let request = &claiming.request;
        let action = room.action(session, request).await?;
        match ambiguous(&action, request) {
            Some(refused) => answers.push(Some(refused)),
            None => {
                answers.push(None);
                asked.push((request, action.id));
            }
        }
    }
    asked.sort_unstable_by_key(|(request, _)| request.digest);
    let digests: Vec<&[u8]> = asked.iter().map(|(request, _)| request.digest.0.as_slice()).collect();
    let retain = |request: &ClaimRequest| {
        request.retain.map(|retain| i64::try_from(retain.as_millis()).unwrap_or(i64::MAX))
    };
    let (client, hot) = (&session.client, &session.hot);
    let fresh: Vec<Digest>;
    let found;
    match asked.as_slice() {
        [] => return Ok(answers.into_iter().flatten().collect()),
        [(request, action)] => {
            let key = text(&request.key);
            let (digest, fingerprint) = (request.digest.0.as_slice(), request.fingerprint.0.as_slice());
            let retain = retain(request);
            let values: [&(dyn ToSql + Sync); 7] =
                [&digest, action, &key, &fingerprint, &request.attempt.0, &owner.0, &retain];
            let (written, rows) =
                futures_util::try_join!(client.execute(&hot.claim_one, &values), client.query(&hot.read, &[&digests]))?;
            fresh = if written == 1 { vec![request.digest] } else { Vec::new() };
            found = rows;
        }
        asked => {
            let actions: Vec<i64> = asked.iter().map(|(_, action)| *action).collect();
            let keys: Vec<_> = asked.iter().map(|(request, _)| text(&request.key)).collect();
            let fingerprints: Vec<&[u8]> = asked.iter().map(|(request, _)| request.fingerprint.0.as_slice()).collect();
            let attempts: Vec<Uuid> = asked.iter().map(|(request, _)| request.attempt.0).collect();
            let retains: Vec<Option<i64>> = asked.iter().map(|(request, _)| retain(request)).collect();
            let values: [&(dyn ToSql + Sync); 7] =
                [&digests, &actions, &keys, &fingerprints, &attempts, &owner.0, &retains];
            let (written, rows) =
                futures_util::try_join!(client.query(&hot.claim_many, &values), client.query(&hot.read, &[&digests]))?;
            fresh = written.iter().map(|row| bytes(row, 0).map(Digest)).collect::<Result<_, _>>()?;
            found = rows;
        }
    }
    let fresh: std::collections::HashSet<Digest> = fresh.into_iter().collect();
    let mut rows = HashMap::with_capacity(found.len());
    for row in &found {
        let row = Row::read(row)?;
        if !fresh.contains(&row.digest) {
            rows.insert(row.digest, row);
        }
    }
    let decided = batch.iter().zip(answers).map(|(claiming, answer)| {
        let request = &claiming.request;
        match answer {
            Some(answer) => Ok(answer),
            None if fresh.contains(&request.digest) => Ok(Answer::Claimed(Claimed::Run { epoch: 1 })),
            None => match rows.get(&request.digest) {
                None => Ok(Answer::Again),
                Some(row) => answer_to(request, row, Some(owner), room.limits.receipt),
            },
        }
    });
    decided.collect()
}

fn ambiguous(action: &Action, request: &ClaimRequest) -> Option<Answer> {
    match rules::action(action.place.as_deref(), request.place.as_deref()) {
        OnAction::Accept => None,
        OnAction::Ambiguous => {
            Some(Answer::Claimed(Claimed::Refuse(messages::ambiguous(request, action.place.as_deref()))))
        }
    }
}

/// What the rules say to a claim that is stored; [`Answer::Write`] if they ask for a write.
pub(super) fn answer_to(
    request: &ClaimRequest,
    row: &Row,
    own: Option<OwnerId>,
    cap: usize,
) -> Result<Answer, Trouble> {
    let holder = row.holder.as_ref();
    Ok(match rules::claim(Some(row.stored(own)?), request.fingerprint, request.attempt, row.now_ms) {
        OnClaim::Start { .. } | OnClaim::Orphaned => Answer::Write,
        OnClaim::Granted { epoch } => Answer::Claimed(Claimed::Run { epoch }),
        OnClaim::Replay(receipt) => Answer::Claimed(Claimed::Replay(receipt)),
        OnClaim::ReplayError(error) => Answer::Claimed(Claimed::ReplayError(error)),
        OnClaim::InFlight => Answer::Park(messages::in_flight(request, row, holder)),
        OnClaim::Refuse(why) => Answer::Claimed(Claimed::Refuse(match why {
            Why::Conflict => messages::conflict(request, row),
            Why::InDoubt => messages::in_doubt(request, row, ended(holder).as_ref()),
            Why::Expired => messages::expired(request, row),
            Why::Unreadable => messages::unreadable(request),
            Why::TooLarge => messages::too_large(request, cap),
        })),
    })
}

/// The holder as he is.
pub(super) fn ended(holder: Option<&Holder>) -> Option<Holder> {
    holder.cloned()
}

/// One round trip; says for each whether it is on record. One that is not, the rules have to look at.
async fn settle(lane: &Lane, room: &Room, batch: &[Box<Settling>]) -> Result<Vec<bool>, Trouble> {
    let _ = room;
    let session = lane.session()?;
    let mut asked: Vec<&SettleRequest> = batch.iter().map(|settling| &settling.request).collect();
    asked.sort_unstable_by_key(|request| request.digest);
    let (client, hot) = (&session.client, &session.hot);
    let recorded: std::collections::HashSet<Digest> = match asked.as_slice() {
        [] => return Ok(Vec::new()),
        [request] => {
            let written = Written::of(&request.settlement);
            let (digest, epoch) = (request.digest.0.as_slice(), request.epoch.cast_signed());
            let values: [&(dyn ToSql + Sync); 6] =
                [&digest, &epoch, &request.attempt.0, &written.state, &written.loss, &written.receipt];
            let changed = client.execute(&hot.settle_one, &values).await?;
            (changed == 1).then_some(request.digest).into_iter().collect()
        }
        asked => {
            let digests: Vec<&[u8]> = asked.iter().map(|request| request.digest.0.as_slice()).collect();
            let epochs: Vec<i64> = asked.iter().map(|request| request.epoch.cast_signed()).collect();
            let attempts: Vec<Uuid> = asked.iter().map(|request| request.attempt.0).collect();
            let written: Vec<Written<'_>> = asked.iter().map(|request| Written::of(&request.settlement)).collect();
            let states: Vec<i16> = written.iter().map(|written| written.state).collect();
            let losses: Vec<i16> = written.iter().map(|written| written.loss).collect();
            let receipts: Vec<Option<&[u8]>> = written.iter().map(|written| written.receipt).collect();
            let values: [&(dyn ToSql + Sync); 6] = [&digests, &epochs, &attempts, &states, &losses, &receipts];
            let rows = client.query(&hot.settle_many, &values).await?;
            rows.iter().map(|row| bytes(row, 0).map(Digest)).collect::<Result<_, _>>()?
        }
    };
    Ok(batch.iter().map(|settling| recorded.contains(&settling.request.digest)).collect())
}

/// May the hot path settle this? It leaves no event, and it only leads from pending.
pub(super) fn is_plain(settlement: &Settlement) -> bool {
    match settlement {
        Settlement::Committed(..) | Settlement::Failed(_) => true,
        Settlement::InDoubt(_) | Settlement::Released(_) => false,
    }
}

async fn renew(lane: &Lane, room: &Room) -> Result<(), Trouble> {
    let client = &lane.session()?.client;
    let lease = i64::try_from(room.limits.lease.as_millis()).unwrap_or(i64::MAX);
    let lease = lease as f64;
    if let Some(owner) = room.owner.get() {
        if client.execute_typed(sql::RENEW, &[(&owner.0, Type::INT8), (&lease, Type::FLOAT8)]).await? == 1 {
            return Ok(());
        }
        tracing::warn!(
            ledger = room.target.shown(),
            owner = owner.0,
            "the lease on the ledger has lapsed: what runs under it may be taken for in doubt; a new one is taken"
        );
        room.owner.set(None);
    }
    let (host, program) = (host(), program());
    let (pid, timeline) = (std::process::id().cast_signed(), room.timeline.get());
    let values: [Parameter<'_>; 5] = [
        (&host, Type::TEXT),
        (&pid, Type::INT4),
        (&program, Type::TEXT),
        (&lease, Type::FLOAT8),
        (&timeline, Type::INT4),
    ];
    // If its acknowledgement is lost, an owner is left behind that never claims anything.
    let rows = client.query_typed(sql::ENROL, &values).await?;
    let row = rows.first().ok_or_else(|| Trouble::new(TroubleKind::Statement, "no owner was made"))?;
    room.owner.set(Some(OwnerId(row.try_get(0)?)));
    Ok(())
}

async fn look(lane: &Lane, digests: &[Digest]) -> Result<Vec<Digest>, Trouble> {
    let asked: Vec<&[u8]> = digests.iter().map(|digest| digest.0.as_slice()).collect();
    let rows = lane.session()?.client.query_typed(sql::STILL_RUNNING, &[(&asked, Type::BYTEA_ARRAY)]).await?;
    rows.iter().map(|row| bytes(row, 0).map(Digest)).collect()
}

impl Room {
    pub(super) fn new(target: Target, limits: Limits) -> Self {
        Room {
            target,
            limits,
            tls: RefCell::new(None),
            known: Cell::new(None),
            owner: Cell::new(None),
            timeline: Cell::new(None),
            actions: RefCell::default(),
        }
    }

    /// The action of a claim, made if nobody has used it yet.
    pub(super) async fn action(&self, session: &Session, request: &ClaimRequest) -> Result<Rc<Action>, Trouble> {
        let known = self.actions.borrow().get(&request.namespace).and_then(|names| names.get(&request.action)).cloned();
        if let Some(action) = known {
            return Ok(action);
        }
        let (namespace, name) = (text(&request.namespace), text(&request.action));
        let values: [Parameter<'_>; 3] =
            [(&namespace, Type::TEXT), (&name, Type::TEXT), (&request.place, Type::TEXT)];
        let client = &session.client;
        // Each a transaction of its own: whoever was first is seen.
        let find = client.query_typed(sql::FIND_ACTION, &values[..2]);
        let mut rows = find.await?;
        if rows.is_empty() {
            let (_, found) = futures_util::try_join!(
                client.execute_typed(sql::ADD_ACTION, &values),
                client.query_typed(sql::FIND_ACTION, &values[..2])
            )?;
            rows = found;
        }
        let row = rows.first().ok_or_else(|| Trouble::new(TroubleKind::Conflicting, "its action is not there yet"))?;
        let action = Rc::new(Action { id: row.try_get(0)?, place: row.try_get(1)? });
        let mut actions = self.actions.borrow_mut();
        // A name may be computed at run time: what is remembered must not grow with the data.
        if actions.values().map(HashMap::len).sum::<usize>() >= REMEMBERED {
            actions.clear();
        }
        actions.entry(request.namespace.clone()).or_default().insert(request.action.clone(), Rc::clone(&action));
        Ok(action)
    }

    /// What was remembered may belong to another time of the database.
    pub(super) fn forget(&self) {
        self.actions.borrow_mut().clear();
    }
}

impl Action {
    pub(super) fn id(&self) -> i64 {
        self.id
    }
}

/// Is this the state of a claim that may still be settled?
pub(super) fn is_unsettled(state: State) -> bool {
    match state {
        State::Pending | State::InDoubt => true,
        State::Committed | State::Failed | State::Open | State::Expired => false,
    }
}
