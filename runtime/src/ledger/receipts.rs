//! What becomes of a result before it is stored: a size that it may have, and a seal that the program may put on it.
//!
//! # Invariants
//! 1. With a seal configured, nothing that the seal has not made is stored.
//! 2. Whatever fails in here, the effect has happened: the claim is committed, at worst without a receipt.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Kept, Receipt};

/// How large a receipt may be, unless it is configured otherwise.
pub(crate) const MAX: usize = 1 << 20;

/// Whose receipt it is: bind a ciphertext to it, so that one can't be put in another's place.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Sealing<'a> {
    /// The namespace of the claim.
    pub namespace: &'a str,
    /// Its action.
    pub action: &'a str,
    /// Its key's text.
    pub key: &'a str,
}

/// Redacts or encrypts receipts on their way into the ledger, and reads them on their way out.
///
/// Set with [`Builder::seal`](crate::Builder::seal). It is given the result (or, with `on_err = "record"`, the error) as JSON,
/// and what it returns is stored in its place. A seal that redacts opens by returning the text as it is; the first caller gets
/// the whole result, and a retry gets what was left of it, if the function's return type can be read from that.
///
/// It is called on the threads of guarded calls, also inside of async runtimes: it must not block.
///
/// # Errors
/// A seal that fails, or panics, costs the receipt and not the call: the claim is committed without one, the first caller gets
/// its result and a warning is logged, and retries are refused as `receipt_unreadable`. With `on_err = "record"` the claim stays in
/// doubt. One that can't open refuses the retry as `receipt_unreadable`.
///
/// ```
/// use portcullis::ledger::{Seal, Sealing};
///
/// /// Keeps the id and nothing else.
/// struct OnlyTheId;
///
/// impl Seal for OnlyTheId {
///     fn seal(&self, _: Sealing<'_>, json: String) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
///         let receipt: serde_json::Value = serde_json::from_str(&json)?;
///         Ok(serde_json::json!({ "id": receipt["id"] }).to_string())
///     }
///     fn open(&self, _: Sealing<'_>, sealed: String) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
///         Ok(sealed)
///     }
/// }
/// ```
pub trait Seal: Send + Sync + 'static {
    /// What is stored in the place of `json`.
    ///
    /// # Errors
    /// Nothing is stored.
    fn seal(&self, of: Sealing<'_>, json: String) -> Result<String, Box<dyn StdError + Send + Sync>>;

    /// The JSON that `sealed` stands for.
    ///
    /// # Errors
    /// The retry is refused as `receipt_unreadable`.
    fn open(&self, of: Sealing<'_>, sealed: String) -> Result<String, Box<dyn StdError + Send + Sync>>;
}

/// How a gate keeps receipts.
#[derive(Clone)]
pub(crate) struct Receipts {
    pub(crate) max: usize,
    pub(crate) seal: Option<Arc<dyn Seal>>,
}

impl Default for Receipts {
    fn default() -> Self {
        Receipts { max: MAX, seal: None }
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").field("max", &self.max).field("sealed", &self.seal.is_some()).finish()
    }
}

impl Receipts {
    /// What is stored of `json`.
    pub(crate) fn keep(&self, of: Sealing<'_>, json: String) -> Receipt {
        let action = of.action;
        let kept = match &self.seal {
            None => Kept { text: json, sealed: false },
            Some(seal) => match guarded(|| seal.seal(of, json)) {
                Ok(text) => Kept { text, sealed: true },
                Err(error) => {
                    tracing::warn!(target: "portcullis", action, error, "the seal failed, so no receipt is kept: retries will get `receipt_unreadable`");
                    return Receipt::Unsealed;
                }
            },
        };
        if kept.text.len() > self.max {
            tracing::warn!(target: "portcullis", action, bytes = kept.text.len(), max = self.max, "the result is too large for a receipt: retries will get `receipt_too_large`");
            return Receipt::TooLarge;
        }
        Receipt::Kept(kept)
    }

    /// The JSON that was kept, or why it can't be read.
    pub(crate) fn read(&self, of: Sealing<'_>, kept: Kept) -> Result<String, String> {
        match (&self.seal, kept.sealed) {
            (_, false) => Ok(kept.text),
            (Some(seal), true) => guarded(|| seal.open(of, kept.text)),
            (None, true) => Err("it was sealed, and this gate has no seal".to_owned()),
        }
    }
}

/// A seal is somebody else's code.
fn guarded(work: impl FnOnce() -> Result<String, Box<dyn StdError + Send + Sync>>) -> Result<String, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the seal panicked".to_owned()),
    }
}
