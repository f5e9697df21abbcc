//! Tier 2: messages between agents.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::refused::{Kind, Refused};
use crate::tasks::check_name;

/// A message to an agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Message {
    /// From whom.
    pub sender: String,
    /// To whom.
    pub target: String,
    /// What is to be done.
    pub action: String,
    /// With what.
    pub payload: Value,
    /// For how many seconds it is worth reading.
    pub ttl_seconds: u64,
}

impl Message {
    /// A message that is worth reading for an hour.
    pub fn new(
        sender: impl Into<String>,
        target: impl Into<String>,
        action: impl Into<String>,
        payload: Value,
    ) -> Self {
        Message { sender: sender.into(), target: target.into(), action: action.into(), payload, ttl_seconds: 3600 }
    }
}

/// A message lies in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename = "queued")]
#[non_exhaustive]
pub struct Queued {
    /// The message's id.
    pub id: String,
}

impl Queued {
    /// A message with this id lies in the queue.
    pub fn new(id: impl Into<String>) -> Self {
        Queued { id: id.into() }
    }
}

/// A message that somebody has in hand, until its lease is over.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// The message's id.
    pub id: String,
    /// Which delivery it is, from 1. An answer must name it, so that nobody answers for somebody else.
    pub attempt: u32,
    /// The message.
    pub message: Message,
}

impl Delivery {
    /// The delivery of a message.
    pub fn new(id: impl Into<String>, attempt: u32, message: Message) -> Self {
        Delivery { id: id.into(), attempt, message }
    }
}

/// Queues of messages, one for each agent: first in, first out.
///
/// A message is delivered at least once: who takes it has it for a lease, and answers with [`ack`](Queue::ack) or
/// [`nack`](Queue::nack). Without an answer it is delivered to the next one who asks.
pub trait Queue: Send + Sync {
    /// Adds a message.
    ///
    /// # Errors
    /// It is not known to lie in the queue.
    fn enqueue(&self, message: Message) -> Result<Queued, Refused>;

    /// The next message for an agent, if there is one, for the time of `lease`.
    ///
    /// # Errors
    /// The queue can't be asked.
    fn dequeue(&self, agent: &str, lease: Duration) -> Result<Option<Delivery>, Refused>;

    /// It is dealt with.
    ///
    /// # Errors
    /// `fenced` if the lease is over, or it was answered already: perhaps somebody else deals with it.
    fn ack(&self, delivery: &Delivery) -> Result<(), Refused>;

    /// It is not, and may be delivered again at once; after the third time it is put aside.
    ///
    /// # Errors
    /// As [`ack`](Queue::ack).
    fn nack(&self, delivery: &Delivery) -> Result<(), Refused>;
}

/// After so many deliveries without success a message is put aside.
pub(crate) const DELIVERIES: u32 = 3;

/// Queues in the memory of this process: for agents that live in it, and for tests. What lies in them is gone when it ends.
#[derive(Debug, Default)]
pub struct InProcess {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    number: u64,
    by_agent: HashMap<String, VecDeque<Lying>>,
    /// What nobody could deal with, or nobody read in time.
    dead: Vec<Message>,
}

#[derive(Debug)]
struct Lying {
    id: String,
    message: Message,
    worth_until: Option<Instant>,
    attempts: u32,
    leased_until: Option<Instant>,
}

impl InProcess {
    /// No message yet.
    #[must_use]
    pub fn new() -> Self {
        InProcess::default()
    }

    /// What was put aside: delivered three times without success, or not read in time.
    #[must_use]
    pub fn dead(&self) -> Vec<Message> {
        self.with(|inner| inner.dead.clone())
    }

    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        // Messages are moved whole.
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, delivery: &Delivery, now: Instant, act: impl FnOnce(&mut Lying) -> bool) -> Result<(), Refused> {
        self.with(|inner| {
            let queue = inner.by_agent.entry(delivery.message.target.clone()).or_default();
            let held = |lying: &Lying| {
                lying.id == delivery.id
                    && lying.attempts == delivery.attempt
                    && lying.leased_until.is_some_and(|until| now < until)
            };
            let Some(place) = queue.iter().position(held) else {
                return Err(Refused::new(
                    Kind::Fenced,
                    "queue",
                    format!("message {} is not in your hands", delivery.id),
                )
                .advise("its lease is over, or it was answered: somebody else may be dealing with it"));
            };
            if act(&mut queue[place]) {
                queue.remove(place);
            }
            Ok(())
        })
    }
}

