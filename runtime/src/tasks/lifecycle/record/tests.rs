use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::InvalidTransition;
use super::*;

#[test]
fn history_says_who_why_and_when() {
    let before = SystemTime::now();
    let task = Lifecycle::new("t").unwrap();
    let _ = task.transition(TaskState::InProgress, By::actor("agent-7").note("ticket", 12)).unwrap();
    let [change] = &task.history()[..] else { panic!("one change") };
    assert_eq!((change.from, change.to), (TaskState::Todo, TaskState::InProgress));
    assert_eq!((&*change.reason, &*change.actor), ("Work started", "agent-7"));
    assert_eq!(change.notes["ticket"], 12);
    assert!(change.at >= before && change.at <= SystemTime::now());
}

#[test]
fn a_refusal_lists_where_the_task_can_go_and_changes_nothing() {
    let task = Lifecycle::new("t").unwrap();
    let refused = task.transition(TaskState::Done, "a").unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidTransition);
    assert!(refused.to_string().contains("can go to in_progress, cancelled or blocked"), "{refused}");
    let source = StdError::source(&refused).unwrap().downcast_ref::<InvalidTransition>().unwrap();
    assert_eq!((source.from, source.to), (TaskState::Todo, TaskState::Done));
    assert_eq!((task.state(), task.history()), (TaskState::Todo, vec![]));
}

#[test]
fn names_are_checked_where_they_enter() {
    assert_eq!(Lifecycle::new("t ").unwrap_err().kind(), Kind::InvalidArgument);
    let task = Lifecycle::new("t").unwrap();
    assert_eq!(task.transition(TaskState::Blocked, "a\nb").unwrap_err().kind(), Kind::InvalidArgument);
}

struct Objects;
impl Hook for Objects {
    fn name(&self) -> &str {
        "objects"
    }
    fn before(&self, _: &str, change: &Change) -> Result<(), Veto> {
        if change.to == TaskState::Done { Err("the tests are red".into()) } else { Ok(()) }
    }
}

#[test]
fn a_hook_may_veto_before_anything_has_changed() {
    let task = Lifecycle::at("t", TaskState::InProgress).unwrap().hook(Objects);
    let refused = task.transition(TaskState::Done, "a").unwrap_err();
    assert!(refused.reason().contains("the hook `objects` objects: the tests are red"), "{refused}");
    assert_eq!((task.state(), task.history()), (TaskState::InProgress, vec![]));
    let _ = task.transition(TaskState::Blocked, "a").unwrap();
}

struct Fails(fn() -> Result<(), Box<dyn StdError + Send + Sync>>);
impl Hook for Fails {
    fn name(&self) -> &str {
        "fails"
    }
    fn after(&self, _: &str, _: &Change) -> Result<(), Box<dyn StdError + Send + Sync>> {
        (self.0)()
    }
}

#[test]
fn a_hook_that_fails_afterwards_undoes_nothing_and_is_reported() {
    for (fails, why) in
        [(Fails(|| Err("the disk is full".into())), "the disk is full"), (Fails(|| panic!()), "it panicked")]
    {
        let task = Lifecycle::new("t").unwrap().hook(fails);
        let committed = task.transition(TaskState::InProgress, "a").unwrap();
        assert_eq!(committed.missed[0].why, why);
        assert_eq!((task.state(), task.history().len()), (TaskState::InProgress, 1));
    }
}

#[test]
fn a_panic_before_the_change_leaves_the_task_as_it_was_and_usable() {
    struct Panics;
    impl Hook for Panics {
        fn name(&self) -> &str {
            "panics"
        }
        fn before(&self, _: &str, change: &Change) -> Result<(), Veto> {
            assert_ne!(change.to, TaskState::InProgress);
            Ok(())
        }
    }
    let task = Lifecycle::new("t").unwrap().hook(Panics);
    panic::catch_unwind(AssertUnwindSafe(|| task.transition(TaskState::InProgress, "a").is_ok())).unwrap_err();
    assert_eq!((task.state(), task.history()), (TaskState::Todo, vec![]));
    let _ = task.transition(TaskState::Blocked, "a").unwrap();
}

/// Changes the task while it is asked about another change.
struct Interferes(Mutex<Option<Arc<Lifecycle>>>);
impl Hook for Arc<Interferes> {
    fn name(&self) -> &str {
        "interferes"
    }
    fn before(&self, _: &str, change: &Change) -> Result<(), Veto> {
        let task = self.0.lock().unwrap().take();
        if let Some(task) = task {
            assert_eq!(change.to, TaskState::Done);
            let _ = task.transition(TaskState::Cancelled, "faster").unwrap();
        }
        Ok(())
    }
}

#[test]
fn a_change_is_decided_from_the_state_that_it_changes() {
    let interferes = Arc::new(Interferes(Mutex::default()));
    let task = Arc::new(Lifecycle::at("t", TaskState::InProgress).unwrap().hook(Arc::clone(&interferes)));
    *interferes.0.lock().unwrap() = Some(Arc::clone(&task));
    let refused = task.transition(TaskState::Done, "slower").unwrap_err();
    assert_eq!(refused.kind(), Kind::TaskEnded);
    assert_eq!((task.state(), task.history().len()), (TaskState::Cancelled, 1));
}

#[test]
fn two_threads_cannot_end_one_task_twice() {
    for _ in 0..500 {
        let task = Lifecycle::at("t", TaskState::InProgress).unwrap();
        let (ended, start) = (AtomicUsize::new(0), Barrier::new(2));
        std::thread::scope(|scope| {
            for to in [TaskState::Done, TaskState::Cancelled] {
                let (task, ended, start) = (&task, &ended, &start);
                scope.spawn(move || {
                    start.wait();
                    match task.transition(to, "a") {
                        Ok(_) => drop(ended.fetch_add(1, Ordering::Relaxed)),
                        Err(refused) => assert_eq!(refused.kind(), Kind::TaskEnded),
                    }
                });
            }
        });
        assert_eq!((ended.into_inner(), task.history().len()), (1, 1));
    }
}
