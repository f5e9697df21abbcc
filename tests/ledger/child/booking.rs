//! Bodies that settle in a transaction of their own, in a file or in a PostgreSQL database.

use portcullis::rusqlite::{self, Connection, TransactionBehavior};
use portcullis::tokio_postgres::{self, NoTls};

use super::*;

#[derive(Debug)]
enum Failed {
    Refused(Refused),
    Sql(Box<dyn std::error::Error + Send + Sync>),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Failed::Refused(refused)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Failed::Sql(error.into())
    }
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Failed::Sql(error.into())
    }
}

/// Stops where the test wants to kill it.
fn reached(here: &str, point: &str) {
    if here == point {
        say(here);
        listen();
    }
}

/// Books in the ledger's own file.
#[once(action = "book", key = "order", skip(gate, ledger, point), with = gate, claim = claim, settle = "transaction")]
fn book_in_file(gate: &Portcullis, ledger: &str, order: &str, point: &str) -> Result<String, Failed> {
    let mut db = Connection::open(ledger)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("INSERT INTO booking(order_id, epoch) VALUES(?1, ?2)", (order, claim.epoch().cast_signed()))?;
    let receipt = format!("booked in epoch {}", claim.epoch());
    reached("begun", point);
    claim.settle_in(&tx, &receipt)?;
    reached("inside", point);
    tx.commit()?;
    reached("committed", point);
    Ok(receipt)
}

/// Books in the ledger's own database.
#[once(action = "book", key = "order", skip(gate, db, point), with = gate, claim = claim, settle = "transaction")]
async fn book_in_database(
    gate: &Portcullis,
    db: &mut tokio_postgres::Client,
    order: &str,
    point: &str,
) -> Result<String, Failed> {
    let tx = db.transaction().await?;
    let epoch = claim.epoch().cast_signed();
    tx.execute("INSERT INTO booking(order_id, epoch) VALUES($1, $2)", &[&order, &epoch]).await?;
    let receipt = format!("booked in epoch {epoch}");
    reached("begun", point);
    claim.settle_in(&tx, &receipt).await?;
    reached("inside", point);
    tx.commit().await?;
    reached("committed", point);
    Ok(receipt)
}

/// Where it books.
enum Bank<'a> {
    File(&'a str),
    Database(Box<(tokio::runtime::Runtime, tokio_postgres::Client)>),
}

impl<'a> Bank<'a> {
    fn open(ledger: &'a str) -> Self {
        if !ledger.starts_with("postgres:") {
            return Bank::File(ledger);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads can be had");
        let connecting = runtime.block_on(tokio_postgres::connect(ledger, NoTls));
        let (client, connection) = connecting.expect("the server is there");
        runtime.spawn(connection);
        Bank::Database(Box::new((runtime, client)))
    }

    fn book(&mut self, gate: &Portcullis, order: &str, point: &str) -> Result<String, Failed> {
        match self {
            Bank::File(path) => book_in_file(gate, path, order, point),
            Bank::Database(bank) => {
                let (runtime, client) = &mut **bank;
                runtime.block_on(book_in_database(gate, client, order, point))
            }
        }
    }
}

pub(super) fn until(gate: &Portcullis, ledger: &str, point: &str, order: &str) {
    match Bank::open(ledger).book(gate, order, point) {
        Ok(receipt) => say(&receipt),
        Err(Failed::Refused(refused)) => say(&format!("{} {}", refused.code(), refused.reason())),
        Err(Failed::Sql(error)) => say(&error.to_string()),
    }
}

/// Books one order after the other until it is killed.
pub(super) fn for_ever(gate: &Portcullis, ledger: &str, orders: usize) {
    say("ready");
    let start = std::process::id() as usize;
    let mut bank = Bank::open(ledger);
    for i in 0.. {
        let order = format!("o-{}", (start + i * 31) % orders);
        match bank.book(gate, &order, "never") {
            // Somebody else has held the lock for too long.
            Ok(_) | Err(Failed::Sql(_)) => {}
            Err(Failed::Refused(refused)) => assert_eq!(refused.code(), "in_flight", "{refused}"),
        }
    }
}
