-- The first schema, as its release wrote it.

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

PRAGMA application_id = 0x506f7274;
PRAGMA user_version = 1;
