//! What is stored of a result: at most so much, as the program's seal leaves it, and never a reason to run again.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis::ledger::{ClaimState, Seal, Sealing};
use portcullis::once;
use serde::{Deserialize, Serialize, Serializer};

use super::*;

type Sealed = Result<String, Box<dyn StdError + Send + Sync>>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    id: String,
    card: Option<String>,
}

fn receipt() -> Receipt {
    Receipt { id: "re_1".into(), card: Some("4242".into()) }
}

/// What went wrong, for who records it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Declined {
    Refused(String),
    Card(String),
}

impl From<Refused> for Declined {
    fn from(refused: Refused) -> Self {
        Declined::Refused(refused.code().into())
    }
}

#[once(action = "refund", key = "order", skip(gate, ran), with = gate)]
fn refund(gate: &Portcullis, ran: &AtomicU32, order: &str) -> Result<Receipt, Error> {
    ran.fetch_add(1, Ordering::SeqCst);
    Ok(receipt())
}

#[once(action = "decline", key = "order", skip(gate, ran), with = gate, on_err = "record")]
fn decline(gate: &Portcullis, ran: &AtomicU32, order: &str) -> Result<Receipt, Declined> {
    ran.fetch_add(1, Ordering::SeqCst);
    Err(Declined::Card("4242".into()))
}

/// Encrypts, as far as a test needs it, and binds what it has made to its claim.
struct Mask;

impl Seal for Mask {
    fn seal(&self, of: Sealing<'_>, json: String) -> Sealed {
        let masked: String = json.bytes().map(|byte| format!("{:02x}", byte ^ 0x5a)).collect();
        Ok(format!("{}/{}/{}:{masked}", of.namespace, of.action, of.key))
    }

    fn open(&self, of: Sealing<'_>, sealed: String) -> Sealed {
        let name = format!("{}/{}/{}:", of.namespace, of.action, of.key);
        let masked = sealed.strip_prefix(&name).ok_or("it is another claim's")?;
        let bytes = (0..masked.len()).step_by(2).map(|i| u8::from_str_radix(&masked[i..i + 2], 16).map(|b| b ^ 0x5a));
        Ok(String::from_utf8(bytes.collect::<Result<_, _>>()?)?)
    }
}

fn on_disk(room: &Room) -> String {
    let raw = rusqlite::Connection::open(room.ledger_path()).unwrap();
    let all = "SELECT coalesce(group_concat(coalesce(receipt, '')), '') FROM claim";
    let events = "SELECT coalesce(group_concat(detail), '') FROM event";
    let text = |sql| raw.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    text(all) + &text(events)
}

#[test]
fn a_seal_keeps_results_and_recorded_errors_out_of_the_file_and_a_retry_gets_them_all_the_same() {
    let room = Room::new();
    let (gate, ran) = (room.builder().seal(Mask).build().unwrap(), AtomicU32::new(0));
    for _ in 0..2 {
        assert_eq!(refund(&gate, &ran, "o-1").unwrap(), receipt());
        assert_eq!(decline(&gate, &ran, "o-2"), Err(Declined::Card("4242".into())));
    }
    assert_eq!(ran.load(Ordering::SeqCst), 2);
    let stored = on_disk(&room);
    assert!(!stored.contains("4242") && stored.contains("tests/refund/o-1:"), "{stored}");
    assert!(room.record_of("refund", "o-1").sealed);
}

