//! Duplicates that wait.

use std::pin::Pin;
use std::task::Poll;

use super::*;

fn waiting(key: &str, patience: Duration) -> ClaimRequest {
    ClaimRequest { wait_until: Some(Instant::now() + patience), ..request(key) }
}

const LONG: Duration = Duration::from_secs(30);

/// The first answer, with its number, and the other ticket.
fn first_of(mut tickets: [Ticket<Claimed>; 2]) -> ((usize, Option<Claimed>), Ticket<Claimed>) {
    let first = pollster::block_on(std::future::poll_fn(|cx| {
        for (i, ticket) in tickets.iter_mut().enumerate() {
            if let Poll::Ready(answer) = Pin::new(ticket).poll(cx) {
                return Poll::Ready((i, answer));
            }
        }
        Poll::Pending
    }));
    let [one, two] = tickets;
    let other = if first.0 == 0 { two } else { one };
    (first, other)
}

#[test]
fn a_waiter_gets_the_receipt_as_soon_as_there_is_one() {
    let room = room();
    let (request, epoch) = room.run("o-1");
    let waiters: Vec<_> = (0..5).map(|_| begun(room.store.claim(waiting("o-1", LONG)))).collect();
    let settled = begun(room.store.settle(settlement_of(&request, epoch, committed("1"))));
    for waiter in waiters {
        assert_eq!(replayed(waiter.wait().unwrap()), "1");
    }
    assert!(matches!(settled.wait(), Some(Settled::Recorded)));
}

#[test]
fn a_waiter_is_told_of_a_doubt_and_takes_over_a_released_key() {
    let room = room();
    let (request, epoch) = room.run("doubt");
    let waiter = begun(room.store.claim(waiting("doubt", LONG)));
    assert!(matches!(room.settle(&request, epoch, Settlement::InDoubt("panic")), Settled::Recorded));
    refused(waiter.wait().unwrap(), Kind::InDoubt);

    let (request, epoch) = room.run("released");
    let claims = [waiting("released", LONG), waiting("released", LONG)];
    let tickets = claims.clone().map(|claim| begun(room.store.claim(claim)));
    assert!(matches!(room.settle(&request, epoch, Settlement::Released("err")), Settled::Recorded));
    // Which of them takes over is nobody's promise; the other one gets its receipt.
    let (taken, other) = first_of(tickets);
    let Some(Claimed::Run { epoch: 2 }) = taken.1 else { panic!("{taken:?}") };
    assert!(matches!(room.settle(&claims[taken.0], 2, committed("2")), Settled::Recorded));
    assert_eq!(replayed(other.wait().unwrap()), "2");
}

#[test]
fn a_waiter_is_refused_at_its_deadline() {
    let room = room();
    let _running = room.run("o-1");
    let before = Instant::now();
    refused(room.store.claim(waiting("o-1", Duration::from_millis(60))).wait().unwrap(), Kind::InFlight);
    assert!(before.elapsed() >= Duration::from_millis(60));
}

#[test]
fn a_waiter_that_has_gone_is_forgotten() {
    let room = room();
    let (request, epoch) = room.run("o-1");
    drop(room.store.claim(waiting("o-1", LONG)));
    let alive = begun(room.store.claim(waiting("o-1", LONG)));
    assert!(matches!(room.settle(&request, epoch, Settlement::Released("err")), Settled::Recorded));
    // Nobody holds the key for a caller that has gone.
    assert!(matches!(alive.wait(), Some(Claimed::Run { .. })));
}

#[test]
fn draining_refuses_who_waits() {
    let room = room();
    let _running = room.run("o-1");
    let waiter = begun(room.store.claim(waiting("o-1", LONG)));
    let drained = room.store.drain(Instant::now() + Duration::from_millis(10));
    refused(waiter.wait().unwrap(), Kind::Halted);
    assert_eq!(drained.wait(), Some(false));
}
