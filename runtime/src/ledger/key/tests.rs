//! What text a key has, and that different keys have different texts.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn text<T: Serialize + ?Sized>(value: &T) -> String {
    Key::of(value).into_text("t").unwrap()
}

fn refusal(key: Key) -> Refused {
    let refused = key.into_text("orders.refund").unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidKey);
    refused
}

#[derive(Serialize)]
struct OrderId(String);

#[derive(Serialize)]
struct Order {
    tenant: &'static str,
    id: u32,
}

#[derive(Serialize)]
struct Priced {
    price: f64,
}

#[derive(Serialize)]
enum Side {
    Buy,
    Limit(u8),
}

#[test]
fn scalars_are_their_own_text() {
    assert_eq!(text("o-1"), "o-1");
    assert_eq!(text(&"o-1".to_owned()), "o-1");
    assert_eq!(text(&OrderId("o-1".into())), "o-1");
    assert_eq!(text(&Some("o-1")), "o-1");
    assert_eq!(text(&-7i8), "-7");
    assert_eq!(text(&u128::MAX), u128::MAX.to_string());
    assert_eq!(text(&true), "true");
    assert_eq!(text(&'x'), "x");
    assert_eq!(text(&Side::Buy), "Buy");
}

#[test]
fn parts_of_a_tuple_can_not_run_together() {
    assert_eq!(text(&("acme", "o-1")), "4:acme,3:o-1");
    assert_eq!(text(&["acme", "o-1"]), "4:acme,3:o-1");
    assert_ne!(text(&("a", "b,1:c")), text(&("a,1:b", "c")));
    assert_ne!(text(&(vec!["a"], vec!["b"])), text(&(vec!["a", "b"], Vec::<&str>::new())));
    assert_ne!(text(&[vec![""]]), text(&[Vec::<&str>::new()]));
    assert_eq!(text(&("\u{e4}", 1)), "2:\u{e4},1:1");
}

#[test]
fn what_has_a_shape_goes_by_its_fingerprint() {
    let order = text(&Order { tenant: "acme", id: 1 });
    assert!(order.starts_with("fp:") && order.len() == 67, "{order}");
    assert_ne!(order, text(&Order { tenant: "acme", id: 2 }));
    assert_eq!(text(&HashMap::from([(1, 2), (3, 4)])), text(&HashMap::from([(3, 4), (1, 2)])));
    assert!(text(&Side::Limit(1)).starts_with("fp:"));
    assert!(text(&("acme", Order { tenant: "acme", id: 1 })).starts_with("4:acme,67:fp:"));
}

#[test]
fn what_is_no_id_is_refused() {
    for key in [
        Key::of(""),
        Key::of(&"x".repeat(MAX + 1)),
        Key::of(&()),
        Key::of(&None::<u8>),
        Key::of(&1.0),
        Key::of(&("a", 1.0f32)),
        Key::of(&("a", None::<u8>)),
        Key::of(&Priced { price: 1.0 }),
        Key::of(&Vec::<u8>::new()),
        Key::template(&["", ""], &[&""]),
        Key::template(&["a", "b"], &[&1.0]),
        Key::template(&["a", "", "b"], &[&1, &2]),
        Key::template(&["a%", "b"], &[&1]),
        Key::template(&["a"], &[&1]),
    ] {
        refusal(key);
    }
    assert_eq!(text(&"x".repeat(MAX)).len(), MAX);
    let message = refusal(Key::of("")).to_string();
    assert_eq!(
        message,
        "invalid_key: refused `orders.refund`: its key is empty; a key is the id of what is done once: a string, an \
         integer, or a tuple of these"
    );
}

#[test]
fn a_template_escapes_what_its_literals_hold() {
    let key = |symbol: &str, quantity: u32| {
        Key::template(&["order:", ":", ""], &[&symbol, &quantity]).into_text("t").unwrap()
    };
    assert_eq!(key("ACME", 5), "order:ACME:5");
    assert_eq!(key("A:C", 5), "order:A%3AC:5");
    assert_eq!(key("100%", 5), "order:100%25:5");
    assert_eq!(key("order", 5), "order:%6F%72%64%65%72:5");
}

#[test]
fn an_identity_keeps_its_parts_apart() {
    let all = [
        Digest::new("shop", "refund", "o-1"),
        Digest::new("shop", "refund", "o-2"),
        Digest::new("shoprefund", "", "o-1"),
        Digest::new("shop", "refundo", "-1"),
        Digest::new("", "shop", "refundo-1"),
    ];
    for (i, a) in all.iter().enumerate() {
        assert!(all.iter().skip(i + 1).all(|b| a != b));
    }
    assert_eq!(all[0].hex().len(), 64);
}

proptest! {
    #[test]
    fn templates_are_injective(
        literals in prop::collection::vec("[ab3F:é]{1,2}", 3),
        one in prop::array::uniform2("[abF3:%é ]{0,4}"),
        other in prop::array::uniform2("[abF3:%é ]{0,4}"),
    ) {
        let literals: Vec<_> = literals.iter().map(String::as_str).collect();
        let key = |values: &[String; 2]| template(&literals, &[&values[0], &values[1]]).unwrap();
        prop_assert_eq!(one == other, key(&one) == key(&other));
    }

    #[test]
    fn tuples_are_injective(one: (String, Vec<String>), other: (String, Vec<String>)) {
        let key = |value: &(String, Vec<String>)| text::of(value).unwrap();
        prop_assert_eq!(one == other, key(&one) == key(&other));
    }

    #[test]
    fn short_tuples_are_injective(one in prop::array::uniform3("[0-3:,]{0,5}"), other in prop::array::uniform3("[0-3:,]{0,5}")) {
        prop_assert_eq!(one == other, text::of(&one).unwrap() == text::of(&other).unwrap());
    }
}
