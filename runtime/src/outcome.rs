//! What a guarded function's return type must be able to say.

use std::convert::Infallible;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::adapters::says_failure;
use crate::refused::Refused;

/// Did the guarded call succeed?
///
/// Every guarded return type answers this: `Result` (is it `Ok`?), `Option` (is it `Some`?), and types that
/// cannot fail. A future is none of them, which is the point: a function that hands out a future behind a type
/// alias would be guarded around the making of the future and not around the work, so it does not compile.
#[diagnostic::on_unimplemented(
    message = "a guarded function cannot return `{Self}`",
    label = "portcullis can't tell whether this return type means success",
    note = "if this is an alias of a future, write the future out (`async fn`, `Pin<Box<dyn Future<Output = …>>>` \
            or `impl Future<Output = …>`), so that the awaited work is guarded and not the making of the future",
    note = "if it is a type of yours, implement `portcullis::Outcome` for it"
)]
pub trait Outcome {
    /// `true` if the call did what it was asked to do.
    fn is_success(&self) -> bool;
}

#[diagnostic::do_not_recommend]
impl<T, E> Outcome for Result<T, E> {
    fn is_success(&self) -> bool {
        self.is_ok()
    }
}

impl<T> Outcome for Option<T> {
    fn is_success(&self) -> bool {
        self.is_some()
    }
}

impl Outcome for ExitCode {
    fn is_success(&self) -> bool {
        *self == ExitCode::SUCCESS
    }
}

/// A return type that can carry a refusal back to the caller.
///
/// `Result<T, E>` can if `E: From<Refused>`, which `anyhow::Error` and `Box<dyn Error + Send + Sync>` are.
/// For a foreign type write `refused = path` on the attribute, a `fn(Refused) -> Ret`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't carry a refusal",
    label = "this guarded function can be refused, and its return type has no place for the reason",
    note = "return a `Result<T, E>` with `E: From<portcullis::Refused>` (such as `anyhow::Error`, or an error enum \
            with a variant `Refused(#[from] portcullis::Refused)`), or name a function: `refused = path`, \
            a `fn(portcullis::Refused) -> {Self}`"
)]
#[cfg_attr(
    feature = "rmcp",
    diagnostic::on_unimplemented(
        note = "an MCP tool has room for it in `Result<T, portcullis::Refused>` and in `Result<CallToolResult, ErrorData>`"
    )
)]
pub trait FromRefused {
    /// Turns the reason into the function's own return type.
    fn from_refused(refused: Refused) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T, E: From<Refused>> FromRefused for Result<T, E> {
    fn from_refused(refused: Refused) -> Self {
        Err(E::from(refused))
    }
}

/// A return type whose success can be kept as a receipt and given again to a retry.
///
/// For `Result<T, E>` the receipt is the `T`, which borrows nothing. For the other [`Outcome`]s it is the value itself.
#[diagnostic::on_unimplemented(
    message = "`#[once]` can't keep a receipt of `{Self}`",
    label = "a retry must get the original result, so it has to be stored",
    note = "the value in `Ok` must implement `serde::Serialize` and `serde::de::DeserializeOwned` \
            (`#[derive(serde::Serialize, serde::Deserialize)]`)"
)]
#[cfg_attr(
    feature = "rmcp",
    diagnostic::on_unimplemented(
        note = "for rmcp's `Json<T>` there is one that can: `portcullis::adapters::rmcp::Json<T>`"
    )
)]
pub trait Replay: Outcome + Sized {
    /// What the receipt holds.
    type Value: Serialize + DeserializeOwned;
    /// What `on_err` decides about.
    type Error;
    /// The two sides of the outcome.
    ///
    /// # Errors
    /// The error side is the function's own error.
    fn as_result(&self) -> Result<&Self::Value, &Self::Error>;
    /// The outcome that a stored receipt stands for.
    fn from_value(value: Self::Value) -> Self;
    /// The outcome that a recorded error stands for (`on_err = "record"`).
    fn from_error(error: Self::Error) -> Self;
    /// `true` if the value in `Ok` says by itself that the call failed, as an MCP tool's result with `isError` does. `on_err` decides
    /// about it as about an error, but that an `on_err = path` is not asked (it is "hold"), and that `"record"` keeps the value.
    fn is_failed_value(&self) -> bool {
        false
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static, E> Replay for Result<T, E> {
    type Value = T;
    type Error = E;
    fn as_result(&self) -> Result<&T, &E> {
        self.as_ref()
    }
    fn from_value(value: T) -> Self {
        Ok(value)
    }
    fn from_error(error: E) -> Self {
        Err(error)
    }
    fn is_failed_value(&self) -> bool {
        self.as_ref().is_ok_and(|value| says_failure(value))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Replay for Option<T> {
    type Value = T;
    type Error = ();
    fn as_result(&self) -> Result<&T, &()> {
        self.as_ref().ok_or(&())
    }
    fn from_value(value: T) -> Self {
        Some(value)
    }
    fn from_error((): ()) -> Self {
        None
    }
}

macro_rules! cannot_fail {
    ($($ty:ty)*) => {$(
        impl Outcome for $ty {
            fn is_success(&self) -> bool {
                true
            }
        }
        impl Replay for $ty {
            type Value = $ty;
            type Error = Infallible;
            fn as_result(&self) -> Result<&$ty, &Infallible> {
                Ok(self)
            }
            fn from_value(value: $ty) -> Self {
                value
            }
            fn from_error(error: Infallible) -> Self {
                match error {}
            }
        }
    )*};
}

cannot_fail!(() bool char String u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);

/// What `-> !` becomes inside the expansion.
impl Outcome for Infallible {
    fn is_success(&self) -> bool {
        match *self {}
    }
}
impl Outcome for &str {
    fn is_success(&self) -> bool {
        true
    }
}
