//! The task that gives the connections their work.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Sleep;

use super::super::{Attempt, Claimed, Digest, messages};
use super::engine::Pulse;
use super::lane::{Done, Lane, Work};
use super::parked::Parked;
use super::queue::{CHAINED, Chained, Draining, Op, Queue, Step};
use super::reassert::{self, Grant};
use super::room::Room;
use super::trouble::Trouble;

mod done;

/// How often those who wait are looked after while something is under way.
const SWEEP: Duration = Duration::from_millis(100);

/// The lane of claims, and of looking for others' settlements.
const CLAIMS: usize = 0;
/// The lane of settlements and of the lease.
const SETTLES: usize = 1;
/// The lane of transactions of several statements.
const REST: usize = 2;

type UnderWay = Pin<Box<dyn Future<Output = (usize, Lane, Done)> + Send>>;

pub(super) struct Worker {
    room: Arc<Room>,
    pulse: Arc<Pulse>,
    inbox: UnboundedReceiver<Op>,
    /// Nobody can ask anything any more: since when.
    closed: Option<Instant>,
    queue: Queue,
    /// Those at home.
    lanes: [Option<Lane>; 3],
    under_way: FuturesUnordered<UnderWay>,
    parked: Parked,
    /// Claims whose owners are being looked for.
    looked_for: Vec<Digest>,
    /// Attempts that were granted here and are not settled yet.
    running: HashMap<Attempt, Arc<Grant>>,
    /// Another server may have taken over: are they all on record there?
    unchecked: bool,
    /// Those that are not, and will be before anything else is granted.
    lost: Vec<Arc<Grant>>,
    /// Those that somebody else was granted as well: that was said.
    overtaken: HashSet<Attempt>,
    drains: Vec<Draining>,
    draining: bool,
    renew_at: Instant,
    renewing: bool,
    sweep_at: Instant,
    alarm: Pin<Box<Sleep>>,
    /// How many share a transaction: one, after a failure of one of them.
    most_chained: usize,
    /// What last kept us from the server.
    trouble: Option<Trouble>,
}

impl Worker {
    pub(super) fn new(inbox: UnboundedReceiver<Op>, room: Room, pulse: Arc<Pulse>) -> Self {
        let now = Instant::now();
        Worker {
            room: Arc::new(room),
            pulse,
            inbox,
            closed: None,
            queue: Queue::default(),
            lanes: [Some(Lane::new()), Some(Lane::new()), Some(Lane::new())],
            under_way: FuturesUnordered::new(),
            parked: Parked::new(),
            looked_for: Vec::new(),
            running: HashMap::new(),
            unchecked: false,
            lost: Vec::new(),
            overtaken: HashSet::new(),
            drains: Vec::new(),
            draining: false,
            renew_at: now,
            renewing: false,
            sweep_at: now,
            alarm: Box::pin(tokio::time::sleep_until(now.into())),
            most_chained: CHAINED,
            trouble: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.hear().await;
            let now = Instant::now();
            if now >= self.sweep_at {
                self.sweep(now);
                self.sweep_at = now + SWEEP;
            }
            self.send_off(now);
            self.look_at_drains(now);
            if let Some(since) = self.closed {
                // Nobody uses this store any more, and its server may be gone: who waits is still served, and nobody else.
                if now >= since + self.room.limits.statement {
                    self.queue.forget_unawaited();
                }
                if self.queue.is_idle() && self.under_way.is_empty() {
                    break;
                }
            }
        }
        if let (Some(owner), Some(lane)) =
            (self.room.owner.get(), self.lanes.iter().flatten().find(|lane| lane.is_open()))
        {
            lane.resign(owner).await;
        }
    }

    /// Waits for something to do, and takes in all there is.
    async fn hear(&mut self) {
        let wake_at = self.wake_at();
        if self.is_at_rest() {
            self.pulse.rest(wake_at, || self.inbox.is_empty() && !self.inbox.is_closed());
        }
        // One that rings too soon does no harm; a timer of its own for each piece of work would wake the runtime that it is set on.
        let is_late = self.alarm.is_elapsed() || self.alarm.deadline().into_std() > wake_at;
        if is_late {
            self.alarm.as_mut().reset(wake_at.into());
        }
        let (mut ops, mut done, mut is_end) = (Vec::new(), Vec::new(), false);
        std::future::poll_fn(|cx| {
            while self.closed.is_none() {
                match self.inbox.poll_recv(cx) {
                    Poll::Ready(Some(op)) => ops.push(op),
                    Poll::Ready(None) => (self.closed, is_end) = (Some(Instant::now()), true),
                    Poll::Pending => break,
                }
            }
            while let Poll::Ready(Some(one)) = self.under_way.poll_next_unpin(cx) {
                done.push(one);
            }
            if is_end || !ops.is_empty() || !done.is_empty() { Poll::Ready(()) } else { self.alarm.as_mut().poll(cx) }
        })
        .await;
        for (i, lane, done) in done {
            self.lanes[i] = Some(lane);
            self.take(done);
        }
        for op in ops {
            self.take_in(op);
        }
    }

