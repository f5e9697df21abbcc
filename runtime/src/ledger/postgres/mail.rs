//! Messages on a PostgreSQL ledger.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::super::mail::{Columns, KeepMail, MOST_DELIVERIES, attempt};
use super::room::Parameter;
use super::schema::Create;
use super::tasks::Book;
use super::trouble::{Trouble, TroubleKind};
use crate::refused::{Kind, Refused};
use crate::tasks::escalation::{Delivery, Message};

/// Sender, target, action, payload, seconds.
const PUT: &str = "INSERT INTO portcullis.message(sender, target, action, payload, ttl_s, worth_until)
     VALUES($1, $2, $3, $4, $5, clock_timestamp() + least($5, 1000000000) * interval '1 second') RETURNING id";

/// Target, most deliveries.
const TIDY: &str = "UPDATE portcullis.message SET dead = true
     WHERE target = $1 AND NOT dead AND coalesce(leased_until <= clock_timestamp(), true)
       AND (attempts >= $2 OR worth_until <= clock_timestamp())";

/// Target, seconds. Two who ask at once take two.
const TAKE: &str =
    "UPDATE portcullis.message SET attempts = attempts + 1, leased_until = clock_timestamp() + $2 * interval '1 second'
     WHERE id = (SELECT id FROM portcullis.message
                 WHERE target = $1 AND NOT dead AND coalesce(leased_until <= clock_timestamp(), true)
                 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
     RETURNING sender, target, action, payload, ttl_s, id, attempts";

/// Id, target, attempt.
const ACK: &str = "DELETE FROM portcullis.message
     WHERE id = $1 AND target = $2 AND attempts = $3 AND leased_until > clock_timestamp() AND NOT dead RETURNING id";

/// The same.
const NACK: &str = "UPDATE portcullis.message SET leased_until = NULL
     WHERE id = $1 AND target = $2 AND attempts = $3 AND leased_until > clock_timestamp() AND NOT dead RETURNING id";

const DEAD: &str = "SELECT sender, target, action, payload, ttl_s FROM portcullis.message WHERE dead ORDER BY id";

struct Mail(Book);

pub(in crate::ledger) fn open(url: &str) -> Result<Box<dyn KeepMail>, Refused> {
    Ok(Box::new(Mail(Book::open(url, Create::Yes)?)))
}

impl KeepMail for Mail {
    fn put(&mut self, message: &Message) -> Result<i64, Refused> {
        let Columns { sender, target, action, payload, ttl_s } = Columns::of(message);
        let values: [Parameter<'_>; 5] = [
            (&sender, Type::TEXT),
            (&target, Type::TEXT),
            (&action, Type::TEXT),
            (&payload, Type::TEXT),
            (&ttl_s, Type::INT8),
        ];
        let put = self.0.query(PUT, &values, |row| Ok(row.try_get::<_, i64>(0)?))?;
        let none = || Refused::new(Kind::LedgerUnavailable, "queue", "the server has not said where the message lies");
        put.first().copied().ok_or_else(none)
    }

    fn take(&mut self, agent: &str, lease: Duration) -> Result<Option<Delivery>, Refused> {
        self.0.query(TIDY, &[(&agent, Type::TEXT), (&MOST_DELIVERIES, Type::INT8)], |_| Ok(()))?;
        let seconds = lease.as_secs_f64().min(1e9);
        let values: [Parameter<'_>; 2] = [(&agent, Type::TEXT), (&seconds, Type::FLOAT8)];
        let taken = self.0.query(TAKE, &values, |row| {
            let (number, count): (i64, i64) = (row.try_get(5)?, row.try_get(6)?);
            Ok(Delivery::new(format!("m-{number}"), attempt(count), message(row)?))
        })?;
        Ok(taken.into_iter().next())
    }

    fn answer(&mut self, number: i64, delivery: &Delivery, done: bool) -> Result<bool, Refused> {
        let count = i64::from(delivery.attempt);
        let values: [Parameter<'_>; 3] =
            [(&number, Type::INT8), (&delivery.message.target, Type::TEXT), (&count, Type::INT8)];
        Ok(!self.0.query(if done { ACK } else { NACK }, &values, |_| Ok(()))?.is_empty())
    }

    fn dead(&mut self) -> Result<Vec<Message>, Refused> {
        self.0.query(DEAD, &[], message)
    }
}

fn message(row: &Row) -> Result<Message, Trouble> {
    let columns = Columns {
        sender: row.try_get(0)?,
        target: row.try_get(1)?,
        action: row.try_get(2)?,
        payload: row.try_get(3)?,
        ttl_s: row.try_get(4)?,
    };
    columns.read().map_err(|why| Trouble::new(TroubleKind::Statement, why))
}