impl Inner {
    /// Puts aside what nobody will deliver any more.
    fn tidy(&mut self, agent: &str, now: Instant) {
        let Some(queue) = self.by_agent.get_mut(agent) else { return };
        let is_over = |lying: &Lying| {
            let free = lying.leased_until.is_none_or(|until| now >= until);
            free && (lying.attempts >= DELIVERIES || lying.worth_until.is_some_and(|until| now >= until))
        };
        if !queue.iter().any(is_over) {
            return;
        }
        let (over, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(queue).into_iter().partition(is_over);
        *queue = kept;
        self.dead.extend(over.into_iter().map(|lying| lying.message));
    }
}

impl Queue for InProcess {
    fn enqueue(&self, message: Message) -> Result<Queued, Refused> {
        check_name(&message.target).map_err(|flaw| {
            Refused::new(Kind::InvalidArgument, "queue", format!("the target {:?} is no name: {flaw}", message.target))
        })?;
        self.with(|inner| {
            inner.number += 1;
            let id = format!("m-{}", inner.number);
            let worth_until = Instant::now().checked_add(Duration::from_secs(message.ttl_seconds));
            let lying = Lying { id: id.clone(), worth_until, attempts: 0, leased_until: None, message };
            inner.by_agent.entry(lying.message.target.clone()).or_default().push_back(lying);
            Ok(Queued::new(id))
        })
    }

    fn dequeue(&self, agent: &str, lease: Duration) -> Result<Option<Delivery>, Refused> {
        let now = Instant::now();
        self.with(|inner| {
            inner.tidy(agent, now);
            let Some(queue) = inner.by_agent.get_mut(agent) else { return Ok(None) };
            let free = |lying: &&mut Lying| lying.leased_until.is_none_or(|until| now >= until);
            Ok(queue.iter_mut().find(free).map(|lying| {
                lying.attempts += 1;
                // A lease that is longer than time itself ends never.
                lying.leased_until =
                    Some(now.checked_add(lease).unwrap_or(now + Duration::from_secs(u64::from(u32::MAX))));
                Delivery::new(lying.id.clone(), lying.attempts, lying.message.clone())
            }))
        })
    }

    fn ack(&self, delivery: &Delivery) -> Result<(), Refused> {
        self.answer(delivery, Instant::now(), |_| true)
    }

    fn nack(&self, delivery: &Delivery) -> Result<(), Refused> {
        self.answer(delivery, Instant::now(), |lying| {
            lying.leased_until = None;
            false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn message(action: &str) -> Message {
        Message::new("a", "b", action, Value::Null)
    }

    #[test]
    fn messages_are_delivered_in_order_and_dealt_with_once() {
        let queue = InProcess::new();
        queue.enqueue(message("first")).unwrap();
        queue.enqueue(message("second")).unwrap();
        assert_eq!(queue.dequeue("c", LEASE).unwrap(), None);
        let first = queue.dequeue("b", LEASE).unwrap().unwrap();
        let second = queue.dequeue("b", LEASE).unwrap().unwrap();
        assert_eq!((&*first.message.action, &*second.message.action), ("first", "second"));
        queue.ack(&first).unwrap();
        assert_eq!(queue.ack(&first).unwrap_err().kind(), Kind::Fenced);
        assert_eq!(queue.nack(&first).unwrap_err().kind(), Kind::Fenced, "what is dealt with does not run again");
        queue.ack(&second).unwrap();
        assert_eq!(queue.dequeue("b", LEASE).unwrap(), None);
    }

    #[test]
    fn nobody_answers_for_what_he_has_not_in_hand() {
        let queue = InProcess::new();
        let Queued { id } = queue.enqueue(message("m")).unwrap();
        assert_eq!(queue.ack(&Delivery::new(id, 0, message("m"))).unwrap_err().kind(), Kind::Fenced);
        // A lease that is over at once: the next one gets the message, and the first one can't answer any more.
        let lost = queue.dequeue("b", Duration::ZERO).unwrap().unwrap();
        let again = queue.dequeue("b", LEASE).unwrap().unwrap();
        assert_eq!((lost.id.clone(), again.attempt), (again.id.clone(), 2));
        assert_eq!(queue.ack(&lost).unwrap_err().kind(), Kind::Fenced);
        queue.ack(&again).unwrap();
    }

    #[test]
    fn what_fails_three_times_or_is_old_is_put_aside() {
        let queue = InProcess::new();
        queue.enqueue(message("fails")).unwrap();
        for _ in 0..3 {
            queue.nack(&queue.dequeue("b", LEASE).unwrap().unwrap()).unwrap();
        }
        for _ in 0..2_000 {
            queue.enqueue(Message { ttl_seconds: 0, ..message("old") }).unwrap();
        }
        assert_eq!(queue.dequeue("b", LEASE).unwrap(), None);
        assert_eq!(queue.dead().len(), 2_001);
    }
}
