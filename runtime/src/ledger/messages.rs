//! What a refused caller reads: what is known, since when, who holds it, and where to look.

use std::fmt::Display;

use super::ClaimRequest;
use super::row::Row;
use super::rules::{Hint, Why};
use crate::clock::when;
use crate::refused::{Kind, Refused};

/// How to name a claim to the command without its key.
fn look(request: &ClaimRequest) -> String {
    format!("`portcullis ledger show {}` shows it", &request.digest.hex()[..16])
}

fn by(holder: Option<&impl Display>) -> String {
    holder.map_or_else(|| "a process that the ledger has forgotten".to_owned(), ToString::to_string)
}

/// Why a claim is refused for good.
pub(crate) fn refused(request: &ClaimRequest, why: Why, row: &Row, holder: Option<&impl Display>) -> Refused {
    match why {
        Why::Conflict => conflict(request, row),
        Why::InDoubt(hint) => in_doubt(request, row, holder, hint),
        Why::Expired => expired(request, row),
        Why::Absent => absent(request),
        Why::Unreadable => unreadable(request),
        Why::TooLarge => too_large(request),
    }
}

fn conflict(request: &ClaimRequest, row: &Row) -> Refused {
    let why = format!(
        "its key was used with other parameters at {} (attempt {}); {}",
        when(row.claimed_ms),
        row.epoch,
        look(request)
    );
    Refused::new(Kind::KeyConflict, &request.action, why).advise(
        "use a key that belongs to exactly one set of parameters, or leave parameters that may differ out with `skip(…)`",
    )
}

pub(crate) fn in_flight(request: &ClaimRequest, row: &Row, holder: Option<&impl Display>) -> Refused {
    let why = format!("it has been running since {} in {}; {}", when(row.claimed_ms), by(holder), look(request));
    Refused::new(Kind::InFlight, &request.action, why).advise("try again in a moment, or wait for it: `wait = \"5s\"`")
}

fn in_doubt(request: &ClaimRequest, row: &Row, holder: Option<&impl Display>, hint: Hint) -> Refused {
    let ended = row.ended.as_deref().unwrap_or("no record of how it ended");
    let why = format!(
        "it was started at {} in {} and its outcome is unknown ({ended}); {}{}",
        when(row.claimed_ms),
        by(holder),
        match hint {
            Hint::None => "",
            Hint::Running => "its body may still be running; ",
            Hint::ReconcileLater => "it is too soon to ask the provider (`reconcile_after`); ",
            Hint::WindowOver => "the time in which the provider deduplicates (`provider_window`) is over; ",
            Hint::ClockSuspect => "this machine's clock has gone backwards, so times can't be compared; ",
        },
        look(request)
    );
    Refused::new(Kind::InDoubt, &request.action, why).advise(match hint {
        Hint::None | Hint::WindowOver | Hint::ClockSuspect => {
            "find out whether the effect happened before anything else: it is never run again by itself; \
             `portcullis ledger commit` or `release` says what you found"
        }
        Hint::Running => "wait for it, or end its process: what it returns still counts",
        Hint::ReconcileLater => "try again later",
    })
}

fn expired(request: &ClaimRequest, row: &Row) -> Refused {
    let settled = row.settled_ms.map_or_else(|| "earlier".to_owned(), |at| format!("at {}", when(at)));
    let why =
        format!("it happened {settled}, and its receipt was kept only as long as `retain` says; {}", look(request));
    Refused::new(Kind::ReceiptExpired, &request.action, why).advise("keep receipts longer than callers retry")
}

fn unreadable(request: &ClaimRequest) -> Refused {
    let why = format!("it happened, and its result could not be kept as JSON, or not be sealed; {}", look(request));
    Refused::new(Kind::ReceiptUnreadable, &request.action, why)
        .advise("return a value that serde_json can write and read")
}

fn absent(request: &ClaimRequest) -> Refused {
    let why = format!("it happened, by a person's word, and no receipt was given for it; {}", look(request));
    Refused::new(Kind::ReceiptUnreadable, &request.action, why)
        .advise("`portcullis ledger commit --receipt` puts one on record, once somebody knows it")
}

fn too_large(request: &ClaimRequest) -> Refused {
    let why = format!("it happened, and its result was larger than a receipt may be; {}", look(request));
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
