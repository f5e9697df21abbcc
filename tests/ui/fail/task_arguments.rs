//! Every mistake in the arguments of `#[task]`, at what is wrong.
use portcullis::{Refused, once, task};

#[task(kind = "order")]
fn no_id(order: &str) -> Result<(), Refused> {
    Ok(())
}

#[task(id = "report")]
fn the_same_for_every_call(order: &str) -> Result<(), Refused> {
    Ok(())
}

#[task(id = 7)]
fn a_number(order: &str) -> Result<(), Refused> {
    Ok(())
}

#[task(id = "order", max_step = 5)]
fn misspelt(order: &str) -> Result<(), Refused> {
    Ok(())
}

#[task(id = "order", id = "order")]
fn doubled(order: &str) -> Result<(), Refused> {
    Ok(())
}

#[task(id = "order", per = "call", cost = "1.00 USD")]
fn of_another_attribute(order: &str) -> Result<(), Refused> {
    Ok(())
}

#[task(id = "order", kind = "", agent = 7, durable = "yes", max_steps = 0, on_exceed = "stop")]
fn values(order: &str) -> Result<(), Refused> {
    Ok(())
}

#[task(id = find(order)?)]
fn leaves_before_it_is_guarded(order: &str) -> Result<(), Refused> {
    Ok(())
}

struct Order;

#[task(id = "id", agent = order)]
fn no_name(id: u64, order: &Order) -> Result<(), Refused> {
    Ok(())
}

#[task(id = "id")]
fn no_room_for_a_refusal(id: u64) {}

#[task(id = "id")]
#[task(id = "id")]
fn twice(id: u64) -> Result<(), Refused> {
    Ok(())
}

#[once(key = "id")]
#[task(pool_size = 4)]
fn another_crates(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

fn main() {}
