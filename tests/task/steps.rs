//! What the account of a task counts.

use pollster::block_on;
use portcullis::budget::Limits;
use portcullis::testing::Answer;
use portcullis::{Cost, InTask, scope_sync};

use super::*;

#[test]
fn fifty_steps_where_nobody_says_otherwise_and_the_51st_is_refused() {
    #[task(id = "id")]
    fn plain(id: &str, steps: u32) -> Result<(), Refused> {
        (0..steps).try_for_each(|_| step())
    }
    let gate = gate();
    gate.scope_sync(|| {
        plain("t", 50).unwrap();
        let refusal = refused(plain("u", 51), Kind::BudgetSteps);
        assert!(refusal.reason().contains("the task `u`") && refusal.reason().contains("step 51 of at most 50"));
    });
}

#[test]
fn the_limits_of_the_gate_are_those_of_tasks_too() {
    let gate = Gate::with_limits(Limits::new().steps(3), |_| Answer::Allow);
    gate.scope_sync(|| {
        work("t", 3, Ok(7)).unwrap();
        assert_eq!(kind(&work("u", 4, Ok(7)).unwrap_err()), Some(Kind::BudgetSteps));
    });
}

#[task(id = "id", kind = "inner", max_steps = 3)]
fn inner(id: &str, steps: u32) -> Done {
    for _ in 0..steps {
        step()?;
    }
    Ok(7)
}

#[task(id = "id", kind = "outer", max_steps = 10)]
fn outer(id: &str, tasks: u32, steps: u32) -> Done {
    for number in 0..tasks {
        inner(&format!("{id}.{number}"), steps)?;
    }
    Ok(7)
}

#[test]
fn steps_inside_count_for_both_and_the_task_itself_for_what_is_around() {
    let gate = gate();
    gate.scope_sync(|| {
        refused(outer("t", 1, 4), Kind::BudgetSteps);
        // Two tasks of three steps are eight, three are twelve.
        outer("u", 2, 3).unwrap();
        let refusal = refused(outer("v", 3, 3), Kind::BudgetSteps);
        assert!(refusal.reason().contains("the task `v`"), "{refusal}");
    });
}

#[budgeted(max_steps = 2)]
fn counted() -> Result<(), Refused> {
    Ok(())
}

#[test]
fn a_budgeted_function_has_one_account_for_each_task() {
    #[task(id = "id", kind = "twice")]
    fn twice(id: &str, fail: bool) -> Result<(), Refused> {
        counted()?;
        if fail { Err(inner("\n", 0).unwrap_err()) } else { counted() }
    }
    let gate = gate();
    gate.scope_sync(|| {
        twice("t", false).unwrap();
        twice("u", true).unwrap_err();
        // One was taken before it was blocked.
        refused(twice("u", false), Kind::BudgetSteps);
        // A scope around is not asked, and one inside has its own.
        scope_sync("job", || twice("v", false).unwrap());
    });
}

#[test]
fn a_budget_on_the_same_function_is_charged_inside_of_its_task() {
    #[task(id = "id", kind = "both", max_cost = "1.00 USD")]
    #[budgeted(max_steps = 1, cost = "0.60 USD")]
    fn both(id: &str, end: Result<(), Kind>) -> Result<(), Refused> {
        end.map_err(|_| inner("\n", 0).unwrap_err())
    }
    let gate = gate();
    gate.scope_sync(|| {
        both("t", Ok(())).unwrap();
        both("u", Err(Kind::Denied)).unwrap_err();
        refused(both("u", Ok(())), Kind::BudgetSteps);
        assert_eq!(gate.tasks().left("u").unwrap().cost, Some(Cost::from_micros(400_000, "USD")));
    });
}

#[task(id = "id", kind = "waits", max_steps = 4)]
async fn across(id: &str) -> Done {
    step()?;
    pause().await;
    step()?;
    let carried = tokio::spawn(async { step() }.in_task());
    carried.await.expect("it does not panic")?;
    // Whoever does not ask for the scope is outside of it.
    for _ in 0..10 {
        tokio::spawn(async { step() }).await.expect("it does not panic")?;
    }
    std::thread::scope(|threads| {
        let inside = async { step() }.in_task();
        threads.spawn(|| block_on(inside)).join().expect("it does not panic")
    })?;
    refused(step(), Kind::BudgetSteps);
    Ok(7)
}

#[test]
fn the_scope_goes_along_across_await_threads_and_into_spawned_work_that_asks_for_it() {
    let gate = gate();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(gate.scope(async {
        assert_eq!(across("t").await.unwrap(), 7);
    }));
    // And not into a neighbour that is polled in between.
    gate.scope_sync(|| {
        let mut futures = ["u", "v"].map(|id| Box::pin(pausing_twice(id)));
        futures.iter_mut().for_each(|future| assert!(poll(future).is_pending()));
        futures.iter_mut().for_each(|future| assert!(matches!(poll(future), Poll::Ready(Ok(7)))));
    });
}

#[task(id = "id", kind = "pausing", max_steps = 2)]
async fn pausing_twice(id: &str) -> Done {
    step()?;
    pause().await;
    step()?;
    refused(step(), Kind::BudgetSteps);
    Ok(7)
}

type Work = Pin<Box<dyn Future<Output = Result<(), Refused>>>>;

#[test]
fn work_that_outlives_its_task_takes_no_more_steps() {
    let gate = gate();
    gate.scope_sync(|| {
        #[task(id = "id", on_exceed = "exit")]
        fn leaves(id: &str, spawned: &mut Option<Work>) {
            *spawned = Some(Box::pin(async { step() }.in_task()));
        }
        let mut spawned = None;
        leaves("t", &mut spawned);
        let refusal = refused(block_on(spawned.unwrap()), Kind::TaskEnded);
        assert!(refusal.reason().contains("`t`"), "{refusal}");
    });
}

#[test]
fn money_is_the_tasks_too() {
    #[budgeted(max_steps = 1_000, per = "process", cost = "0.40 USD")]
    fn buys(really: Option<&str>) -> Result<(), Refused> {
        really.map_or(Ok(()), |really| portcullis::charge(really.parse().unwrap()))
    }
    #[task(id = "id", max_cost = "1.00 USD")]
    fn shops(id: &str) -> Result<(), Refused> {
        buys(None)?;
        buys(Some("0.10 USD"))?;
        buys(None)?;
        refused(buys(None), Kind::BudgetCost);
        Ok(())
    }
    let gate = gate();
    gate.scope_sync(|| shops("t").unwrap());
}
