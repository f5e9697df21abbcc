//! Every mistake in the arguments of `#[once]`, at the word that is wrong.
use portcullis::{Refused, once};

#[once]
fn no_key(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once(keys = "id", key = "id", key = "id")]
fn misspelt_and_doubled(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once(key = "id", skip(client, self), skip = id)]
fn skips(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once(key = "id", on_err = "hald", wait = 5, retain = "0s")]
fn values(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once(key = "id", on_err = release, wait = "5 parsecs", retain = "5")]
fn more_values(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once(key = "id", claim = id, approval = "10m", max_steps = 5)]
fn not_ours(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

#[once("id")]
fn literal(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

fn main() {}
