//! The statements.
//!
//! Each of the hot path is a transaction of its own, and one that says yes is a statement that wrote: nothing is concluded from
//! what a snapshot did not show. `claim_…` and [`READ`] are two transactions, also when they are sent together: the first waits for
//! whoever is inserting the same digest, the second sees what that one has committed.

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

macro_rules! claim_one {
    ($lives:expr) => {
        concat!(
            "INSERT INTO portcullis.claim(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms, retain_ms,
               transactional)
             SELECT $1::bytea, $2::bigint, $3::text, $4::bytea, 0, 1, $5::uuid, $6::bigint, ",
            now_ms!(),
            ", $7::bigint, $8::boolean WHERE ",
            $lives,
            " ON CONFLICT (digest) DO NOTHING"
        )
    };
}

/// A fresh claim: digest, action, key, fingerprint, attempt, owner, retain, transactional, the end of the lease as this server has
/// it on record. No row: there is one already, or the lease has lapsed.
pub(super) const CLAIM_ONE: &str = claim_one!("clock_timestamp() < $9::timestamptz");

/// The same, for who does not know the end of its lease.
pub(super) const CLAIM_LOOKING: &str = claim_one!(alive!("$6"));

/// Many of the first kind. In the order of their digests, so that two batches wait for each other in one direction only.
pub(super) const CLAIM_MANY: &str = concat!(
    "INSERT INTO portcullis.claim(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms, retain_ms,
       transactional)
     SELECT digest, action, key, fingerprint, 0, 1, attempt, $6::bigint, ",
    now_ms!(),
    ", retain, transactional
     FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::bytea[], $5::uuid[], $7::bigint[], $8::boolean[])
       AS asked(digest, action, key, fingerprint, attempt, retain, transactional)
     WHERE clock_timestamp() < $9::timestamptz ORDER BY digest ON CONFLICT (digest) DO NOTHING RETURNING digest"
);

/// What [`Seen::read`](super::rows::Seen::read) reads, and after it whatever else is asked for.
macro_rules! read {
    ($rest:literal) => {
        read!("", "", $rest)
    };
    ($columns:literal, $tables:literal, $rest:literal) => {
        concat!(
            "SELECT claim.digest, claim.fingerprint, claim.state, claim.epoch, claim.attempt, claim.owner, claim.claimed_ms,
               claim.settled_ms, claim.retain_ms, claim.loss, claim.receipt, claim.ended,
               claim.first_ms, claim.running, claim.settled_by, claim.sealed, claim.transactional,
               owner.host, owner.pid, owner.since_ms, coalesce(owner.lease_until > clock_timestamp(), false), ",
            now_ms!(),
            ", CASE WHEN claim.state = 3 THEN (SELECT max(renewed_ms) FROM portcullis.owner) END",
            $columns,
            " FROM portcullis.claim LEFT JOIN portcullis.owner ON owner.id = claim.owner ",
            $tables,
            $rest
        )
    };
}

/// Claims by their digests.
pub(super) const READ: &str = read!("WHERE claim.digest = ANY($1::bytea[])");

/// The same, one of them, to be changed.
pub(super) const LOCK: &str = read!("WHERE claim.digest = $1::bytea FOR UPDATE OF claim");

/// Locks those of these claims that no other transaction is at.
pub(super) const TAKE: &str =
    "SELECT digest FROM portcullis.claim WHERE digest = ANY($1::bytea[]) ORDER BY digest FOR UPDATE SKIP LOCKED";

/// Which of these claims there are.
pub(super) const THERE: &str = "SELECT digest FROM portcullis.claim WHERE digest = ANY($1::bytea[])";

/// The happy settlement: digest, epoch, attempt, state, loss, receipt, sealed. No row: ask the rules.
pub(super) const SETTLE_ONE: &str = concat!(
    "UPDATE portcullis.claim SET state = $4, loss = $5, receipt = $6, sealed = $7, settled_ms = ",
    now_ms!(),
    " WHERE digest = $1 AND epoch = $2 AND attempt = $3 AND state::integer = 0 AND NOT transactional"
);

/// Many of them, given in the order of their digests.
pub(super) const SETTLE_MANY: &str = concat!(
    "UPDATE portcullis.claim SET state = asked.state, loss = asked.loss, receipt = asked.receipt, sealed = asked.sealed,
       settled_ms = ",
    now_ms!(),
    " FROM unnest($1::bytea[], $2::bigint[], $3::uuid[], $4::smallint[], $5::smallint[], $6::bytea[], $7::boolean[])
        AS asked(digest, epoch, attempt, state, loss, receipt, sealed)
      WHERE claim.digest = asked.digest AND claim.epoch = asked.epoch AND claim.attempt = asked.attempt
        AND claim.state::integer = 0 AND NOT claim.transactional
      RETURNING claim.digest"
);

