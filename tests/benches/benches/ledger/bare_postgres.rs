//! The limit on PostgreSQL: the same two transactions by hand, one after the other or in batches.

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, NoTls, Statement};

use crate::bare::digest;
use crate::many::Group;

/// As the ledger's own table of claims.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS claim(
  digest bytea PRIMARY KEY, action bigint NOT NULL, key text NOT NULL, fingerprint bytea NOT NULL, state smallint NOT NULL,
  epoch bigint NOT NULL, attempt bytea NOT NULL, owner bigint NOT NULL, claimed_ms bigint NOT NULL, settled_ms bigint,
  retain_ms bigint, loss smallint NOT NULL DEFAULT 0, receipt bytea, ended text
) WITH (fillfactor = 85);
CREATE INDEX IF NOT EXISTS claim_unsettled ON claim(owner) WHERE state IN (0, 3);
";

macro_rules! now_ms {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

const CLAIM: &str = concat!(
    "INSERT INTO claim(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms)
     VALUES($1, 1, $2, $3, 0, 1, $4, 1, ",
    now_ms!(),
    ") ON CONFLICT (digest) DO NOTHING"
);
const SETTLE: &str = concat!(
    "UPDATE claim SET state = 1, receipt = $2, settled_ms = ",
    now_ms!(),
    " WHERE digest = $1 AND state::integer = 0"
);
const CLAIMS: &str = concat!(
    "INSERT INTO claim(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms)
     SELECT digest, 1, key, fingerprint, 0, 1, attempt, 1, ",
    now_ms!(),
    " FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::bytea[]) AS asked(digest, key, fingerprint, attempt)
     ON CONFLICT (digest) DO NOTHING RETURNING digest"
);
const SETTLES: &str = concat!(
    "UPDATE claim SET state = 1, receipt = asked.receipt, settled_ms = ",
    now_ms!(),
    " FROM unnest($1::bytea[], $2::bytea[]) AS asked(digest, receipt)
     WHERE claim.digest = asked.digest AND claim.state::integer = 0 RETURNING claim.digest"
);

const KEY: &str = "1099511627776";
const RECEIPT: &[u8] = b"{\"id\":1099511627776,\"status\":\"captured\"}";

/// So that the planner looks up each row by its digest.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET jit = off; SET synchronous_commit = on;";

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client.batch_execute(SETTINGS).await.expect("it is set");
    client
}

/// One connection, one statement at a time.
pub struct Sequential {
    client: Client,
    claim: Statement,
    settle: Statement,
}

impl Sequential {
    pub async fn open(url: &str) -> Self {
        let client = connect(url).await;
        client.batch_execute(TABLES).await.expect("tables");
        let claim = client.prepare(CLAIM).await.expect("a statement");
        let settle = client.prepare(SETTLE).await.expect("a statement");
        Sequential { client, claim, settle }
    }

    pub async fn effect(&self) {
        let (digest, fingerprint, attempt) = (digest(), [7_u8; 32], [9_u8; 16]);
        let claimed = self.client.execute(&self.claim, &[&&digest[..], &KEY, &&fingerprint[..], &&attempt[..]]).await;
        assert_eq!(claimed.expect("a claim"), 1);
        let settled = self.client.execute(&self.settle, &[&&digest[..], &RECEIPT]).await;
        assert_eq!(settled.expect("a settlement"), 1);
    }
}

type Op = ([u8; 32], oneshot::Sender<()>);

/// A connection for claims and one for settlements; each takes whatever has come in meanwhile.
#[derive(Clone)]
pub struct Batches {
    claims: mpsc::UnboundedSender<Op>,
    settles: mpsc::UnboundedSender<Op>,
}

impl Batches {
    pub async fn open(url: &str) -> Self {
        let client = connect(url).await;
        client.batch_execute(TABLES).await.expect("tables");
        Batches { claims: line(client, CLAIMS, true).await, settles: line(connect(url).await, SETTLES, false).await }
    }
}

impl Group for Batches {
    async fn effect(&self) {
        let digest = digest();
        for line in [&self.claims, &self.settles] {
            let (reply, done) = oneshot::channel();
            line.send((digest, reply)).expect("the task lives");
            done.await.expect("it is done");
        }
    }
}

async fn line(client: Client, statement: &str, is_claim: bool) -> mpsc::UnboundedSender<Op> {
    let statement = client.prepare(statement).await.expect("a statement");
    let (sender, mut receiver) = mpsc::unbounded_channel::<Op>();
    tokio::spawn(async move {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, 512).await > 0 {
            let digests: Vec<&[u8]> = batch.iter().map(|(digest, _)| &digest[..]).collect();
            let written = if is_claim {
                let keys = vec![KEY; digests.len()];
                let (fingerprints, attempts) =
                    (vec![&[7_u8; 32][..]; digests.len()], vec![&[9_u8; 16][..]; digests.len()]);
                client.query(&statement, &[&digests, &keys, &fingerprints, &attempts]).await
            } else {
                let receipts = vec![RECEIPT; digests.len()];
                client.query(&statement, &[&digests, &receipts]).await
            };
            assert_eq!(written.expect("it is written").len(), digests.len());
            for (_, reply) in batch.drain(..) {
                let _ = reply.send(());
            }
        }
    });
    sender
}
