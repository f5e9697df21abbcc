//! What can stand at `reconcile = …`: a path or a closure, sync or async as the function is, which may borrow what the body borrows.
#![deny(warnings)]

use std::future::Future;
use std::pin::Pin;

use portcullis::permit::BeforeSideEffect;
use portcullis::{Doubt, Permit, Reconciled, Refused, boundary, budgeted, once};
use serde::Serialize;
use serde::de::DeserializeOwned;

type R<T> = Result<T, Refused>;

fn find(_: &Doubt) -> Reconciled<u64> {
    Reconciled::Unknown
}

async fn find_later(doubt: &Doubt) -> Reconciled<u64> {
    if doubt.epoch() > 1 { Reconciled::DidNotHappen } else { Reconciled::Unknown }
}

fn find_any<T: Default>(_: &Doubt) -> Reconciled<T> {
    Reconciled::Happened(T::default())
}

#[once(key = "id", reconcile = find)]
pub fn path(id: u64) -> R<u64> {
    Ok(id)
}

#[once(key = "id", reconcile = find_later, reconcile_after = "5s", provider_window = "23h", max_run = "10m", retain = "30d")]
pub async fn path_later(id: u64) -> R<u64> {
    Ok(id)
}

#[once(key = "id", reconcile = find_any::<u64>)]
pub fn turbofish(id: u64) -> R<u64> {
    Ok(id)
}

#[once(key = "id", refused = refuse, reconcile = find)]
pub fn another_type(id: u64) -> Option<u64> {
    Some(id)
}

fn refuse(_: Refused) -> Option<u64> {
    None
}

#[once(action = "generic", key = "id", reconcile = find_any)]
pub fn generic<T: Default + Serialize + DeserializeOwned>(id: u64, value: T) -> R<T> {
    if id == 0 { Ok(T::default()) } else { Ok(value) }
}

#[once(key = "name", reconcile = |doubt| Reconciled::Happened(format!("{name} {}", doubt.key())), settle = "lazy")]
pub fn closure(name: &str) -> R<String> {
    Ok(name.to_owned())
}

#[once(key = "name", reconcile = async |_| { std::future::ready(()).await; Reconciled::Happened(name.to_owned()) })]
pub async fn closure_later(name: &str) -> R<String> {
    Ok(name.to_owned())
}

pub struct Shop(u64);

impl Shop {
    async fn find(&self, _: &Doubt) -> Reconciled<u64> {
        Reconciled::Happened(self.0)
    }

    #[boundary(before_side_effect, permit = permit)]
    #[once(action = "shop.pay", key = "id", claim = claim, reconcile = async |doubt| self.find(doubt).await)]
    #[budgeted(max_steps = 5)]
    pub async fn pay(&self, id: u64) -> R<u64> {
        claim.note(id.to_string()).await?;
        self.spend(id, &permit)
    }

    fn spend(&self, id: u64, _: &Permit<'_, BeforeSideEffect>) -> R<u64> {
        Ok(id + self.0)
    }

    #[once(action = "shop.boxed", key = "id", reconcile = find_later)]
    pub fn boxed<'a>(&'a self, id: &'a u64) -> Pin<Box<dyn Future<Output = R<u64>> + Send + 'a>> {
        Box::pin(async move { Ok(*id + self.0) })
    }

    #[once(action = "shop.impl", key = "id", reconcile = find_later)]
    pub fn returned(&self, id: u64) -> impl Future<Output = R<u64>> + Send {
        async move { Ok(id + self.0) }
    }
}

fn send<T: Send>(_: T) {}

fn main() {
    if false {
        let shop = Shop(1);
        send(path_later(1));
        send(closure_later("x"));
        send(shop.pay(1));
        send(shop.boxed(&1));
        send(shop.returned(1));
    }
}