/// Where a locked claim has come to: digest, state, loss, receipt, sealed, ended, running, settled_by.
pub(super) const PUT: &str = concat!(
    "UPDATE portcullis.claim SET state = $2, loss = $3, receipt = $4, sealed = $5, ended = $6, running = $7, settled_by = $8,
       settled_ms = ",
    now_ms!(),
    " WHERE digest = $1"
);

/// A settlement in a transaction of the user's: digest, epoch, attempt, receipt, sealed. No row: ask the rules. What it had said
/// of being overdue stays, for the event. What is acknowledged then is on disk, whatever the user's session says.
pub(super) const SETTLE_INSIDE: &str = concat!(
    "UPDATE portcullis.claim SET state = 1, loss = 0, receipt = $4, sealed = $5, running = false, settled_by = 0, settled_ms = ",
    now_ms!(),
    " WHERE digest = $1 AND epoch = $2 AND attempt = $3 AND (state = 0 OR (state = 3 AND running))
      RETURNING CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
        THEN set_config('synchronous_commit', 'on', true) END"
);

/// What decides about that: digest.
pub(super) const KNOWN: &str =
    "SELECT state, epoch, attempt, running, settled_by FROM portcullis.claim WHERE digest = $1";

/// Which of these claims are committed by their own attempt, with nothing left to be said: digests, epochs, attempts.
pub(super) const COMMITTED: &str = "SELECT claim.digest FROM portcullis.claim
     JOIN unnest($1::bytea[], $2::bigint[], $3::uuid[]) AS asked(digest, epoch, attempt) ON claim.digest = asked.digest
     WHERE claim.epoch = asked.epoch AND claim.attempt = asked.attempt
       AND claim.state = 1 AND claim.settled_by = 0 AND claim.ended IS NULL";

/// Forgets that a claim was overdue.
pub(super) const NOT_OVERDUE: &str = "UPDATE portcullis.claim SET ended = NULL WHERE digest = $1";

/// The next epoch of a locked claim: digest, epoch, attempt, owner, retain, first, transactional. No row: the lease has lapsed.
pub(super) const START_AGAIN: &str = concat!(
    "UPDATE portcullis.claim SET state = 0, epoch = $2, attempt = $3, owner = $4, retain_ms = $5, first_ms = $6,
       transactional = $7, claimed_ms = ",
    now_ms!(),
    ", settled_ms = NULL, loss = 0, receipt = NULL, sealed = false, ended = NULL, running = false, settled_by = 0
     WHERE digest = $1 AND ",
    alive!("$4")
);

/// A claim that the ledger has lost: digest, action, key, fingerprint, epoch, attempt, owner, its age in milliseconds, retain, first,
/// transactional. No row: it is not lost, by the same rules. Also while the lease has lapsed: what is on record is never free.
pub(super) const REASSERT: &str = concat!(
    "INSERT INTO portcullis.claim AS stored(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms, retain_ms,
       first_ms, transactional)
     VALUES($1, $2, $3, $4, 0, $5, $6, $7, ",
    now_ms!(),
    " - $8, $9, $10, $11)
     ON CONFLICT (digest) DO UPDATE SET state = 0, epoch = excluded.epoch, attempt = excluded.attempt, owner = excluded.owner,
       claimed_ms = excluded.claimed_ms, retain_ms = excluded.retain_ms, first_ms = excluded.first_ms,
       transactional = excluded.transactional, settled_ms = NULL, loss = 0, receipt = NULL, sealed = false, ended = NULL,
       settled_by = 0
     WHERE stored.epoch < excluded.epoch AND stored.state IN (3, 4) AND NOT stored.running"
);

/// Is this owner the process that it was? Owner, since when. A server that took over may have given its number to another one.
pub(super) const IS_OURS: &str = "SELECT EXISTS(SELECT FROM portcullis.owner WHERE id = $1 AND since_ms = $2)";

/// Which of these claims still run: digests.
pub(super) const STILL_RUNNING: &str =
    "SELECT claim.digest FROM portcullis.claim JOIN portcullis.owner ON owner.id = claim.owner
     WHERE claim.digest = ANY($1::bytea[]) AND claim.state::integer = 0 AND owner.lease_until > clock_timestamp()";

