//! What a refused caller reads: what is known, since when, who holds it, and where to look.

use super::ClaimRequest;
use super::holder::Holder;
use crate::clock::when;
use crate::refused::{Kind, Refused};

/// What messages tell of a stored claim. Times are milliseconds since 1970.
pub(crate) trait Standing {
    fn epoch(&self) -> u64;
    fn claimed_ms(&self) -> i64;
    fn settled_ms(&self) -> Option<i64>;
    /// How an attempt in doubt ended.
    fn ended(&self) -> Option<&str>;
}

/// How to name a claim to the command without its key.
fn look(request: &ClaimRequest) -> String {
    format!("`portcullis ledger show {}` shows it", &request.digest.hex()[..16])
}

fn by(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "a process that the ledger has forgotten".to_owned(), Holder::to_string)
}

pub(crate) fn conflict(request: &ClaimRequest, row: &impl Standing) -> Refused {
    let why = format!(
        "its key was used with other parameters at {} (attempt {}); {}",
        when(row.claimed_ms()),
        row.epoch(),
        look(request)
    );
    Refused::new(Kind::KeyConflict, &request.action, why).advise(
        "use a key that belongs to exactly one set of parameters, or leave parameters that may differ out with `skip(…)`",
    )
}

pub(crate) fn in_flight(request: &ClaimRequest, row: &impl Standing, holder: Option<&Holder>) -> Refused {
    let why = format!("it has been running since {} in {}; {}", when(row.claimed_ms()), by(holder), look(request));
    Refused::new(Kind::InFlight, &request.action, why).advise("try again in a moment, or wait for it: `wait = \"5s\"`")
}

pub(crate) fn in_doubt(request: &ClaimRequest, row: &impl Standing, holder: Option<&Holder>) -> Refused {
    let ended = row.ended().unwrap_or("no record of how it ended");
    let why = format!(
        "it was started at {} in {} and its outcome is unknown ({ended}); {}",
        when(row.claimed_ms()),
        by(holder),
        look(request)
    );
    Refused::new(Kind::InDoubt, &request.action, why)
        .advise("find out whether the effect happened before anything else: it is never run again by itself")
}

pub(crate) fn expired(request: &ClaimRequest, row: &impl Standing) -> Refused {
    let settled = row.settled_ms().map_or_else(|| "earlier".to_owned(), |at| format!("at {}", when(at)));
    let why =
        format!("it happened {settled}, and its receipt was kept only as long as `retain` says; {}", look(request));
    Refused::new(Kind::ReceiptExpired, &request.action, why).advise("keep receipts longer than callers retry")
}

pub(crate) fn unreadable(request: &ClaimRequest) -> Refused {
    let why = format!("it happened, and its result could not be written as JSON; {}", look(request));
    Refused::new(Kind::ReceiptUnreadable, &request.action, why)
        .advise("return a value that serde_json can write and read")
}

pub(crate) fn too_large(request: &ClaimRequest, cap: usize) -> Refused {
    let why = format!("it happened, and its result was larger than the {cap} bytes that are kept; {}", look(request));
    Refused::new(Kind::ReceiptTooLarge, &request.action, why)
        .advise("return an id or a summary, and keep the rest where it belongs")
}

pub(crate) fn ambiguous(request: &ClaimRequest, known: Option<&str>) -> Refused {
    let here = request.place.as_deref().unwrap_or("a place that gives its name");
    let there =
        known.map_or_else(|| "was given out by hand elsewhere".to_owned(), |place| format!("belongs to {place}"));
    let why = format!("its action has no name of its own: the default, used at {here}, {there}");
    Refused::new(Kind::ActionAmbiguous, &request.action, why)
        .advise("give the function its own name: `action = \"…\"`, once and for good")
}

pub(crate) fn draining(action: &str) -> Refused {
    Refused::new(Kind::Halted, action, "this process is draining and starts nothing new")
        .advise("retry in another process")
}
