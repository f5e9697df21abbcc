//! A connection that is opened when it is needed, and once more if it was lost.

use std::time::{Duration, Instant};

use tokio_postgres::config::SslMode;
use tokio_postgres::types::Type;
use tokio_postgres::{IsolationLevel, Row};
use uuid::Uuid;

use super::super::super::program::{host, program};
use super::super::desk::Desk;
use super::super::room::Parameter;
use super::super::schema::Create;
use super::super::session::Session;
use super::super::sql;
use super::super::target::Target;
use super::super::tls::Tls;
use super::super::trouble::{Certainty, Trouble, TroubleKind};
use super::PATIENCE;

const PAUSE: Duration = Duration::from_millis(50);

/// When nothing is heard from the server any more.
const LONGEST: Duration = Duration::from_secs(30);

pub(super) struct Visit {
    pub(super) target: Target,
    session: Option<Session>,
    /// Which ledger it is: another one at the same address is not the one that was opened.
    known: Option<Uuid>,
    /// The session's own row in `owner`.
    owner: Option<i64>,
}

impl Visit {
    pub(super) fn new(target: Target) -> Self {
        Visit { target, session: None, known: None, owner: None }
    }

    /// Works until it is done, or has failed for good or for too long. What may have been done is not tried again.
    pub(super) async fn try_until<T>(
        &mut self,
        until: Instant,
        work: &mut impl AsyncFnMut(&mut Visit) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        loop {
            let trouble = match work(self).await {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
            if trouble.kind() == TroubleKind::Unreachable {
                self.session = None;
            } else if let Some(session) = &self.session {
                // What was given up is rolled back with the next word that is sent, and nobody may come back for long.
                drop(tokio::time::timeout(LONGEST, session.client.batch_execute("")).await);
            }
            if !trouble.passes() || trouble.certainty() == Certainty::Unknown || Instant::now() >= until {
                return Err(trouble);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) async fn session(&mut self) -> Result<&mut Session, Trouble> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = None;
            self.owner = None;
            let tls = match self.target.config.get_ssl_mode() {
                SslMode::Disable => None,
                _ => Some(Tls::new(self.target.roots.as_deref())?),
            };
            let session = Session::open(&self.target, tls.as_ref(), Create::No, PATIENCE, None).await?;
            if self.known.is_some_and(|known| known != session.ledger) {
                return Err(Trouble::new(TroubleKind::Replaced, "another ledger has taken its place"));
            }
            self.known = Some(session.ledger);
            self.session = Some(session);
        }
        self.session.as_mut().ok_or_else(|| Trouble::new(TroubleKind::Unreachable, "there is no connection"))
    }

    /// Reads by an index.
    pub(super) async fn query(&mut self, sql: &str, values: &[Parameter<'_>]) -> Result<Vec<Row>, Trouble> {
        let client = &self.session().await?.client;
        heard(client.query_typed(sql, values)).await
    }

    /// Reads what no index finds: as long as it takes, and as the planner likes it.
    pub(super) async fn query_whole(&mut self, sql: &str, values: &[Parameter<'_>]) -> Result<Vec<Row>, Trouble> {
        let client = &mut self.session().await?.client;
        let read = async {
            let transaction = client.build_transaction().read_only(true).start().await?;
            let settings =
                "SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on";
            transaction.batch_execute(settings).await?;
            let rows = transaction.query_typed(sql, values).await?;
            transaction.commit().await?;
            Ok::<_, tokio_postgres::Error>(rows)
        };
        read.await.map_err(|error| Trouble::from(error).without_effect())
    }

    /// A transaction that may leave events.
    pub(super) async fn transact<T>(
        &mut self,
        body: impl AsyncFnOnce(&mut Desk<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let owner = self.enrol().await?;
        let client = &mut self.session().await?.client;
        let written = async {
            let transaction = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
            let mut desk = Desk::open(transaction, owner).await?;
            let done = body(&mut desk).await?;
            Ok((desk, done))
        };
        let (desk, done) = match tokio::time::timeout(LONGEST, written).await {
            Ok(written) => written.map_err(Trouble::without_effect)?,
            Err(_) => return Err(silent()),
        };
        match tokio::time::timeout(LONGEST, desk.commit()).await {
            Ok(committed) => committed.map(|()| done),
            Err(_) => Err(silent().unknown()),
        }
    }

    /// Its lease is over at once: it claims nothing, and writes its chain alone.
    async fn enrol(&mut self) -> Result<i64, Trouble> {
        self.session().await?;
        if let Some(owner) = self.owner {
            return Ok(owner);
        }
        let (host, program, pid, lease) = (host(), program(), std::process::id().cast_signed(), 0.0_f64);
        let values: [Parameter<'_>; 4] =
            [(&host, Type::TEXT), (&pid, Type::INT4), (&program, Type::TEXT), (&lease, Type::FLOAT8)];
        let rows = self.query(sql::ENROL, &values).await?;
        let row = rows.first().ok_or_else(|| Trouble::new(TroubleKind::Statement, "no owner was made"))?;
        let owner = row.try_get(0)?;
        self.owner = Some(owner);
        Ok(owner)
    }
}

/// More than the server's own limit: this one is for a server, or a network, that says nothing any more.
async fn heard<T>(asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Trouble> {
    match tokio::time::timeout(LONGEST, asked).await {
        Ok(answer) => answer.map_err(|error| Trouble::from(error).without_effect()),
        Err(_) => Err(silent()),
    }
}

fn silent() -> Trouble {
    Trouble::new(TroubleKind::Unreachable, format!("no answer within {LONGEST:?}"))
}
