//! The same across `.await`.
use portcullis::{Refused, boundary};

fn spawn(_: impl Future + Send + 'static) {}

#[boundary(before_cost, permit = allowed)]
async fn kept_for_later() -> Result<(), Refused> {
    spawn(async move { drop(allowed) });
    Ok(())
}

fn main() {}
