//! What the return types of tools do with refusals and failures.

#![allow(clippy::result_large_err, reason = "rmcp's own types are as large as that")]

use std::sync::atomic::{AtomicU64, Ordering};

use pollster::block_on;
use portcullis::testing::Gate;
use portcullis::{OnErr, boundary, once};
use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, ErrorData};
use serde_json::json;

use super::{code, text};

fn failed() -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text("the printer is on fire")])
}

/// Fails, and counts.
fn fail(ran: &AtomicU64) -> CallToolResult {
    ran.fetch_add(1, Ordering::SeqCst);
    failed()
}

#[once(action = "print.hold", key = "page", skip(ran))]
async fn hold(ran: &AtomicU64, page: u64) -> Result<CallToolResult, ErrorData> {
    Ok(fail(ran))
}

#[once(action = "print.release", key = "page", skip(ran), on_err = "release")]
async fn release(ran: &AtomicU64, page: u64) -> Result<CallToolResult, ErrorData> {
    Ok(fail(ran))
}

#[once(action = "print.record", key = "page", skip(ran), on_err = "record")]
async fn record(ran: &AtomicU64, page: u64) -> Result<CallToolResult, ErrorData> {
    Ok(fail(ran))
}

#[once(action = "print.plain", key = "page", skip(ran), on_err = on_fire)]
async fn plain(ran: &AtomicU64, page: u64) -> CallToolResult {
    fail(ran)
}

fn on_fire(result: &CallToolResult) -> OnErr {
    if text(result).contains("on fire") { OnErr::Release } else { OnErr::Hold }
}

#[once(action = "print.unasked", key = "page", skip(ran), on_err = unasked)]
async fn path(ran: &AtomicU64, page: u64) -> Result<CallToolResult, ErrorData> {
    Ok(fail(ran))
}

fn unasked(_: &ErrorData) -> OnErr {
    OnErr::Release
}

#[once(action = "print.said", key = "page", skip(ran), claim = claim)]
async fn said(ran: &AtomicU64, page: u64) -> Result<CallToolResult, ErrorData> {
    claim.did_not_happen();
    Ok(fail(ran))
}

#[test]
fn on_err_decides_about_a_result_with_is_error_as_about_an_error() {
    let ran = AtomicU64::new(0);
    let runs = || ran.swap(0, Ordering::SeqCst);
    Gate::allowing().scope_sync(|| {
        assert_eq!(block_on(hold(&ran, 1)).unwrap(), failed());
        assert_eq!(code(&block_on(hold(&ran, 1)).unwrap()), "in_doubt");
        assert_eq!(runs(), 1);

        assert_eq!(block_on(release(&ran, 1)).unwrap(), failed());
        assert_eq!(block_on(release(&ran, 1)).unwrap(), failed());
        assert_eq!(runs(), 2);

        assert_eq!(block_on(record(&ran, 1)).unwrap(), failed());
        assert_eq!(block_on(record(&ran, 1)).unwrap(), failed());
        assert_eq!(runs(), 1);

        assert_eq!(block_on(plain(&ran, 1)), failed());
        assert_eq!(block_on(plain(&ran, 1)), failed());
        assert_eq!(runs(), 2);

        // It takes an `ErrorData`, and there is none: in doubt.
        assert_eq!(block_on(path(&ran, 1)).unwrap(), failed());
        assert_eq!(code(&block_on(path(&ran, 1)).unwrap()), "in_doubt");
        assert_eq!(runs(), 1);

        assert_eq!(block_on(said(&ran, 1)).unwrap(), failed());
        assert_eq!(block_on(said(&ran, 1)).unwrap(), failed());
        assert_eq!(runs(), 2);
    });
}

#[boundary(before_cost, on_deny = "return")]
fn a_result() -> Result<CallToolResult, ErrorData> {
    Ok(CallToolResult::success(vec![]))
}

#[boundary(before_cost, on_deny = "return")]
fn a_bare_result() -> CallToolResult {
    CallToolResult::success(vec![])
}

#[boundary(before_cost, on_deny = "return")]
fn a_response() -> CallToolResponse {
    CallToolResult::success(vec![]).into()
}

#[boundary(before_cost, on_deny = "return")]
fn a_response_or_error() -> Result<CallToolResponse, ErrorData> {
    Ok(CallToolResult::success(vec![]).into())
}

#[boundary(before_cost, on_deny = "return")]
fn text_or_text() -> Result<String, String> {
    Ok(String::new())
}

#[boundary(before_cost, on_deny = "return")]
fn text_or_result() -> Result<String, CallToolResult> {
    Ok(String::new())
}

/// As the router makes it.
fn sent(result: impl IntoCallToolResult) -> CallToolResult {
    match result.into_call_tool_result().expect("a refusal is no error of the protocol") {
        CallToolResponse::Complete(result) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_return_type_with_room_for_it_carries_a_refusal_as_a_tool_error() {
    Gate::denying("DEVICE_REVOKED").scope_sync(|| {
        for (name, result) in [
            ("a_result", sent(a_result())),
            ("a_bare_result", sent(a_bare_result())),
            ("a_response", sent(a_response())),
            ("a_response_or_error", sent(a_response_or_error())),
            ("text_or_result", sent(text_or_result())),
        ] {
            assert_eq!((result.is_error, code(&result)), (Some(true), &json!("denied")), "{name}");
            assert!(text(&result).starts_with(&format!("`{name}` was refused (denied): ")), "{result:?}");
        }
        let result = sent(text_or_text());
        assert_eq!((result.is_error, result.meta.as_ref()), (Some(true), None));
        assert!(text(&result).contains("was refused (denied)"), "{result:?}");
    });
}
