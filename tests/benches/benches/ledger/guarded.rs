//! What is measured: guarded functions.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis::ledger::{Batch, BatchItem};
use portcullis::{Portcullis, Refused, once};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub struct Receipt {
    id: u64,
    status: String,
}

fn receipt(key: u64) -> Receipt {
    Receipt { id: key, status: "captured".to_owned() }
}

#[once(action = "bench.effect", key = "key", skip(gate), with = gate)]
pub fn effect(gate: &Portcullis, key: u64, cents: u64) -> Result<Receipt, Refused> {
    let _ = cents;
    Ok(receipt(key))
}

#[once(action = "bench.effect", key = "key", skip(gate), with = gate)]
pub async fn effect_async(gate: &Portcullis, key: u64, cents: u64) -> Result<Receipt, Refused> {
    let _ = cents;
    Ok(receipt(key))
}

static EFFECTS: Batch = portcullis::ledger::batch!("bench.effects");

/// So many in one batch.
pub fn batch(gate: &Portcullis, calls: u32) {
    let keys = (0..calls).map(|_| key());
    let body = |granted: Vec<BatchItem<u64>>| granted.iter().map(|one| Ok(receipt(one.item))).collect();
    let outcomes: Vec<Result<Receipt, Refused>> = gate.scope_sync(|| EFFECTS.run_sync(keys, |key| *key, body));
    assert!(outcomes.iter().all(Result::is_ok));
}

pub fn gate(ledger: &Path) -> Portcullis {
    gate_at(&format!("sqlite:{}", ledger.display()))
}

pub fn gate_at(url: &str) -> Portcullis {
    Portcullis::builder().ledger(url).namespace("bench").build().expect("a gate")
}

/// A key that no other call of this process has.
pub fn key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub fn many(gate: &Portcullis, calls: u32) {
    for _ in 0..calls {
        effect(gate, key(), 500).expect("it runs");
    }
}

pub async fn many_async(gate: &Portcullis, calls: u32) {
    for _ in 0..calls {
        effect_async(gate, key(), 500).await.expect("it runs");
    }
}

/// Settles the keys below `keys`.
pub async fn fill(gate: &Portcullis, keys: u64) {
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let gate = gate.clone();
            tokio::spawn(async move {
                for key in (task..keys).step_by(64) {
                    effect_async(&gate, key, 500).await.expect("it runs");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
}

pub fn replay(gate: &Portcullis, calls: u32, keys: u64) {
    for i in 0..calls {
        effect(gate, u64::from(i) % keys, 500).expect("a receipt");
    }
}

pub async fn replay_async(gate: &Portcullis, calls: u32, keys: u64) {
    for i in 0..calls {
        effect_async(gate, u64::from(i) % keys, 500).await.expect("a receipt");
    }
}
