//! How a tool fails: what the model is told, and whether the effect may have happened all the same.

use portcullis::{OnErr, Refused};
use rmcp::ErrorData;
use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The tool was not run, or not again.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Something is wrong with the call, and surely nothing was done.
    #[error("Nothing was done: {0}.")]
    Wrong(String),
    /// It broke off on the way, and may have happened.
    #[error(
        "It may have happened, or not: {0}. Do not call it again. Tell the person you work for, who has to find out."
    )]
    Unknown(String),
}

impl Failure {
    pub(crate) fn unknown(error: impl std::fmt::Display) -> Self {
        Failure::Unknown(error.to_string())
    }

    /// `on_err`: a call that surely did nothing may be made again, any other one is in doubt.
    pub(crate) fn means(&self) -> OnErr {
        match self {
            Failure::Wrong(_) => OnErr::Release,
            Failure::Refused(_) | Failure::Unknown(_) => OnErr::Hold,
        }
    }
}

/// A tool error: the model gets the text.
impl IntoCallToolResult for Failure {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        match self {
            Failure::Refused(refused) => refused.into_call_tool_result(),
            failure @ (Failure::Wrong(_) | Failure::Unknown(_)) => {
                Ok(CallToolResult::error(vec![ContentBlock::text(failure.to_string())]).into())
            }
        }
    }
}
