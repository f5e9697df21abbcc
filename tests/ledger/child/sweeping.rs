//! Receipts that are over at once, and taking them away.

use portcullis::ledger::{By, Ledger};

use super::*;

#[once(action = "effect", key = "key", skip(gate), with = gate, retain = "1ms")]
fn run_short(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    Ok(format!("receipt of {key}"))
}

/// Runs keys whose receipts are over at once, again and again.
pub(super) fn short_for_ever(gate: &Portcullis, keys: usize) {
    say("ready");
    for i in 0.. {
        let key = format!("k-{}", i % keys);
        match run_short(gate, &key) {
            Ok(receipt) => assert_eq!(receipt, format!("receipt of {key}")),
            Err(refused) => assert_eq!(refused.code(), "receipt_expired", "{refused}"),
        }
    }
}

/// Takes receipts away until it is killed.
pub(super) fn gc_for_ever(url: &str) {
    let by = By::new("child", "their time is over");
    for i in 0.. {
        let swept = Ledger::open(url).and_then(|ledger| ledger.gc(&by));
        swept.expect("it can be swept");
        if i == 0 {
            say("swept");
        }
    }
}
