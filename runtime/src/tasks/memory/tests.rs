use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::tasks::lifecycle::{By, Lifecycle};

#[derive(Default)]
struct Kept(Mutex<Vec<Record>>);

impl Store for Kept {
    fn keep(&self, record: &Record) -> io::Result<()> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }
}

fn task(memory: Memory) -> Lifecycle {
    Lifecycle::at("t", TaskState::InProgress).unwrap().hook(memory)
}

#[test]
fn a_lesson_is_kept_when_a_task_is_done() {
    let kept = Arc::new(Kept::default());
    let by =
        By::actor("agent-7").note("outcome", "30 % faster").note("tags", json!(["speed", 5])).note("mission_id", "m-1");
    let _ = task(Memory::new(Arc::clone(&kept))).transition(TaskState::Done, by).unwrap();
    let kept = serde_json::to_value(&*kept.0.lock().unwrap()).unwrap();
    let lesson = &kept[0];
    assert_eq!(lesson["type"], "LESSON");
    assert_eq!(lesson["description"], "Task t completed by agent-7");
    assert_eq!((&lesson["actor"], &lesson["agent_id"]), (&json!("agent-7"), &json!("kernel")));
    assert_eq!((&lesson["outcome"], &lesson["mission_id"]), (&json!("30 % faster"), &json!("m-1")));
    assert_eq!(lesson["tags"], json!(["kernel", "lifecycle", "speed"]));
}

#[test]
fn a_blocked_pathway_is_kept_when_a_task_is_blocked_and_nothing_of_other_changes() {
    let kept = Arc::new(Kept::default());
    let task = task(Memory::new(Arc::clone(&kept)));
    let by = By::actor("agent-7").note("tags", "access");
    for to in [TaskState::Blocked, TaskState::Todo, TaskState::Cancelled] {
        let _ = task.transition(to, by.clone()).unwrap();
    }
    let kept = serde_json::to_value(&*kept.0.lock().unwrap()).unwrap();
    assert_eq!(kept.as_array().unwrap().len(), 1);
    assert_eq!(kept[0]["type"], "BLOCKED_PATHWAY");
    assert_eq!(kept[0]["blocker"], "Unknown blocker — task transitioned to BLOCKED");
    assert_eq!(kept[0]["tags"], json!(["kernel", "lifecycle", "access"]));
}

#[test]
fn settings_switch_records_off() {
    let off = |settings: MemorySettings| {
        let kept = Arc::new(Kept::default());
        let task = task(Memory::with_settings(Arc::clone(&kept), settings));
        let _ = task.transition(TaskState::Blocked, "a").unwrap();
        let _ = task.transition(TaskState::InProgress, "a").unwrap();
        let _ = task.transition(TaskState::Done, "a").unwrap();
        let kept = kept.0.lock().unwrap();
        kept.len()
    };
    assert_eq!(off(MemorySettings::default()), 2);
    assert_eq!(off(MemorySettings { enabled: false, ..MemorySettings::default() }), 0);
    assert_eq!(off(MemorySettings { lesson_on_done: false, ..MemorySettings::default() }), 1);
    assert_eq!(off(MemorySettings { blocked_pathway_on_blocked: false, ..MemorySettings::default() }), 1);
}

#[test]
fn a_record_that_cannot_be_written_does_not_undo_the_change_and_is_reported() {
    // A device that is always full.
    let full = JsonLines::open("/dev/full").unwrap();
    let task = task(Memory::new(full));
    let committed = task.transition(TaskState::Done, "a").unwrap();
    assert_eq!((task.state(), committed.missed.len()), (TaskState::Done, 1));
    assert_eq!(committed.missed[0].hook, "memory");
}

#[test]
fn lines_of_many_threads_stay_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory.jsonl");
    let store = Arc::new(JsonLines::open(&path).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                for n in 0..50 {
                    let task = Lifecycle::at(format!("t-{thread}-{n}"), TaskState::InProgress).unwrap();
                    let _ = task.hook(Memory::new(Arc::clone(&store))).transition(TaskState::Done, "a\"b").unwrap();
                }
            });
        }
    });
    let text = std::fs::read_to_string(path).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 200);
}
