//! The tables, and how an older file becomes a newer one.
//!
//! The schema's version is `PRAGMA user_version`, changed in the same transaction as the tables, so that of any number of
//! processes that open a fresh or an old file at once exactly one migrates it and none sees half of it.

use std::time::Instant;

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{Database, Flush, Trouble, TroubleKind, now_ms};

/// "Port", so that no other program's database is taken for a ledger.
const APPLICATION: i64 = 0x506f_7274;

/// One step per version: from an empty file to 1, from 1 to 2, …
const STEPS: [&str; 3] = [V1, V2, V3];

const V1: &str = "
-- Who this ledger is. One row.
CREATE TABLE meta(
  id INTEGER PRIMARY KEY CHECK(id = 1),
  ledger BLOB NOT NULL,           -- a UUID; another one at the same path is another ledger
  commit_seq INTEGER NOT NULL,    -- how often it was opened for writing, so that an older copy can be told
  created_ms INTEGER NOT NULL
) STRICT;

-- Processes that have written here. Alive while byte `id` of the file `…-owners` is locked, and only in this boot.
CREATE TABLE owner(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  host TEXT NOT NULL,
  boot TEXT NOT NULL,
  pid INTEGER NOT NULL,
  program TEXT NOT NULL,
  since_ms INTEGER NOT NULL
) STRICT;

-- Names of what is done once. `place` is where in the code a defaulted name stands; NULL: the code gives the name.
CREATE TABLE action(
  id INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  place TEXT,
  UNIQUE(namespace, name)
) STRICT;

-- One row per (namespace, action, key). A rowid table: rows are appended, only the index on `digest` is random.
CREATE TABLE claim(
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,    -- BLAKE3 of the length-prefixed namespace, action and key
  action INTEGER NOT NULL,
  key TEXT NOT NULL,
  fingerprint BLOB NOT NULL,      -- of the payload; its first byte is the version of the rules
  state INTEGER NOT NULL,         -- 0 pending, 1 committed, 2 failed, 3 in doubt, 4 open, 5 expired
  epoch INTEGER NOT NULL,
  attempt BLOB NOT NULL,          -- a UUID, made by the caller
  owner INTEGER NOT NULL,
  claimed_ms INTEGER NOT NULL,
  settled_ms INTEGER,
  retain_ms INTEGER,              -- how long the receipt is kept after `settled_ms`; NULL: for ever
  loss INTEGER NOT NULL DEFAULT 0,-- why a committed claim has no receipt: 0 there is none, 1 unencodable, 2 too large
  receipt TEXT,                   -- JSON: the result if committed, the error if failed
  ended TEXT                      -- how an attempt in doubt or released ended
) STRICT;
CREATE INDEX claim_unsettled ON claim(owner) WHERE state IN (0, 3);

-- Everything that is not the happy path. One hash chain per owner.
CREATE TABLE event(
  id INTEGER PRIMARY KEY,
  owner INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  digest BLOB,
  epoch INTEGER,
  detail TEXT NOT NULL,
  hash BLOB NOT NULL,
  UNIQUE(owner, seq)
) STRICT;
CREATE INDEX event_claim ON event(digest) WHERE digest IS NOT NULL;

