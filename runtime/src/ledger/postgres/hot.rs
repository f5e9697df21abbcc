//! The hot path: fresh claims, replays and plain settlements, as many at once as there are.
//!
//! The statements write only what the rules would write in the same place (the tests below ask them); everything else is
//! left to [`chained`](super::chained).

use std::collections::{HashMap, HashSet};

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::row::Outcome;
use super::super::rules::{self, Asking, OnClaim};
use super::super::{ClaimRequest, Claimed, Digest, SettleRequest, Settlement, messages};
use super::queue::{Claiming, Settling};
use super::room::{Lease, Room};
use super::rows::{Seen, Written, bytes, retain_ms, text};
use super::session::Session;
use super::trouble::Trouble;
use crate::refused::Refused;

/// What a claim is answered with.
#[derive(Debug)]
pub(super) enum Answer {
    Claimed(Claimed),
    /// It is granted. `first_ms`: when the first of the starts whose outcome is unknown began, if that was not this one.
    Run {
        epoch: u64,
        first_ms: Option<i64>,
    },
    /// It runs elsewhere: wait, or be refused.
    Park(Refused),
    /// It takes a transaction of several statements.
    Write,
    /// Neither written nor found: the lease has lapsed.
    Again,
}

/// One round trip, or two after claims that were all new and for an action that this process has not used yet.
pub(super) async fn claim(session: &Session, room: &Room, batch: &[Box<Claiming>]) -> Result<Vec<Answer>, Trouble> {
    // A lease that another server has on record says nothing about this one, which may be an older copy of it.
    let Some(lease) = room.lease.get().filter(|lease| lease.server == session.server) else {
        return Ok(batch.iter().map(|_| Answer::Again).collect());
    };
    let mut refused = HashMap::new();
    let mut asked = Vec::with_capacity(batch.len());
    for claiming in batch {
        let request = &claiming.request;
        let action = room.action(session, request).await?;
        match action.ambiguous(request) {
            Some(answer) => {
                refused.insert(request.digest, answer);
            }
            None => asked.push((request, action.id)),
        }
    }
    // In one order, so that two batches wait for each other in one direction only.
    asked.sort_unstable_by_key(|(request, _)| request.digest);
    // What is not heard of may have been written.
    let (fresh, mut seen) = write_and_read(session, room, lease, &asked).await.map_err(Trouble::unknown)?;
    let answers = batch.iter().map(|claiming| {
        let request = &claiming.request;
        if let Some(refused) = refused.remove(&request.digest) {
            return Ok(Answer::Claimed(refused));
        }
        if fresh.contains(&request.digest) {
            return Ok(Answer::Run { epoch: 1, first_ms: None });
        }
        match seen.remove(&request.digest) {
            None => Ok(Answer::Again),
            Some(seen) => answer(request, &seen, lease.owner),
        }
    });
    answers.collect()
}

/// Which of these claims are granted, and the rows of the others.
async fn write_and_read(
    session: &Session,
    room: &Room,
    lease: Lease,
    asked: &[(&ClaimRequest, i64)],
) -> Result<(HashSet<Digest>, HashMap<Digest, Seen>), Trouble> {
    let digests: Vec<Digest> = asked.iter().map(|(request, _)| request.digest).collect();
    let (fresh, found) = if room.meets_stored.get() {
        // Two transactions in one trip: the first waits for whoever is inserting the same digest, the second sees what that one
        // has committed.
        futures_util::future::try_join(write(session, lease, asked), read(session, &digests)).await?
    } else {
        // Where nothing was stored so far, looking would cost every claim, and the second trip only those that are.
        let fresh = write(session, lease, asked).await?;
        let rest: Vec<Digest> = digests.into_iter().filter(|digest| !fresh.contains(digest)).collect();
        let found = read(session, &rest).await?;
        (fresh, found)
    };
    room.meets_stored.set(fresh.len() < asked.len());
    Ok((fresh, found))
}

