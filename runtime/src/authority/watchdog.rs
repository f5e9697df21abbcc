//! The second thread that keeps the deadlines.
//!
//! It costs a question one uncontended lock: while questions come, the thread looks by itself every [`TICK`]; it is
//! woken only for the first question after a [`LULL`].

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::desk::Case;

/// How often it looks while there may be something to see.
const TICK: Duration = Duration::from_millis(100);

/// How long it goes on looking after the last question.
const LULL: Duration = Duration::from_secs(1);

/// How long the I/O thread has for concluding what is overdue, before this thread does.
const HEAD_START: Duration = Duration::from_millis(20);

pub(super) struct Watchdog {
    book: Arc<Mutex<Book>>,
    thread: Thread,
}

#[derive(Default)]
struct Book {
    /// Oldest first. Concluded ones leave when they are next looked at.
    open: VecDeque<Arc<Case>>,
    asleep: bool,
    closed: bool,
}

impl Watchdog {
    /// Starts the thread for questions that each have `patience`.
    pub(super) fn start(patience: Duration) -> std::io::Result<Self> {
        let book = Arc::new(Mutex::new(Book::default()));
        let shared = Arc::clone(&book);
        let handle = thread::Builder::new()
            .name("portcullis-watchdog".into())
            .spawn(move || keep(&shared, patience.min(TICK)))?;
        Ok(Watchdog { book, thread: handle.thread().clone() })
    }

    /// Keeps the deadline of `case`.
    pub(super) fn watch(&self, case: &Arc<Case>) {
        let mut book = lock(&self.book);
        while book.open.front().is_some_and(|oldest| oldest.is_concluded()) {
            book.open.pop_front();
        }
        book.open.push_back(Arc::clone(case));
        if std::mem::take(&mut book.asleep) {
            drop(book);
            self.thread.unpark();
        }
    }

    /// For the test of waking it.
    #[cfg(test)]
    pub(super) fn wait_until_asleep(&self) {
        // Nothing announces it: it is the absence of work.
        while !lock(&self.book).asleep {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// No more questions will come.
    pub(super) fn close(&self) {
        let mut book = lock(&self.book);
        book.closed = true;
        book.asleep = false;
        drop(book);
        self.thread.unpark();
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread.
fn keep(book: &Mutex<Book>, tick: Duration) {
    let mut last_open = Instant::now();
    loop {
        let now = Instant::now();
        let mut overdue = Vec::new();
        let mut pause = tick;
        {
            let mut book = lock(book);
            book.open.retain(|case| {
                let due = case.deadline + HEAD_START;
                let open = !case.is_concluded();
                if open && due <= now {
                    overdue.push(Arc::clone(case));
                } else if open {
                    pause = pause.min(due - now);
                }
                open && due > now
            });
            if !book.open.is_empty() || !overdue.is_empty() {
                last_open = now;
            } else if book.closed {
                return;
            } else if now.duration_since(last_open) >= LULL {
                book.asleep = true;
            }
        }
        for case in overdue {
            // The caller's waker is foreign code, and this thread must outlive it.
            let _ = catch_unwind(AssertUnwindSafe(|| case.time_is_up())).map_err(std::mem::forget);
        }
        if lock(book).asleep {
            // A token that was left before this is not lost, and a spurious return only looks once more.
            thread::park();
            lock(book).asleep = false;
            last_open = Instant::now();
        } else {
            thread::park_timeout(pause);
        }
    }
}
