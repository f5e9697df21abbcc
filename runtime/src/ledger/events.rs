//! What an event says, the same in every store.

use serde_json::{Value, json};

use super::{Kept, Receipt, Settlement, Verdict};

/// How a claim ended whose owner died.
pub(crate) const OWNER_DIED: &str = "its process ended before the outcome was on record";

/// How a claim ended whose body is overdue.
pub(crate) const OVERDUE: &str = "it has been running for longer than `max_run`";

/// How a claim ended that was to settle in a transaction, and did not.
pub(crate) const OUTSIDE_TRANSACTION: &str = "its body returned Ok, and no committed transaction had settled it";

/// Of a settlement; with its receipt if the claim's own row will not have it.
pub(crate) fn settlement(settlement: &Settlement, with_receipt: bool) -> Value {
    let text = |kept: &Kept| with_receipt.then(|| kept.text.clone());
    match settlement {
        Settlement::Committed(Receipt::Kept(kept)) => json!({ "settlement": "committed", "receipt": text(kept) }),
        Settlement::Committed(Receipt::Absent | Receipt::Unencodable | Receipt::TooLarge | Receipt::Unsealed) => {
            json!({ "settlement": "committed", "receipt": null })
        }
        Settlement::Failed(error) => json!({ "settlement": "failed", "error": text(error) }),
        Settlement::InDoubt(ended) => json!({ "settlement": "in_doubt", "ended": ended }),
        Settlement::Overdue => json!({ "settlement": "overdue" }),
        Settlement::Released(ended) => json!({ "settlement": "released", "ended": ended }),
    }
}

/// Of a reconciliation; with its receipt if it came too late, for nothing else has that.
pub(crate) fn reconciliation(verdict: &Verdict, applied: bool) -> Value {
    let (said, receipt) = match verdict {
        Verdict::Happened(Receipt::Kept(kept)) if !applied => ("happened", Some(&kept.text)),
        Verdict::Happened(_) => ("happened", None),
        Verdict::DidNotHappen => ("did_not_happen", None),
        Verdict::Unknown => ("unknown", None),
    };
    json!({ "said": said, "applied": applied, "receipt": receipt })
}