    /// Nothing is under way, and nobody waits.
    fn is_at_rest(&self) -> bool {
        let nobody_waits = self.parked.wake_at().is_none() && self.drains.is_empty();
        self.queue.is_idle() && self.under_way.is_empty() && nobody_waits && self.closed.is_none()
    }

    fn take_in(&mut self, op: Op) {
        match op {
            Op::Claim(claiming) if self.draining => {
                let refused = messages::draining(&claiming.request.action);
                claiming.reply.send(Claimed::Refuse(refused));
            }
            Op::Claim(claiming) => self.queue.push(Step::claim(claiming)),
            Op::Settle(mut settling) => {
                settling.grant = self.running.get(&settling.request.attempt).cloned();
                self.queue.push(Step::settle(settling));
            }
            Op::Note(noting) => self.queue.push(Step::Chained(Chained::Note(noting))),
            Op::Audit(auditing) => self.queue.push(Step::Chained(Chained::Audit(auditing))),
            Op::Drain(drain) => {
                self.draining = true;
                self.parked.refuse_all(messages::draining);
                self.drains.push(drain);
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let sweep = (!self.queue.is_idle() || self.closed.is_some()).then_some(self.sweep_at);
        let renew = (self.room.owner.get().is_some() && !self.renewing).then_some(self.renew_at);
        // A lane that has failed is asked again after a pause.
        let again = self.lanes.iter().flatten().map(|lane| lane.not_before).filter(|at| *at > now).min();
        let drains = self.drains.iter().map(|drain| drain.until);
        let parked = self.parked.wake_at();
        let soon = drains.chain(sweep).chain(renew).chain(again).chain(parked).min();
        // Never at once again, whatever keeps a lane from being ready.
        soon.unwrap_or(now + Duration::from_secs(3600)).max(now + Duration::from_millis(1))
    }

    /// Gives every lane that is at home what there is for it.
    fn send_off(&mut self, now: Instant) {
        self.parked.expire(now);
        for i in [CLAIMS, SETTLES, REST] {
            let Some(lane) = &self.lanes[i] else { continue };
            if now < lane.not_before {
                continue;
            }
            let work = if lane.is_open() { self.work_for(i, now) } else { self.wants(i, now).then_some(Work::Open) };
            let Some(work) = work else { continue };
            if let Some(lane) = self.lanes[i].take() {
                let room = Arc::clone(&self.room);
                self.under_way.push(Box::pin(async move {
                    let (lane, done) = lane.run(room, work).await;
                    (i, lane, done)
                }));
            }
        }
    }

    /// Must the lease be taken before anything can be written?
    fn needs_lease(&self) -> bool {
        self.room.owner.get().is_none() || self.room.lapsed.get()
    }

    fn must_renew(&self, now: Instant) -> bool {
        !self.renewing && self.room.owner.get().is_some() && now >= self.renew_at
    }

    /// Is there anything for this lane?
    fn wants(&self, i: usize, now: Instant) -> bool {
        let looks = self.parked.wake_at().is_some_and(|at| at <= now);
        match i {
            CLAIMS => {
                let rest_waits = !self.queue.chained.is_empty() || !self.lost.is_empty();
                !self.queue.claims.is_empty() || looks || self.unchecked || (self.needs_lease() && rest_waits)
            }
            SETTLES => !self.queue.settles.is_empty() || self.must_renew(now),
            _ => !self.queue.chained.is_empty() || !self.lost.is_empty(),
        }
    }

    fn work_for(&mut self, i: usize, now: Instant) -> Option<Work> {
        match i {
            CLAIMS if self.needs_lease() => {
                let asked = !self.renewing && now >= self.renew_at && self.wants(CLAIMS, now);
                self.renewing |= asked;
                asked.then_some(Work::Renew)
            }
            CLAIMS if self.unchecked => {
                let mut latest = reassert::latest(self.running.values());
                latest.retain(|grant| !self.overtaken.contains(&grant.request.attempt));
                Some(Work::Check(latest))
            }
            CLAIMS if !self.lost.is_empty() => None,
            CLAIMS => {
                let batch = self.queue.take_claims();
                if !batch.is_empty() {
                    return Some(Work::Claims(batch));
                }
                // A caller that is alone is served by one process of the server, which is quicker than two in turn.
                if self.under_way.is_empty() && !self.queue.settles.is_empty() {
                    return Some(Work::Settles(self.queue.take_settles()));
                }
                self.looked_for = self.parked.due(now)?;
                Some(Work::Look(self.looked_for.clone()))
            }
            SETTLES if self.must_renew(now) => {
                self.renewing = true;
                Some(Work::Renew)
            }
            SETTLES => Some(self.queue.take_settles()).filter(|batch| !batch.is_empty()).map(Work::Settles),
            _ if self.needs_lease() => None,
            _ if !self.lost.is_empty() => Some(Work::Reassert(self.lost.iter().take(CHAINED).cloned().collect())),
            _ => {
                let batch = self.queue.take_chained(self.most_chained, !self.unchecked);
                (!batch.is_empty()).then_some(Work::Chained(batch))
            }
        }
    }
}
