//! One connection, set up as the ledger needs it.
//!
//! # Invariants
//! 1. Whatever the server's, the database's or the role's defaults: READ COMMITTED, and a commit that is acknowledged is on disk.
//! 2. A session that was lost with something under way is ended on the server before anything is asked again, so that what was
//!    sent on it can't take effect later.

use std::time::{Duration, SystemTime};

use tokio::time::timeout;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use super::schema::{self, Create};
use super::sql;
use super::target::Target;
use super::tls::Tls;
use super::trouble::{Trouble, TroubleKind};

/// An open connection, with the statements of the hot path prepared.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) hot: Hot,
    /// Which ledger this is, whatever its address.
    pub(super) ledger: Uuid,
    pub(super) backend: Backend,
    pub(super) server: Server,
    /// There is a standby, and the server acknowledges what that may not have.
    pub(super) follower_lags: bool,
}

/// A process on the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backend {
    pid: i32,
    since: SystemTime,
}

/// One run of a server: what is known of one need not be so on another, which may be an older copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    since: SystemTime,
}

/// The statements of the hot path.
pub(super) struct Hot {
    pub(super) claim_one: Statement,
    pub(super) claim_many: Statement,
    pub(super) read: Statement,
    pub(super) settle_one: Statement,
    pub(super) settle_many: Statement,
}

impl Session {
    /// Connects, sets up, makes or migrates the tables if need be. `former` is ended first (invariant 2).
    pub(super) async fn open(
        target: &Target,
        tls: Option<&Tls>,
        create: Create,
        patience: Duration,
        former: Option<Backend>,
    ) -> Result<Self, Trouble> {
        let mut client = connect(target, tls).await?;
        let millis = patience.as_millis();
        // Not in the startup packet: poolers refuse what they don't know. Without statistics the planner might walk a whole
        // table that was empty when the statement was prepared. What is prepared is planned once.
        let settings = format!(
            "SET default_transaction_isolation = 'read committed';
             SET default_transaction_deferrable = off;
             SET statement_timeout = {millis};
             SET lock_timeout = {millis};
             SET idle_in_transaction_session_timeout = {};
             SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
             SET search_path = pg_catalog;
             SELECT set_config('idle_session_timeout', '0', false) FROM pg_settings WHERE name = 'idle_session_timeout';
             SELECT set_config('plan_cache_mode', 'force_generic_plan', false) FROM pg_settings WHERE name = 'plan_cache_mode';
             SELECT set_config('synchronous_commit', 'on', false)
               WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');",
            millis * 4
        );
        client.batch_execute(&settings).await?;
        let about = "SELECT pg_backend_pid(), coalesce(backend_start, now()),
               current_setting('synchronous_standby_names') = '' AND EXISTS(SELECT FROM pg_stat_replication),
               pg_postmaster_start_time()
             FROM pg_stat_get_activity(pg_backend_pid())";
        let rows = client.query_typed(about, &[]).await?;
        let Some(row) = rows.first() else {
            return Err(Trouble::new(
                TroubleKind::Unsuitable,
                "the server does not say which of its processes serves us",
            ));
        };
        let backend = Backend { pid: row.try_get(0)?, since: row.try_get(1)? };
        let follower_lags = row.try_get(2)?;
        let server = Server { since: row.try_get(3)? };
        if let Some(former) = former {
            end(&client, former).await?;
        }
        let ledger = schema::prepare(&mut client, create).await?;
        let hot = Hot::prepare(&client).await?;
        Ok(Session { client, hot, ledger, backend, server, follower_lags })
    }
}

async fn connect(target: &Target, tls: Option<&Tls>) -> Result<Client, Trouble> {
    let attempt = async {
        match tls {
            None => {
                let (client, connection) = target.config.connect(NoTls).await?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(client)
            }
            Some(tls) => {
                let (client, connection) = target.config.connect(tls.clone()).await?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(client)
            }
        }
    };
    let longest = target.config.get_connect_timeout().copied().unwrap_or(super::target::CONNECT) * 2;
    match timeout(longest, attempt).await {
        Ok(connected) => connected.map_err(|error: tokio_postgres::Error| Trouble::from(error)),
        Err(_) => Err(Trouble::new(TroubleKind::Unreachable, format!("no connection within {longest:?}"))),
    }
}

/// Ends a former session of ours, and waits until it is gone.
async fn end(client: &Client, former: Backend) -> Result<(), Trouble> {
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2";
    for pause in [1, 2, 5, 10, 20, 50, 100, 200, 400] {
        let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&former.pid, Type::INT4), (&former.since, Type::TIMESTAMPTZ)];
        match client.query_typed(terminate, &values).await.map_err(Trouble::from) {
            Ok(found) if found.is_empty() => return Ok(()),
            Ok(_) => tokio::time::sleep(Duration::from_millis(pause)).await,
            // Then it ends by itself; what it may still do is looked up by its attempt, as ever.
            Err(trouble) if trouble.kind() == TroubleKind::Rights => return Ok(()),
            Err(trouble) => return Err(trouble),
        }
    }
    Err(Trouble::new(TroubleKind::Busy, "a former session of this process does not end"))
}

impl Hot {
    async fn prepare(client: &Client) -> Result<Self, Trouble> {
        let (claim_one, claim_many, read, settle_one, settle_many) = futures_util::future::try_join5(
            client.prepare(sql::CLAIM_ONE),
            client.prepare(sql::CLAIM_MANY),
            client.prepare(sql::READ),
            client.prepare(sql::SETTLE_ONE),
            client.prepare(sql::SETTLE_MANY),
        )
        .await?;
        Ok(Hot { claim_one, claim_many, read, settle_one, settle_many })
    }
}
