//! A reconcile function of another shape than the guarded one, or of another type.
use portcullis::{Doubt, Reconciled, Refused, once};

async fn find_later(_: &Doubt) -> Reconciled<u64> {
    Reconciled::Unknown
}

fn find(_: &Doubt) -> Reconciled<u64> {
    Reconciled::Unknown
}

fn find_text(_: &Doubt) -> Reconciled<String> {
    Reconciled::Unknown
}

#[once(key = "id", reconcile = find_later)]
fn sync(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once(key = "id", reconcile = find)]
async fn later(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once(key = "id", reconcile = find_text)]
fn another_type(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

fn main() {}
