//! A once function that calls others: what is settled below stays settled, whatever becomes of the call above.

use super::*;

#[derive(Default)]
struct Shop {
    charged: Ran,
    mailed: Ran,
    shipped: Ran,
    /// How often the mail server says no before it says yes.
    mail_fails: AtomicU32,
}

#[once(action = "nested.charge", key = "order", skip(shop))]
fn charge(shop: &Shop, order: &str) -> Result<u32, Error> {
    Ok(shop.charged.again())
}

#[once(action = "nested.mail", key = "order", skip(shop), on_err = "release")]
fn mail(shop: &Shop, order: &str) -> Result<u32, Error> {
    let number = shop.mailed.again();
    let left = shop.mail_fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if left.is_ok() { Err(Error::Provider(421)) } else { Ok(number) }
}

#[once(action = "nested.sell", key = "order", skip(shop), on_err = "release")]
fn sell(shop: &Shop, order: &str) -> Result<Receipt, Error> {
    let cents = charge(shop, order)?;
    let number = mail(shop, order)?;
    shop.shipped.again();
    Ok(Receipt { number, cents: cents.into() })
}

#[test]
fn a_retried_parent_replays_the_children_that_are_settled_and_runs_the_others() {
    let (gate, shop) = (Gate::allowing(), Shop { mail_fails: 2.into(), ..Shop::default() });
    gate.scope_sync(|| {
        for _ in 0..2 {
            assert!(matches!(sell(&shop, "o-1"), Err(Error::Provider(421))));
        }
        let sold = sell(&shop, "o-1").unwrap();
        assert_eq!(sold, Receipt { number: 3, cents: 1 }, "the third mail, and the first charge");
        assert_eq!(sell(&shop, "o-1").unwrap(), sold);
    });
    assert_eq!((shop.charged.times(), shop.mailed.times(), shop.shipped.times()), (1, 3, 1));
}

#[once(action = "nested.doubtful", key = "order", skip(shop))]
fn doubtful(shop: &Shop, order: &str) -> Result<u32, Error> {
    charge(shop, order)?;
    Err(Error::Provider(500))
}

#[test]
fn a_child_keeps_its_receipt_where_the_parent_is_in_doubt() {
    let (gate, shop) = (Gate::allowing(), Shop::default());
    gate.scope_sync(|| {
        doubtful(&shop, "o-1").unwrap_err();
        refused(doubtful(&shop, "o-1"), Kind::InDoubt);
        assert_eq!(charge(&shop, "o-1").unwrap(), 1, "it is asked by itself");
    });
    assert_eq!(shop.charged.times(), 1);
}
