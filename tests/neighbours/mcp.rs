//! Tools of an MCP server built with `rmcp`, called by rmcp's own client, with `#[tool]` above, below and between.

mod results;
mod server;
mod wire;

use portcullis::Kind;
use portcullis::testing::{Answer, Gate};
use rmcp::model::CallToolResult;
use serde_json::{Value, json};

use server::{Below, Between, Between2, Documented, DocumentedAbove, DocumentedAfter, DocumentedInline, OnTop, Plain};
use server::{Shop, Tools};
use wire::{connect, listed};

fn code(result: &CallToolResult) -> &Value {
    let refusal = result.meta.as_ref().expect("a refusal says so to programs, too");
    &refusal.0["portcullis/refusal"]["code"]
}

fn text(result: &CallToolResult) -> &str {
    let [content] = &result.content[..] else { panic!("one text was to come: {result:?}") };
    &content.as_text().expect("a text").text
}

#[tokio::test]
async fn the_tool_list_on_the_wire_is_byte_for_byte_the_same() {
    let shop = || Shop::new(Gate::allowing());
    let plain = listed(Plain(shop())).await;
    for expected in ["Pays an order back.", "destructiveHint", "Which order.", "outputSchema", "What was paid."] {
        assert!(plain.contains(expected), "{expected}: {plain}");
    }
    assert_eq!(listed(OnTop(shop())).await, plain, "`#[tool]` above ours");
    assert_eq!(listed(Below(shop())).await, plain, "`#[tool]` below ours");
    assert_eq!(listed(Between(shop())).await, plain, "`#[tool]` between");
    assert_eq!(listed(Between2(shop())).await, plain, "`#[tool]` between, the other way");
}

/// `#[tool]` takes its description from doc comments, and forgets it at the next attribute below that is none.
#[tokio::test]
async fn a_doc_comment_is_the_description_where_rmcp_keeps_it() {
    let shop = || Shop::new(Gate::allowing());
    let plain = listed(Documented(shop())).await;
    assert!(plain.contains(r#""description":"Pays an order back.""#), "{plain}");
    assert_eq!(listed(DocumentedAbove(shop())).await, plain, "`#[tool]` below ours");
    assert_eq!(listed(DocumentedAfter(shop())).await, plain, "`#[tool]` above ours, the doc comment below all");
    // With `#[tool]` above and the doc comment over it, any attribute does it: this one is `#[inline]`.
    assert!(!listed(DocumentedInline(shop())).await.contains("Pays an order back."));
}

async fn is_guarded<T: Tools>(name: &str) {
    let shop = Shop::new(Gate::allowing());
    let client = connect(T::new(shop.clone())).await;
    let order = |order: &str, cents: u64| json!({ "order": order, "cents": cents });

    let first = client.call("refund", order("o-1", 500)).await;
    assert_eq!(first.structured_content, Some(json!({ "order": "o-1", "cents": 500, "number": 1 })), "{name}");
    let retry = client.call("refund", order("o-1", 500)).await;
    assert_eq!(retry, first, "{name}");
    assert_eq!(shop.paid(), 1, "{name}");

    let conflict = client.call("refund", order("o-1", 900)).await;
    assert_eq!((conflict.is_error, code(&conflict)), (Some(true), &json!("key_conflict")), "{name}");
    assert!(text(&conflict).contains("give it a key of its own"), "{name}: {conflict:?}");
    assert_eq!(conflict.structured_content, None, "{name}");

    let second = client.call("refund", order("o-2", 500)).await;
    assert_eq!(second.structured_content.unwrap()["number"], 2, "{name}");
    let spent = client.call("refund", order("o-3", 500)).await;
    assert_eq!((spent.is_error, code(&spent)), (Some(true), &json!("budget_steps")), "{name}");
    assert!(text(&spent).contains("finish with what you have"), "{name}: {spent:?}");
    assert_eq!(shop.paid(), 2, "{name}");
    client.close().await;

    let revoked = Shop::new(Gate::scripted([Answer::Allow, Answer::Deny("DEVICE_REVOKED".into())]));
    let client = connect(T::new(revoked.clone())).await;
    assert_eq!(client.call("refund", order("o-1", 500)).await.is_error, Some(false), "{name}");
    let denied = client.call("refund", order("o-2", 500)).await;
    assert_eq!(denied.is_error, Some(true), "{name}");
    assert_eq!(
        denied.meta.as_ref().unwrap().0["portcullis/refusal"],
        json!({ "code": "denied", "action": "orders.refund", "next": "stop", "mayHaveHappened": false }),
        "{name}"
    );
    assert_eq!(
        text(&denied),
        "`orders.refund` was refused (denied): `scripted` said no to test:local:worker:1 at before_side_effect: \
         DEVICE_REVOKED. Nothing was done. The answer is final: do not call it again, and do not try another way to the same \
         end. Tell the person you work for.",
        "{name}"
    );
    assert_eq!(revoked.paid(), 1, "{name}");
    client.close().await;
}

#[tokio::test]
async fn tools_are_guarded_in_every_order_and_a_refusal_is_a_tool_error_that_a_model_can_act_on() {
    is_guarded::<OnTop>("`#[tool]` above ours").await;
    is_guarded::<Below>("`#[tool]` below ours").await;
    is_guarded::<Between>("`#[tool]` between").await;
    is_guarded::<Between2>("`#[tool]` between, the other way").await;
}

#[test]
fn the_word_for_a_program_says_whether_to_call_again() {
    assert_eq!(Kind::AuthorityTimeout.next().name(), "retry");
    assert_eq!(Kind::InDoubt.next().name(), "ask_a_person");
}
