//! One request for many payouts: `cargo run --example batch`.
//!
//! The bank takes many payouts in one request, and some of them were made before. Each has its own claim, its own receipt and its own
//! outcome; the request is made once, with those that are new.

use portcullis::ledger::{Batch, BatchItem};
use portcullis::{Portcullis, Refused};
use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the bank does not know the account {0}")]
    NoSuchAccount(u64),
}

#[derive(Clone, Serialize)]
struct Payout {
    id: u64,
    account: u64,
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    transfer: String,
}

static PAYOUTS: Batch = portcullis::ledger::batch!("payouts");

fn pay_out(payouts: Vec<Payout>) -> Vec<Result<Receipt, Error>> {
    PAYOUTS.run_sync(payouts, |payout| payout.id, |granted| bank(&granted))
}

/// The bank's bulk request: it answers for each payout by itself, and deduplicates by the key that comes with it.
fn bank(granted: &[BatchItem<Payout>]) -> Vec<Result<Receipt, Error>> {
    println!("the bank is asked for {} payouts", granted.len());
    let pay = |payout: &BatchItem<Payout>| {
        if payout.item.account == 0 {
            // It said no, and has moved nothing.
            payout.claim().did_not_happen();
            return Err(Error::NoSuchAccount(payout.item.account));
        }
        Ok(Receipt { transfer: format!("tr_{}", &payout.claim().idempotency_key()[..8]) })
    };
    granted.iter().map(pay).collect()
}

fn tell(what: &str, outcomes: &[Result<Receipt, Error>]) {
    println!("{what}:");
    for outcome in outcomes {
        match outcome {
            Ok(receipt) => println!("  {}", receipt.transfer),
            Err(Error::Refused(refused)) => println!("  {}", refused.code()),
            Err(error) => println!("  {error}"),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("portcullis-batch-{}", std::process::id()));
    Portcullis::builder().ledger(format!("sqlite:{}", dir.join("ledger.sqlite").display())).install()?;
    let payout = |id, account, cents| Payout { id, account, cents };
    tell("first", &pay_out(vec![payout(1, 70, 500), payout(2, 71, 250), payout(3, 0, 900)]));
    // All of them again, one with another amount by mistake, and a new one.
    let again = vec![payout(1, 70, 500), payout(2, 71, 999), payout(3, 0, 900), payout(4, 72, 100)];
    tell("again", &pay_out(again));
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
