//! The body is moved, and does what it did.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use pollster::block_on;
use portcullis::testing::Gate;
use portcullis::{Refused, boundary, budgeted, once};

use crate::{BoxFuture, Done, Log, code};

/// Early exits of every kind, in every shape.
macro_rules! exits {
    ($name:ident, $text:ident, [$($signature:tt)*], $body:expr) => {
        #[once(key = "text", action = "exits")]
        #[boundary(before_cost)]
        $($signature)* {
            $body
        }
    };
}

exits!(sync, text, [fn sync(text: &str) -> anyhow::Result<u64>], {
    let number: u64 = text.parse()?;
    if number == 0 {
        anyhow::bail!("zero");
    }
    if number == 1 {
        return Ok(100);
    }
    Ok(number)
});

exits!(asynchronous, text, [async fn asynchronous(text: &str) -> anyhow::Result<u64>], {
    let number: u64 = std::future::ready(text).await.parse()?;
    if number == 0 {
        anyhow::bail!("zero");
    }
    if number == 1 {
        return Ok(100);
    }
    Ok(number)
});

exits!(boxed, text, [fn boxed(text: &str) -> BoxFuture<'_, anyhow::Result<u64>>], {
    if text == "1" {
        return Box::pin(async { Ok(100) });
    }
    Box::pin(async move {
        let number: u64 = text.parse()?;
        if number == 0 {
            anyhow::bail!("zero");
        }
        Ok(number)
    })
});

#[test]
fn early_exits_end_the_call_once_with_their_outcome() {
    let shapes: [fn(&str) -> anyhow::Result<u64>; 3] =
        [sync, |text| block_on(asynchronous(text)), |text| block_on(boxed(text))];
    for run in shapes {
        let gate = Gate::allowing();
        gate.scope_sync(|| {
            assert_eq!(run("1").unwrap(), 100);
            assert_eq!(run("1").unwrap(), 100, "the receipt of an early `Ok`");
            assert_eq!(run("7").unwrap(), 7);
            // An early `Err` is an outcome like a late one: nobody knows what had happened before it.
            for (text, first) in [("0", "zero"), ("x", "invalid digit found in string")] {
                assert_eq!(run(text).unwrap_err().to_string(), first);
                assert_eq!(run(text).unwrap_err().downcast::<Refused>().unwrap().code(), "in_doubt");
            }
        });
        assert_eq!(gate.crossed().len(), 7, "each call asked exactly once");
    }
}

#[boundary(before_cost)]
fn coerces(early: bool) -> Result<Box<dyn Debug>, String> {
    if early {
        return Ok(Box::new(1));
    }
    Ok(Box::new("x"))
}

#[boundary(before_cost)]
async fn coerces_later(early: bool) -> Result<Box<dyn Debug + Send>, String> {
    if early {
        return Ok(Box::new(1));
    }
    Ok(Box::new("x"))
}

#[boundary(before_cost)]
fn counts(to: u32) -> Result<impl Iterator<Item = u32>, String> {
    Ok(0..to)
}

struct Counter {
    count: u32,
}

impl Counter {
    #[boundary(before_cost)]
    fn next(&mut self) -> Result<&mut u32, Refused> {
        self.count += 1;
        Ok(&mut self.count)
    }

    #[boundary(before_cost)]
    async fn later<'a>(&'a mut self, _unused: &str, value: &'a str) -> Option<&'a str> {
        self.count += 1;
        (self.count > 1).then_some(value)
    }

    #[boundary(before_cost)]
    fn shared(self: Arc<Self>) -> u32 {
        self.count
    }

    #[boundary(before_cost)]
    fn pinned(mut self: Pin<&mut Self>) -> u32 {
        self.count += 1;
        self.count
    }

    #[boundary(before_cost)]
    fn consumed(mut self, (mut a, [b, ..]): (u32, [u32; 2])) -> u32 {
        a += b;
        self.count += a;
        self.count
    }
}

