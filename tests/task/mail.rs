//! Messages between agents on a ledger: the same for each store.

use std::time::Duration;

use portcullis::ledger::Mailbox;
use portcullis::tasks::escalation::{Delivery, Message, Queue};
use portcullis::{Kind, Refused};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(60);

fn message(action: &str) -> Message {
    Message::new("a", "b", action, json!({ "order": "o-17", "text": "\u{0}\u{1f600}" }))
}

fn kind<T: std::fmt::Debug>(result: Result<T, Refused>) -> Kind {
    result.expect_err("it must be refused").kind()
}

pub fn messages_outlive_their_process_and_are_dealt_with_once(url: &str) {
    let queued = {
        let mail = Mailbox::open(url).unwrap();
        mail.enqueue(message("second thoughts")).unwrap();
        mail.enqueue(message("second")).unwrap()
    };
    let (one, two) = (Mailbox::open(url).unwrap(), Mailbox::open(url).unwrap());
    assert_eq!(one.dequeue("c", LEASE).unwrap(), None);
    let first = one.dequeue("b", LEASE).unwrap().unwrap();
    assert_eq!((&first.message, first.attempt), (&message("second thoughts"), 1));
    // Whoever asks at the same time gets the next one.
    let second = two.dequeue("b", LEASE).unwrap().unwrap();
    assert_eq!((&second.id, &*second.message.action), (&queued.id, "second"));
    assert_eq!(two.dequeue("b", LEASE).unwrap(), None);

    two.ack(&first).unwrap();
    assert_eq!(kind(one.ack(&first)), Kind::Fenced);
    assert_eq!(kind(one.nack(&first)), Kind::Fenced, "what is dealt with does not run again");
    assert_eq!(kind(one.ack(&Delivery::new("nobody's", 1, message("m")))), Kind::Fenced);
    one.nack(&second).unwrap();
    let again = two.dequeue("b", LEASE).unwrap().unwrap();
    assert_eq!((&again.id, again.attempt), (&second.id, 2));
    assert_eq!(kind(one.ack(&second)), Kind::Fenced, "it is in other hands");
    two.ack(&again).unwrap();
    assert_eq!(one.dead().unwrap(), []);
}

pub fn a_lease_that_is_over_lets_the_next_one_have_it_and_the_third_time_is_the_last(url: &str) {
    let mail = Mailbox::open(url).unwrap();
    mail.enqueue(message("fails")).unwrap();
    let lost = mail.dequeue("b", Duration::ZERO).unwrap().unwrap();
    assert_eq!(kind(mail.ack(&lost)), Kind::Fenced);
    for _ in 0..2 {
        mail.nack(&mail.dequeue("b", LEASE).unwrap().unwrap()).unwrap();
    }
    let mut old = message("old");
    old.ttl_seconds = 0;
    mail.enqueue(old).unwrap();
    assert_eq!(mail.dequeue("b", LEASE).unwrap(), None);
    let dead = mail.dead().unwrap();
    assert_eq!(dead.iter().map(|message| &*message.action).collect::<Vec<_>>(), ["fails", "old"]);
    assert_eq!(kind(mail.enqueue(Message::new("a", "b\n", "m", json!(null)))), Kind::InvalidArgument);
}
