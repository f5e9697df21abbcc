//! Guarded tools of an MCP server built with `rmcp`.
//!
//! MCP knows two ways for a tool to fail. A *tool error* is a result with `isError: true`, and its text goes to the model. A
//! *protocol error* is an error of JSON-RPC (`Err(ErrorData)`), which most clients do not show to the model. So a refusal is a
//! tool error, in whatever type the tool returns:
//!
//! | the tool returns | a refusal becomes | `#[once]` keeps |
//! | --- | --- | --- |
//! | `Result<CallToolResult, ErrorData>` | `Ok` of a result with `isError`, not `Err` | the `CallToolResult` |
//! | `CallToolResult` | a result with `isError` | the `CallToolResult` |
//! | `Result<Json<T>, Refused>`, `Result<String, Refused>` | `Err`, of which rmcp makes a result with `isError` | the `T`, the `String` |
//! | `Result<T, E>` with an `E` of yours that has `From<Refused>` and rmcp's `IntoCallToolResult` | `Err`; `refused.into_call_tool_result()` in your implementation | the `T` |
//! | `Result<T, CallToolResult>` | `Err` of a result with `isError` | the `T` |
//! | `Result<T, String>` | `Err` of the text alone | the `T` |
//! | `CallToolResponse`, `Result<CallToolResponse, ErrorData>` | a result with `isError` | nothing: it may be a question to the client, so `#[once]` does not compile |
//! | `Result<Json<T>, ErrorData>`, `Result<String, ErrorData>`, … | does not compile: there is no room for a tool error. Return `Result<_, Refused>` | |
//! | `Json<T>`, `String`, `()`, `ContentBlock` | does not compile, unless every refusal ends the process | |
//!
//! `Json` is [the one of this module](Json) where `#[once]` has to keep a receipt of it; for the other attributes rmcp's own
//! serves as well. The description, the input schema and the output schema that a client sees stay as they are.
//!
//! The text is [`Refused::for_model`]. Beside it, for the program around the model, the result's `_meta` holds
//!
//! ```json
//! { "portcullis/refusal": { "code": "in_doubt", "action": "orders.refund", "next": "ask_a_person", "mayHaveHappened": true } }
//! ```
//!
//! and not its structured content, which has to fit the tool's output schema.
//!
//! # A result with `isError` is no success
//!
//! Also where it stands in `Ok`. `#[once]` then does what `on_err` says: by default the call is in doubt; with `"release"` it
//! may be made again; with `"record"` the result is the receipt. An `on_err = path` on a `Result<CallToolResult, ErrorData>` is asked only
//! about `Err`, since it gets an `&ErrorData`; return a plain `CallToolResult` to have it asked about both.
//!
//! # Examples
//!
//! ```
//! use portcullis::{boundary, once};
//! use rmcp::model::{CallToolResult, ContentBlock, ErrorData};
//!
//! # use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
//! # static CONNECTED: AtomicBool = AtomicBool::new(false);
//! // The body of a `#[tool]`.
//! #[boundary(before_side_effect, on_deny = "return")]
//! #[once(action = "mail.send", key = "id", on_err = "release")]
//! async fn send_mail(id: &str, to: &str) -> Result<CallToolResult, ErrorData> {
//! #   let connected = CONNECTED.load(Relaxed);
//!     if !connected {
//!         return Ok(CallToolResult::error(vec![ContentBlock::text("there is no connection to the mail server")]));
//!     }
//!     Ok(CallToolResult::success(vec![ContentBlock::text(format!("sent to {to}"))]))
//! }
//!
//! # let gate = portcullis::Portcullis::builder().embedded(tempfile::tempdir()?.keep().join("ledger.db")).build()?;
//! # pollster::block_on(gate.scope(async {
//! // It was not sent, and said so: the same call may be made again.
//! assert_eq!(send_mail("m-1", "ada@example.org").await?.is_error, Some(true));
//! # CONNECTED.store(true, Relaxed);
//! assert_eq!(send_mail("m-1", "ada@example.org").await?.is_error, Some(false));
//!
//! let refused = send_mail("m-1", "eve@example.org").await?;
//! assert_eq!(refused.is_error, Some(true));
//! assert_eq!(refused.meta.unwrap().0["portcullis/refusal"]["code"], "key_conflict");
//! # Ok::<_, ErrorData>(())
//! # }))?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! There is no room for a tool error beside an `ErrorData`:
//!
//! ```compile_fail,E0277
//! # use portcullis::budgeted;
//! # use rmcp::model::ErrorData;
//! #[budgeted(max_steps = 5)]
//! fn search(query: &str) -> Result<String, ErrorData> {
//!     Ok(format!("found {query}"))
//! }
//! ```
//!
//! And a question to the client is no result that could be kept:
//!
//! ```compile_fail,E0277
//! # use portcullis::once;
//! # use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, ErrorData};
//! #[once(action = "search", key = "query")]
//! fn search(query: &str) -> Result<CallToolResponse, ErrorData> {
//!     Ok(CallToolResult::success(vec![ContentBlock::text(query)]).into())
//! }
//! ```

