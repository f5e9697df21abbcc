//! A batch whose process may be killed half way.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis::ledger::{Batch, BatchItem};
use portcullis::{Portcullis, Refused};
use serde::Serialize;

use super::effect;

/// An order of one batch: among 1,000 there are 10 that stand in it twice, and 3 keys that come with another payload as well.
#[derive(Serialize)]
struct Order {
    key: usize,
    cents: usize,
}

fn orders(count: usize) -> impl Iterator<Item = Order> {
    (0..count).map(|i| match i {
        _ if i >= 400 || i % 30 != 29 => Order { key: i, cents: 5 },
        _ if i < 300 => Order { key: i - 7, cents: 5 },
        _ => Order { key: i - 7, cents: 6 },
    })
}

static ORDERS: Batch =
    portcullis::ledger::batch!("orders").at_most(NonZeroUsize::new(50).unwrap()).wait(Duration::from_secs(30));

/// Says how often which code was answered, if it comes to that: after so many effects this process is killed.
pub(super) fn run(gate: &Portcullis, count: usize, kill_after: usize) -> String {
    let done = AtomicUsize::new(0);
    let body = |granted: Vec<BatchItem<Order>>| {
        let order = |BatchItem { item: order, .. }: &BatchItem<Order>| {
            effect(&order.key.to_string());
            if done.fetch_add(1, Ordering::Relaxed) + 1 == kill_after {
                // SAFETY: it has no preconditions.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
            Ok(format!("{} for {}", order.cents, order.key))
        };
        granted.iter().map(order).collect::<Vec<Result<String, Refused>>>()
    };
    let outcomes = gate.scope_sync(|| ORDERS.run_sync(orders(count), |order| order.key, body));
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in &outcomes {
        *codes.entry(outcome.as_ref().map_or_else(Refused::code, |_| "ok")).or_default() += 1;
    }
    format!("{codes:?}")
}
