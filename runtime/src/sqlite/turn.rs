//! Whose turn it is to write.
//!
//! Between processes SQLite's write lock is a scramble: who has just committed is the first to try again, and the others
//! wait for seconds. So whoever wants to write first takes the one place in the queue (a byte lock in the side file),
//! waits there for the write lock, and gives the place up once it has it. Who has just committed finds the place taken, as
//! soon as its [slice](SLICE) of time is over.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{SideFile, Trouble, TroubleKind};

/// Soon at first, for who meets a single commit; …
const FIRST_PAUSE: Duration = Duration::from_micros(50);

/// … then seldom enough that who holds the lock gets some work done between two looks. (Handing over costs as much as a
/// commit: with four processes, looking every 100 µs instead halves the work done, and shortens the longest wait from
/// 170 ms to 40.)
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// The place in the queue is a matter of fairness, not of safety: whoever holds it may be frozen.
const QUEUE_FOR: Duration = Duration::from_millis(500);

/// How long a process that has had its turn may go on without queueing again: handing over costs about as much as a commit.
const SLICE: Duration = Duration::from_millis(4);

/// Until when this connection need not queue.
#[derive(Debug, Default)]
pub(super) struct Slice(Option<Instant>);

/// `BEGIN IMMEDIATE`, in turn, until the deadline.
pub(super) fn begin(
    connection: &Connection,
    side: Option<&SideFile>,
    slice: &mut Slice,
    until: Instant,
) -> Result<(), Trouble> {
    let begin = || -> Result<(), Trouble> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    };
    if slice.0.is_some_and(|end| Instant::now() < end) {
        match begin() {
            Err(trouble) if trouble.kind() == TroubleKind::Busy => {}
            done => return done,
        }
    }
    let _turn = side.and_then(|side| queue(side, until.min(Instant::now() + QUEUE_FOR)));
    retry(until, begin)?;
    slice.0 = Some(Instant::now() + SLICE);
    Ok(())
}

/// Gives the place up when dropped.
pub(super) struct Turn<'a>(&'a SideFile);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.leave_queue();
    }
}

/// The place in the queue, or `None` if it can't be had by then.
pub(super) fn queue(side: &SideFile, until: Instant) -> Option<Turn<'_>> {
    wait(until, || side.enter_queue()).then(|| Turn(side))
}

/// Asks again, in short steps, until it is so; `false` if it is not by then.
pub(super) fn wait(until: Instant, mut is_so: impl FnMut() -> bool) -> bool {
    let mut pause = FIRST_PAUSE;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        sleep(&mut pause);
    }
}

/// Tries again, in short steps, while somebody else holds a lock and the deadline has not passed.
pub(crate) fn retry<T>(until: Instant, mut body: impl FnMut() -> Result<T, Trouble>) -> Result<T, Trouble> {
    let mut pause = FIRST_PAUSE;
    loop {
        match body() {
            Err(trouble) if trouble.kind() == TroubleKind::Busy && Instant::now() < until => sleep(&mut pause),
            done => return done,
        }
    }
}

fn sleep(pause: &mut Duration) {
    std::thread::sleep(*pause);
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}
