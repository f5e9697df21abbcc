//! Guarded tools of an agent built with `rig`.
//!
//! Let the tool return `Result<T, ToolExecutionError>`. A refusal then is a *refused* call in rig's own sense, apart from failures:
//! the model gets [`Refused::for_model`] as the output, and hooks and telemetry get the code, whether a retry makes sense, and the
//! [`Refused`] itself (`error.downcast_ref::<Refused>()`).
//!
//! With any other error type, such as `Result<T, Refused>`, rig tells the model no more than that the tool failed: it keeps the texts
//! of errors that it does not know from the model.
//!
//! ```
//! use portcullis::{Refused, once};
//! use rig_core::tool::ToolExecutionError;
//!
//! // Below or above `#[rig_tool]`.
//! #[once(action = "orders.refund", key = "order")]
//! async fn refund(order: String, cents: u64) -> Result<String, ToolExecutionError> {
//!     Ok(format!("refunded {cents} for {order}"))
//! }
//!
//! # let gate = portcullis::Portcullis::builder().embedded(tempfile::tempdir()?.keep().join("ledger.db")).build()?;
//! # pollster::block_on(gate.scope(async {
//! refund("o-1".into(), 500).await?;
//! let error = refund("o-1".into(), 900).await.unwrap_err();
//! assert!(error.is_refusal());
//! assert_eq!((error.code(), error.retryable()), (Some("key_conflict"), Some(false)));
//! assert!(error.model_feedback().unwrap().contains("give it a key of its own"));
//! assert!(error.is::<Refused>());
//! # Ok::<_, ToolExecutionError>(())
//! # }))?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use rig_core::tool::ToolExecutionError;

use crate::refused::{Next, Refused};

/// A refused tool call.
impl From<Refused> for ToolExecutionError {
    fn from(refused: Refused) -> Self {
        ToolExecutionError::refused(refused.to_string())
            .with_model_feedback(super::told(&refused))
            .with_code(refused.code())
            .with_retryable(refused.next() == Next::Retry)
            .with_source(refused)
    }
}
