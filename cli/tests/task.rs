//! `portcullis task` as a real process.

use std::process::{Command, Output};

use portcullis::ledger::{TaskBook, TaskFilter};
use portcullis::tasks::lifecycle::TaskState;
use portcullis::{Portcullis, Refused, budgeted, task};
use serde_json::Value;
use tempfile::TempDir;

#[budgeted(max_steps = 100, per = "process", cost = "0.25 USD", with = gate)]
fn step(gate: &Portcullis) -> Result<(), Refused> {
    Ok(())
}

#[task(id = "order", kind = "order", agent = "agent-7", max_steps = 5, max_cost = "1.00 USD", durable = true, with = gate)]
fn fulfil(gate: &Portcullis, order: &str, steps: u32) -> Result<(), Refused> {
    (0..steps).try_for_each(|_| step(gate))?;
    ship(gate, &format!("{order}/parcel"))
}

#[task(id = "parcel", kind = "parcel", durable = true, with = gate)]
fn ship(gate: &Portcullis, parcel: &str) -> Result<(), Refused> {
    step(gate)
}

struct Shop {
    dir: TempDir,
}

impl Shop {
    /// One order that is done, and one that is blocked.
    fn new() -> Self {
        let shop = Shop { dir: tempfile::tempdir().unwrap() };
        let gate = Portcullis::builder().ledger(shop.url()).build().unwrap();
        fulfil(&gate, "o-1", 2).unwrap();
        fulfil(&gate, "o-2", 9).unwrap_err();
        shop
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.dir.path().join("ledger.sqlite").display())
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.env_clear().env("PORTCULLIS_LEDGER", self.url()).arg("task").args(args).output().unwrap()
    }

    #[track_caller]
    fn said(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.said(&[args, &["--json"]].concat())).unwrap()
    }
}

#[test]
fn tasks_are_listed_with_their_steps() {
    let shop = Shop::new();
    let said = shop.said(&["list"]);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("STATE"), "{said}");
    assert!(lines[1].starts_with("blocked  5/5") && lines[1].ends_with("order   agent-7  o-2"), "{said}");
    assert_eq!(lines.len(), 4, "{said}");
    let blocked = shop.json(&["list", "--state", "blocked"]);
    assert_eq!(blocked.as_array().unwrap().len(), 1);
    assert_eq!((&blocked[0]["id"], &blocked[0]["cost"]), (&"o-2".into(), &"1.00 USD".into()));
    assert_eq!(shop.json(&["list", "--kind", "parcel"]).as_array().unwrap().len(), 1);
    assert_eq!(shop.json(&["list", "--limit", "1"]).as_array().unwrap().len(), 1);
    assert_eq!(shop.run(&["list", "--state", "finished"]).status.code(), Some(2));
}

#[test]
fn one_is_shown_with_its_account_and_history() {
    let shop = Shop::new();
    let said = shop.said(&["show", "o-1"]);
    for part in [
        "state        done",
        "kind         order",
        "steps        4/5",
        "money        0.75 USD of 1.00 USD",
        "todo -> in_progress by agent-7",
        "in_progress -> done by agent-7",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    let shown = shop.json(&["show", "o-2"]);
    assert_eq!(shown["task"]["state"], "blocked");
    assert_eq!(shown["history"][1]["notes"]["ended"], "err");
    let output = shop.run(&["show", "o-3"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn the_tree_shows_what_comes_from_what() {
    let shop = Shop::new();
    let said = shop.said(&["tree"]);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["o-1 done (order, 4/5)", "  o-1/parcel done (parcel, 1/50)", "o-2 blocked (order, 5/5)"]
    );
    assert_eq!(shop.said(&["tree", "o-1/parcel"]).trim(), "o-1/parcel done (parcel, 1/50)");
    assert_eq!(shop.json(&["tree", "o-1"]).as_array().unwrap().len(), 2);
    assert_eq!(shop.run(&["tree", "nobody"]).status.code(), Some(1));
}

#[test]
fn an_agent_that_sleeps_enters_no_durable_task_until_it_wakes() {
    let shop = Shop::new();
    let command = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let output = command.env_clear().env("PORTCULLIS_LEDGER", shop.url()).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let gate = Portcullis::builder().ledger(shop.url()).build().unwrap();
    let said = command(&["sleep", "--agent-id", "agent-7", "--timeout", "600"]);
    assert_eq!(said.trim(), "SLEEP:idle agent=agent-7 reason=no_tasks timeout=600s");
    for order in ["o-3", "o-3"] {
        let refused = fulfil(&gate, order, 0).unwrap_err();
        assert_eq!((refused.code(), refused.action()), ("idle", "start"));
    }
    assert_eq!(shop.run(&["show", "o-3"]).status.code(), Some(1), "nothing is on record of it");
    // Others are awake.
    ship(&gate, "a parcel").unwrap();
    assert_eq!(command(&["wake", "--agent-id", "agent-7"]).trim(), "WAKE: agent=agent-7");
    fulfil(&gate, "o-3", 0).unwrap();
    // No time is over at once.
    command(&["sleep", "--agent-id", "agent-7", "--timeout", "0"]);
    fulfil(&gate, "o-4", 0).unwrap();
}

#[test]
fn programs_read_the_same() {
    let shop = Shop::new();
    let book = TaskBook::open(&shop.url()).unwrap();
    let done = book.list(&TaskFilter::new().state(TaskState::Done)).unwrap();
    assert_eq!(done.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["o-1/parcel", "o-1"]);
    let parcel = book.find("o-1/parcel").unwrap().unwrap();
    assert_eq!((parcel.parent.as_deref(), parcel.depth, parcel.entries), (Some("o-1"), 1, 1));
    assert!(parcel.owner.is_some_and(|owner| owner.alive && owner.pid == std::process::id()));
    assert!(TaskBook::open("sqlite:/nowhere/ledger.sqlite").is_err());
    assert!(!shop.dir.path().join("nowhere").exists());
}
