//! What the compiler says about a key is said at the key.
use portcullis::{Refused, once};

struct Opaque;

#[once(key = "order", skip(order))]
fn not_serialize(order: Opaque) -> Result<(), Refused> {
    let Opaque = order;
    Ok(())
}

#[once(key = "order:{order}", skip(order))]
fn not_serialize_in_a_template(order: Opaque) -> Result<(), Refused> {
    let Opaque = order;
    Ok(())
}

#[once(key = "order.id")]
fn no_such_field(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

fn main() {}