/// A new owner: host, pid, program, lease in milliseconds.
pub(super) const ENROL: &str = concat!(
    "INSERT INTO portcullis.owner(host, pid, program, since_ms, lease_until, renewed_ms)
     VALUES($1, $2, $3, ",
    now_ms!(),
    ", clock_timestamp() + $4 * interval '1 millisecond', ",
    now_ms!(),
    ") RETURNING id, since_ms, lease_until"
);

/// Owner, lease in milliseconds, since when. Also one that has lapsed: what others have written meanwhile stays. No row: no such
/// owner. By its id alone it might be another one, to whom a server that was promoted has given an id once more.
pub(super) const RENEW: &str = concat!(
    "UPDATE portcullis.owner SET lease_until = clock_timestamp() + $2 * interval '1 millisecond', renewed_ms = ",
    now_ms!(),
    " WHERE id = $1 AND since_ms = $3 RETURNING lease_until"
);

/// An owner that is done.
pub(super) const RESIGN: &str = "UPDATE portcullis.owner SET lease_until = clock_timestamp()
     WHERE id = $1 AND lease_until > clock_timestamp()";

/// Namespace, name.
pub(super) const FIND_ACTION: &str = "SELECT id, place FROM portcullis.action WHERE namespace = $1 AND name = $2";

/// Namespace, name, place.
pub(super) const ADD_ACTION: &str =
    "INSERT INTO portcullis.action(namespace, name, place) VALUES($1, $2, $3) ON CONFLICT (namespace, name) DO NOTHING";

/// The name of the action of a claim.
pub(super) const ACTION_OF: &str =
    "SELECT name FROM portcullis.action WHERE id = (SELECT action FROM portcullis.claim WHERE digest = $1)";

/// The end of an owner's chain.
pub(super) const LAST_EVENT: &str = concat!(
    "SELECT (SELECT seq FROM portcullis.event WHERE owner = $1 ORDER BY seq DESC LIMIT 1),
            (SELECT hash FROM portcullis.event WHERE owner = $1 ORDER BY seq DESC LIMIT 1), ",
    now_ms!()
);

/// An event.
pub(super) const APPEND: &str =
    "INSERT INTO portcullis.event(owner, seq, at_ms, kind, actor, action, digest, epoch, detail, hash)
     VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// A note: digest, epoch, note.
pub(super) const ADD_NOTE: &str =
    concat!("INSERT INTO portcullis.note(digest, epoch, at_ms, note) VALUES($1, $2, ", now_ms!(), ", $3)");

/// The notes beside a claim.
pub(super) const NOTES: &str = "SELECT epoch, at_ms, note FROM portcullis.note WHERE digest = $1 ORDER BY id";

/// Claims with their names, as an operator sees them. The rest of the statement follows.
pub(super) const RECORDS: &str = read!(
    ", action.namespace, action.name, action.place, claim.key, owner.program",
    "JOIN portcullis.action ON action.id = claim.action ",
    ""
);

/// A claim, before it is read: what is read then is newer than whatever this has waited for.
pub(super) const HOLD: &str = "SELECT FROM portcullis.claim WHERE digest = $1 FOR UPDATE";

/// Events as they are stored. The rest of the statement follows.
pub(super) const EVENTS: &str =
    "SELECT id, owner, seq, at_ms, kind, actor, action, digest, epoch, detail, hash FROM portcullis.event ";

/// The notes beside many claims.
pub(super) const NOTES_OF: &str =
    "SELECT epoch, at_ms, note, digest FROM portcullis.note WHERE digest = ANY($1::bytea[]) ORDER BY id";

/// Receipts whose time is over, as the partial index says it: now, how many. Others may be at some of them.
pub(super) const DUE: &str = "SELECT digest, state, settled_ms + retain_ms FROM portcullis.claim
     WHERE retain_ms IS NOT NULL AND state IN (1, 2) AND settled_ms + retain_ms <= $1
     ORDER BY settled_ms + retain_ms LIMIT $2 FOR UPDATE SKIP LOCKED";

/// Takes receipts away: digests, the state that stands for it.
pub(super) const EXPIRE: &str =
    "UPDATE portcullis.claim SET state = $2, receipt = NULL, sealed = false, loss = 0 WHERE digest = ANY($1::bytea[])";

/// The notes beside them.
pub(super) const FORGET_NOTES: &str = "DELETE FROM portcullis.note WHERE digest = ANY($1::bytea[])";
