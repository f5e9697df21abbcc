//! Where a task stands, and who may enter it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pollster::block_on;
use portcullis::tasks::lifecycle::TaskState::{Blocked, Cancelled, Done as IsDone, InProgress};
use portcullis::testing::{self, Answer};
use portcullis::{boundary, once};

use super::*;

#[test]
fn a_task_whose_body_succeeds_is_done_and_not_done_again() {
    let gate = gate();
    gate.scope_sync(|| {
        assert_eq!(work("t", 3, Ok(7)).unwrap(), 7);
        assert_eq!(states(&gate, "t"), [InProgress, IsDone]);
        let error = work("t", 0, Ok(7)).unwrap_err();
        assert_eq!(kind(&error), Some(Kind::LoopReprocess));
        assert_eq!(gate.tasks().history("t")[0].actor, "test:local:worker:1");
        // Another one is another one.
        work("u", 50, Ok(7)).unwrap();
    });
    // And so is the same one, on another gate.
    super::gate().scope_sync(|| work("t", 50, Ok(7)).unwrap());
}

#[test]
fn after_an_error_it_is_blocked_and_goes_on_with_the_account_that_it_has() {
    let gate = gate();
    gate.scope_sync(|| {
        assert_eq!(work("t", 30, Err("no")).unwrap_err().to_string(), "no");
        assert_eq!((gate.tasks().state("t"), ended(&gate, "t").as_str()), (Some(Blocked), "err"));
        assert_eq!(gate.tasks().left("t").unwrap().steps, Some(20));
        work("t", 20, Err("no")).unwrap_err();
        // Nothing is left, and nothing comes back.
        assert_eq!(kind(&work("t", 1, Ok(7)).unwrap_err()), Some(Kind::BudgetSteps));
        // What went over stays over: the body does not even begin.
        assert_eq!(kind(&work("t", 0, Ok(7)).unwrap_err()), Some(Kind::BudgetSteps));
        assert_eq!(states(&gate, "t").len(), 6, "the last call was refused at the entry");
    });
}

#[test]
fn a_panic_blocks_it() {
    #[task(id = "id")]
    fn panics(id: &str) -> Done {
        panic!("as planned")
    }
    #[task(id = "id")]
    async fn panics_later(id: &str) -> Done {
        pause().await;
        panic!("as planned")
    }
    let gate = gate();
    gate.scope_sync(|| {
        catch_unwind(|| drop(panics("t"))).unwrap_err();
        assert_eq!((gate.tasks().state("t"), ended(&gate, "t").as_str()), (Some(Blocked), "panic"));
        let mut leaked = Box::pin(panics_later("u"));
        assert!(poll(&mut leaked).is_pending());
        catch_unwind(AssertUnwindSafe(|| poll(&mut leaked))).unwrap_err();
        // Known at once, also where the future stays about.
        assert_eq!((gate.tasks().state("u"), ended(&gate, "u").as_str()), (Some(Blocked), "panic"));
        drop(leaked);
        assert_eq!(states(&gate, "u").len(), 2);
    });
}

#[task(id = "id", kind = "pausing", max_steps = 5)]
async fn pausing(id: &str) -> Done {
    step()?;
    pause().await;
    step()?;
    Ok(7)
}

#[test]
fn a_dropped_future_blocks_it_and_one_that_was_never_polled_does_nothing() {
    let gate = gate();
    gate.scope_sync(|| {
        drop(pausing("t"));
        assert_eq!(gate.tasks().state("t"), None);
        let mut future = Box::pin(pausing("t"));
        assert!(poll(&mut future).is_pending());
        assert_eq!(gate.tasks().state("t"), Some(InProgress));
        drop(future);
        assert_eq!((gate.tasks().state("t"), ended(&gate, "t").as_str()), (Some(Blocked), "dropped"));
        assert_eq!(gate.tasks().left("t").unwrap().steps, Some(4));
        assert_eq!(block_on(pausing("t")).unwrap(), 7);
        assert_eq!(states(&gate, "t"), [InProgress, Blocked, InProgress, IsDone]);
    });
}

#[test]
fn nobody_else_enters_a_task_that_is_in_progress() {
    let gate = gate();
    gate.scope_sync(|| {
        let mut first = Box::pin(pausing("t"));
        assert!(poll(&mut first).is_pending());
        let refusal = refused(block_on(pausing("t")), Kind::TaskRunning);
        assert_eq!(refusal.action(), "t");
        assert!(poll(&mut first).is_ready(), "the first one does not notice");
    });
}

#[task(id = "id", kind = kind, agent = agent, max_steps = 50)]
fn named(id: &str, kind: &str, agent: &str, inside: &dyn Fn() -> Done) -> Done {
    inside()
}

