//! The traps: what must be equal, and what must not.

use std::collections::{BTreeMap, HashMap};

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::*;

fn of<T: Serialize>(value: T) -> [u8; 32] {
    digest_of(&value, Floats::Allowed).unwrap()
}

#[derive(Serialize)]
struct Order {
    id: u32,
    symbol: &'static str,
}

#[derive(Serialize)]
struct Reordered {
    symbol: String,
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u8>,
    added: Option<u8>,
}

#[derive(Serialize)]
enum Side {
    Buy,
    Limit(u8),
    Stop { at: u8 },
}

struct Bytes(&'static [u8]);
impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[test]
fn the_order_of_fields_an_added_none_and_the_width_of_an_integer_do_not_matter() {
    let before = of(Order { id: 7, symbol: "ACME" });
    assert_eq!(before, of(Reordered { symbol: "ACME".into(), id: 7, skipped: None, added: None }));
    assert_ne!(before, of(Reordered { symbol: "ACME".into(), id: 7, skipped: None, added: Some(0) }));
    assert_ne!(before, of(Reordered { symbol: "ACME".into(), id: 8, skipped: None, added: None }));
    assert_eq!(of(1u32), of(1u64));
    assert_eq!(of(1u8), of(1i128));
    assert_eq!(of(-1i8), of(-1i64));
    assert_ne!(of(-1i8), of(1i8));
    assert_ne!(of(-1i8), of(u64::MAX));
    assert_ne!(of(i128::MIN), of(i128::MAX));
}

#[test]
fn the_order_of_a_hash_map_does_not_matter() {
    let hashed: HashMap<_, _> = (0..100).map(|n| (n.to_string(), n)).collect();
    let sorted: BTreeMap<_, _> = hashed.clone().into_iter().collect();
    assert_eq!(of(hashed), of(sorted));
}

#[test]
fn integers_above_two_to_the_53_are_told_apart() {
    assert_ne!(of(1u64 << 53), of((1u64 << 53) + 1));
    assert_ne!(of(u128::MAX), of(u128::MAX - 1));
}

#[test]
fn values_of_different_types_are_told_apart() {
    let all = [
        of(1),
        of(1.0),
        of("1"),
        of(true),
        of(()),
        of(None::<u8>),
        of(Some(None::<u8>)),
        of(""),
        of([1]),
        of([[1]]),
        of((1, 1)),
        of(Bytes(&[1])),
        of(Bytes(b"1")),
        of(Side::Buy),
        of("Buy"),
        of(Side::Limit(1)),
        of(Side::Stop { at: 1 }),
        of(json!({"at": 1})),
        of(json!({})),
        of(json!({"at": null})),
        of(json!([])),
    ];
    for (i, a) in all.iter().enumerate() {
        for (j, b) in all.iter().enumerate() {
            assert_eq!(i == j, a == b, "{i} and {j}");
        }
    }
}

#[test]
fn neighbours_do_not_run_together() {
    assert_ne!(of(("ab", "c")), of(("a", "bc")));
    assert_ne!(of([vec![1], vec![]]), of([vec![], vec![1]]));
    assert_ne!(of([vec![1, 2]]), of([vec![1], vec![2]][..1].to_vec()));
    assert_ne!(of(json!({"a": {"b": 1}})), of(json!({"a": {}, "b": 1})));
}

#[test]
fn an_explicit_none_in_a_map_counts() {
    let with = HashMap::from([("a", None::<u8>)]);
    let without = HashMap::<&str, Option<u8>>::new();
    assert_ne!(of(with), of(without));
}

#[test]
fn floats_go_by_their_bits_with_one_zero_and_no_nan() {
    assert_eq!(of(0.0), of(-0.0));
    assert_eq!(of(1.5f32), of(1.5f64));
    assert_ne!(of(0.1 + 0.2), of(0.3));
    assert_ne!(of(f64::INFINITY), of(f64::NEG_INFINITY));
    assert!(digest_of(&f64::NAN, Floats::Allowed).is_err());
    assert!(digest_of(&[1.0], Floats::Refused).is_err());
}

#[test]
fn a_known_value_keeps_its_fingerprint_across_releases() {
    let payload = Payload::new().arg("order_id", "o-1").arg("cents", &500u64).arg("note", &None::<String>);
    let hex: String = payload.into_fingerprint("t").unwrap().0.iter().map(|byte| format!("{byte:02x}")).collect();
    // If this changes, every stored fingerprint becomes a conflict: raise VERSION and keep the old rules.
    assert_eq!(hex, include_str!("known.txt").trim());
}

#[test]
fn parameters_go_by_name() {
    let print = |payload: Payload| payload.into_fingerprint("t").unwrap();
    let one = print(Payload::new().arg("a", "x").arg("b", &1));
    assert_eq!(one, print(Payload::new().arg("b", &1).arg("a", "x")));
    assert_eq!(one, print(Payload::new().arg("b", &1).arg("new", &None::<u8>).arg("a", "x")));
    assert_ne!(one, print(Payload::new().arg("a", &1).arg("b", "x")));
    assert_ne!(one, print(Payload::new().arg("a", "x")));
    assert_eq!(one.0[0], VERSION);
}

#[test]
fn a_parameter_that_fails_or_panics_is_an_invalid_argument() {
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            std::panic::resume_unwind(Box::new("quietly"))
        }
    }
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(None)?;
            seq.serialize_element(&1)?;
            Err(serde::ser::Error::custom("lost its mind"))
        }
    }
    struct Keyless;
    impl Serialize for Keyless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_value(&1)?;
            map.end()
        }
    }
    for (payload, word) in [
        (Payload::new().arg("price", &f64::NAN), "NaN"),
        (Payload::new().arg("price", &Panics), "panicked"),
        (Payload::new().arg("price", &Fails).arg("later", &1), "lost its mind"),
        (Payload::new().arg("price", &Keyless), "without a key"),
    ] {
        let refused = payload.into_fingerprint("pay").unwrap_err();
        assert_eq!(refused.kind(), Kind::InvalidArgument);
        assert!(refused.to_string().contains(word) && refused.to_string().contains("`price`"), "{refused}");
    }
}
