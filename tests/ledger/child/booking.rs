//! Bodies that settle in a transaction of their own.

use portcullis::rusqlite::{self, Connection, TransactionBehavior};

use super::*;

#[derive(Debug)]
enum Failed {
    Refused(Refused),
    Sql(#[expect(dead_code, reason = "for who reads the panic")] rusqlite::Error),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Failed::Refused(refused)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Failed::Sql(error)
    }
}

/// Books in the ledger's own file, and stops where the test wants to kill it.
#[once(action = "book", key = "order", skip(gate, ledger, point), with = gate, claim = claim, settle = "transaction")]
fn book(gate: &Portcullis, ledger: &str, order: &str, point: &str) -> Result<String, Failed> {
    let reached = |here| {
        if here == point {
            say(here);
            listen();
        }
    };
    let mut db = Connection::open(ledger)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("INSERT INTO booking(order_id, epoch) VALUES(?1, ?2)", (order, claim.epoch().cast_signed()))?;
    let receipt = format!("booked in epoch {}", claim.epoch());
    claim.settle_in(&tx, &receipt)?;
    reached("inside");
    tx.commit()?;
    reached("committed");
    Ok(receipt)
}

pub(super) fn until(gate: &Portcullis, ledger: &str, point: &str, order: &str) {
    let _ = book(gate, ledger, order, point);
}

/// Books one order after the other until it is killed.
pub(super) fn for_ever(gate: &Portcullis, ledger: &str, orders: usize) {
    say("ready");
    let start = std::process::id() as usize;
    for i in 0.. {
        let order = format!("o-{}", (start + i * 31) % orders);
        match book(gate, ledger, &order, "never") {
            // Somebody else has held the lock for too long.
            Ok(_) | Err(Failed::Sql(_)) => {}
            Err(Failed::Refused(refused)) => assert_eq!(refused.code(), "in_flight", "{refused}"),
        }
    }
}
