//! `settle_in` with a transaction of `sqlx`.

use portcullis::Claim;
use portcullis::ledger::ClaimState;
use portcullis::sqlx::{self, Connection, PgConnection, PgPool};
use tokio::runtime::Runtime;

use super::*;

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("the body gave up")]
    GaveUp,
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Failed>, kind: Kind) -> Refused {
    match result {
        Err(Failed::Refused(refused)) => {
            assert_eq!(refused.kind(), kind, "{refused}");
            refused
        }
        other => panic!("it must be refused as {kind}: {other:?}"),
    }
}

#[derive(Clone, Copy, Debug)]
enum Does {
    Commit,
    GiveUp,
    SettleTwice,
}

/// What it does not commit is rolled back when its connection is back in the pool.
async fn book(db: &PgPool, claim: &Claim<'_>, order: &str, does: Does) -> Result<String, Failed> {
    let mut tx = db.begin().await?;
    let epoch = claim.epoch().cast_signed();
    sqlx::query("INSERT INTO booking(order_id, epoch) VALUES($1, $2)")
        .bind(order)
        .bind(epoch)
        .execute(&mut *tx)
        .await?;
    let receipt = format!("booked in epoch {epoch}");
    claim.settle_in(&mut tx, &receipt).await?;
    match does {
        Does::GiveUp => return Err(Failed::GaveUp),
        Does::SettleTwice => claim.settle_in(&mut tx, "another receipt").await?,
        Does::Commit => {}
    }
    tx.commit().await?;
    Ok(receipt)
}

#[once(action = "book", key = "order", skip(gate, db, does), with = gate, claim = claim, settle = "transaction")]
async fn book_inside(gate: &Portcullis, db: &PgPool, order: &str, does: Does) -> Result<String, Failed> {
    book(db, &claim, order, does).await
}

fn bank() -> Option<(Room, Portcullis, Runtime, PgPool)> {
    let room = Room::new()?;
    let gate = room.gate();
    run(&gate, &room, "the tables are there").unwrap();
    room.sql("CREATE TABLE booking(id serial PRIMARY KEY, order_id text NOT NULL, epoch bigint NOT NULL)");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let db = runtime.block_on(PgPool::connect(&room.url)).unwrap();
    Some((room, gate, runtime, db))
}

#[test]
fn a_transaction_of_sqlx_has_the_effect_and_its_receipt_or_neither() {
    let Some((room, gate, runtime, db)) = bank() else { return };
    let call = |order: &str, does| runtime.block_on(book_inside(&gate, &db, order, does));
    let bookings = |order: &str| room.sql(&format!("SELECT epoch FROM booking WHERE order_id = '{order}'"));
    for _ in 0..2 {
        assert_eq!(call("o-1", Does::Commit).unwrap(), "booked in epoch 1");
    }
    assert_eq!(bookings("o-1"), ["1"]);
    assert_eq!(room.record_of("book", "o-1").state, ClaimState::Committed);

    assert!(matches!(call("o-2", Does::GiveUp), Err(Failed::GaveUp)));
    refused(call("o-2", Does::SettleTwice), Kind::InvalidTransition);
    assert_eq!(bookings("o-2"), [""; 0]);
    assert_eq!(call("o-2", Does::Commit).unwrap(), "booked in epoch 3");
    assert_eq!(bookings("o-2"), ["3"]);
    assert_eq!(room.kinds_of("book", "o-2"), ["rolled_back", "rolled_back"]);
}

#[once(action = "alone", key = "order", skip(gate, db), with = gate, claim = claim, settle = "transaction")]
async fn alone(gate: &Portcullis, db: &mut PgConnection, order: &str) -> Result<String, Failed> {
    let mut tx = db.begin().await?;
    claim.settle_in(&mut tx, "booked").await?;
    if claim.epoch() == 1 {
        tx.rollback().await?;
        return Err(Failed::GaveUp);
    }
    tx.commit().await?;
    Ok("booked".into())
}

#[test]
fn a_transaction_of_a_connection_without_a_pool_is_rolled_back_by_hand() {
    let Some((room, gate, runtime, _)) = bank() else { return };
    let mut db = runtime.block_on(PgConnection::connect(&room.url)).unwrap();
    assert!(matches!(runtime.block_on(alone(&gate, &mut db, "o-1")), Err(Failed::GaveUp)));
    assert_eq!(runtime.block_on(alone(&gate, &mut db, "o-1")).unwrap(), "booked");
    assert_eq!(room.kinds_of("alone", "o-1"), ["rolled_back"]);
}

#[test]
fn a_transaction_of_sqlx_on_another_database_is_refused() {
    let Some((_room, gate, runtime, _)) = bank() else { return };
    let (Some(plain), Some((other, ..))) = (Room::new(), bank()) else { return };
    plain.sql("CREATE TABLE booking(id serial PRIMARY KEY, order_id text NOT NULL, epoch bigint NOT NULL)");
    for (order, room) in [("o-1", &plain), ("o-2", &other)] {
        let db = runtime.block_on(PgPool::connect(&room.url)).unwrap();
        let refusal = refused(runtime.block_on(book_inside(&gate, &db, order, Does::Commit)), Kind::InvalidArgument);
        assert!(refusal.to_string().contains("the ledger's own database"), "{refusal}");
        assert_eq!(room.sql("SELECT count(*) FROM booking"), ["0"]);
    }
}
