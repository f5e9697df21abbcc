//! Every mistake in the arguments of `#[boundary]`, at the word that is wrong.
use portcullis::boundary;

#[boundary]
fn nowhere() {}

#[boundary(before_side_efect)]
fn misspelt() {}

#[boundary(before_cost, before_cost)]
fn twice() {}

#[boundary(before_cost, on_deny = exit, on_fault = "retrun")]
fn words() {}

#[boundary(before_cost, on_deny = "exit", on_deny = "return")]
fn doubled() {}

#[boundary(before_cost, before_job, permit = p)]
fn which_permit() {}

#[boundary(before_cost, permit = "p")]
fn quoted_permit() {}

#[boundary(before_cost, permit = id)]
fn taken_name(id: u64) {
    let _ = id;
}

#[boundary(before_cost, width = 3)]
fn width_of_nothing() {}

#[boundary(before_cost, key = "id", approval = "10m", resources = "r")]
fn not_ours() {}

#[boundary("before_cost")]
fn literal() {}

#[boundary(before_cost, resource = find()?, permit)]
fn early_exit() {}

fn main() {}
