//! A lock has one way in.
use portcullis::Locked;
use portcullis::permit::{BeforeCost, BeforeSideEffect};

struct Mailer {
    sent: u64,
}

impl Mailer {
    fn send(&self) -> u64 {
        self.sent
    }
}

type Lock = Locked<Mailer, BeforeSideEffect>;

fn without_a_permit(lock: &Lock) {
    lock.unlock();
}

fn with_a_word(lock: &Lock) {
    lock.unlock(&true);
}

fn as_if_it_were_open(lock: &Lock) {
    lock.send();
}

fn by_dereference(lock: &Lock) -> &Mailer {
    &**lock
}

fn by_its_field(lock: &Lock) -> u64 {
    lock.inner.sent
}

fn taken_out(lock: Lock) -> Mailer {
    lock.into_inner()
}

fn doubled(lock: &Lock) -> Lock {
    lock.clone()
}

fn made_anew_of_another_kind(lock: Lock) -> Locked<Mailer, BeforeCost> {
    lock.into()
}

fn main() {}
