//! Durable tasks on PostgreSQL, in processes that are killed.

use std::time::Duration;

use portcullis::ledger::{TaskBook, TaskFilter};
use portcullis::task;
use portcullis::tasks::lifecycle::TaskState;

use super::*;

#[test]
fn a_task_killed_at_its_30th_of_50_steps_is_refused_after_20_more() {
    let Some(room) = Room::new() else { return };
    let mut first = room.start_tasks(&["steps", "t", "30"]);
    first.expect("holding");
    assert_eq!(room.effects()["t"], 30);
    let told = room.start_tasks(&["steps", "t", "1"]).hear();
    assert!(told.starts_with("task_running ") && told.contains(&format!("process {}", first.id())), "{told}");
    first.kill();
    let told = enter_after(&room, &["steps", "t", "1000"]);
    assert!(told.starts_with("budget_steps ") && told.contains("step 51 of at most 50"), "{told}");
    assert_eq!(room.effects()["t"], 50);
    let told = room.start_tasks(&["steps-async", "t", "1"]).hear();
    assert!(told.starts_with("budget_steps "), "{told}");
    // Seen from outside.
    let book = TaskBook::open(&room.url).unwrap();
    let seen = book.find("t").unwrap().unwrap();
    assert_eq!((seen.steps, seen.limits.max_steps(), seen.entries, seen.is_orphaned()), (51, Some(50), 2, false));
    let ways: Vec<_> =
        book.history("t").unwrap().iter().map(|change| format!("{}>{}", change.from, change.to)).collect();
    assert_eq!(ways, ["todo>in_progress", "in_progress>blocked", "blocked>in_progress", "in_progress>blocked"]);
    let below = book.list(&TaskFilter::new().below("t").state(TaskState::Blocked)).unwrap();
    assert_eq!(below.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["t"]);
    assert!(book.list(&TaskFilter::new().kind("other")).unwrap().is_empty());
}

