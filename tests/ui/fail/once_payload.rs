//! What can't be part of the fingerprint is left out by name.
use portcullis::{Refused, once};

trait Client {
    fn send(&self);
}

#[once(key = "order")]
fn refund(order: u64, client: &dyn Client) -> Result<u64, Refused> {
    client.send();
    Ok(order)
}

fn main() {}
