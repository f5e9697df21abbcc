//! Return types of agent frameworks: how a guarded tool says that it succeeded, and how a refusal reaches the model.
//!
//! A refusal that is *returned* (`on_deny = "return"`, and whatever `#[once]` and `#[budgeted]` refuse) has to arrive at the model
//! as the result of its tool call, in words on which it can act: [`Refused::for_model`](crate::Refused::for_model). An error of
//! the protocol underneath would be shown to nobody, or be taken for a fault of the transport and be retried.
//!
//! | framework | feature | what carries a refusal |
//! | --- | --- | --- |
//! | MCP servers built with `rmcp` | `rmcp` | a tool result with `isError`; the table is in `adapters::rmcp` |
//! | agents built with `rig` | `rig` | `rig_core::tool::ToolExecutionError`, as a refused call; see `adapters::rig` |
//! | any other | | `refused = path`, below |
//!
//! The whole refusal (with its reason, its source and the advice for developers) goes to the log, as a warning of the target
//! `portcullis`: behind a tool nobody else will hear of it.
//!
//! # Any other framework
//!
//! Where the tool's error type is yours, give it `From<Refused>`. Where it is not, name a `fn(Refused) -> Ret`:
//!
//! ```
//! use portcullis::{Refused, budgeted};
//!
//! /// What the framework shows to the model.
//! struct ToolReply {
//!     text: String,
//!     failed: bool,
//! }
//!
//! impl portcullis::Outcome for ToolReply {
//!     fn is_success(&self) -> bool {
//!         !self.failed
//!     }
//! }
//!
//! fn told(refused: Refused) -> ToolReply {
//!     tracing::warn!(%refused);
//!     ToolReply { text: refused.for_model(), failed: true }
//! }
//!
//! #[budgeted(max_steps = 1, refused = told)]
//! fn search(query: &str) -> ToolReply {
//!     ToolReply { text: format!("found {query}"), failed: false }
//! }
//!
//! assert_eq!(search("flights").text, "found flights");
//! let refused = search("more flights");
//! assert!(refused.failed && refused.text.contains("finish with what you have"));
//! ```
//!
//! `ToolReply` belongs to another crate? Then neither trait can be implemented for it: put it into a `Result`, whose `Ok` and
//! `Err` say whether the call succeeded.

use std::any::Any;

#[cfg(feature = "rig")]
pub mod rig;
#[cfg(feature = "rmcp")]
pub mod rmcp;

/// Does a value that stands in `Ok` say by itself that the call failed?
pub(crate) fn says_failure(value: &dyn Any) -> bool {
    #[cfg(feature = "rmcp")]
    if rmcp::says_failure(value) {
        return true;
    }
    let _ = value;
    false
}

/// The words for the model. What they leave out is logged.
#[cfg(any(feature = "rig", feature = "rmcp"))]
fn told(refused: &crate::refused::Refused) -> String {
    let source = std::error::Error::source(refused);
    tracing::warn!(target: "portcullis", code = refused.code(), action = refused.action(), %refused, source, "a tool was refused");
    refused.for_model()
}