/// Once the lease of the one before has lapsed.
fn enter_after(room: &Room, situation: &[&str]) -> String {
    loop {
        let told = room.start_tasks(situation).hear();
        if !told.starts_with("task_running ") {
            return told;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn money_and_the_tree_go_over_processes() {
    let Some(room) = Room::new() else { return };
    let mut first = room.start_tasks(&["shop-and-hold", "money", "3"]);
    (0..3).for_each(|_| first.expect("bought"));
    while room.sql("SELECT micros FROM portcullis.task") != ["500000"] {
        std::thread::yield_now();
    }
    first.kill();
    let mut above = room.start_tasks(&["parent", "above", "below"]);
    above.expect("holding");
    above.kill();
    let tree =
        "SELECT name || '<' || coalesce(parent, '') || depth FROM portcullis.task WHERE kind <> 'shopping' ORDER BY id";
    assert_eq!(room.sql(tree), ["above<0", "below<above1"]);

    assert_eq!(enter_after(&room, &["child", "below"]), "done");
    assert!(enter_after(&room, &["parent", "above", "below"]).starts_with("loop_reprocess Task below"));
    assert!(enter_after(&room, &["child", "below"]).starts_with("loop_reprocess "));
    // 0.60, 0.70, 0.80: then 0.30 do not fit.
    let mut second = room.start_tasks(&["shop", "money", "9"]);
    (0..3).for_each(|_| second.expect("bought"));
    assert!(second.hear().starts_with("budget_cost "));
}

/// How often one of the two processes is killed.
const ROUNDS: u32 = 200;
/// How many tasks they work off.
const PIECES: u32 = 1_000;

#[test]
fn two_processes_work_tasks_off_while_one_of_them_is_killed_at_random() {
    let Some(room) = Room::new() else { return };
    let start = |first: u32| {
        let mut process = room.start_tasks(&["work-off", &PIECES.to_string(), &first.to_string()]);
        process.expect("ready");
        process.go();
        process
    };
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let mut processes = [start(0), start(PIECES / 2)];
    for _ in 0..ROUNDS {
        std::thread::sleep(Duration::from_micros(below(60_000)));
        let victim = &mut processes[below(2) as usize];
        victim.kill();
        *victim = start(below(PIECES.into()) as u32);
    }
    for mut process in processes {
        loop {
            let told = process.hear();
            assert!(!told.starts_with("trouble") && !told.is_empty(), "{told:?}");
            if told == "finished" {
                break;
            }
        }
    }
    // None is lost, and none is done twice.
    assert_eq!(
        room.sql("SELECT state || ' ' || count(*) FROM portcullis.task GROUP BY state"),
        [format!("5 {PIECES}")]
    );
    let ends = "SELECT count(*) FROM portcullis.task_change WHERE to_state = 5 GROUP BY task HAVING count(*) <> 1";
    assert_eq!(room.sql(ends), [""; 0]);
    // No account was reset: of each ten steps, all are counted, and none happened that was not counted before.
    assert_eq!(room.sql("SELECT DISTINCT least(steps, 10) FROM portcullis.task"), ["10"]);
    let effects = room.effects();
    assert_eq!(effects.len(), PIECES as usize);
    assert!(effects.values().all(|&steps| steps <= 10), "{effects:?}");
    // Each kill took at most one step whose body had not begun.
    let happened: usize = effects.values().sum();
    assert!(happened + ROUNDS as usize >= PIECES as usize * 10, "{happened}");
    let taken_over = "SELECT count(*) FROM portcullis.task_change WHERE notes LIKE '%owner died%'";
    assert_ne!(room.sql(taken_over), ["0"], "somebody was killed in the middle of a task");
}

#[task(id = "id", kind = "fenced", with = gate, durable = true)]
fn fenced(gate: &Portcullis, id: &str, meanwhile: &dyn Fn()) -> Result<(), Refused> {
    inside(gate)?;
    meanwhile();
    inside(gate)
}

#[portcullis::budgeted(max_steps = 100, with = gate)]
fn inside(gate: &Portcullis) -> Result<(), Refused> {
    Ok(())
}

#[test]
fn who_was_taken_for_dead_is_refused_at_its_next_step() {
    let Some(room) = Room::new() else { return };
    let (one, two) = (room.gate(), room.gate());
    let refused = fenced(&one, "t", &|| {
        // Its lease lapses, as after a long stop.
        room.sql("UPDATE portcullis.owner SET lease_until = clock_timestamp() - interval '1 second'");
        // On a thread of its own: it is nobody's child.
        std::thread::scope(|threads| threads.spawn(|| fenced(&two, "t", &|| {})).join()).unwrap().unwrap();
    });
    assert_eq!(refused.unwrap_err().kind(), Kind::TaskEnded, "the other one has done it");
    let refused = fenced(&one, "u", &|| {
        room.sql("UPDATE portcullis.task SET epoch = epoch + 1 WHERE name = 'u'");
    });
    assert_eq!(refused.unwrap_err().kind(), Kind::Fenced);
    // A lease that has lapsed, and nobody has come: it goes on.
    fenced(&one, "v", &|| {
        room.sql("UPDATE portcullis.owner SET lease_until = clock_timestamp() - interval '1 second'");
    })
    .unwrap();
}

#[test]
fn an_agent_that_sleeps_enters_no_task_until_it_wakes() {
    #[task(id = "id", kind = "work", agent = agent, with = gate, durable = true)]
    fn works(gate: &Portcullis, id: &str, agent: &str) -> Result<(), Refused> {
        Ok(())
    }
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    works(&gate, "t", "agent-7").unwrap();
    let book = TaskBook::open(&room.url).unwrap();
    book.sleep("agent-7", Duration::from_secs(600)).unwrap();
    assert_eq!(works(&gate, "u", "agent-7").unwrap_err().kind(), Kind::Idle);
    works(&gate, "v", "agent-8").unwrap();
    assert_eq!(works(&gate, "t", "agent-7").unwrap_err().kind(), Kind::LoopReprocess, "what is done is done");
    book.wake("agent-7").unwrap();
    works(&gate, "u", "agent-7").unwrap();
    assert_eq!(book.sleep("", Duration::ZERO).unwrap_err().kind(), Kind::InvalidArgument);
}
