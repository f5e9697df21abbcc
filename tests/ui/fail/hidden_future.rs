//! A future that the macro can't see must not be guarded around its making.
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use portcullis::{Refused, boundary};

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[boundary(before_cost)]
fn alias() -> Work<Result<u64, Refused>> {
    Box::pin(async { Ok(1) })
}

#[boundary(before_cost)]
fn into_future() -> impl IntoFuture<Output = Result<u64, Refused>> {
    std::future::ready(Ok(1))
}

trait Job: Future<Output = u64> {}
impl<F: Future<Output = u64>> Job for F {}

#[boundary(before_cost)]
fn by_another_name() -> impl Job {
    std::future::ready(1)
}

#[boundary(before_cost)]
fn in_a_result() -> Result<Pin<Box<dyn Future<Output = u64>>>, Refused> {
    Ok(Box::pin(async { 1 }))
}

#[boundary(before_cost)]
async fn twice_wrapped() -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async { 1 })
}

fn main() {}
