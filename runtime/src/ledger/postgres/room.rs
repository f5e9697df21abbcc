//! What all connections of a store share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio_postgres::config::SslMode;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::super::rules::{self, OnAction};
use super::super::{ClaimRequest, Claimed, messages};
use super::Limits;
use super::rows::text;
use super::session::{Server, Session};
use super::sql;
use super::target::Target;
use super::tls::Tls;
use super::trouble::{Trouble, TroubleKind};

pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

pub(super) struct Room {
    pub(super) target: Target,
    pub(super) limits: Limits,
    /// Made when it is first needed: it reads the platform's certificates.
    tls: Mutex<Option<Tls>>,
    /// Which ledger it is: another one at the same address is not ours.
    pub(super) known: Fact<Option<Uuid>>,
    /// This process's row in `owner`.
    pub(super) owner: Fact<Option<i64>>,
    /// What claims are written under.
    pub(super) lease: Fact<Option<Lease>>,
    /// A claim has met a lease of ours that had lapsed.
    pub(super) lapsed: Fact<bool>,
    /// It was said that a standby lags.
    pub(super) warned: Fact<bool>,
    /// The last claims met some that were stored: the next ones may, too.
    pub(super) meets_stored: Fact<bool>,
    actions: Mutex<Actions>,
}

/// This process's lease, as one server has it on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) owner: i64,
    /// When the owner was enrolled, in milliseconds: with its id it names this process, also on a server that gives an id twice.
    pub(super) since_ms: i64,
    /// By the server's clock. Nobody shortens it but its owner.
    pub(super) until: SystemTime,
    pub(super) server: Server,
}

/// A value that one task changes at a time; whoever drives the runtime may do so on another thread.
pub(super) struct Fact<T>(Mutex<T>);

impl<T: Copy> Fact<T> {
    fn new(value: T) -> Self {
        Fact(Mutex::new(value))
    }

    pub(super) fn get(&self) -> T {
        *lock(&self.0)
    }

    pub(super) fn set(&self, value: T) {
        *lock(&self.0) = value;
    }
}

/// Nothing that is done under these locks can panic halfway through a change.
fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Actions by namespace and name, as they are on record: nobody ever changes them.
type Actions = HashMap<String, HashMap<String, Arc<Action>>>;

const REMEMBERED: usize = 4096;

/// What is known about an action's name.
#[derive(Debug)]
pub(super) struct Action {
    pub(super) id: i64,
    place: Option<String>,
}

impl Action {
    /// The refusal of a claim that may not use this name.
    pub(super) fn ambiguous(&self, request: &ClaimRequest) -> Option<Claimed> {
        match rules::action(self.place.as_deref(), request.place.as_deref()) {
            OnAction::Accept => None,
            OnAction::Ambiguous => Some(Claimed::Refuse(messages::ambiguous(request, self.place.as_deref()))),
        }
    }
}

impl Room {
    pub(super) fn new(target: Target, limits: Limits) -> Self {
        Room {
            target,
            limits,
            tls: Mutex::default(),
            known: Fact::new(None),
            owner: Fact::new(None),
            lease: Fact::new(None),
            lapsed: Fact::new(false),
            warned: Fact::new(false),
            meets_stored: Fact::new(false),
            actions: Mutex::default(),
        }
    }

    /// `None`: TLS is not asked for.
    pub(super) fn tls(&self) -> Result<Option<Tls>, Trouble> {
        if self.target.config.get_ssl_mode() == SslMode::Disable {
            return Ok(None);
        }
        let mut tls = lock(&self.tls);
        if tls.is_none() {
            *tls = Some(Tls::new(self.target.roots.as_deref())?);
        }
        Ok(tls.clone())
    }

    /// The action of a claim, made if nobody has used it yet.
    pub(super) async fn action(&self, session: &Session, request: &ClaimRequest) -> Result<Arc<Action>, Trouble> {
        let known = lock(&self.actions).get(&request.namespace).and_then(|names| names.get(&request.action)).cloned();
        if let Some(action) = known {
            return Ok(action);
        }
        let (namespace, name) = (text(&request.namespace), text(&request.action));
        let place = request.place.as_deref().map(text);
        let values: [Parameter<'_>; 3] = [(&namespace, Type::TEXT), (&name, Type::TEXT), (&place, Type::TEXT)];
        let client = &session.client;
        let mut rows = client.query_typed(sql::FIND_ACTION, &values[..2]).await?;
        if rows.is_empty() {
            // Each a transaction of its own: whoever was first is seen.
            client.execute_typed(sql::ADD_ACTION, &values).await?;
            rows = client.query_typed(sql::FIND_ACTION, &values[..2]).await?;
        }
        let row = rows.first().ok_or_else(|| Trouble::new(TroubleKind::Conflicting, "its action is not there yet"))?;
        let action = Arc::new(Action { id: row.try_get(0)?, place: row.try_get(1)? });
        let mut actions = lock(&self.actions);
        // A name may be computed at run time: what is remembered must not grow with the data.
        if actions.values().map(HashMap::len).sum::<usize>() >= REMEMBERED {
            actions.clear();
        }
        actions.entry(request.namespace.clone()).or_default().insert(request.action.clone(), Arc::clone(&action));
        Ok(action)
    }

    /// What was remembered may belong to another time of the database.
    pub(super) fn forget(&self) {
        lock(&self.actions).clear();
    }
}
