//! Messages between agents, on a ledger.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::refused::{Kind, Refused};
use crate::tasks::check_name;
use crate::tasks::escalation::{DELIVERIES, Delivery, Message, Queue, Queued};

/// Queues of messages on a ledger, for agents in many processes; made by [`Mailbox::open`]. What lies in them outlives the process, and a
/// message whose reader has died is delivered to the next one who asks, once its lease is over.
///
/// It blocks: inside an async runtime, use it on a thread for blocking work.
///
/// ```no_run
/// use std::time::Duration;
///
/// use portcullis::ledger::Mailbox;
/// use portcullis::tasks::escalation::{Message, Queue};
///
/// # fn main() -> Result<(), portcullis::Refused> {
/// let mail = Mailbox::open("sqlite:/var/lib/shop/ledger.sqlite")?;
/// mail.enqueue(Message::new("agent-1", "agent-2", "review", serde_json::json!({ "order": "o-17" })))?;
/// if let Some(delivery) = mail.dequeue("agent-2", Duration::from_secs(60))? {
///     // … the work …
///     mail.ack(&delivery)?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Mailbox(Mutex<Box<dyn KeepMail>>);

/// A ledger with messages. Times are the ledger's.
pub(crate) trait KeepMail: Send {
    /// Its number.
    fn put(&mut self, message: &Message) -> Result<i64, Refused>;
    /// Puts aside what is over, and takes the first one that is free.
    fn take(&mut self, agent: &str, lease: Duration) -> Result<Option<Delivery>, Refused>;
    /// Ends a delivery that is still in hand: `true` deals with the message, `false` gives it back. Says whether it was in hand.
    fn answer(&mut self, number: i64, delivery: &Delivery, done: bool) -> Result<bool, Refused>;
    fn dead(&mut self) -> Result<Vec<Message>, Refused>;
}

impl Mailbox {
    /// Opens the ledger at `sqlite:PATH` or `postgres://…`. A file is made if there is none.
    ///
    /// # Errors
    /// [`Kind::NotConfigured`] for a URL that can't be used; [`Kind::LedgerUnavailable`] if it can't be opened, was written by a newer release,
    /// or its feature is not compiled in.
    pub fn open(url: &str) -> Result<Self, Refused> {
        super::open_mail(url).map(|keeper| Mailbox(Mutex::new(keeper)))
    }

    /// What was put aside: delivered three times without success, or not read in time.
    ///
    /// # Errors
    /// [`Kind::LedgerUnavailable`] if it can't be read.
    pub fn dead(&self) -> Result<Vec<Message>, Refused> {
        self.keeper(|keeper| keeper.dead())
    }

    fn answer(&self, delivery: &Delivery, done: bool) -> Result<(), Refused> {
        let number = delivery.id.strip_prefix("m-").and_then(|number| number.parse().ok());
        let held = match number {
            Some(number) => self.keeper(|keeper| keeper.answer(number, delivery, done))?,
            None => false,
        };
        if held {
            return Ok(());
        }
        Err(Refused::new(Kind::Fenced, "queue", format!("message {:?} is not in your hands", delivery.id))
            .advise("its lease is over, or it was answered: somebody else may be dealing with it"))
    }

    fn keeper<T>(&self, ask: impl FnOnce(&mut dyn KeepMail) -> Result<T, Refused>) -> Result<T, Refused> {
        ask(&mut **self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Queue for Mailbox {
    fn enqueue(&self, message: Message) -> Result<Queued, Refused> {
        for (what, text) in [("target", &message.target), ("sender", &message.sender)] {
            check_name(text).map_err(|flaw| {
                Refused::new(Kind::InvalidArgument, "queue", format!("the {what} {text:?} is no name: {flaw}"))
            })?;
        }
        let number = self.keeper(|keeper| keeper.put(&message))?;
        Ok(Queued::new(format!("m-{number}")))
    }

    fn dequeue(&self, agent: &str, lease: Duration) -> Result<Option<Delivery>, Refused> {
        self.keeper(|keeper| keeper.take(agent, lease))
    }

    fn ack(&self, delivery: &Delivery) -> Result<(), Refused> {
        self.answer(delivery, true)
    }

    fn nack(&self, delivery: &Delivery) -> Result<(), Refused> {
        self.answer(delivery, false)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

/// As the columns hold it.
pub(crate) struct Columns {
    pub(crate) sender: String,
    pub(crate) target: String,
    pub(crate) action: String,
    pub(crate) payload: String,
    pub(crate) ttl_s: i64,
}

impl Columns {
    pub(crate) fn of(message: &Message) -> Self {
        Columns {
            sender: message.sender.clone(),
            target: message.target.clone(),
            action: message.action.clone(),
            payload: message.payload.to_string(),
            ttl_s: i64::try_from(message.ttl_seconds).unwrap_or(i64::MAX),
        }
    }

    pub(crate) fn read(self) -> Result<Message, String> {
        let Columns { sender, target, action, payload, ttl_s } = self;
        let payload = serde_json::from_str(&payload).map_err(|error| format!("a message is no JSON: {error}"))?;
        Ok(Message { ttl_seconds: ttl_s.unsigned_abs(), ..Message::new(sender, target, action, payload) })
    }
}

/// The number of a delivery, as a column holds it.
pub(crate) fn attempt(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(crate) const MOST_DELIVERIES: i64 = DELIVERIES as i64;
