//! `#[tracing::instrument]` on a guarded function, above and below: the span is there around the body.

use std::sync::mpsc;

use pollster::block_on;
use portcullis::testing::Gate;
use portcullis::{Refused, boundary, once};
use tracing::{Id, Span, Subscriber, instrument};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::Log;

type Done = Result<u64, Refused>;

/// Writes down when a span of this test is opened, and when it is closed.
struct Spans {
    log: Log,
    closed: mpsc::Sender<()>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &Id, _: Context<'_, S>) {
        if attributes.metadata().target().starts_with("neighbours") {
            self.log.add(format!("open {}", attributes.metadata().name()));
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("neighbours") {
            self.log.add(format!("event {}", event.metadata().level()));
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        let span = ctx.span(&id).expect("a span that closes was open");
        if span.metadata().target().starts_with("neighbours") {
            self.log.add(format!("close {}", span.name()));
            // The receiver waits for as many as were opened.
            let _ = self.closed.send(());
        }
    }
}

fn body(log: &Log, n: u64) {
    let inside = Span::current();
    log.add(format!("body {n} in {}", inside.metadata().map_or("no span", |span| span.name())));
}

#[instrument(skip(log), err)]
#[boundary(before_job, on_deny = "return")]
#[once(action = "above", key = "n", skip(log))]
async fn above(log: &Log, n: u64) -> Done {
    tokio::task::yield_now().await;
    body(log, n);
    Ok(n)
}

#[boundary(before_job, on_deny = "return")]
#[once(action = "below", key = "n", skip(log))]
#[instrument(skip(log), err)]
async fn below(log: &Log, n: u64) -> Done {
    tokio::task::yield_now().await;
    body(log, n);
    Ok(n)
}

#[boundary(before_job, on_deny = "return")]
#[instrument(skip(log), err)]
#[once(action = "between", key = "n", skip(log))]
fn between(log: &Log, n: u64) -> Done {
    body(log, n);
    Ok(n)
}

/// What one call does under the subscriber, to the last span: the runtime keeps the caller's for its own event, which
/// may come shortly after the answer.
fn seen(log: &Log, gate: &Gate, call: impl FnOnce() -> Done) -> (Done, Vec<String>) {
    let (closed, closes) = mpsc::channel();
    let subscriber = Registry::default().with(Spans { log: log.clone(), closed });
    let done = tracing::subscriber::with_default(subscriber, || {
        let done = gate.scope_sync(call);
        for _ in 0..log.count("open ") {
            closes.recv().expect("every span is closed");
        }
        done
    });
    (done, log.take())
}

#[test]
fn instrument_has_its_span_around_the_body_in_every_order() {
    let log = Log::default();
    let gate = log.gate();
    let allowed = |call: &dyn Fn() -> Done| {
        let (done, seen) = seen(&log, &gate, call);
        done.unwrap();
        seen
    };
    // Attributes expand from the top, each around the body that it finds: the lower one ends up outside.
    let events = allowed(&|| block_on(above(&log, 1)));
    assert_eq!(events, ["ask above", "open above", "body 1 in above", "close above"]);
    let events = allowed(&|| block_on(below(&log, 1)));
    assert_eq!(events, ["open below", "ask below", "body 1 in below", "close below"]);
    let events = allowed(&|| between(&log, 1));
    assert_eq!(events, ["open between", "ask between", "body 1 in between", "close between"]);
}

#[test]
fn instrument_reports_a_refusal_only_where_it_stands_below() {
    let log = Log::default();
    let gate = Gate::denying("DEVICE_REVOKED");
    let (refused, events) = seen(&log, &gate, || block_on(above(&log, 1)));
    assert_eq!((refused.unwrap_err().code(), events), ("denied", vec![]));
    let (refused, events) = seen(&log, &gate, || block_on(below(&log, 1)));
    assert_eq!(refused.unwrap_err().code(), "denied");
    assert_eq!(events, ["open below", "event ERROR", "close below"]);
}
