//! The command as a real process: what it prints, and how it exits.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis::{Portcullis, Refused, once};
use serde_json::Value;
use tempfile::TempDir;

/// A ledger with one committed refund, one in doubt, and nobody in the authority.
struct Shop {
    dir: TempDir,
}

#[derive(Debug)]
enum Error {
    Refused(Refused),
    Lost,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Error::Refused(refused)
    }
}

#[once(action = "orders.refund", key = "order", skip(gate), with = gate)]
fn refund(gate: &Portcullis, order: &str, cents: u64) -> Result<u64, Error> {
    if order == "o-2" { Err(Error::Lost) } else { Ok(cents) }
}

fn shop() -> Shop {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop { dir };
    let gate = shop.gate();
    assert_eq!(refund(&gate, "o-1", 500).unwrap(), 500);
    assert!(matches!(refund(&gate, "o-2", 500), Err(Error::Lost)));
    let refused = refund(&gate, "o-1", 900).unwrap_err();
    assert!(matches!(refused, Error::Refused(refused) if refused.code() == "key_conflict"));
    shop
}

impl Shop {
    fn path(&self) -> PathBuf {
        self.dir.path().join("ledger.sqlite")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    fn gate(&self) -> Portcullis {
        Portcullis::builder().ledger(self.url()).namespace("shop").build().unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        command(args).env("PORTCULLIS_LEDGER", self.url()).output().unwrap()
    }

    #[track_caller]
    fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[&["--json"], args].concat())).unwrap()
    }

    #[track_caller]
    fn fails(&self, args: &[&str], code: i32) -> String {
        failed(&self.run(args), code)
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(args).env_remove("PORTCULLIS_LEDGER").env("USER", "ops");
    command
}

