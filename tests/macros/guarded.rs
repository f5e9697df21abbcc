//! Guarded items: what is in them expands as it would without.

use async_trait::async_trait;
use pollster::block_on;
use portcullis::permit::BeforeSideEffect;
use portcullis::{Permit, boundary, budgeted, guarded, once, unguarded};

use crate::{Done, Log, code};

#[guarded]
mod shop {
    use super::*;

    #[once(key = "order", skip(log))]
    #[boundary(before_side_effect)]
    pub(super) async fn refund(log: &Log, order: u64) -> Done {
        log.add("refund");
        Ok(order)
    }

    #[unguarded(reason = "adds up")]
    pub(super) fn sum(a: u64, b: u64) -> u64 {
        a + b
    }

    pub(super) mod inner {
        use super::*;

        #[budgeted(max_steps = 1)]
        pub(in super::super) fn step() -> Done {
            Ok(sum(1, 2))
        }
    }
}

struct Stripe;

#[guarded]
impl Stripe {
    #[boundary(before_side_effect, action = "stripe.charge", permit = permit)]
    fn charge(&self, log: &Log) -> u64 {
        self.unlocked(log, &permit)
    }

    #[unguarded(reason = "can be called with a permit only")]
    fn unlocked(&self, log: &Log, _: &Permit<'_, BeforeSideEffect>) -> u64 {
        log.add("charge");
        7
    }
}

#[guarded]
#[async_trait]
trait Sells: Sync {
    async fn price(&self) -> u64;

    #[once(action = "sells.sell", key = "order", skip(log))]
    #[boundary(before_job)]
    async fn sell(&self, log: &Log, order: u64) -> Done {
        log.add("sell");
        Ok(order * self.price().await)
    }
}

#[async_trait]
#[guarded]
impl Sells for Stripe {
    #[boundary(before_cost, action = "stripe.price")]
    async fn price(&self) -> u64 {
        3
    }
}

#[test]
fn a_guarded_module_works_as_without() {
    let log = Log::default();
    log.gate().scope_sync(|| {
        assert_eq!(block_on(shop::refund(&log, 1)).unwrap(), 1);
        assert_eq!(block_on(shop::refund(&log, 1)).unwrap(), 1);
        assert_eq!(log.take(), ["ask refund", "refund", "ask refund"]);
        assert_eq!(shop::sum(1, 2), 3);
        assert_eq!(log.take(), [""; 0]);
    });
    log.gate().scope_sync(|| {
        assert_eq!(shop::inner::step().unwrap(), 3);
        assert_eq!(code(shop::inner::step()), "budget_steps");
    });
}

#[test]
fn a_guarded_impl_works_as_without() {
    let log = Log::default();
    log.gate().scope_sync(|| {
        assert_eq!(Stripe.charge(&log), 7);
        assert_eq!(log.take(), ["ask stripe.charge", "charge"]);
    });
}

#[test]
fn a_guarded_trait_works_as_without() {
    let log = Log::default();
    log.gate().scope_sync(|| {
        assert_eq!(block_on(Stripe.sell(&log, 2)).unwrap(), 6);
        assert_eq!(block_on(Stripe.sell(&log, 2)).unwrap(), 6);
        assert_eq!(log.take(), ["ask sells.sell", "sell", "ask stripe.price", "ask sells.sell"]);
    });
}
