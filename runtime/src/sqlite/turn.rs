//! Whose turn it is to write.
//!
//! Between processes SQLite's write lock is a scramble: who has just committed is the first to try again, and the others
//! wait for seconds. So whoever wants to write first takes the one place in the queue (a byte lock in the side file),
//! waits there for the write lock, and gives the place up once it has it. Who has just committed finds the place taken.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{SideFile, Trouble, TroubleKind};

const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// The place in the queue is a matter of fairness, not of safety: whoever holds it may be frozen.
const QUEUE_FOR: Duration = Duration::from_millis(500);

/// `BEGIN IMMEDIATE`, in turn, until the deadline.
pub(super) fn begin(connection: &Connection, side: Option<&SideFile>, until: Instant) -> Result<(), Trouble> {
    let _turn = side.and_then(|side| queue(side, until));
    retry(until, || {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    })
}

/// Gives the place up when dropped.
struct Turn<'a>(&'a SideFile);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.leave_queue();
    }
}

fn queue(side: &SideFile, until: Instant) -> Option<Turn<'_>> {
    let until = until.min(Instant::now() + QUEUE_FOR);
    let mut pause = FIRST_PAUSE;
    loop {
        if side.enter_queue() {
            return Some(Turn(side));
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Tries again, in short steps, while somebody else holds a lock and the deadline has not passed.
pub(crate) fn retry<T>(until: Instant, mut body: impl FnMut() -> Result<T, Trouble>) -> Result<T, Trouble> {
    let mut pause = FIRST_PAUSE;
    loop {
        match body() {
            Err(trouble) if trouble.kind() == TroubleKind::Busy && Instant::now() < until => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            done => return done,
        }
    }
}