/// Which of these claims were not stored, and are now.
async fn write(session: &Session, lease: Lease, asked: &[(&ClaimRequest, i64)]) -> Result<HashSet<Digest>, Trouble> {
    let Lease { owner, until, .. } = lease;
    let (client, hot) = (&session.client, &session.hot);
    match asked {
        [] => Ok(HashSet::new()),
        [(request, action)] => {
            let key = text(&request.key);
            let (digest, fingerprint) = (request.digest.0.as_slice(), request.fingerprint.0.as_slice());
            let retain = retain_ms(request);
            let values: [&(dyn ToSql + Sync); 9] = [
                &digest,
                action,
                &key,
                &fingerprint,
                &request.attempt.0,
                &owner,
                &retain,
                &request.transactional,
                &until,
            ];
            let written = client.execute(&hot.claim_one, &values).await?;
            Ok((written == 1).then_some(request.digest).into_iter().collect())
        }
        asked => {
            let digests: Vec<&[u8]> = asked.iter().map(|(request, _)| request.digest.0.as_slice()).collect();
            let actions: Vec<i64> = asked.iter().map(|(_, action)| *action).collect();
            let keys: Vec<_> = asked.iter().map(|(request, _)| text(&request.key)).collect();
            let fingerprints: Vec<&[u8]> = asked.iter().map(|(request, _)| request.fingerprint.0.as_slice()).collect();
            let attempts: Vec<Uuid> = asked.iter().map(|(request, _)| request.attempt.0).collect();
            let retains: Vec<Option<i64>> = asked.iter().map(|(request, _)| retain_ms(request)).collect();
            let transactional: Vec<bool> = asked.iter().map(|(request, _)| request.transactional).collect();
            let values: [&(dyn ToSql + Sync); 9] =
                [&digests, &actions, &keys, &fingerprints, &attempts, &owner, &retains, &transactional, &until];
            let written = client.query(&hot.claim_many, &values).await?;
            written.iter().map(|row| bytes(row, 0).map(Digest)).collect()
        }
    }
}

/// What is stored of these claims.
pub(super) async fn read(session: &Session, digests: &[Digest]) -> Result<HashMap<Digest, Seen>, Trouble> {
    if digests.is_empty() {
        return Ok(HashMap::new());
    }
    let asked: Vec<&[u8]> = digests.iter().map(|digest| digest.0.as_slice()).collect();
    let rows = session.client.query(&session.hot.read, &[&asked]).await?;
    let mut seen = HashMap::with_capacity(rows.len());
    for row in &rows {
        let row = Seen::read(row)?;
        seen.insert(row.digest, row);
    }
    Ok(seen)
}

/// What the rules say to a claim that is stored; [`Answer::Write`] if they ask for a write.
fn answer(request: &ClaimRequest, seen: &Seen, own: i64) -> Result<Answer, Trouble> {
    let decided = rules::claim(Some(seen.stored(own)?), &asking(request), seen.now_ms);
    Ok(plain_answer(request, seen, decided).unwrap_or(Answer::Write))
}

pub(super) fn asking(request: &ClaimRequest) -> Asking {
    let ClaimRequest { fingerprint, attempt, ways, .. } = *request;
    Asking { fingerprint, attempt, ways }
}

/// The answer to what needs neither a write nor another look; `None` for the rest.
pub(super) fn plain_answer(request: &ClaimRequest, seen: &Seen, decided: OnClaim) -> Option<Answer> {
    let holder = seen.holder.as_ref();
    match decided {
        OnClaim::Granted { epoch } => Some(Answer::Run { epoch, first_ms: seen.row.first_ms }),
        OnClaim::Replay(receipt) => Some(Answer::Claimed(Claimed::Replay(receipt))),
        OnClaim::ReplayError(error) => Some(Answer::Claimed(Claimed::ReplayError(error))),
        OnClaim::InFlight => Some(Answer::Park(messages::in_flight(request, &seen.row, holder))),
        OnClaim::Refuse(why) => {
            Some(Answer::Claimed(Claimed::Refuse(messages::refused(request, why, &seen.row, holder))))
        }
        OnClaim::Start { .. }
        | OnClaim::Again { .. }
        | OnClaim::Orphaned
        | OnClaim::RolledBack
        | OnClaim::Reconcile => None,
    }
}

