//! Everything that a function can look like.
#![deny(warnings)]

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use portcullis::{Refused, boundary, budgeted, once};

type R<T> = Result<T, Refused>;
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[boundary(before_cost)]
pub fn nothing() {}

#[boundary(before_cost)]
pub fn coerces(early: bool) -> Result<Box<dyn Debug>, String> {
    if early {
        return Ok(Box::new(1));
    }
    Ok(Box::new("x"))
}

#[boundary(before_cost)]
pub async fn coerces_async(early: bool) -> Result<Box<dyn Debug>, String> {
    if early {
        return Ok(Box::new(1));
    }
    Ok(Box::new("x"))
}

#[boundary(before_cost)]
pub fn opaque() -> Result<impl Iterator<Item = u32>, String> {
    Ok([1].into_iter())
}

#[boundary(before_cost)]
pub async fn opaque_async() -> Result<impl Iterator<Item = u32>, String> {
    Ok([1].into_iter())
}

#[boundary(startup)]
pub fn never() -> ! {
    std::process::exit(0)
}

#[boundary(startup)]
pub async fn never_async(code: i32) -> ! {
    std::process::exit(code)
}

#[boundary(before_job, before_cost)]
pub fn exit_code() -> ExitCode {
    ExitCode::SUCCESS
}

#[budgeted(max_steps = 5)]
pub fn unwritten() -> R<()> {
    todo!()
}

#[budgeted(max_steps = 5)]
pub async fn unwritten_async() -> R<()> {
    todo!()
}

#[boundary(before_cost)]
pub fn boxed(n: u64) -> BoxFuture<'static, R<u64>> {
    if n == 0 {
        return Box::pin(async { Ok(0) });
    }
    Box::pin(async move { Ok(n) })
}

#[boundary(before_cost)]
pub fn returns_a_future<'a>(n: &'a u64) -> impl Future<Output = R<u64>> + Send + 'a {
    let m = *n;
    async move { Ok(m) }
}

#[boundary(before_cost, permit = allowed)]
pub fn boxed_with_permit(n: u64) -> Pin<Box<dyn Future<Output = R<u64>> + Send>> {
    Box::pin(async move {
        let _ = allowed.boundary();
        Ok(n)
    })
}

#[once(key = "order", claim = claim, on_err = "release")]
#[boundary(before_side_effect, permit = allowed)]
pub async fn with_both(order: &str, mut cents: u64) -> R<String> {
    cents += 1;
    std::future::ready(()).await;
    let _ = (&allowed, cents);
    Ok(claim.idempotency_key().to_owned())
}

#[once(key = "order", claim = claim)]
pub fn with_claim(order: u64) -> R<u64> {
    claim.did_not_happen();
    Ok(order)
}

pub struct S<T>(pub T, pub u32);

impl<T: Send + Sync> S<T> {
    #[boundary(before_cost)]
    pub fn get(&mut self) -> R<&mut u32> {
        Ok(&mut self.1)
    }

    #[boundary(before_cost, permit = allowed)]
    pub fn get_with_permit(&mut self) -> R<&mut u32> {
        self.1 += u32::from(allowed.boundary() == portcullis::Boundary::BeforeCost);
        Ok(&mut self.1)
    }

    #[boundary(before_cost, permit = allowed)]
    pub async fn get_later(&mut self) -> R<&mut u32> {
        std::future::ready(&allowed).await;
        self.1 += 1;
        Ok(&mut self.1)
    }

    #[boundary(before_cost, permit = allowed)]
    pub async fn choose<'a, F: Fn(&str) -> bool + Send>(&self, a: &'a str, b: &'a str, f: F) -> &'a str {
        let _ = allowed.boundary();
        if f(a) {
            return a;
        }
        std::future::ready(()).await;
        b
    }

    #[boundary(before_cost)]
    pub fn shared(self: Arc<Self>) -> R<u32> {
        Ok(self.1)
    }

    #[boundary(before_cost)]
    pub fn pinned(self: Pin<&mut Self>) -> R<u32> {
        Ok(self.1)
    }

    #[boundary(before_cost)]
    pub fn by_value(mut self, (mut a, (b, _)): (u32, (u32, u32))) -> R<u32> {
        self.1 += 1;
        a += b;
        Ok(a + self.1)
    }

    #[boundary(before_cost)]
    pub async fn borrows<'a>(&'a self, _key: &str, value: &'a str) -> R<&'a str> {
        Ok(value)
    }

    #[once(key = "self.1", skip(f), action = "s.arrays")]
    pub async fn arrays<const N: usize>(&self, pairs: Vec<[u8; 2]>, f: impl Fn() -> usize + Send) -> R<usize> {
        Ok(f() + N + pairs.len())
    }

    #[boundary(before_cost)]
    pub fn associated<U: Into<u64>>(n: U) -> R<u64>
    where
        U: Copy,
    {
        Ok(n.into())
    }
}

pub trait Pays {
    #[once(key = "order", action = "pays.pay")]
    #[boundary(before_side_effect)]
    fn pay(&self, order: u64) -> R<u64> {
        Ok(order)
    }

    #[budgeted(max_steps = 5)]
    fn pay_later(&self, order: u64) -> impl Future<Output = R<u64>> + Send {
        async move { Ok(order) }
    }
}

impl<T> Pays for S<T> {}

/// # Safety
/// None is needed.
#[boundary(before_cost)]
pub unsafe fn dangerous(pointer: *const u64) -> u64 {
    unsafe { *pointer }
}

#[once(key = (tenant, (order, 1)))]
pub fn moves_its_key(tenant: String, order: String) -> R<String> {
    Ok(tenant + &order)
}

#[once(key = "order:{symbol}:{request.1}", on_err = judge, wait = "5s", retain = "30d")]
#[budgeted(max_cost = "5.00 USD", cost = "0.02 USD", per = symbol, max_duration = "30m", max_depth = DEPTH)]
#[boundary(before_fan_out, width = request.0, resource = symbol, with = gate(), on_deny = "return", refused = refuse)]
pub fn everything(
    request: (usize, u64),
    symbol: String,
    #[cfg(not(any()))] kept: u64,
    #[cfg(any())] gone: u64,
) -> Result<u64, String> {
    drop(symbol);
    Ok(request.1 + kept)
}

const DEPTH: u64 = 3;

fn gate() -> portcullis::Portcullis {
    unreachable!("nothing here runs")
}

fn refuse<T>(refused: Refused) -> Result<T, String> {
    Err(refused.to_string())
}

fn judge(error: &String) -> portcullis::OnErr {
    if error.is_empty() { portcullis::OnErr::Release } else { portcullis::OnErr::Hold }
}

fn send<T: Send>(_: T) {}

fn main() {
    if false {
        let mut s = S(1u8, 1);
        send(s.get_later());
        send(s.choose("", "", |_| true));
        drop(coerces_async(true));
        send(boxed(1));
        send(returns_a_future(&1));
        send(boxed_with_permit(1));
        send(with_both("1", 1));
        send(s.borrows("", ""));
        send(s.arrays::<3>(Vec::new(), || 1));
        send(s.pay_later(1));
    }
}
