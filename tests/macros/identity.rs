//! One function never gets another's receipt.

use pollster::block_on;
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

/// Neither `self` nor `Self`: to the attribute these look like free functions.
impl<C: Currency> Shop<C> {
    #[once(key = "id")]
    fn settle(id: u64) -> Done {
        Ok(id * C::CENTS)
    }
}

trait Settles {
    const CENTS: u64;

    #[once(key = "id", skip(_later))]
    async fn close(id: u64, _later: &[u64]) -> Done {
        Ok(id * Self::CENTS)
    }
}

impl Settles for Euro {
    const CENTS: u64 = 1;
}

impl Settles for Dollar {
    const CENTS: u64 = 2;
}

#[once(key = "id")]
fn repeated<T: serde::Serialize>(id: u64, amount: T) -> Done {
    drop(amount);
    Ok(id)
}

#[test]
fn a_function_of_two_types_is_two_places() {
    Gate::allowing().scope_sync(|| {
        assert_eq!(Shop::<Euro>::settle(10).unwrap(), 10);
        assert_eq!(Shop::<Euro>::settle(10).unwrap(), 10);
        assert_eq!(code(Shop::<Dollar>::settle(10)), "action_ambiguous");
        assert_eq!(block_on(<Euro as Settles>::close(10, &[])).unwrap(), 10);
        assert_eq!(code(block_on(<Dollar as Settles>::close(10, &[]))), "action_ambiguous");
        // The arguments tell these apart.
        assert_eq!(repeated(1, 5).unwrap(), 1);
        assert_eq!(repeated(1, 5).unwrap(), 1);
        assert_eq!(code(repeated(1, "five")), "key_conflict");
        assert_eq!(repeated(2, "five").unwrap(), 2);
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
