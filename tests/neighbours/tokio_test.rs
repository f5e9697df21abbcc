//! `#[tokio::test]` on a guarded function, above and below. (`#[tokio::main]` is in the tests of the macros.)

use std::sync::LazyLock;

use portcullis::boundary;
use portcullis::testing::{Answer, Gate};
use tokio::runtime::Handle;
use tokio::task::yield_now;

use crate::Log;

/// A gate that writes down where it was asked: `resource` is evaluated there.
struct Asked(Log, Gate);

impl Asked {
    fn new() -> Self {
        let log = Log::default();
        let seen = log.clone();
        Asked(
            log,
            Gate::answering(move |question| {
                seen.add(question.resource.as_str());
                Answer::Allow
            }),
        )
    }
}

fn place() -> &'static str {
    if Handle::try_current().is_ok() { "inside the runtime" } else { "outside of any runtime" }
}

static ABOVE: LazyLock<Asked> = LazyLock::new(Asked::new);
static BELOW: LazyLock<Asked> = LazyLock::new(Asked::new);
static DENYING: LazyLock<Gate> = LazyLock::new(|| Gate::denying("DEVICE_REVOKED"));

#[tokio::test]
#[boundary(before_job, with = ABOVE.1, resource = place())]
async fn tokio_test_above_is_asked_before_its_runtime_starts() {
    yield_now().await;
    assert_eq!(ABOVE.0.take(), ["outside of any runtime"]);
}

#[boundary(before_job, with = BELOW.1, resource = place())]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tokio_test_below_is_asked_inside_its_runtime_and_before_its_body() {
    yield_now().await;
    assert_eq!(BELOW.0.take(), ["inside the runtime"]);
}

#[tokio::test]
#[should_panic]
#[boundary(before_job, with = *DENYING)]
async fn a_denied_test_fails_before_its_body() {
    // Nothing in here panics: it is the denial that does.
}