use std::any::type_name;
use std::convert::Infallible;

use ::rmcp::ErrorData;
use ::rmcp::handler::server::tool::IntoCallToolResult;
use ::rmcp::handler::server::wrapper;
use ::rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, MetaObject};
use ::rmcp::schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::outcome::{FromRefused, Outcome, Replay};
use crate::refused::Refused;

/// rmcp's `Json<T>`, with a receipt: structured output of a tool that is guarded by `#[once]`.
///
/// To the client there is no difference: `#[tool]` knows it by its name and lists the output schema of `T`, and a call gives the
/// same structured content. rmcp's own can't be read back from a receipt.
///
/// ```
/// use portcullis::adapters::rmcp::Json;
/// use portcullis::{Refused, once};
///
/// #[derive(serde::Serialize, serde::Deserialize, rmcp::schemars::JsonSchema)]
/// # #[schemars(crate = "rmcp::schemars")]
/// struct Receipt {
///     cents: u64,
/// }
///
/// #[once(action = "orders.refund", key = "order")]
/// fn refund(order: &str, cents: u64) -> Result<Json<Receipt>, Refused> {
///     Ok(Json(Receipt { cents }))
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json<T>(pub T);

impl<T: Serialize + JsonSchema + 'static> IntoCallToolResult for Json<T> {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        wrapper::Json(self.0).into_call_tool_result()
    }
}

impl<T> Outcome for Json<T> {
    fn is_success(&self) -> bool {
        true
    }
}

impl<T: Serialize + DeserializeOwned> Replay for Json<T> {
    type Value = T;
    type Error = Infallible;
    fn as_result(&self) -> Result<&T, &Infallible> {
        Ok(&self.0)
    }
    fn from_value(value: T) -> Self {
        Json(value)
    }
    fn from_error(error: Infallible) -> Self {
        match error {}
    }
}

impl<T> Outcome for wrapper::Json<T> {
    fn is_success(&self) -> bool {
        true
    }
}

impl Outcome for ContentBlock {
    fn is_success(&self) -> bool {
        true
    }
}

fn is_error(result: &CallToolResult) -> bool {
    result.is_error == Some(true)
}

/// By its name, and then by what it says: `TypeId` would ask for `'static` of every value that a call may return.
pub(super) fn says_failure<T: Serialize>(value: &T) -> bool {
    type_name::<T>() == type_name::<CallToolResult>()
        && serde_json::to_value(value).is_ok_and(|value| value["isError"] == true)
}

/// A tool error: the text for the model, and the refusal's code in `_meta`.
impl From<Refused> for CallToolResult {
    fn from(refused: Refused) -> Self {
        let mut result = CallToolResult::error(vec![ContentBlock::text(super::told(&refused))]);
        let refusal = json!({
            "code": refused.code(),
            "action": refused.action(),
            "next": refused.next().name(),
            "mayHaveHappened": refused.may_have_happened(),
        });
        result.meta = Some(MetaObject([("portcullis/refusal".to_owned(), refusal)].into_iter().collect()));
        result
    }
}

/// So that `Result<T, Refused>` is a tool's return type.
impl IntoCallToolResult for Refused {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        CallToolResult::from(self).into_call_tool_result()
    }
}

impl Outcome for CallToolResult {
    fn is_success(&self) -> bool {
        !is_error(self)
    }
}

impl FromRefused for CallToolResult {
    fn from_refused(refused: Refused) -> Self {
        refused.into()
    }
}

impl Replay for CallToolResult {
    type Value = CallToolResult;
    type Error = CallToolResult;
    fn as_result(&self) -> Result<&CallToolResult, &CallToolResult> {
        if is_error(self) { Err(self) } else { Ok(self) }
    }
    fn from_value(value: CallToolResult) -> Self {
        value
    }
    fn from_error(error: CallToolResult) -> Self {
        error
    }
}

/// `ErrorData` has no `From<Refused>`, and must not get one: it would be a protocol error.
impl FromRefused for Result<CallToolResult, ErrorData> {
    fn from_refused(refused: Refused) -> Self {
        Ok(refused.into())
    }
}

impl Outcome for CallToolResponse {
    fn is_success(&self) -> bool {
        match self {
            CallToolResponse::Complete(result) => !is_error(result),
            // Not yet: the client is asked something first, or polls for the rest.
            _ => false,
        }
    }
}

impl FromRefused for CallToolResponse {
    fn from_refused(refused: Refused) -> Self {
        CallToolResult::from(refused).into()
    }
}

impl FromRefused for Result<CallToolResponse, ErrorData> {
    fn from_refused(refused: Refused) -> Self {
        Ok(CallToolResult::from(refused).into())
    }
}

/// rmcp makes a tool error of the text.
impl<T> FromRefused for Result<T, String> {
    fn from_refused(refused: Refused) -> Self {
        Err(super::told(&refused))
    }
}
