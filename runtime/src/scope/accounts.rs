//! The accounts of one scope.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::keeper::{Keeper, Owed};
use crate::budget::{Account, Limits, Used};
use crate::refused::{Kind, Refused};
use crate::tasks::Opening;

/// A task's or scope's accounts.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Never used twice, unlike an address.
    number: u64,
    holder: String,
    /// The limits of the configuration, or those of the task; every guarded call in the scope is a step on it.
    own: Option<Arc<Account>>,
    /// If it is a task's.
    task: Option<OfTask>,
    /// One account for each budgeted function that is called here, by the address of its site.
    accounts: RwLock<HashMap<usize, Arc<Account>, BuildHasherDefault<AddressHasher>>>,
}

impl Scope {
    pub(crate) fn named(id: &str, limits: Limits) -> Self {
        let holder = format!("the scope `{id}`");
        let own = (limits != Limits::new()).then(|| Account::open(holder.clone(), limits));
        Scope { number: next_number(), holder, own, task: None, accounts: RwLock::default() }
    }

    /// The one of the task `id`, which is being entered. `durable`: as far as it is on record.
    pub(crate) fn of_task(opening: &Opening<'_>, durable: Option<(Used, Keeper)>) -> Self {
        let &Opening { id, agent, kind, limits, .. } = opening;
        let holder = format!("the task `{id}`");
        let own = Some(match durable {
            None => Account::open(holder.clone(), limits),
            Some((used, keeper)) => Account::kept(holder.clone(), limits, used, keeper),
        });
        let task = OfTask { id: id.into(), agent: agent.into(), kind: kind.into(), open: AtomicBool::new(true) };
        Scope { number: next_number(), holder, own, task: Some(task), accounts: RwLock::default() }
    }

    /// The one without a name: what happens outside of every scope.
    pub(crate) fn process() -> Self {
        Scope {
            number: next_number(),
            holder: "the process (no scope is open)".into(),
            own: None,
            task: None,
            accounts: RwLock::default(),
        }
    }

    /// One step, `depth` guarded calls deep.
    #[inline]
    pub(super) fn step(&self, action: &str, depth: u64, owed: &mut Owed) -> Result<(), Refused> {
        if let Some(task) = &self.task
            && !task.open.load(Ordering::Acquire)
        {
            return Err(task.has_ended(action));
        }
        let Some(account) = &self.own else { return Ok(()) };
        if let Some(keeper) = account.keeper() {
            owed.step(keeper);
        }
        account.step(action, depth)
    }

    /// Where its account is on record.
    pub(crate) fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.own.as_ref()?.keeper()
    }

    pub(crate) fn task(&self) -> Option<&OfTask> {
        self.task.as_ref()
    }

    /// The account of the configuration's limits, if there are any.
    pub(crate) fn own(&self) -> Option<&Arc<Account>> {
        self.own.as_ref()
    }

    #[inline]
    pub(super) fn account(&self, recent: &mut Recent, site: usize, limits: &Limits) -> Arc<Account> {
        let home = Home { scope: self.number, site };
        recent.take(home).unwrap_or_else(|| self.shared_account(home, limits))
    }

    fn shared_account(&self, home: Home, limits: &Limits) -> Arc<Account> {
        let site = home.site;
        // A panic elsewhere leaves the map whole: it is only ever added to.
        if let Some(account) = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(&site) {
            return Arc::clone(account);
        }
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(site).or_insert_with(|| Account::open_at(home, self.holder.clone(), *limits)))
    }
}

/// The task that a scope is of.
#[derive(Debug)]
pub(crate) struct OfTask {
    pub(crate) id: Box<str>,
    pub(crate) agent: Box<str>,
    pub(crate) kind: Box<str>,
    /// It is in progress. Work that was spawned in it and outlives that takes no more steps.
    open: AtomicBool,
}

impl OfTask {
    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    #[cold]
    fn has_ended(&self, action: &str) -> Refused {
        let why = format!("the task `{}`, in which it is called, is not in progress any more", self.id);
        Refused::new(Kind::TaskEnded, action, why).advise("let a task wait for the work that it spawns")
    }
}

fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Which account of which scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    scope: u64,
    site: usize,
}

/// Accounts that a thread charged lately. A step takes its account from here and its end puts it back, so that a loop neither
/// locks the scope's table nor touches a count of references.
pub(super) struct Recent([Option<Arc<Account>>; Recent::LEN]);

impl Recent {
    const LEN: usize = 8;

    pub(super) const fn new() -> Self {
        Recent([const { None }; Recent::LEN])
    }

    #[inline]
    fn take(&mut self, home: Home) -> Option<Arc<Account>> {
        self.0[Recent::slot(home)].take_if(|account| account.home() == Some(home))
    }

    /// Leaves in `account` what lay in its place.
    #[inline]
    pub(super) fn keep(&mut self, account: &mut Option<Arc<Account>>) {
        if let Some(home) = account.as_ref().and_then(|account| account.home()) {
            std::mem::swap(&mut self.0[Recent::slot(home)], account);
        }
    }

    const fn slot(home: Home) -> usize {
        (home.site >> 4) % Recent::LEN
    }
}

/// Addresses are distinct as they are; what matters of them is not in the lowest bits.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8 | u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    fn write_usize(&mut self, address: usize) {
        self.0 = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