#[test]
fn without_its_seal_and_in_another_claims_place_a_receipt_is_unreadable_and_nothing_runs() {
    let room = Room::new();
    let (sealing, ran) = (room.builder().seal(Mask).build().unwrap(), AtomicU32::new(0));
    refund(&sealing, &ran, "o-1").unwrap();
    refund(&sealing, &ran, "o-2").unwrap();
    let refusal = refused(refund(&room.gate(), &ran, "o-1"), Kind::ReceiptUnreadable);
    assert!(refusal.reason().contains("this gate has no seal"), "{refusal}");

    let raw = rusqlite::Connection::open(room.ledger_path()).unwrap();
    let swap = "UPDATE claim SET receipt = (SELECT receipt FROM claim WHERE key = 'o-2') WHERE key = 'o-1'";
    raw.execute(swap, []).unwrap();
    let refusal = refused(refund(&sealing, &ran, "o-1"), Kind::ReceiptUnreadable);
    assert!(refusal.reason().contains("it is another claim's"), "{refusal}");
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

/// Keeps the id and nothing else.
struct OnlyTheId;

impl Seal for OnlyTheId {
    fn seal(&self, _: Sealing<'_>, json: String) -> Sealed {
        let receipt: serde_json::Value = serde_json::from_str(&json)?;
        Ok(serde_json::json!({ "id": receipt["id"] }).to_string())
    }
    fn open(&self, _: Sealing<'_>, sealed: String) -> Sealed {
        Ok(sealed)
    }
}

#[test]
fn a_seal_that_redacts_gives_a_retry_what_is_left() {
    let room = Room::new();
    let (gate, ran) = (room.builder().seal(OnlyTheId).build().unwrap(), AtomicU32::new(0));
    assert_eq!(refund(&gate, &ran, "o-1").unwrap(), receipt());
    assert_eq!(refund(&gate, &ran, "o-1").unwrap(), Receipt { card: None, ..receipt() });
    assert!(!on_disk(&room).contains("4242"));
}

/// Fails, or panics.
struct Broken(bool);

impl Seal for Broken {
    fn seal(&self, _: Sealing<'_>, _: String) -> Sealed {
        if self.0 { panic!("in the seal") } else { Err("no key".into()) }
    }
    fn open(&self, _: Sealing<'_>, _: String) -> Sealed {
        panic!("nothing was sealed")
    }
}

#[test]
fn where_a_seal_fails_nothing_is_stored_and_nothing_runs_again() {
    for panics in [false, true] {
        let room = Room::new();
        let (gate, ran) = (room.builder().seal(Broken(panics)).build().unwrap(), AtomicU32::new(0));
        assert_eq!(refund(&gate, &ran, "o-1").unwrap(), receipt(), "the first caller has its result");
        refused(refund(&gate, &ran, "o-1"), Kind::ReceiptUnreadable);
        // An error that can't be put on record leaves its call in doubt.
        assert_eq!(decline(&gate, &ran, "o-2"), Err(Declined::Card("4242".into())));
        assert_eq!(decline(&gate, &ran, "o-2"), Err(Declined::Refused("in_doubt".into())));
        assert_eq!(ran.load(Ordering::SeqCst), 2);
        assert!(!on_disk(&room).contains("4242"));
    }
}

#[test]
fn a_result_that_is_larger_than_allowed_is_given_once_and_the_refusal_says_what_to_do() {
    let room = Room::new();
    let size = serde_json::to_string(&receipt()).unwrap().len();
    let ran = AtomicU32::new(0);
    let fits = room.builder().max_receipt(size).build().unwrap();
    for _ in 0..2 {
        assert_eq!(refund(&fits, &ran, "o-1").unwrap(), receipt());
    }
    let too_small = room.builder().max_receipt(size - 1).build().unwrap();
    assert_eq!(refund(&too_small, &ran, "o-2").unwrap(), receipt());
    let refusal = refused(refund(&too_small, &ran, "o-2"), Kind::ReceiptTooLarge);
    assert!(refusal.may_have_happened() && refusal.to_string().contains("return an id"), "{refusal}");
    assert_eq!(refund(&too_small, &ran, "o-1").unwrap(), receipt(), "what is stored stays readable");
    assert_eq!(ran.load(Ordering::SeqCst), 2);
    assert_eq!(room.record_of("refund", "o-2").state, ClaimState::Committed);
}

/// The same action after a deploy that changed its result.
mod next_release {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Compatible {
        pub(super) id: String,
        #[serde(default)]
        pub(super) fee: u64,
    }

    #[once(action = "refund", key = "order", skip(gate), with = gate)]
    pub(super) fn compatible(gate: &Portcullis, order: &str) -> Result<Compatible, Error> {
        panic!("{order} has happened")
    }

    #[once(action = "refund", key = "order", skip(gate), with = gate)]
    pub(super) fn another_type(gate: &Portcullis, order: &str) -> Result<u64, Error> {
        panic!("{order} has happened")
    }

    #[once(action = "decline", key = "order", skip(gate), with = gate, on_err = "record")]
    pub(super) fn another_error(gate: &Portcullis, order: &str) -> Result<Receipt, Renamed> {
        panic!("{order} has happened")
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) enum Renamed {
        Refused(String),
    }

    impl From<Refused> for Renamed {
        fn from(refused: Refused) -> Self {
            Renamed::Refused(refused.code().into())
        }
    }
}

#[test]
fn a_receipt_that_a_new_release_can_not_read_is_unreadable_and_never_a_second_run() {
    let room = Room::new();
    let (gate, ran) = (room.gate(), AtomicU32::new(0));
    refund(&gate, &ran, "o-1").unwrap();
    decline(&gate, &ran, "o-2").unwrap_err();
    let kept = next_release::Compatible { id: "re_1".into(), fee: 0 };
    assert_eq!(next_release::compatible(&gate, "o-1").unwrap(), kept);
    let refusal = refused(next_release::another_type(&gate, "o-1"), Kind::ReceiptUnreadable);
    assert!(refusal.to_string().contains("ledger show"), "{refusal}");
    let refusal = next_release::another_error(&gate, "o-2").unwrap_err();
    assert_eq!(refusal, next_release::Renamed::Refused("receipt_unreadable".into()));
    assert_eq!(refund(&gate, &ran, "o-1").unwrap(), receipt(), "the old release still can");
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

/// Its `Serialize` panics.
#[derive(Debug, Deserialize)]
struct Explosive;

impl Serialize for Explosive {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("while it is written")
    }
}

#[once(action = "explode", key = "order", skip(gate, ran), with = gate)]
fn explode(gate: &Portcullis, ran: &AtomicU32, order: &str) -> Result<Explosive, Error> {
    ran.fetch_add(1, Ordering::SeqCst);
    Ok(Explosive)
}

#[test]
fn a_result_that_panics_while_it_is_written_is_given_once_and_never_run_again() {
    let room = Room::new();
    let (gate, ran) = (room.gate(), AtomicU32::new(0));
    explode(&gate, &ran, "o-1").unwrap();
    refused(explode(&gate, &ran, "o-1"), Kind::ReceiptUnreadable);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    refund(&gate, &ran, "o-2").unwrap();
}

#[once(action = "odd", key = "order", skip(gate), with = gate)]
fn odd(gate: &Portcullis, order: &str) -> Result<(String, u128, f64), Error> {
    Ok(("a\u{0}b\u{2028}\"".into(), u128::MAX, 0.1 + 0.2))
}

#[test]
fn odd_values_come_back_as_they_were() {
    let room = Room::new();
    let gate = room.gate();
    let first = odd(&gate, "o-1").unwrap();
    assert_eq!(first, ("a\u{0}b\u{2028}\"".to_owned(), u128::MAX, 0.1 + 0.2));
    assert_eq!(odd(&gate, "o-1").unwrap(), first);
}
