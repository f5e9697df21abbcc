//! Calls that do not end as calls do.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pollster::block_on;
use portcullis::{boundary, budgeted, once};

use crate::{BoxFuture, Done, Log, code, poll_until};

macro_rules! stuck {
    ($name:ident [$($signature:tt)*] $body:expr) => {
        #[once(key = "id", skip(log), action = "stuck")]
        #[boundary(before_side_effect)]
        $($signature)* { $body }
    };
}

stuck!(asynchronous [async fn asynchronous(log: &Log, id: u64) -> Done] {
    log.add("body");
    std::future::pending::<()>().await;
    Ok(id)
});

stuck!(boxed [fn boxed(log: &Log, id: u64) -> BoxFuture<'_, Done>] {
    Box::pin(async move {
        log.add("body");
        std::future::pending::<()>().await;
        Ok(id)
    })
});

stuck!(opaque [fn opaque(log: &Log, id: u64) -> impl Future<Output = Done> + Send] {
    async move {
        log.add("body");
        std::future::pending::<()>().await;
        Ok(id)
    }
});

#[test]
fn a_body_whose_future_was_dropped_is_in_doubt() {
    let shapes: [fn(&Log) -> BoxFuture<'_, Done>; 3] =
        [|log| Box::pin(asynchronous(log, 1)), |log| boxed(log, 1), |log| Box::pin(opaque(log, 1))];
    for call in shapes {
        let log = Log::default();
        log.gate().scope_sync(|| {
            let mut future = call(&log);
            poll_until(&log, "body", &mut future);
            drop(future);
            assert_eq!(log.take(), ["ask stuck", "body"]);
            assert_eq!(code(block_on(call(&log))), "in_doubt");
            assert_eq!(log.take(), ["ask stuck"], "never silently again");
        });
    }
}

/// A type that comes through a `macro_rules!` comes in an invisible group.
macro_rules! grouped {
    ($log:ident, $ty:ty, $body:block) => {
        #[boundary(before_side_effect)]
        fn grouped($log: &Log) -> $ty $body
    };
}

grouped!(log, BoxFuture<'_, u64>, {
    log.add("prefix");
    Box::pin(async {
        log.add("body");
        1
    })
});

#[test]
fn a_future_in_a_group_is_seen() {
    let log = Log::default();
    log.gate().scope_sync(|| {
        drop(grouped(&log));
        assert_eq!(log.take(), [""; 0]);
        assert_eq!(block_on(grouped(&log)), 1);
        assert_eq!(log.take(), ["ask grouped", "prefix", "body"]);
    });
}

#[once(key = "id")]
fn panics(id: u64) -> Done {
    panic!("at {id}")
}

#[once(key = "id")]
async fn panics_later(id: u64) -> Done {
    std::future::ready(()).await;
    panic!("at {id}")
}

#[test]
fn a_body_that_panicked_is_in_doubt() {
    let shapes: [fn(u64) -> Done; 2] = [panics, |id| block_on(panics_later(id))];
    for call in shapes {
        Log::default().gate().scope_sync(|| {
            let caught = catch_unwind(AssertUnwindSafe(|| call(1))).unwrap_err();
            assert_eq!(caught.downcast_ref::<String>().unwrap(), "at 1");
            assert_eq!(code(call(1)), "in_doubt");
        });
    }
}

#[once(key = "id", skip(log))]
#[boundary(before_side_effect)]
#[budgeted(max_steps = 1)]
async fn once_only(log: &Log, id: u64) -> Done {
    log.add("body");
    Ok(id)
}

#[test]
fn a_future_that_is_never_polled_has_done_and_used_nothing() {
    let log = Log::default();
    log.gate().scope_sync(|| {
        let (first, second) = (once_only(&log, 1), once_only(&log, 1));
        drop(first);
        assert_eq!(log.take(), [""; 0]);
        assert_eq!(block_on(second).unwrap(), 1);
        assert_eq!(log.take(), ["ask once_only", "body"]);
        assert_eq!(code(block_on(once_only(&log, 1))), "budget_steps");
    });
}

#[budgeted(max_steps = 2)]
async fn nested(turns: u64) -> Done {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
    step().await
}

#[boundary(before_cost, on_deny = "return")]
async fn step() -> Done {
    Ok(1)
}

#[test]
fn an_account_stays_with_its_call_between_polls() {
    let log = Log::default();
    log.gate().scope_sync(|| {
        // Two tasks in turns on one thread, each with its own scope: neither pays for the other.
        let calls = futures_util::future::join(portcullis::scope("a", nested(3)), portcullis::scope("b", nested(5)));
        let (a, b) = block_on(calls);
        assert_eq!((a.unwrap(), b.unwrap()), (1, 1));
        // In one scope they do.
        let calls = futures_util::future::join(nested(3), nested(5));
        let (a, b) = block_on(portcullis::scope("both", calls));
        assert!(a.is_err() && b.is_err());
    });
}
