//! `#[tracing::instrument]` on a guarded function, above and below: the span is there around the body.

use pollster::block_on;
use portcullis::{Refused, boundary, once};
use tracing::{Id, Span, Subscriber, instrument};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::Log;

type Done = Result<u64, Refused>;

/// Writes down when a span of this test is first entered, and when it is closed.
struct Spans(Log);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &Id, _: Context<'_, S>) {
        if attributes.metadata().target().starts_with("neighbours") {
            self.0.add(format!("open {}", attributes.metadata().name()));
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("neighbours") {
            self.0.add(format!("event {}", event.metadata().level()));
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        let span = ctx.span(&id).expect("a span that closes was open");
        if span.metadata().target().starts_with("neighbours") {
            self.0.add(format!("close {}", span.name()));
        }
    }
}

fn body(log: &Log, n: u64) {
    let inside = Span::current();
    log.add(format!("body {n} in {}", inside.metadata().map_or("no span", |span| span.name())));
}

#[instrument(skip(log), err)]
#[boundary(before_job)]
#[once(action = "above", key = "n", skip(log))]
async fn above(log: &Log, n: u64) -> Done {
    tokio::task::yield_now().await;
    body(log, n);
    Ok(n)
}

#[boundary(before_job)]
#[once(action = "below", key = "n", skip(log))]
#[instrument(skip(log), err)]
async fn below(log: &Log, n: u64) -> Done {
    tokio::task::yield_now().await;
    body(log, n);
    Ok(n)
}

#[boundary(before_job)]
#[instrument(skip(log), err)]
#[once(action = "between", key = "n", skip(log))]
fn between(log: &Log, n: u64) -> Done {
    body(log, n);
    Ok(n)
}

/// What one call does under the subscriber.
fn seen(log: &Log, call: impl FnOnce() -> Done) -> Vec<String> {
    let gate = log.gate();
    let subscriber = Registry::default().with(Spans(log.clone()));
    tracing::subscriber::with_default(subscriber, || gate.scope_sync(call)).unwrap();
    log.take()
}

#[test]
fn instrument_has_its_span_around_the_body_in_every_order() {
    let log = Log::default();
    // Attributes expand from the top, each around the body that it finds: the lower one ends up outside.
    assert_eq!(seen(&log, || block_on(above(&log, 1))), ["ask above", "open above", "body 1 in above", "close above"]);
    assert_eq!(seen(&log, || block_on(below(&log, 1))), ["open below", "ask below", "body 1 in below", "close below"]);
    assert_eq!(seen(&log, || between(&log, 1)), ["open between", "ask between", "body 1 in between", "close between"]);
}

#[test]
fn instrument_reports_a_refusal_only_where_it_stands_below() {
    for (call, expected) in [
        (Box::new(|log: &Log| block_on(above(log, 1))) as Box<dyn Fn(&Log) -> Done>, &["ask above"][..]),
        (Box::new(|log: &Log| block_on(below(log, 1))), &["open below", "ask below", "event ERROR", "close below"]),
    ] {
        let log = Log::default();
        let gate = log.gate();
        // The key is taken, by another payload.
        let other: Done = gate.scope_sync(|| block_on(other_payload(expected[0].contains("above"), 1)));
        other.unwrap();
        log.take();
        let subscriber = Registry::default().with(Spans(log.clone()));
        let refused = tracing::subscriber::with_default(subscriber, || gate.scope_sync(|| call(&log))).unwrap_err();
        assert_eq!(refused.code(), "key_conflict");
        assert_eq!(log.take(), expected);
    }
}

#[once(action = if above { "above" } else { "below" }, key = "n")]
async fn other_payload(above: bool, n: u64) -> Done {
    Ok(n)
}
