//! Every mistake in the arguments of `#[once]` that say what becomes of a doubt, at the word that is wrong.
use portcullis::{Doubt, Reconciled, Refused, once};

fn find(_: &Doubt) -> Reconciled<u64> {
    Reconciled::Unknown
}

#[once(key = "id", reconcile = "find", max_run = "0s", settle = "lasy")]
fn values(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once(key = "id", reconcile_after = "5s", provider_window = 23, settle = lazy)]
fn more_values(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once(key = "id", reconcile = find, reconcile_after = "5 parsecs", provider_window = "0s", max_run)]
fn durations(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once(key = "id", settle = "transaction")]
fn settles_nowhere(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[portcullis::budgeted(max_steps = 1, max_run = "1s", reconcile = find)]
fn not_its_own(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

fn main() {}