#[test]
fn what_is_opened_inside_is_a_child_and_loops_are_refused() {
    let gate = gate();
    let end = || Ok(7);
    gate.scope_sync(|| {
        named("plan", "plan", "a", &|| {
            refused(named("plan", "plan", "a", &end), Kind::LoopCycle);
            refused(named("again", "plan", "a", &end), Kind::LoopIdentity);
            // Another agent may plan, and this one may do other work.
            named("theirs", "plan", "b", &end)?;
            named("build", "build", "a", &|| {
                refused(named("plan", "plan", "b", &end), Kind::LoopCycle);
                Ok(7)
            })?;
            refused(named("build", "build", "a", &end), Kind::LoopReprocess);
            Ok(7)
        })
        .unwrap();
        // A sibling is no child.
        named("again", "plan", "a", &end).unwrap();
        refused(named("a\nb", "plan", "a", &end), Kind::LoopInvalid);
        refused(named("x", "plan", " ", &end), Kind::LoopInvalid);
        refused(named("", "plan", "a", &end), Kind::LoopInvalid);
    });
}

#[test]
fn the_tree_is_ten_deep_at_most() {
    fn deeper(level: u64) -> Done {
        named(&format!("level-{level}"), &format!("kind-{level}"), "a", &|| deeper(level + 1))
    }
    let gate = gate();
    gate.scope_sync(|| {
        let refusal = refused(deeper(0), Kind::LoopDepth);
        assert!(refusal.reason().contains("depth 11 exceeds maximum 10"), "{refusal}");
        assert_eq!(gate.tasks().state("level-10"), Some(Blocked));
        assert_eq!(gate.tasks().state("level-11"), None);
    });
}

#[test]
fn a_blocked_task_is_not_resumed_inside_of_what_comes_from_it_nor_as_other_work() {
    let gate = gate();
    gate.scope_sync(|| {
        named("above", "one", "a", &|| {
            named("below", "two", "a", &|| named("never", "three", "a", &|| refused_by("stop")))
        })
        .unwrap_err();
        refused(named("above", "other", "a", &|| Ok(7)), Kind::AlreadyStarted);
        named("below", "two", "a", &|| {
            refused(named("above", "one", "a", &|| Ok(7)), Kind::LoopCycle);
            Ok(7)
        })
        .unwrap();
        // By anybody, and anywhere else, it is.
        named("above", "one", "another agent", &|| Ok(7)).unwrap();
    });
}

/// Any refusal.
fn refused_by(why: &str) -> Done {
    named("\n", why, why, &|| Ok(7))
}

#[test]
fn it_is_cancelled_by_an_explicit_call_and_the_next_step_is_refused() {
    let gate = gate();
    gate.scope_sync(|| {
        let refusal = named("t", "k", "a", &|| {
            step()?;
            let change = gate.tasks().cancel("t", "a person")?;
            assert_eq!((change.from, change.actor.as_str()), (InProgress, "a person"));
            step().map(|()| 7)
        });
        refused(refusal, Kind::TaskEnded);
        assert_eq!(states(&gate, "t"), [InProgress, Cancelled]);
        refused(named("t", "k", "a", &|| Ok(7)), Kind::LoopReprocess);
        refused(gate.tasks().cancel("t", "a person"), Kind::TaskEnded);
        refused(gate.tasks().cancel("u", "a person"), Kind::UnknownTask);
        // It is not done, whatever its body says.
        named("u", "k", "a", &|| gate.tasks().cancel("u", "a person").map(|_| 7)).unwrap();
        assert_eq!(gate.tasks().state("u"), Some(Cancelled));
    });
}

#[boundary(before_cost, on_deny = "return")]
#[task(id = "id", max_steps = 5)]
fn asks(id: &str) -> Done {
    Ok(7)
}

#[test]
fn what_is_refused_on_the_way_to_the_body_blocks_it() {
    let gate = Gate::scripted([Answer::Deny("NOT_NOW".into()), Answer::Allow]);
    gate.scope_sync(|| {
        refused(asks("t"), Kind::Denied);
        assert_eq!((gate.tasks().state("t"), ended(&gate, "t").as_str()), (Some(Blocked), "denied"));
        assert_eq!(asks("t").unwrap(), 7);
        // Nobody is asked about what is not done again.
        refused(asks("t"), Kind::LoopReprocess);
    });
    assert_eq!(gate.crossed().len(), 1);
}

#[test]
fn a_receipt_ends_it_too() {
    #[task(id = id)]
    #[once(action = "pay", key = "order", skip(id))]
    async fn pay(id: String, order: &str) -> Done {
        Ok(order.len() as u64)
    }
    let gate = gate();
    gate.scope_sync(|| {
        assert_eq!(block_on(pay("t".into(), "o")).unwrap(), 1);
        assert_eq!(gate.tasks().state("t"), Some(IsDone));
        assert_eq!(block_on(pay("u".into(), "o")).unwrap(), 1);
        assert_eq!(gate.tasks().state("u"), Some(IsDone));
        refused(block_on(pay("v".into(), "")), Kind::InvalidKey);
        assert_eq!(ended(&gate, "v"), "invalid_key");
    });
}

#[test]
fn refusals_can_end_the_process() {
    #[task(id = "id", max_steps = 1, on_exceed = "exit")]
    fn exits(id: u64) {}
    let gate = gate();
    gate.scope_sync(|| {
        exits(1);
        let end = testing::catch(|| exits(1)).unwrap_err();
        assert_eq!(end.code(), "loop_reprocess");
    });
}
