//! `#[tokio::test]` on a guarded function, above and below. (`#[tokio::main]` is in the tests of the macros.)

use std::sync::LazyLock;

use portcullis::testing::Gate;
use portcullis::{Boundary, boundary};

static ABOVE: LazyLock<Gate> = LazyLock::new(Gate::allowing);
static BELOW: LazyLock<Gate> = LazyLock::new(Gate::allowing);
static DENYING: LazyLock<Gate> = LazyLock::new(|| Gate::denying("DEVICE_REVOKED"));

#[tokio::test]
#[boundary(before_job, with = *ABOVE)]
async fn tokio_test_above_is_asked_before_its_body() {
    tokio::task::yield_now().await;
    assert_eq!(ABOVE.crossed(), [(Boundary::BeforeJob, "tokio_test_above_is_asked_before_its_body".to_owned())]);
}

#[boundary(before_job, with = *BELOW)]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tokio_test_below_is_asked_before_its_body() {
    tokio::task::yield_now().await;
    assert_eq!(BELOW.crossed(), [(Boundary::BeforeJob, "tokio_test_below_is_asked_before_its_body".to_owned())]);
}

#[tokio::test]
#[should_panic]
#[boundary(before_job, with = *DENYING)]
async fn a_denied_test_fails_before_its_body() {
    // Nothing in here panics: it is the denial that does.
}