-- The embedded local authority: who may, and the switch that stops everybody.
CREATE TABLE device(
  id TEXT PRIMARY KEY,
  revoked INTEGER NOT NULL CHECK(revoked IN (0, 1)),
  registered_ms INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE halt(
  id INTEGER PRIMARY KEY CHECK(id = 1),
  engaged INTEGER NOT NULL CHECK(engaged IN (0, 1)),
  changed_ms INTEGER NOT NULL
) STRICT;
";

const V2: &str = "
-- When the machine had started, by its clock, as this process saw it: a clock that was set since shows by it.
ALTER TABLE owner ADD COLUMN origin_ms INTEGER;

-- When the first of the starts whose outcome is unknown began; NULL: at `claimed_ms`.
ALTER TABLE claim ADD COLUMN first_ms INTEGER;
-- In doubt, because the body took longer than it may; 1 while it has not returned. Counts only while the owner lives.
ALTER TABLE claim ADD COLUMN running INTEGER NOT NULL DEFAULT 0;
-- Who brought the claim to where it stands: 0 its own attempt, 1 a reconcile function, 2 a person.
ALTER TABLE claim ADD COLUMN settled_by INTEGER NOT NULL DEFAULT 0;
-- (`loss` may be 3 from here on: the program's seal failed.)
-- 1: `receipt` is what the program's seal made of it, and no JSON unless that is.
ALTER TABLE claim ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;
-- 1: the effect and the settlement are one transaction in this file, so what is pending has not happened.
ALTER TABLE claim ADD COLUMN transactional INTEGER NOT NULL DEFAULT 0;
CREATE INDEX claim_expiry ON claim(settled_ms + retain_ms) WHERE retain_ms IS NOT NULL AND state IN (1, 2);

-- What bodies have noted beside their claims.
CREATE TABLE note(
  id INTEGER PRIMARY KEY,
  digest BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  note BLOB NOT NULL
) STRICT;
CREATE INDEX note_claim ON note(digest);
";

const V3: &str = "
-- Tasks that outlive their process, and their accounts. One row per id, for ever.
CREATE TABLE task(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,      -- the id that the program gives it
  kind TEXT NOT NULL,
  agent TEXT NOT NULL,            -- who has opened it
  parent TEXT,                    -- the name of the task of which it is a part
  depth INTEGER NOT NULL,
  state INTEGER NOT NULL,         -- 0 backlog, 1 todo, 2 in progress, 3 in review, 4 blocked, 5 done, 6 cancelled
  epoch INTEGER NOT NULL,         -- how often it was entered
  attempt BLOB NOT NULL,          -- the latest entry: a UUID, made by the caller
  owner INTEGER NOT NULL,         -- the process that has entered it last
  opened_ms INTEGER NOT NULL,
  -- What it may use; NULL: not limited. Those of the code that has entered it last.
  max_steps INTEGER,
  max_depth INTEGER,
  max_ms INTEGER,
  max_micros INTEGER,
  currency TEXT,
  -- What it has used: counted before a body starts.
  steps INTEGER NOT NULL DEFAULT 0,
  micros INTEGER NOT NULL DEFAULT 0,
  elapsed_ms INTEGER NOT NULL DEFAULT 0, -- up to the moment that these three say
  boot TEXT NOT NULL,             -- which start of the machine; empty if that is unknown
  up_ms INTEGER NOT NULL,         -- how long it had been up
  wall_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX task_parent ON task(parent) WHERE parent IS NOT NULL;
CREATE INDEX task_open ON task(state) WHERE state < 5;

-- Where a task has been.
CREATE TABLE task_change(
  id INTEGER PRIMARY KEY,
  task INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  from_state INTEGER NOT NULL,
  to_state INTEGER NOT NULL,
  actor TEXT NOT NULL,
  owner INTEGER NOT NULL,         -- the process that has written it
  notes TEXT                      -- a JSON object
) STRICT;
CREATE INDEX task_change_task ON task_change(task);

-- Agents that were put to sleep: they enter no task until then.
CREATE TABLE agent(
  id TEXT PRIMARY KEY,
  idle_until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The schema's version, which is at most the one that this release knows.
pub(super) fn version(connection: &Connection) -> Result<usize, Trouble> {
    let version: i64 = connection.prepare_cached("PRAGMA user_version")?.query_row([], |row| row.get(0))?;
    match usize::try_from(version) {
        Ok(known) if known <= STEPS.len() => Ok(known),
        _ => Err(Trouble::new(
            TroubleKind::Newer,
            format!("its schema has version {version}, and this release knows versions up to {}", STEPS.len()),
        )),
    }
}

/// Is this file a ledger, or empty? Changes nothing.
pub(super) fn check(connection: &Connection) -> Result<(), Trouble> {
    // One snapshot: somebody else may be making the tables right now.
    let snapshot = connection.unchecked_transaction()?;
    check_within(&snapshot)
}

/// Is the database of this connection a ledger whose schema is known?
pub(crate) fn is_ledger(connection: &Connection) -> Result<bool, Trouble> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    Ok(application == APPLICATION && version(connection)? == STEPS.len())
}

fn check_within(connection: &Connection) -> Result<(), Trouble> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    match (application, tables) {
        (APPLICATION, _) => version(connection).map(|_| ()),
        (0, 0) => Ok(()),
        _ => Err(Trouble::new(TroubleKind::Unsuitable, "it is another program's database, not a ledger")),
    }
}

/// Brings the schema up to date and says which ledger it is.
pub(super) fn prepare(database: &mut Database, until: Instant) -> Result<Uuid, Trouble> {
    let current = super::turn::retry(until, || version(database.connection()?))?;
    if current < STEPS.len() {
        database.write(until, Flush::Disk, migrate).map_err(super::Failure::trouble)?;
    }
    super::turn::retry(until, || {
        let ledger: [u8; 16] = database.connection()?.query_row("SELECT ledger FROM meta", [], |row| row.get(0))?;
        Ok(Uuid::from_bytes(ledger))
    })
}

/// Inside a write transaction: somebody else may have been faster.
fn migrate(connection: &Connection) -> Result<(), Trouble> {
    check_within(connection)?;
    let from = version(connection)?;
    for step in &STEPS[from..] {
        connection.execute_batch(step)?;
    }
    if from == 0 {
        connection.execute(
            "INSERT INTO meta(id, ledger, commit_seq, created_ms) VALUES(1, ?1, 0, ?2)",
            params![Uuid::now_v7().as_bytes(), now_ms()],
        )?;
        connection.execute("INSERT INTO halt(id, engaged, changed_ms) VALUES(1, 0, ?1)", [now_ms()])?;
        connection.pragma_update(None, "application_id", APPLICATION)?;
    }
    connection.pragma_update(None, "user_version", STEPS.len() as i64)?;
    Ok(())
}
