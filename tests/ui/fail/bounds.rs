//! Values of the wrong type, at the value, in our words.
use portcullis::{OnErr, Portcullis, Refused, boundary, budgeted, once};

struct Mine;

#[boundary(before_cost, with = gate)]
fn no_gate(gate: &Mine) {
    let _ = gate;
}

#[boundary(before_cost, with = gate)]
fn perhaps_a_gate(gate: Option<Portcullis>) {
    let _ = gate;
}

#[boundary(before_side_effect, resource = order)]
fn a_resource_without_a_text(order: &Mine) {
    let _ = order;
}

#[boundary(before_side_effect, action = order)]
fn an_action_that_is_no_text(order: u64) {
    let _ = order;
}

#[boundary(before_fan_out, width = share)]
fn a_width_that_is_no_number(share: f64) {
    let _ = share;
}

#[boundary(before_fan_out, width = jobs)]
fn a_width_that_is_a_list(jobs: &[u64]) {
    let _ = jobs;
}

#[budgeted(max_steps = 5, per = tenant)]
fn a_key_without_a_text(tenant: &Mine) {
    let _ = tenant;
}

#[budgeted(max_cost = "5 USD", cost = price)]
fn a_cost_without_a_currency(price: f64) {
    let _ = price;
}

#[budgeted(max_cost = "5 USD", cost = "a lot")]
fn a_cost_without_a_number() {}

fn no_refusal_in_it(_: u64) -> Result<(), Mine> {
    Ok(())
}

#[budgeted(max_steps = 5, refused = no_refusal_in_it)]
fn refused_by_something_else() -> Result<(), Mine> {
    Ok(())
}

fn another_return_type(_: Refused) -> u64 {
    0
}

#[budgeted(max_steps = 5, refused = another_return_type)]
fn refused_with_something_else() -> Result<(), Mine> {
    Ok(())
}

fn by_text(_: &String) -> OnErr {
    OnErr::Hold
}

#[once(key = "id", on_err = by_text)]
fn judged_by_another_error(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

fn says_yes(_: &Refused) -> bool {
    true
}

#[once(key = "id", on_err = says_yes)]
fn judged_with_a_bool(id: u64) -> Result<u64, Refused> {
    Ok(id)
}

fn main() {}
