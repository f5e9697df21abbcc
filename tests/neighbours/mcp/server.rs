//! One tool under every arrangement of attributes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis::testing::Gate;
use portcullis::{Refused, boundary, budgeted, once};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::schemars::{self, JsonSchema};
use rmcp::{ServerHandler, tool, tool_router};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct Order {
    /// Which order.
    order: String,
    cents: u64,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
pub(super) struct Paid {
    order: String,
    /// What was paid.
    cents: u64,
    number: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Shop {
    gate: Gate,
    paid: Arc<AtomicU64>,
}

impl Shop {
    pub(super) fn new(gate: Gate) -> Self {
        Shop { gate, paid: Arc::default() }
    }

    pub(super) fn paid(&self) -> u64 {
        self.paid.load(Ordering::SeqCst)
    }

    async fn pay(&self, order: String, cents: u64) -> Paid {
        tokio::task::yield_now().await;
        Paid { order, cents, number: self.paid.fetch_add(1, Ordering::SeqCst) + 1 }
    }
}

/// Any of the servers.
pub(super) trait Tools: ServerHandler {
    fn new(shop: Shop) -> Self;
}

/// `self` comes along, because a `macro_rules!` has another one.
macro_rules! servers {
    ($this:ident: $($name:ident, $($json:ident)::+ { $($attributes:tt)* })*) => {$(
        #[derive(Clone, Debug)]
        pub(super) struct $name(pub(super) Shop);

        impl Tools for $name {
            fn new(shop: Shop) -> Self {
                $name(shop)
            }
        }

        #[tool_router(server_handler)]
        impl $name {
            $($attributes)*
            async fn refund(
                &$this,
                Parameters(Order { order, cents }): Parameters<Order>,
            ) -> Result<$($json)::+<Paid>, Refused> {
                Ok($($json)::+($this.0.pay(order, cents).await))
            }
        }
    )*};
}

servers! {
    self:

    Plain, rmcp::Json {
        #[tool(description = "Pays an order back.", annotations(destructive_hint = true))]
    }

    OnTop, portcullis::adapters::rmcp::Json {
        #[tool(description = "Pays an order back.", annotations(destructive_hint = true))]
        #[boundary(before_side_effect, on_deny = "return", with = self.0.gate)]
        #[once(action = "orders.refund", key = "order")]
        #[budgeted(max_steps = 4)]
    }

    Below, portcullis::adapters::rmcp::Json {
        #[boundary(before_side_effect, on_deny = "return", with = self.0.gate)]
        #[once(action = "orders.refund", key = "order")]
        #[budgeted(max_steps = 4)]
        #[tool(description = "Pays an order back.", annotations(destructive_hint = true))]
    }

    Between, portcullis::adapters::rmcp::Json {
        #[boundary(before_side_effect, on_deny = "return", with = self.0.gate)]
        #[tool(description = "Pays an order back.", annotations(destructive_hint = true))]
        #[once(action = "orders.refund", key = "order")]
        #[budgeted(max_steps = 4)]
    }

    Between2, portcullis::adapters::rmcp::Json {
        #[budgeted(max_steps = 4)]
        #[once(action = "orders.refund", key = "order")]
        #[tool(description = "Pays an order back.", annotations(destructive_hint = true))]
        #[boundary(before_side_effect, on_deny = "return", with = self.0.gate)]
    }

    Documented, rmcp::Json {
        /// Pays an order back.
        #[tool]
    }

    DocumentedAbove, rmcp::Json {
        /// Pays an order back.
        #[boundary(before_side_effect)]
        #[budgeted(max_steps = 4)]
        #[tool]
    }

    DocumentedAfter, rmcp::Json {
        #[tool]
        #[boundary(before_side_effect)]
        #[budgeted(max_steps = 4)]
        /// Pays an order back.
    }

    DocumentedInline, rmcp::Json {
        /// Pays an order back.
        #[tool]
        #[inline]
    }
}
