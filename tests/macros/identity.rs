//! One function never gets another's receipt.

use portcullis::testing::Gate;
use portcullis::{boundary, once};

use crate::{Done, code};

mod euros {
    use super::*;

    #[once(key = "id")]
    pub(super) fn pay(id: u64) -> Done {
        Ok(id)
    }
}

mod dollars {
    use super::*;

    #[once(key = "id")]
    pub(super) fn pay(id: u64) -> Done {
        Ok(id + 100)
    }
}

#[test]
fn two_functions_of_one_name_are_told_apart() {
    Gate::allowing().scope_sync(|| {
        assert_eq!(euros::pay(1).unwrap(), 1);
        assert_eq!(code(dollars::pay(1)), "action_ambiguous");
        assert_eq!(code(dollars::pay(2)), "action_ambiguous");
        assert_eq!(euros::pay(1).unwrap(), 1);
    });
}

trait Currency {
    const ACTION: &str;
    const CENTS: u64;
}

struct Euro;
impl Currency for Euro {
    const ACTION: &str = "pay.eur";
    const CENTS: u64 = 1;
}

struct Dollar;
impl Currency for Dollar {
    const ACTION: &str = "pay.usd";
    const CENTS: u64 = 2;
}

#[once(key = "id", action = C::ACTION)]
#[boundary(before_side_effect)]
fn pay<C: Currency>(id: u64) -> Done {
    Ok(id * C::CENTS)
}

struct Shop<C>(C);

impl<C: Currency> Shop<C> {
    #[once(key = "id", action = C::ACTION)]
    #[boundary(before_side_effect)]
    fn pay(&self, id: u64) -> Done {
        Ok(id * C::CENTS + 100)
    }
}

#[test]
fn an_action_may_depend_on_a_type() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        assert_eq!((pay::<Euro>(10).unwrap(), pay::<Dollar>(10).unwrap()), (10, 20));
        assert_eq!(Shop(Euro).pay(10).unwrap(), 10, "one action, one receipt");
        assert_eq!(Shop(Dollar).pay(11).unwrap(), 122);
    });
    let actions: Vec<_> = gate.crossed().into_iter().map(|(_, action)| action).collect();
    assert_eq!(actions, ["pay.eur", "pay.usd", "pay.eur", "pay.usd"]);
}

#[boundary(before_cost)]
fn r#match() {}

#[boundary(before_cost, action = "orders.refund")]
fn named() {}

#[test]
fn the_action_is_the_name_as_it_is_spoken() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        r#match();
        named();
    });
    let actions: Vec<_> = gate.crossed().into_iter().map(|(_, action)| action).collect();
    assert_eq!(actions, ["match", "orders.refund"]);
}
