//! `portcullis ledger` on a real PostgreSQL server.

#[allow(dead_code, reason = "the ledger's own tests need more of it")]
#[path = "../../tests/ledger_postgres/server.rs"]
mod server;

use std::process::Command;

use portcullis::{Portcullis, Refused, once};
use serde_json::Value;
use server::Room;

#[derive(Debug)]
enum Error {
    Refused(#[expect(dead_code, reason = "for whoever reads a panic")] Refused),
    Lost,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Error::Refused(refused)
    }
}

#[once(action = "orders.refund", key = "order", skip(gate), with = gate, retain = "1ms")]
fn refund(gate: &Portcullis, order: &str) -> Result<u64, Error> {
    if order == "o-2" { Err(Error::Lost) } else { Ok(500) }
}

/// What it prints, if it ends with this code.
#[track_caller]
fn told(room: &Room, args: &[&str], code: i32) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_portcullis")).args(args).env("PORTCULLIS_LEDGER", &room.url).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn the_command_does_on_postgres_what_it_does_on_a_file() {
    let Some(room) = Room::new() else { return };
    assert!(told(&room, &["ledger", "list"], 1).contains("there is no ledger in this database"));
    let gate = Portcullis::builder().ledger(room.url.as_str()).namespace("shop").build().unwrap();
    refund(&gate, "o-1").unwrap();
    assert!(matches!(refund(&gate, "o-2"), Err(Error::Lost)));

    let list = told(&room, &["ledger", "list", "--state", "in_doubt"], 0);
    assert!(list.contains("o-2") && !list.contains("o-1"), "{list}");
    let named = ["shop", "orders.refund", "o-2"];
    let show = told(&room, &[&["ledger", "show"], &named[..]].concat(), 0);
    assert!(show.contains("--attempt 1 --seen in_doubt"), "{show}");
    let commit = |seen| {
        let said = ["--attempt", "1", "--seen", seen, "--receipt", "500", "--reason", "the console shows it"];
        [&["ledger", "commit"], &named[..], &said].concat()
    };
    assert!(told(&room, &commit("pending"), 1).contains("no longer stands where it was seen"));
    assert!(told(&room, &commit("in_doubt"), 0).contains("it happened"));
    let gc: Value = serde_json::from_str(&told(&room, &["--json", "ledger", "gc", "--as", "cron"], 0)).unwrap();
    assert!(gc["expired"].as_u64().unwrap() >= 1, "{gc}");
    let export = told(&room, &["ledger", "export"], 0);
    let lines: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["claim"]["namespace"] == "shop").count(), 2);
    assert!(lines.iter().any(|line| line["event"]["kind"] == "committed_by_hand"));

    assert!(told(&room, &["device", "list"], 2).contains("sqlite:PATH"));
}
