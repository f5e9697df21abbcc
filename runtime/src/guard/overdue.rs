//! The watchdog of `max_run`: a body that has not returned by then is put in doubt, and runs on.
//!
//! One thread for the process, started with the first body that has a `max_run`. It ends no body and frees no key: what the
//! body returns late still counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ledger::{SettleRequest, Store};

/// Bodies that are watched, by when they must have returned.
static WATCHED: Mutex<Bodies> = Mutex::new(Bodies { due: BTreeMap::new(), next: 0, served_in: 0 });
static CHANGED: Condvar = Condvar::new();

struct Bodies {
    due: BTreeMap<(Instant, u64), (Arc<dyn Store>, SettleRequest)>,
    next: u64,
    /// The process in which there is a thread: a fork has none.
    served_in: u32,
}

fn lock() -> MutexGuard<'static, Bodies> {
    // What is inside is a map that is valid after every single step.
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that is watched until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub(super) struct Watch {
    id: (Instant, u64),
    pid: u32,
}

/// Watches a body: if it has not returned after `max_run`, `overdue` is sent to `store`.
pub(super) fn watch(max_run: Duration, store: Arc<dyn Store>, overdue: SettleRequest) -> Option<Watch> {
    let at = Instant::now().checked_add(max_run)?;
    let mut bodies = lock();
    bodies.next += 1;
    let (id, pid) = ((at, bodies.next), std::process::id());
    bodies.due.insert(id, (store, overdue));
    if bodies.served_in == pid {
        CHANGED.notify_one();
    } else {
        serve(&mut bodies);
    }
    Some(Watch { id, pid })
}

fn serve(bodies: &mut Bodies) {
    match std::thread::Builder::new().name("portcullis-max-run".to_owned()).spawn(run) {
        Ok(_) => bodies.served_in = std::process::id(),
        // Its claim stays pending for as long as it runs. The next body tries again.
        Err(error) => tracing::error!(%error, "no thread watches `max_run`"),
    }
}

fn run() {
    let mut bodies = lock();
    loop {
        let now = Instant::now();
        let Some(&first) = bodies.due.keys().next() else {
            bodies = CHANGED.wait(bodies).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        if first.0 > now {
            (bodies, _) = CHANGED.wait_timeout(bodies, first.0 - now).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        if let Some((store, overdue)) = bodies.due.remove(&first) {
            // A store has locks of its own.
            drop(bodies);
            drop(store.settle(overdue));
            bodies = lock();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // In a fork the lock may be held for ever, by a thread that is not there.
        if self.pid != std::process::id() {
            return;
        }
        let body = lock().due.remove(&self.id);
        // Out here nothing is locked: it may be the last reference to a store.
        drop(body);
    }
}
