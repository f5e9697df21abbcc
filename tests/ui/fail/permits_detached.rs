//! A permit reaches across `.await` and into scoped threads, and not into what goes on when the call is over.
use std::pin::Pin;

use portcullis::permit::BeforeCost;
use portcullis::{Permit, boundary};

async fn ask_model(_: &Permit<'_, BeforeCost>) {}

#[boundary(before_cost, permit = allowed)]
fn in_a_thread() {
    std::thread::spawn(move || drop(allowed));
}

#[boundary(before_cost, permit = allowed)]
async fn in_a_task() {
    tokio::spawn(async move { ask_model(&allowed).await });
}

#[boundary(before_cost, permit = allowed)]
async fn in_a_task_that_is_waited_for() {
    let _ = tokio::spawn(async move { ask_model(&allowed).await }).await;
}

#[boundary(before_cost, permit = allowed)]
async fn lent_to_a_task() {
    let allowed = &allowed;
    tokio::spawn(async move { ask_model(allowed).await });
}

#[boundary(before_cost, permit = allowed)]
async fn on_the_blocking_pool() {
    tokio::task::spawn_blocking(move || drop(allowed));
}

#[boundary(before_cost, permit = allowed)]
fn in_a_future_that_is_returned() -> Vec<Pin<Box<dyn Future<Output = ()>>>> {
    vec![Box::pin(async move { ask_model(&allowed).await })]
}

#[boundary(before_cost, permit = allowed)]
async fn returned() -> Option<Permit<'static, BeforeCost>> {
    Some(allowed)
}

#[boundary(before_cost, permit = allowed)]
async fn kept(slot: &mut Option<Permit<'_, BeforeCost>>) {
    *slot = Some(allowed);
}

fn main() {}
