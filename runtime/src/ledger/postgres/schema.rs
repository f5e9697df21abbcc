//! The tables, and how an older ledger becomes a newer one.
//!
//! The schema's version stands in `portcullis.meta` and is changed in the same transaction as the tables, under an advisory
//! lock, so that of any number of processes that meet a fresh or an old database at once exactly one migrates it and none sees
//! half of it. `docs/ledger.md` describes the tables for other programs.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient, IsolationLevel};
use uuid::Uuid;

use super::trouble::{Trouble, TroubleKind};
use crate::ledger::program::host;

/// One step per version: from an empty database to 1, from 1 to 2, …
const STEPS: [&str; 2] = [V1, V2];

/// "Port", "cull": the advisory lock of whoever migrates.
const LOCK: i64 = 0x506f_7274_6375_6c6c;

const V1: &str = "
CREATE SCHEMA portcullis;
COMMENT ON SCHEMA portcullis IS 'The ledger of portcullis: what was done once.';

-- Who this ledger is, and the version of these tables. One row.
CREATE TABLE portcullis.meta(
  id smallint PRIMARY KEY CHECK(id = 1),
  version integer NOT NULL,
  ledger uuid NOT NULL,
  created_ms bigint NOT NULL,
  created_by text NOT NULL
);

-- Processes that have written here. Alive until `lease_until`, by this server's clock.
CREATE TABLE portcullis.owner(
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  host text NOT NULL,
  pid integer NOT NULL,
  program text NOT NULL,
  since_ms bigint NOT NULL,
  lease_until timestamptz NOT NULL,
  renewed_ms bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX owner_renewed ON portcullis.owner(renewed_ms);

-- Names of what is done once. `place` is where in the code a defaulted name stands; NULL: the code gives the name.
CREATE TABLE portcullis.action(
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  namespace text NOT NULL,
  name text NOT NULL,
  place text,
  UNIQUE(namespace, name)
);

-- One row per (namespace, action, key). Times are milliseconds since 1970, by this server's clock.
CREATE TABLE portcullis.claim(
  digest bytea PRIMARY KEY,       -- BLAKE3 of the length-prefixed namespace, action and key
  action bigint NOT NULL,
  key text NOT NULL,
  fingerprint bytea NOT NULL,     -- of the payload; its first byte is the version of the rules
  state smallint NOT NULL,        -- 0 pending, 1 committed, 2 failed, 3 in doubt, 4 open, 5 expired
  epoch bigint NOT NULL,
  attempt uuid NOT NULL,          -- made by the caller
  owner bigint NOT NULL,
  claimed_ms bigint NOT NULL,
  settled_ms bigint,
  retain_ms bigint,               -- how long the receipt is kept after `settled_ms`; NULL: for ever
  -- Why a committed claim has no receipt: 0 there is none, 1 unencodable, 2 too large, 3 the program's seal failed.
  loss smallint NOT NULL DEFAULT 0,
  receipt bytea,                  -- JSON in UTF-8: the result if committed, the error if failed
  sealed boolean NOT NULL DEFAULT false, -- `receipt` is what the program's seal made of it
  ended text,                     -- how an attempt in doubt or released ended
  first_ms bigint,                -- when the first of the starts whose outcome is unknown began; NULL: at `claimed_ms`
  -- In doubt, because the body took longer than it may; true while it has not returned. Counts only while the owner lives.
  running boolean NOT NULL DEFAULT false,
  -- Who brought the claim to where it stands: 0 its own attempt, 1 a reconcile function, 2 a person.
  settled_by smallint NOT NULL DEFAULT 0,
  -- The effect and the settlement are one transaction in this database, so what is pending has not happened.
  transactional boolean NOT NULL
) WITH (fillfactor = 85);
CREATE INDEX claim_unsettled ON portcullis.claim(owner) WHERE state IN (0, 3);
CREATE INDEX claim_expiry ON portcullis.claim((settled_ms + retain_ms)) WHERE retain_ms IS NOT NULL AND state IN (1, 2);

-- What bodies have noted beside their claims.
CREATE TABLE portcullis.note(
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  digest bytea NOT NULL,
  epoch bigint NOT NULL,
  at_ms bigint NOT NULL,
  note bytea NOT NULL
);
CREATE INDEX note_claim ON portcullis.note(digest);

-- Everything that is not the happy path. One hash chain per owner.
CREATE TABLE portcullis.event(
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  owner bigint NOT NULL,
  seq bigint NOT NULL,
  at_ms bigint NOT NULL,
  kind text NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  digest bytea,
  epoch bigint,
  detail text NOT NULL,
  hash bytea NOT NULL,
  UNIQUE(owner, seq)
);
CREATE INDEX event_claim ON portcullis.event(digest) WHERE digest IS NOT NULL;
";

const V2: &str = "
-- Tasks that outlive their process, and their accounts. One row per id, for ever.
CREATE TABLE portcullis.task(
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,      -- the id that the program gives it
  kind text NOT NULL,
  agent text NOT NULL,            -- who has opened it
  parent text,                    -- the name of the task of which it is a part
  depth bigint NOT NULL,
  state smallint NOT NULL,        -- 0 backlog, 1 todo, 2 in progress, 3 in review, 4 blocked, 5 done, 6 cancelled
  epoch bigint NOT NULL,          -- how often it was entered
  attempt uuid NOT NULL,          -- the latest entry, made by the caller
  owner bigint NOT NULL,          -- the process that has entered it last
  opened_ms bigint NOT NULL,
  -- What it may use; NULL: not limited. Those of the code that has entered it last.
  max_steps bigint,
  max_depth bigint,
  max_ms bigint,
  max_micros bigint,
  currency text,
  -- What it has used: counted before a body starts.
  steps bigint NOT NULL DEFAULT 0,
  micros bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE INDEX task_parent ON portcullis.task(parent) WHERE parent IS NOT NULL;

-- Where a task has been.
CREATE TABLE portcullis.task_change(
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task bigint NOT NULL,
  at_ms bigint NOT NULL,
  from_state smallint NOT NULL,
  to_state smallint NOT NULL,
  actor text NOT NULL,
  owner bigint NOT NULL,          -- the process that has written it
  notes text                      -- a JSON object
);
CREATE INDEX task_change_task ON portcullis.task_change(task);

-- Agents that were put to sleep: they enter no task until then.
CREATE TABLE portcullis.agent(
  id text PRIMARY KEY,
  idle_until timestamptz NOT NULL
);
";

/// May a ledger be made where there is none?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Create {
    Yes,
    No,
}

/// Brings the schema up to date and says which ledger it is.
pub(super) async fn prepare(client: &mut Client, create: Create) -> Result<Uuid, Trouble> {
    match version(client).await? {
        Some((known, ledger)) if known == STEPS.len() => return Ok(ledger),
        Some(_) => {}
        None if create == Create::Yes => {}
        None => return Err(Trouble::new(TroubleKind::Missing, "there is no ledger in this database")),
    }
    check_encoding(client).await?;
    let transaction = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    // A crowd of processes takes its turns here.
    transaction.batch_execute("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '0'").await?;
    transaction.execute_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    // Somebody else may have been faster.
    let from = version(&transaction).await?;
    for step in &STEPS[from.map_or(0, |(version, _)| version)..] {
        transaction.batch_execute(step).await?;
    }
    let latest = i32::try_from(STEPS.len()).unwrap_or(i32::MAX);
    let ledger = match from {
        Some((_, ledger)) => {
            let update = "UPDATE portcullis.meta SET version = $1";
            transaction.execute_typed(update, &[(&latest, Type::INT4)]).await?;
            ledger
        }
        None => {
            let ledger = Uuid::now_v7();
            let insert = "INSERT INTO portcullis.meta(id, version, ledger, created_ms, created_by)
                VALUES(1, $1, $2, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, $3)";
            let host = host();
            let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
                [(&latest, Type::INT4), (&ledger, Type::UUID), (&host, Type::TEXT)];
            transaction.execute_typed(insert, &values).await?;
            ledger
        }
    };
    // If its acknowledgement is lost, the next attempt finds the tables made.
    transaction.commit().await?;
    Ok(ledger)
}

/// Keys are text of every script, and are compared as bytes.
async fn check_encoding(client: &Client) -> Result<(), Trouble> {
    let rows = client.query_typed("SELECT current_setting('server_encoding')", &[]).await?;
    let encoding: Option<String> = rows.first().map(|row| row.try_get(0)).transpose()?;
    match encoding.as_deref() {
        Some("UTF8") => Ok(()),
        other => {
            let what = format!("its encoding is {}, and a ledger's must be UTF8", other.unwrap_or("unknown"));
            Err(Trouble::new(TroubleKind::Unsuitable, what))
        }
    }
}

/// The version of the tables and which ledger it is; `None` if there are none.
async fn version(client: &impl GenericClient) -> Result<Option<(usize, Uuid)>, Trouble> {
    // By scans: what a session has cached of the catalog may be older than its wait for the lock.
    let found = "SELECT
        EXISTS(SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
               WHERE nspname = 'portcullis' AND relname = 'meta'),
        EXISTS(SELECT FROM pg_namespace WHERE nspname = 'portcullis')";
    let row = client.query_typed(found, &[]).await?;
    let (table, schema): (bool, bool) = match row.first() {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (false, false),
    };
    match (table, schema) {
        (true, _) => {}
        (false, false) => return Ok(None),
        (false, true) => {
            let what = "its schema `portcullis` is another program's, not a ledger";
            return Err(Trouble::new(TroubleKind::Unsuitable, what));
        }
    }
    let rows = client.query_typed("SELECT version, ledger FROM portcullis.meta", &[]).await?;
    let Some(row) = rows.first() else {
        return Err(Trouble::new(TroubleKind::Unsuitable, "its table `portcullis.meta` is empty"));
    };
    let (version, ledger): (i32, Uuid) = (row.try_get(0)?, row.try_get(1)?);
    match usize::try_from(version) {
        Ok(known) if (1..=STEPS.len()).contains(&known) => Ok(Some((known, ledger))),
        _ => Err(Trouble::new(
            TroubleKind::Newer,
            format!("its schema has version {version}, and this release knows versions up to {}", STEPS.len()),
        )),
    }
}
