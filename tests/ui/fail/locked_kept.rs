//! What a lock lends is for as long as the permit is borrowed.
use portcullis::permit::BeforeSideEffect;
use portcullis::{Locked, boundary};

struct Mailer;

impl Mailer {
    fn send(&self) {}
}

type Lock = Locked<Mailer, BeforeSideEffect>;

#[boundary(before_side_effect, permit = allowed)]
fn returned(lock: &Lock) -> Option<&Mailer> {
    Some(lock.unlock(&allowed))
}

#[boundary(before_side_effect, permit = allowed)]
fn kept<'a>(lock: &'a Lock, slot: &mut Option<&'a Mailer>) {
    *slot = Some(lock.unlock(&allowed));
}

#[boundary(before_side_effect, permit = allowed)]
async fn sent_to_a_task(lock: &'static Lock) {
    let mailer = lock.unlock(&allowed);
    tokio::spawn(async move { mailer.send() });
}

fn main() {}
