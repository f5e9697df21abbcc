//! When the I/O thread sleeps.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

/// How fast answers come.
///
/// To wake a sleeping core costs more than an exchange with an authority on this machine. Where answers come that fast, the
/// I/O thread looks around a little longer before it sleeps; where they don't, it never does.
pub(super) struct Pace {
    began: Instant,
    /// In nanoseconds after `began`: so long it looks around.
    awake_until: AtomicU64,
    /// The last question was answered in no time.
    next_door: AtomicBool,
    stirred: Notify,
}

impl Pace {
    /// An authority that answers within this is next door.
    const NEXT_DOOR: Duration = Duration::from_micros(400);

    /// How long to look around for the next event.
    const LOOK_AROUND: Duration = Duration::from_micros(100);

    pub(super) fn new() -> Self {
        Pace {
            began: Instant::now(),
            awake_until: AtomicU64::new(0),
            next_door: AtomicBool::new(false),
            stirred: Notify::new(),
        }
    }

    fn stir(&self) {
        if self.next_door.load(Ordering::Relaxed) {
            let until = nanos(self.began.elapsed() + Pace::LOOK_AROUND);
            self.awake_until.store(until, Ordering::Relaxed);
            self.stirred.notify_one();
        }
    }

    pub(super) fn answered(&self, taken: Instant) {
        self.next_door.store(taken.elapsed() < Pace::NEXT_DOOR, Ordering::Relaxed);
        self.stir();
    }

    fn is_awake(&self) -> bool {
        nanos(self.began.elapsed()) < self.awake_until.load(Ordering::Relaxed)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The next question. `None`: nobody can ask any more.
pub(super) async fn next<T>(jobs: &mut mpsc::UnboundedReceiver<T>, pace: &Pace) -> Option<T> {
    loop {
        match jobs.try_recv() {
            Ok(job) => {
                pace.stir();
                return Some(job);
            }
            Err(mpsc::error::TryRecvError::Disconnected) => return None,
            // Lets the questions under way go on, and looks at the sockets, without sleeping.
            Err(mpsc::error::TryRecvError::Empty) if pace.is_awake() => tokio::task::yield_now().await,
            Err(mpsc::error::TryRecvError::Empty) => {
                let (mut job, mut stirred) = (pin!(jobs.recv()), pin!(pace.stirred.notified()));
                let first = poll_fn(|cx| match job.as_mut().poll(cx) {
                    Poll::Ready(job) => Poll::Ready(Some(job)),
                    Poll::Pending => stirred.as_mut().poll(cx).map(|()| None),
                });
                if let Some(job) = first.await {
                    pace.stir();
                    return job;
                }
            }
        }
    }
}
