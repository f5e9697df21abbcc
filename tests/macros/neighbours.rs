//! Other macros on the same function.

use async_trait::async_trait;
use pollster::block_on;
use portcullis::permit::BeforeSideEffect;
use portcullis::{Permit, Refused, boundary, budgeted, once};

use crate::{Done, Log, code};

fn charge(_: &Permit<'_, BeforeSideEffect>, log: &Log) {
    log.add("charge");
}

#[async_trait]
trait Shop: Sync {
    async fn refund(&self, log: &Log, order: u64) -> Done;

    #[once(action = "shop.cancel", key = "order", skip(log))]
    #[boundary(before_side_effect)]
    async fn cancel(&self, log: &Log, order: u64) -> Done {
        if order == 0 {
            return Ok(0);
        }
        log.add("body");
        Ok(order)
    }
}

struct Stripe {
    account: String,
}

#[async_trait]
impl Shop for Stripe {
    #[budgeted(max_steps = 2)]
    #[boundary(before_side_effect, permit = allowed)]
    #[once(action = "stripe.refund", key = "{self.account}:{order}", skip(log))]
    async fn refund(&self, log: &Log, order: u64) -> Done {
        std::future::ready(()).await;
        charge(&allowed, log);
        Ok(order)
    }
}

#[test]
fn async_trait_guards_the_work_and_not_the_making_of_the_future() {
    let log = Log::default();
    let shop: &dyn Shop = &Stripe { account: "a".into() };
    log.gate().scope_sync(|| {
        drop(shop.refund(&log, 1));
        assert_eq!(log.take(), [""; 0]);
        assert_eq!(block_on(shop.refund(&log, 1)).unwrap(), 1);
        assert_eq!(log.take(), ["ask stripe.refund", "charge"]);
        assert_eq!(block_on(shop.refund(&log, 1)).unwrap(), 1);
        assert_eq!(log.take(), ["ask stripe.refund"]);
        assert_eq!(code(block_on(shop.refund(&log, 1))), "budget_steps");
        // A default body, with an early exit.
        assert_eq!(block_on(shop.cancel(&log, 0)).unwrap(), 0);
        assert_eq!(block_on(shop.cancel(&log, 1)).unwrap(), 1);
        assert_eq!(block_on(shop.cancel(&log, 1)).unwrap(), 1);
        assert_eq!(log.take(), ["ask shop.cancel", "ask shop.cancel", "body", "ask shop.cancel"]);
    });
}

async fn other(n: u64) -> Result<u64, Refused> {
    tokio::task::yield_now().await;
    Ok(n)
}

#[tokio::main(flavor = "current_thread")]
#[boundary(before_job)]
#[once(key = "n", skip(log))]
async fn below_main(log: &Log, n: u64) -> Done {
    if n == 0 {
        return Ok(100);
    }
    log.add("body");
    let n = other(n).await?;
    Ok(n)
}

#[boundary(before_job)]
#[tokio::main(flavor = "current_thread")]
#[once(key = "n", skip(log))]
async fn above_main(log: &Log, n: u64) -> Done {
    if n == 0 {
        return Ok(100);
    }
    log.add("body");
    let n = other(n).await?;
    Ok(n)
}

#[test]
fn tokio_main_above_and_below() {
    for (name, main) in [("below_main", below_main as fn(&Log, u64) -> Done), ("above_main", above_main)] {
        let log = Log::default();
        let ask = format!("ask {name}");
        log.gate().scope_sync(|| {
            assert_eq!(main(&log, 0).unwrap(), 100);
            assert_eq!(main(&log, 5).unwrap(), 5);
            assert_eq!(main(&log, 5).unwrap(), 5);
            assert_eq!(log.take(), [&ask, &ask, "body", &ask]);
        });
    }
}

/// What a `macro_rules!` hands on comes in invisible groups.
macro_rules! hands_on {
    ($item:item) => {
        #[budgeted(max_steps = 2)]
        $item
    };
}

hands_on! {
    fn item(n: u64) -> Done {
        Ok(n)
    }
}

hands_on! {
    #[inline]
    #[boundary(before_job)]
    #[once(key = "n", skip(log))]
    async fn whole(log: &Log, n: u64) -> Done {
        log.add("body");
        Ok(n)
    }
}

macro_rules! parts {
    ($(#[$attribute:meta])* $vis:vis fn $name:ident($($argument:ident: $ty:ty),*) -> $output:ty $body:block) => {
        #[budgeted(max_steps = 2)]
        $(#[$attribute])*
        $vis fn $name($($argument: $ty),*) -> $output $body
    };
}

parts! {
    #[inline]
    #[boundary(before_job)]
    #[once(key = "n", skip(log))]
    pub(crate) fn in_parts(log: &Log, n: u64) -> Done {
        log.add("body");
        Ok(n)
    }
}

#[test]
fn macro_rules_may_hand_a_function_on() {
    let log = Log::default();
    log.gate().scope_sync(|| {
        assert_eq!((item(1).unwrap(), item(2).unwrap()), (1, 2));
        assert_eq!(code(item(3)), "budget_steps");
        assert_eq!(block_on(whole(&log, 1)).unwrap(), 1);
        assert_eq!(block_on(whole(&log, 1)).unwrap(), 1);
        assert_eq!(code(block_on(whole(&log, 1))), "budget_steps");
        assert_eq!(in_parts(&log, 1).unwrap(), 1);
        assert_eq!(in_parts(&log, 1).unwrap(), 1);
        assert_eq!(code(in_parts(&log, 1)), "budget_steps");
        assert_eq!(log.take(), ["ask whole", "body", "ask whole", "ask in_parts", "body", "ask in_parts"]);
    });
}

// Our own copy of what a renamed import does, with an attribute in between that leaves the body as it is.
mod renamed {
    use portcullis::{budgeted as limited, once as exactly_once};

    use super::*;

    #[exactly_once(key = "n", skip(log))]
    #[inline]
    #[boundary(before_job)]
    pub(super) fn takes_what_it_knows(log: &Log, n: u64) -> Done {
        log.add("body");
        Ok(n)
    }

    #[limited(max_steps = 1)]
    pub(super) fn alone(n: u64) -> Done {
        Ok(n)
    }
}

#[test]
fn a_renamed_attribute_takes_its_siblings_too() {
    let log = Log::default();
    log.gate().scope_sync(|| {
        assert_eq!(renamed::takes_what_it_knows(&log, 3).unwrap(), 3);
        assert_eq!(renamed::takes_what_it_knows(&log, 3).unwrap(), 3);
        assert_eq!(log.take(), ["ask takes_what_it_knows", "body", "ask takes_what_it_knows"]);
        assert_eq!(renamed::alone(1).unwrap(), 1);
        assert_eq!(code(renamed::alone(1)), "budget_steps");
    });
}
