//! A reply is lost, and nobody knows whether the money has moved: the call is in doubt. Four ways out of it.
//!
//! ```sh
//! cargo run --example in_doubt
//! ```

use std::sync::Mutex;

use portcullis::ledger::{By, Filter, Ledger};
use portcullis::rusqlite::{self, Connection, TransactionBehavior};
use portcullis::{Doubt, Portcullis, Reconciled, Refused, once};

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("the connection broke before the reply")]
    ReplyLost,
}

/// Stands for a payment provider: it moves the money, and its reply gets lost the first time.
static PROVIDER: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn pay_out(key: &str) -> Result<String, Error> {
    let mut paid = PROVIDER.lock().expect("nothing panics in here");
    // It deduplicates by our key.
    if paid.iter().any(|known| known == key) {
        return Ok(format!("payment {key:.8}"));
    }
    paid.push(key.to_owned());
    Err(Error::ReplyLost)
}

/// Nothing can be found out: it stays in doubt.
#[once(action = "pay", key = "order", claim = claim)]
fn pay(order: &str) -> Result<String, Error> {
    claim.note(format!("sent {:.8}", claim.idempotency_key())).wait()?;
    pay_out(claim.idempotency_key())
}

/// The provider can be asked.
#[once(action = "pay.asking", key = "order", claim = claim, reconcile = find)]
fn pay_asking(order: &str) -> Result<String, Error> {
    pay_out(claim.idempotency_key())
}

fn find(doubt: &Doubt) -> Reconciled<String> {
    let paid = PROVIDER.lock().expect("nothing panics in here");
    match paid.iter().find(|key| *key == doubt.idempotency_key()) {
        Some(key) => Reconciled::Happened(format!("payment {key:.8}, found")),
        None => Reconciled::DidNotHappen,
    }
}

/// The provider deduplicates, so the same request may be sent again for as long as it remembers.
#[once(action = "pay.again", key = "order", claim = claim, provider_window = "23h")]
fn pay_again(order: &str) -> Result<String, Error> {
    pay_out(claim.idempotency_key())
}

/// The effect is in the ledger's own file: it is never in doubt.
#[once(action = "book", key = "order", skip(db, fails), claim = claim, settle = "transaction")]
fn book(db: &mut Connection, order: &str, fails: bool) -> Result<i64, Error> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("INSERT INTO booking(order_id) VALUES(?1)", [order])?;
    let id = tx.last_insert_rowid();
    claim.settle_in(&tx, &id)?;
    if fails {
        return Err(Error::ReplyLost);
    }
    tx.commit()?;
    Ok(id)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("portcullis-in-doubt-{}", std::process::id()));
    let path = dir.join("ledger.sqlite");
    let url = format!("sqlite:{}", path.display());
    Portcullis::builder().ledger(&url).namespace("shop").install()?;

    println!("asking, first:   {}", pay_asking("o-1").unwrap_err());
    println!("asking, retry:   {}", pay_asking("o-1")?);
    println!("again, first:    {}", pay_again("o-2").unwrap_err());
    println!("again, retry:    {}", pay_again("o-2")?);

    let mut db = Connection::open(&path)?;
    db.execute("CREATE TABLE booking(id INTEGER PRIMARY KEY, order_id TEXT NOT NULL)", [])?;
    println!("booking, first:  {}", book(&mut db, "o-3", true).unwrap_err());
    println!("booking, retry:  number {}", book(&mut db, "o-3", false)?);

    println!("person, first:   {}", pay("o-4").unwrap_err());
    println!("person, retry:   {}", pay("o-4").unwrap_err());
    // What `portcullis ledger list --state in_doubt`, `show` and `commit` do.
    let ledger = Ledger::open(&url)?;
    for record in ledger.list(&Filter::new().state(portcullis::ledger::ClaimState::InDoubt))? {
        println!("person, notes:   {}", String::from_utf8_lossy(&ledger.notes(&record)?[0].bytes));
        ledger.commit(&record, Some(&"payment 4".into()), &By::new("ada", "it is in the provider's console"))?;
    }
    println!("person, at last: {}", pay("o-4")?);
    println!("money moved:     {} times for 3 payments", PROVIDER.lock().expect("nothing panics in here").len());
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