#[track_caller]
fn failed(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

const DEVICE: &str = "shop:prod:worker:1";

#[test]
fn claims_are_listed_latest_first() {
    let shop = shop();
    let listed = shop.json(&["ledger", "list"]);
    let keys: Vec<_> = listed.as_array().unwrap().iter().map(|claim| claim["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["o-2", "o-1"]);
    assert_eq!(listed[1]["state"], "committed");
    assert_eq!(listed[1]["receipt"], 500);
    assert_eq!(listed[0]["state"], "in_doubt");

    let text = shop.text(&["ledger", "list", "--state", "in_doubt"]);
    assert!(text.contains("orders.refund") && text.contains("o-2") && !text.contains("o-1"), "{text}");
    assert!(shop.text(&["ledger", "list", "--action", "other"]).contains("no claims"));
    assert!(shop.text(&["ledger", "list", "--limit", "1"]).contains("the latest 1"));
}

#[test]
fn a_claim_is_shown_by_its_id_and_by_its_name() {
    let shop = shop();
    let shown = shop.json(&["ledger", "show", "shop", "orders.refund", "o-2"]);
    assert_eq!(shown["claim"]["ended"], "err");
    assert_eq!(shown["events"][0]["kind"], "in_doubt");
    let id = shown["claim"]["id"].as_str().unwrap();
    let text = shop.text(&["ledger", "show", &id[..16]]);
    assert!(text.contains("in_doubt") && text.contains("o-2") && text.contains("number 1"), "{text}");

    assert!(shop.fails(&["ledger", "show", "shop", "orders.refund", "o-9"], 1).contains("no such claim"));
    assert!(shop.fails(&["ledger", "show", "shop", "orders.refund"], 2).contains("NAMESPACE ACTION KEY"));
    assert!(shop.fails(&["ledger", "show", "xyz"], 2).contains("hexadecimal"));
    shop.fails(&["ledger", "show"], 2);
}

#[test]
fn devices_are_registered_revoked_restored_and_removed() {
    let shop = shop();
    assert!(shop.text(&["device", "list"]).contains("no devices"));
    assert_eq!(shop.json(&["device", "register", DEVICE])["changed"], true);
    assert_eq!(shop.json(&["device", "register", DEVICE])["changed"], false);
    assert_eq!(shop.json(&["device", "revoke", DEVICE, "--as", "alice"])["changed"], true);
    let listed = shop.json(&["device", "list"]);
    assert_eq!(listed[0]["id"], DEVICE);
    assert_eq!(listed[0]["revoked"], true);
    assert_eq!(shop.json(&["device", "restore", DEVICE])["changed"], true);
    assert!(shop.text(&["device", "list"]).contains("active"));
    assert_eq!(shop.json(&["device", "remove", DEVICE])["changed"], true);
    assert!(shop.fails(&["device", "remove", DEVICE], 1).contains("no device"));
    assert!(shop.fails(&["device", "revoke", "not-a-device"], 2).contains("service:env:role:instance"));

    let raw = rusqlite::Connection::open(shop.path()).unwrap();
    let actors: String = raw
        .query_row(
            "SELECT group_concat(kind || ' ' || actor, ', ' ORDER BY id) FROM event WHERE kind LIKE 'device_%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(actors, "device_registered ops, device_revoked alice, device_restored ops, device_removed ops");
}

#[test]
fn the_switch_goes_on_and_off() {
    let shop = shop();
    assert_eq!(shop.json(&["halt", "status"])["halted"], false);
    assert_eq!(shop.json(&["halt", "on"])["changed"], true);
    assert_eq!(shop.json(&["halt", "on"])["changed"], false);
    assert!(shop.text(&["halt", "status"]).starts_with("halted"));
    assert_eq!(shop.json(&["halt", "off"])["halted"], false);
    shop.fails(&["halt"], 2);
}

#[test]
fn a_ledger_that_is_not_there_is_not_made_by_looking_or_revoking() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("typo.sqlite");
    let url = format!("sqlite:{}", path.display());
    for args in [
        &["ledger", "list"][..],
        &["ledger", "show", "abcdef"],
        &["device", "list"],
        &["device", "revoke", DEVICE],
        &["halt", "on"],
        &["halt", "status"],
    ] {
        let output = command(args).args(["--ledger", &url]).output().unwrap();
        let message = failed(&output, 1);
        assert!(message.contains("there is no such file"), "{args:?}: {message}");
        assert!(!Path::new(&path).exists(), "{args:?}");
    }
    let output = command(&["device", "register", DEVICE, "--ledger", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    let output =
        command(&["--json", "ledger", "list", "--ledger", "sqlite:/nonexistent/ledger.sqlite"]).output().unwrap();
    let error: Value = serde_json::from_str(&failed(&output, 1)).unwrap();
    assert_eq!(error["error"]["code"], "ledger_unavailable");

    let output = command(&["device", "list", "--ledger", "postgres://user:secret@host/db"]).output().unwrap();
    let message = failed(&output, 2);
    assert!(message.contains("postgres") && !message.contains("secret"), "{message}");
}

#[test]
fn the_default_ledger_lies_in_the_users_state_directory() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(&["device", "register", DEVICE])
        .env("HOME", dir.path())
        .env("XDG_STATE_HOME", dir.path().join("state"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    if cfg!(target_os = "linux") {
        assert!(dir.path().join("state/portcullis/ledger.sqlite").exists());
    }
}

#[test]
fn a_key_can_not_drive_the_terminal() {
    let shop = shop();
    let gate = shop.gate();
    assert!(refund(&gate, "\u{1b}[2J\nevil", 1).is_ok());
    let text = shop.text(&["ledger", "list"]);
    assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2J\\nevil"), "{text}");
}

#[test]
fn a_person_commits_what_has_happened_with_the_receipt() {
    let shop = shop();
    let named = ["shop", "orders.refund", "o-2"];
    let commit = [&["ledger", "commit"], &named[..]].concat();
    let why = ["--reason", "the console shows it", "--as", "alice"];
    assert!(shop.fails(&[&commit[..], &why].concat(), 2).contains("--attempt"));
    assert!(shop.fails(&[&commit[..], &["--attempt", "1"], &why].concat(), 2).contains("--seen"));
    let seen = ["--attempt", "1", "--seen", "in_doubt"];
    assert!(shop.fails(&[&commit[..], &seen].concat(), 2).contains("--reason"));
    let empty = [&commit[..], &seen, &["--reason", " "]].concat();
    assert!(shop.fails(&empty, 2).contains("needs its reason"));
    let no_json = [&commit[..], &seen, &["--receipt", "paid"], &why].concat();
    assert!(shop.fails(&no_json, 2).contains("a text needs its quotes"));

    // While its body ran, or had not returned in time, it could still happen.
    for earlier in ["pending", "overdue"] {
        let early = [&commit[..], &["--attempt", "1", "--seen", earlier], &why].concat();
        assert!(shop.fails(&early, 1).contains("no longer stands where it was seen"));
    }
    let shown = shop.text(&[&["ledger", "show"], &named[..]].concat());
    assert!(shown.contains("--attempt 1 --seen in_doubt"), "{shown}");
    let text = shop.text(&[&commit[..], &seen, &["--receipt", "500"], &why].concat());
    assert!(text.contains("it happened"), "{text}");
    assert_eq!(refund(&shop.gate(), "o-2", 500).unwrap(), 500);
    let shown = shop.json(&[&["ledger", "show"], &named[..]].concat());
    assert_eq!(shown["claim"]["settled_by"], "person");
    assert_eq!(shown["events"][1]["actor"], "alice");
    assert_eq!(shown["events"][1]["detail"]["reason"], "the console shows it");
}

#[test]
fn a_person_releases_what_did_not_happen_and_only_what_was_looked_at() {
    let shop = shop();
    let id = shop.json(&["ledger", "show", "shop", "orders.refund", "o-2"])["claim"]["id"].clone();
    let release = |attempt, reason| {
        let id = id.as_str().unwrap();
        ["--json", "ledger", "release", id, "--attempt", attempt, "--seen", "in_doubt", "--reason", reason]
    };
    assert!(shop.fails(&release("2", "a guess"), 1).contains("no longer stands where it was seen"));
    let released: Value = serde_json::from_str(&shop.text(&release("1", "no such refund"))).unwrap();
    assert_eq!(released["claim"]["state"], "open");
    let release = |order, seen| {
        let named = ["ledger", "release", "shop", "orders.refund", order];
        [&named[..], &["--attempt", "1", "--seen", seen, "--reason", "undo it"]].concat()
    };
    assert!(shop.fails(&release("o-1", "committed"), 1).contains("can't be undone"));
    assert!(shop.fails(&release("o-9", "in_doubt"), 1).contains("no such claim"));
}

#[once(action = "orders.note", key = "order", skip(gate), with = gate, claim = claim, retain = "1ms")]
fn note(gate: &Portcullis, order: &str) -> Result<u64, Error> {
    claim.note(format!("re_{order}\u{7}")).wait()?;
    claim.note([0xff, 0x00]).wait()?;
    Ok(7)
}

#[test]
fn notes_are_shown_until_retention_takes_them_away_with_the_receipt() {
    let shop = shop();
    note(&shop.gate(), "o-3").unwrap();
    let show = ["ledger", "show", "shop", "orders.note", "o-3"];
    let shown = shop.json(&show);
    assert_eq!(shown["notes"][0]["text"], "re_o-3\u{7}");
    assert_eq!(shown["notes"][1]["hex"], "ff00");
    let text = shop.text(&show);
    assert!(text.contains("re_o-3\\u{7} (attempt 1)") && !text.contains('\u{7}'), "{text}");

    assert_eq!(shop.json(&["ledger", "gc", "--as", "cron"])["expired"], 1);
    assert_eq!(shop.json(&["ledger", "gc", "--as", "cron"])["expired"], 0);
    let shown = shop.json(&show);
    assert_eq!((shown["claim"]["state"].as_str(), shown["notes"].as_array().map(Vec::len)), (Some("expired"), Some(0)));
    assert!(matches!(note(&shop.gate(), "o-3"), Err(Error::Refused(refused)) if refused.code() == "receipt_expired"));
}

#[test]
fn an_export_is_one_line_of_json_for_each_claim_and_each_event() {
    let shop = shop();
    for args in [&["ledger", "export"][..], &["--json", "ledger", "export"]] {
        let text = shop.text(args);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["claim"]["key"], "o-1");
        assert_eq!(lines[1]["claim"]["key"], "o-2");
        assert!(lines[2..].iter().all(|line| line["event"]["kind"].is_string()));
        assert!(lines[2..].iter().any(|line| line["event"]["kind"] == "in_doubt"));
    }
}