/// One round trip; says for each whether it is on record. One that is not, the rules have to look at.
pub(super) async fn settle(session: &Session, batch: &[Box<Settling>]) -> Result<Vec<bool>, Trouble> {
    let mut asked: Vec<&SettleRequest> = batch.iter().map(|settling| &settling.request).collect();
    asked.sort_unstable_by_key(|request| request.digest);
    let (client, hot) = (&session.client, &session.hot);
    let recorded: HashSet<Digest> = match asked.as_slice() {
        [] => return Ok(Vec::new()),
        [request] => {
            let written = Written::of(&Outcome::of(&request.settlement));
            let (digest, epoch) = (request.digest.0.as_slice(), request.epoch.cast_signed());
            let Written { state, loss, receipt, sealed, .. } = written;
            let values: [&(dyn ToSql + Sync); 7] =
                [&digest, &epoch, &request.attempt.0, &state, &loss, &receipt, &sealed];
            let changed = client.execute(&hot.settle_one, &values).await?;
            (changed == 1).then_some(request.digest).into_iter().collect()
        }
        asked => {
            let digests: Vec<&[u8]> = asked.iter().map(|request| request.digest.0.as_slice()).collect();
            let epochs: Vec<i64> = asked.iter().map(|request| request.epoch.cast_signed()).collect();
            let attempts: Vec<Uuid> = asked.iter().map(|request| request.attempt.0).collect();
            let outcomes = asked.iter().map(|request| Written::of(&Outcome::of(&request.settlement)));
            let written: Vec<Written<'_>> = outcomes.collect();
            let states: Vec<i16> = written.iter().map(|written| written.state).collect();
            let losses: Vec<i16> = written.iter().map(|written| written.loss).collect();
            let receipts: Vec<Option<&[u8]>> = written.iter().map(|written| written.receipt).collect();
            let sealed: Vec<bool> = written.iter().map(|written| written.sealed).collect();
            let values: [&(dyn ToSql + Sync); 7] = [&digests, &epochs, &attempts, &states, &losses, &receipts, &sealed];
            let rows = client.query(&hot.settle_many, &values).await?;
            rows.iter().map(|row| bytes(row, 0).map(Digest)).collect::<Result<_, _>>()?
        }
    };
    Ok(batch.iter().map(|settling| recorded.contains(&settling.request.digest)).collect())
}

/// May the hot path settle this? It leaves no event, and it only leads from pending.
pub(super) fn is_plain(settlement: &Settlement) -> bool {
    match settlement {
        Settlement::Committed(_) | Settlement::Failed(_) => true,
        Settlement::InDoubt(_) | Settlement::Overdue | Settlement::Released(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rules::{By, Known, OnSettle, State, Ways};
    use super::super::super::{Attempt, Fingerprint, Kept, Receipt};
    use super::*;

    #[test]
    fn the_rules_grant_what_is_not_stored_as_the_insert_does() {
        let asking = Asking { fingerprint: Fingerprint([1; 32]), attempt: Attempt(Uuid::nil()), ways: Ways::default() };
        assert_eq!(rules::claim(None, &asking, 0), OnClaim::Start { epoch: 1 });
    }

    #[test]
    fn the_rules_settle_what_the_update_settles_and_leave_no_event() {
        let attempt = Attempt(Uuid::from_u128(7));
        let kept = Kept { text: "1".into(), sealed: false };
        for settlement in [
            Settlement::Committed(Receipt::Kept(kept.clone())),
            Settlement::Committed(Receipt::TooLarge),
            Settlement::Failed(kept),
        ] {
            assert!(is_plain(&settlement));
            for earlier_doubt in [false, true] {
                let known = Known {
                    state: State::Pending,
                    epoch: 3,
                    attempt,
                    running: false,
                    by: By::Attempt,
                    transactional: false,
                    earlier_doubt,
                };
                let to = Outcome::of(&settlement).state;
                let decided = rules::settle(Some(known), 3, attempt, &settlement);
                assert_eq!(decided, OnSettle::Apply { to, event: None });
            }
        }
    }
}
