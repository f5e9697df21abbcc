//! Accounts that calls share by a name: those of scopes, and those of `per = EXPR`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::lock;
use crate::budget::{Account, Limits};
use crate::refused::{Kind, Refused};
use crate::scope::Scope;

#[derive(Default)]
pub(super) struct Accounts {
    scopes: Mutex<HashMap<String, Weak<Scope>>>,
    keyed: Mutex<HashMap<(usize, String), Keyed>>,
}

/// An account of `per = EXPR`.
struct Keyed {
    account: Arc<Account>,
    used: Instant,
    idle: Duration,
}

/// How many accounts of `per = EXPR` a gate keeps at once.
const KEYED_ACCOUNTS: usize = 65_536;
/// How long such an account is remembered after its last step, at least.
const KEYED_IDLE: Duration = Duration::from_secs(3600);

impl Accounts {
    /// The scope that is open under this id, opened if there is none.
    pub(super) fn named_scope(&self, id: &str, limits: Limits) -> Arc<Scope> {
        let mut scopes = lock(&self.scopes);
        if let Some(scope) = scopes.get(id).and_then(Weak::upgrade) {
            return scope;
        }
        if scopes.len() == scopes.capacity() {
            scopes.retain(|_, scope| scope.strong_count() > 0);
        }
        let scope = Arc::new(Scope::named(id, limits));
        scopes.insert(id.into(), Arc::downgrade(&scope));
        scope
    }

    pub(super) fn keyed_account(&self, site: usize, key: &str, limits: &Limits) -> Result<Arc<Account>, Refused> {
        let now = Instant::now();
        let mut keyed = lock(&self.keyed);
        if let Some(entry) = keyed.get_mut(&(site, key.to_owned())) {
            entry.used = now;
            return Ok(Arc::clone(&entry.account));
        }
        if keyed.len() >= KEYED_ACCOUNTS {
            keyed.retain(|_, entry| now.duration_since(entry.used) < entry.idle);
        }
        if keyed.len() >= KEYED_ACCOUNTS {
            // Forgetting a live account would give it its limit anew.
            return Err(Refused::new(
                Kind::BudgetSteps,
                "per",
                format!("{KEYED_ACCOUNTS} accounts of `per = …` are in use, and one more would push a live one out"),
            )
            .advise("use an expression with fewer values"));
        }
        let account = Account::open(format!("`{key}`"), *limits);
        let idle = limits.lifetime().map_or(KEYED_IDLE, |lifetime| lifetime.max(KEYED_IDLE));
        keyed.insert((site, key.to_owned()), Keyed { account: Arc::clone(&account), used: now, idle });
        Ok(account)
    }
}