#[test]
fn coercions_receivers_and_borrows() {
    Gate::allowing().scope_sync(|| {
        assert_eq!(format!("{:?} {:?}", coerces(true).unwrap(), coerces(false).unwrap()), "1 \"x\"");
        let later = (block_on(coerces_later(true)).unwrap(), block_on(coerces_later(false)).unwrap());
        assert_eq!(format!("{later:?}"), "(1, \"x\")");
        assert_eq!(counts(3).unwrap().sum::<u32>(), 3);

        let mut counter = Counter { count: 0 };
        *counter.next().unwrap() += 10;
        assert_eq!(counter.count, 11);
        let value = String::from("value");
        assert_eq!(block_on(counter.later("", &value)), Some("value"));
        assert_eq!(Pin::new(&mut counter).pinned(), 13);
        assert_eq!(counter.consumed((1, [2, 3])), 16);
        assert_eq!(Arc::new(Counter { count: 5 }).shared(), 5);
    });
}

struct Noisy<'a>(&'a Log, &'static str);

impl Drop for Noisy<'_> {
    fn drop(&mut self) {
        self.0.add(format!("drop {}", self.1));
    }
}

impl Noisy<'_> {
    fn body(&self) {
        self.0.add("body");
    }
}

#[boundary(before_cost)]
#[expect(unused_variables)]
fn drops<'a>(used: Noisy<'a>, unused: Noisy<'a>, _: Noisy<'a>) {
    used.body();
}

#[boundary(before_cost)]
#[expect(unused_variables)]
async fn drops_later<'a>(used: Noisy<'a>, unused: Noisy<'a>, _: Noisy<'a>) {
    used.body();
}

#[test]
fn what_the_body_uses_is_dropped_with_it() {
    let log = Log::default();
    let noisy = |name| Noisy(&log, name);
    Gate::allowing().scope_sync(|| {
        drops(noisy("used"), noisy("unused"), noisy("_"));
        let sync = log.take();
        assert_eq!(sync, ["body", "drop used", "drop _", "drop unused"]);
        block_on(drops_later(noisy("used"), noisy("unused"), noisy("_")));
        assert_eq!(log.take(), sync);
    });
}

/// A guarded call inside of a guarded call is a step of its own.
#[budgeted(max_steps = 3)]
async fn outer(inner_calls: u64) -> Done {
    for n in 0..inner_calls {
        inner(n).await?;
    }
    Ok(inner_calls)
}

#[boundary(before_cost, on_deny = "return")]
async fn inner(n: u64) -> Done {
    Ok(n)
}

#[budgeted(max_steps = 3)]
fn recursive(depth: u64) -> BoxFuture<'static, Done> {
    Box::pin(async move { if depth == 0 { Ok(0) } else { Ok(1 + recursive(depth - 1).await?) } })
}

#[test]
fn guarded_calls_may_contain_guarded_calls() {
    let gate = Gate::allowing();
    gate.scope_sync(|| assert_eq!(block_on(outer(2)).unwrap(), 2));
    let gate = Gate::allowing();
    gate.scope_sync(|| assert_eq!(code(block_on(outer(3))), "budget_steps"));
    let gate = Gate::allowing();
    gate.scope_sync(|| assert_eq!(block_on(recursive(2)).unwrap(), 2));
    let gate = Gate::allowing();
    gate.scope_sync(|| assert_eq!(code(block_on(recursive(3))), "budget_steps"));
}

fn kibibyte() -> [u8; 1024] {
    [7; 1024]
}

async fn bare(data: [u8; 1024]) -> u64 {
    std::future::ready(()).await;
    u64::from(data[0])
}

#[boundary(before_cost)]
async fn one(data: [u8; 1024]) -> u64 {
    std::future::ready(()).await;
    u64::from(data[0])
}

#[boundary(before_cost)]
#[once(key = "id", skip(data))]
#[budgeted(max_steps = 5)]
async fn three(id: u64, data: [u8; 1024]) -> Done {
    std::future::ready(()).await;
    Ok(id + u64::from(data[0]))
}

#[test]
fn a_guarded_future_grows_by_one_copy_of_its_parameters_and_no_more() {
    let (bare, one, three) =
        (size_of_val(&bare(kibibyte())), size_of_val(&one(kibibyte())), size_of_val(&three(1, kibibyte())));
    assert!(one <= bare + 1024 + 512, "{bare} → {one}");
    assert!(three <= one + 512, "{one} → {three}: attributes are one layer");
}
