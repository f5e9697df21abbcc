//! Durable tasks on SQLite, in processes that are killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::process::Process;
use tempfile::TempDir;

use super::*;

pub(crate) struct Room {
    dir: TempDir,
    pub(crate) ledger: String,
}

impl Room {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let ledger = dir.path().join("ledger.sqlite").display().to_string();
        Room { dir, ledger }
    }

    fn effects_path(&self) -> PathBuf {
        self.dir.path().join("effects")
    }

    /// What has happened outside, line by line.
    pub(crate) fn effects(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.effects_path()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn start(&self, situation: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_task-child"));
        Process::start(command.arg(&self.ledger).arg(self.effects_path()).args(situation))
    }

    fn gate(&self) -> Portcullis {
        Portcullis::builder().ledger(format!("sqlite:{}", self.ledger)).build().unwrap()
    }

    /// How many steps of the one task are on record. None, before there is a ledger.
    fn counted(&self) -> usize {
        let raw = rusqlite::Connection::open(&self.ledger).unwrap();
        raw.query_row("SELECT steps FROM task", [], |row| row.get::<_, u32>(0)).map_or(0, |steps| steps as usize)
    }

    fn sql(&self, query: &str) -> Vec<String> {
        let raw = rusqlite::Connection::open(&self.ledger).unwrap();
        let mut statement = raw.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

#[test]
fn a_task_killed_at_its_30th_of_50_steps_is_refused_after_20_more() {
    let room = Room::new();
    let mut first = room.start(&["steps", "t", "30"]);
    first.expect("holding");
    assert_eq!(room.effects().len(), 30);

    // Nobody else enters it while its process lives.
    let told = room.start(&["steps", "t", "1"]).hear();
    assert!(told.starts_with("task_running ") && told.contains(&format!("process {}", first.id())), "{told}");

    first.kill();
    let told = room.start(&["steps", "t", "1000"]).hear();
    assert!(told.starts_with("budget_steps ") && told.contains("step 51 of at most 50"), "{told}");
    assert_eq!(room.effects().len(), 50);
    // It is blocked, and stays spent.
    let told = room.start(&["steps-async", "t", "1"]).hear();
    assert!(told.starts_with("budget_steps "), "{told}");
    assert_eq!(room.effects().len(), 50);
}

#[test]
fn killed_in_the_middle_of_whatever_it_does_no_step_comes_back() {
    for situation in ["steps", "steps-async"] {
        let room = Room::new();
        for _ in 0..8 {
            let before = room.effects().len();
            let mut child = room.start(&[situation, "t", "1000"]);
            // A step may be counted whose body the kill did not let begin: then there is none after the 49th.
            while room.effects().len() == before && room.counted() < 50 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            child.kill();
        }
        // A step may have been counted and its body not begun, never the other way round.
        assert!(room.effects().len() <= 50);
        let told = room.start(&[situation, "t", "1000"]).hear();
        assert!(told.starts_with("budget_steps "), "{told}");
        assert!(room.effects().len() <= 50, "{}", room.effects().len());
        assert!(room.counted() >= room.effects().len());
    }
}

#[test]
fn what_is_done_is_remembered_by_a_later_process_with_its_history() {
    let room = Room::new();
    room.start(&["steps-async", "t", "3"]).expect("done");
    let told = room.start(&["steps-async", "t", "3"]).hear();
    assert!(told.starts_with("loop_reprocess "), "{told}");
    assert_eq!(room.effects().len(), 3);
    let history = room.sql("SELECT from_state || '>' || to_state FROM task_change ORDER BY id");
    assert_eq!(history, ["1>2", "2>5"]);
}

#[test]
fn a_dead_owner_leaves_a_change_behind() {
    let room = Room::new();
    let mut first = room.start(&["steps", "t", "1"]);
    first.expect("holding");
    first.kill();
    room.start(&["steps-async", "t", "1"]).expect("done");
    let history = room.sql("SELECT from_state || '>' || to_state || coalesce(notes, '') FROM task_change ORDER BY id");
    let died = format!("2>4{{\"ended\":\"owner died\",\"pid\":{}}}", first.id());
    assert_eq!(history, ["1>2", died.as_str(), "4>2", "2>5"]);
}

#[test]
fn money_that_was_set_aside_and_not_settled_counts_as_spent() {
    let room = Room::new();
    // Two of them are settled at 0.10, the third one's 0.30 nobody settles: 0.50 are gone.
    let mut first = room.start(&["shop-and-hold", "t", "3"]);
    (0..3).for_each(|_| first.expect("bought"));
    // What was given back is written by nobody's leave: until it is there.
    while room.sql("SELECT CAST(micros AS TEXT) FROM task") != ["500000"] {
        std::thread::yield_now();
    }
    first.kill();
    let mut second = room.start(&["shop", "t", "9"]);
    // 0.60, 0.70, 0.80: then 0.30 do not fit.
    (0..3).for_each(|_| second.expect("bought"));
    let told = second.hear();
    assert!(told.starts_with("budget_cost "), "{told}");
}

#[test]
fn time_goes_on_while_nobody_works() {
    let room = Room::new();
    let mut first = room.start(&["timed-and-hold", "t"]);
    first.expect("holding");
    first.kill();
    // Time itself is what is tested.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let told = room.start(&["timed", "t"]).hear();
    assert!(told.starts_with("budget_duration "), "{told}");
    assert_eq!(room.effects().len(), 1);
}

#[test]
fn the_tree_goes_over_processes() {
    let room = Room::new();
    let mut first = room.start(&["parent", "above", "below"]);
    first.expect("holding");
    assert_eq!(
        room.sql("SELECT name || '<' || coalesce(parent, '') || depth FROM task ORDER BY id"),
        ["above<0", "below<above1"]
    );
    first.kill();
    room.start(&["child", "below"]).expect("done");
    // The parent finds its child done.
    let told = room.start(&["parent", "above", "below"]).hear();
    assert!(
        told.starts_with("loop_reprocess refused `below`") || told.starts_with("loop_reprocess Task below"),
        "{told}"
    );
}

#[task(id = "id", kind = kind, agent = "a", durable = true)]
fn durable(id: &str, kind: &str, inside: &dyn Fn() -> Done) -> Done {
    inside()
}

#[task(id = "id", kind = kind, agent = "a")]
fn in_memory(id: &str, kind: &str, inside: &dyn Fn() -> Done) -> Done {
    inside()
}

#[test]
fn tasks_in_memory_and_on_record_go_inside_of_one_another() {
    let room = Room::new();
    let gate = room.gate();
    let end = || Ok(7);
    gate.scope_sync(|| {
        durable("d1", "one", &|| {
            refused(durable("d1", "one", &end), Kind::LoopCycle);
            refused(in_memory("m0", "one", &end), Kind::LoopIdentity);
            in_memory("m1", "two", &|| {
                refused(durable("d2", "two", &end), Kind::LoopIdentity);
                durable("d2", "three", &end)
            })
        })
        .unwrap();
        refused(durable("d1", "one", &end), Kind::LoopReprocess);
        refused(durable("d\n", "one", &end), Kind::LoopInvalid);
    });
    let tree = room.sql("SELECT name || '<' || coalesce(parent, '') || depth FROM task ORDER BY id");
    assert_eq!(tree, ["d1<0", "d2<d12"], "what is in memory counts for the depth");
    // In another gate on the same ledger as well.
    room.gate().scope_sync(|| refused(durable("d2", "three", &end), Kind::LoopReprocess));
}

#[test]
fn an_error_a_panic_and_a_dropped_future_block_it_on_record() {
    #[task(id = "id", durable = true)]
    async fn pauses(id: &str) -> Done {
        step()?;
        pause().await;
        Ok(7)
    }
    let room = Room::new();
    let gate = room.gate();
    gate.scope_sync(|| {
        refused(durable("e", "one", &|| durable("\n", "two", &|| Ok(7))), Kind::LoopInvalid);
        let panics = || durable("p", "one", &|| panic!("as planned"));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
        let mut future = Box::pin(pauses("f"));
        while room.effects().is_empty() && poll(&mut future).is_pending() {
            if room.sql("SELECT 'x' FROM sqlite_schema WHERE name = 'task'").is_empty() {
                continue;
            }
            if room.sql("SELECT name FROM task WHERE name = 'f' AND steps = 1").len() == 1 {
                break;
            }
        }
        drop(future);
        assert_eq!(pollster::block_on(pauses("f")).unwrap(), 7, "the drop comes before what is asked after it");
    });
    let ended = "SELECT name || ' ' || coalesce(notes, '-') FROM task_change JOIN task ON task.id = task WHERE to_state = 4 ORDER BY name";
    assert_eq!(room.sql(ended), [r#"e {"ended":"err"}"#, r#"f {"ended":"dropped"}"#, r#"p {"ended":"panic"}"#]);
}

#[test]
fn a_gate_for_tests_keeps_them_as_long_as_it_lives() {
    let gate = gate();
    gate.scope_sync(|| {
        refused(durable("t", "one", &|| (0..51).try_for_each(|_| step()).map(|()| 7)), Kind::BudgetSteps);
        refused(durable("t", "one", &|| Ok(7)), Kind::BudgetSteps);
        durable("u", "one", &|| (0..50).try_for_each(|_| step()).map(|()| 7)).unwrap();
        refused(durable("u", "one", &|| Ok(7)), Kind::LoopReprocess);
    });
}

#[test]
fn one_is_cancelled_on_record_and_its_next_step_is_refused() {
    let room = Room::new();
    let gate = room.gate();
    gate.scope_sync(|| {
        let refusal = durable("t", "one", &|| {
            step()?;
            let change = gate.tasks().cancel("t", "a person")?;
            assert_eq!(change.to, TaskState::Cancelled);
            step().map(|()| 7)
        });
        refused(refusal, Kind::TaskEnded);
        refused(durable("t", "one", &|| Ok(7)), Kind::LoopReprocess);
        refused(gate.tasks().cancel("t", "a person"), Kind::TaskEnded);
        refused(gate.tasks().cancel("nobody", "a person"), Kind::UnknownTask);
    });
}

#[test]
fn one_of_an_earlier_process_is_cancelled_by_a_gate_that_has_not_used_its_ledger() {
    let room = Room::new();
    // Within itself it is refused, which blocks it.
    room.gate().scope_sync(|| durable("t", "one", &|| durable("t", "one", &|| Ok(7)))).unwrap_err();
    let change = room.gate().tasks().cancel("t", "a person").unwrap();
    assert_eq!((change.from, change.to), (TaskState::Blocked, TaskState::Cancelled));
    refused(room.gate().scope_sync(|| durable("t", "one", &|| Ok(7))), Kind::LoopReprocess);
}

#[test]
fn a_step_that_can_not_be_put_on_record_is_not_taken() {
    let room = Room::new();
    let gate = room.gate();
    let mut taken = 0;
    gate.scope_sync(|| {
        let refusal = durable_once("t", &mut || {
            step()?;
            taken += 1;
            std::fs::remove_file(&room.ledger).unwrap();
            step()?;
            taken += 1;
            Ok(7)
        });
        refused(refusal, Kind::LedgerUnavailable);
    });
    assert_eq!(taken, 1);
}

#[task(id = "id", durable = true)]
fn durable_once(id: &str, inside: &mut dyn FnMut() -> Done) -> Done {
    inside()
}

#[test]
fn messages_lie_in_the_file() {
    let url = |room: &Room| format!("sqlite:{}", room.ledger);
    mail::messages_outlive_their_process_and_are_dealt_with_once(&url(&Room::new()));
    mail::a_lease_that_is_over_lets_the_next_one_have_it_and_the_third_time_is_the_last(&url(&Room::new()));
}
