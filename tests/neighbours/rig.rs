//! Tools of a `rig` agent, with `#[rig_tool]` above, below and between.

use pollster::block_on;
use portcullis::testing::Gate;
use portcullis::{Refused, boundary, budgeted, once};
use rig_core::rig_tool;
use rig_core::tool::{ErasedTool, ToolContext, ToolExecutionError, ToolResult};
use serde_json::{Value, json};

use crate::Log;

type Refunded = Result<u64, ToolExecutionError>;

mod plain {
    use super::*;

    /// Pays an order back.
    #[rig_tool]
    pub(super) async fn refund(
        /// Which order.
        order: String,
        cents: u64,
    ) -> Result<u64, ToolExecutionError> {
        tracing::info!(order);
        Ok(cents)
    }
}

/// The same tool under our attributes. What a tool function does is seen by the gate that it is called in.
mod above {
    use super::*;

    /// Pays an order back.
    #[rig_tool]
    #[boundary(before_side_effect, on_deny = "return")]
    #[once(action = "orders.refund", key = "order")]
    #[budgeted(max_steps = 4)]
    pub(super) async fn refund(
        /// Which order.
        order: String,
        cents: u64,
    ) -> Result<u64, ToolExecutionError> {
        super::pay(order, cents).await
    }
}

mod below {
    use super::*;

    /// Pays an order back.
    #[boundary(before_side_effect, on_deny = "return")]
    #[once(action = "orders.refund", key = "order")]
    #[budgeted(max_steps = 4)]
    #[rig_tool]
    pub(super) async fn refund(
        /// Which order.
        order: String,
        cents: u64,
    ) -> Result<u64, ToolExecutionError> {
        super::pay(order, cents).await
    }
}

mod between {
    use super::*;

    #[once(action = "orders.refund", key = "order")]
    /// Pays an order back.
    #[rig_tool]
    #[budgeted(max_steps = 4)]
    #[boundary(before_side_effect, on_deny = "return")]
    pub(super) async fn refund(
        /// Which order.
        order: String,
        cents: u64,
    ) -> Result<u64, ToolExecutionError> {
        super::pay(order, cents).await
    }
}

/// A tool that can't say more than rig lets an unknown error say.
mod foreign {
    use super::*;

    #[rig_tool(description = "Pays an order back.")]
    #[boundary(before_side_effect, on_deny = "return")]
    pub(super) fn refund(order: String) -> Result<String, Refused> {
        Ok(order)
    }
}

std::thread_local! {
    static PAID: Log = Log::default();
}

async fn pay(order: String, cents: u64) -> Refunded {
    PAID.with(|log| log.add(format!("paid {cents} for {order}")));
    Ok(cents)
}

fn paid() -> Vec<String> {
    PAID.with(Log::take)
}

/// As an agent calls it.
fn call(tool: &impl ErasedTool, order: &str, cents: u64) -> ToolResult {
    let args = json!({ "order": order, "cents": cents }).to_string();
    block_on(tool.execute(args, &mut ToolContext::new()))
}

fn told(result: &ToolResult) -> &str {
    result.output().as_text().expect("a refusal is text")
}

fn definition(tool: &impl ErasedTool) -> (String, String, Value) {
    (tool.name(), tool.description(), tool.parameters())
}

#[test]
fn what_a_rig_agent_tells_the_model_of_a_tool_stays_as_it_is() {
    let plain = definition(&plain::REFUND);
    assert_eq!(plain.1, "Pays an order back.");
    assert_eq!(plain.2["properties"]["order"]["description"], "Which order.");
    assert_eq!(definition(&above::REFUND), plain);
    assert_eq!(definition(&below::REFUND), plain);
    assert_eq!(definition(&between::REFUND), plain);
}

fn is_guarded(tool: &impl ErasedTool) {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        let first = call(tool, "o-1", 500);
        assert_eq!(first.output().as_json(), Some(&json!(500)));
        assert_eq!(call(tool, "o-1", 500).output(), first.output());
        assert_eq!(paid(), ["paid 500 for o-1"]);

        let conflict = call(tool, "o-1", 900);
        assert!(conflict.is_refused() && told(&conflict).contains("give it a key of its own"), "{conflict:?}");
        let refusal = conflict.refusal().unwrap();
        assert_eq!((refusal.code(), refusal.retryable()), (Some("key_conflict"), Some(false)));
        assert_eq!(refusal.downcast_ref::<Refused>().unwrap().action(), "orders.refund");

        assert!(call(tool, "o-2", 500).is_success());
        let spent = call(tool, "o-3", 500);
        assert!(spent.is_refused() && told(&spent).contains("(budget_steps)"), "{spent:?}");
        assert_eq!(paid(), ["paid 500 for o-2"]);
    });
    Gate::denying("DEVICE_REVOKED").scope_sync(|| {
        let denied = call(tool, "o-4", 500);
        assert!(denied.is_refused(), "{denied:?}");
        assert_eq!(
            told(&denied),
            "`orders.refund` was refused (denied): `scripted` said no to test:local:worker:1 at before_side_effect: \
             DEVICE_REVOKED. Nothing was done. The answer is final: do not call it again, and do not try another way to the \
             same end. Tell the person you work for."
        );
        assert_eq!(paid(), [""; 0]);
    });
}

#[test]
fn rig_tool_above_below_and_between_is_guarded_and_refuses_in_words_for_the_model() {
    is_guarded(&above::REFUND);
    is_guarded(&below::REFUND);
    is_guarded(&between::REFUND);
}

#[test]
fn rig_keeps_the_text_of_an_error_that_it_does_not_know_from_the_model() {
    Gate::denying("DEVICE_REVOKED").scope_sync(|| {
        let denied = call(&foreign::REFUND, "o-1", 1);
        assert!(denied.is_error() && !denied.is_refused(), "{denied:?}");
        assert!(!told(&denied).contains("refused"), "{denied:?}");
    });
}
