//! Budgets through the attribute: what is counted where, and what can't reset a limit.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use portcullis::testing::{self, Gate};
use portcullis::{Cost, InTask, Kind, Refused, boundary, budgeted, scope, scope_sync};

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refused>, kind: Kind) -> Refused {
    let refused = result.expect_err("it must be refused");
    assert_eq!(refused.kind(), kind, "{refused}");
    refused
}

#[budgeted(max_steps = 50)]
fn step() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_steps = 50)]
async fn step_async() -> Result<(), Refused> {
    Ok(())
}

#[test]
fn the_51st_of_50_steps_is_refused() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        scope_sync("job", || {
            for _ in 0..50 {
                step().unwrap();
            }
            let refusal = refused(step(), Kind::BudgetSteps);
            assert!(refusal.to_string().contains("the scope `job`"), "{refusal}");
            assert!(refusal.to_string().contains("step 51 of at most 50"), "{refusal}");
            refused(step(), Kind::BudgetSteps);
        });
    });
}

#[test]
fn without_a_scope_the_process_pays_and_the_refusal_says_how_to_scope() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        (0..50).for_each(|_| step().unwrap());
        let refusal = refused(step(), Kind::BudgetSteps).to_string();
        assert!(refusal.contains("the process") && refusal.contains("portcullis::scope("), "{refusal}");
        // A scope is an account of its own.
        scope_sync("job", || step().unwrap());
    });
}

#[test]
fn entering_an_open_scope_again_does_not_start_from_zero() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        scope_sync("job", || {
            (0..50).for_each(|_| step().unwrap());
            scope_sync("job", || refused(step(), Kind::BudgetSteps));
        });
    });
}

#[budgeted(max_steps = 3)]
fn outer(calls: u32) -> Result<u32, Refused> {
    (0..calls).map(|_| step().map(|()| 1)).sum()
}

#[test]
fn guarded_calls_inside_are_steps_of_the_outer_account() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        scope_sync("fits", || assert_eq!(outer(2).unwrap(), 2));
        scope_sync("does not", || {
            let refusal = refused(outer(3), Kind::BudgetSteps);
            assert!(refusal.to_string().contains("step 4 of at most 3"), "{refusal}");
        });
    });
}

#[budgeted(max_steps = 4)]
fn recursive(more: u32) -> Result<u32, Refused> {
    if more == 0 { Ok(0) } else { recursive(more - 1).map(|deeper| deeper + 1) }
}

#[test]
fn a_recursive_call_is_one_step_and_not_two() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        scope_sync("four", || assert_eq!(recursive(3).unwrap(), 3));
        scope_sync("five", || refused(recursive(4), Kind::BudgetSteps));
    });
}

#[budgeted(max_depth = 3)]
fn deep(more: u32) -> Result<u32, Refused> {
    if more == 0 { Ok(0) } else { deep(more - 1).map(|deeper| deeper + 1) }
}

#[test]
fn depth_counts_the_calls_inside_one_another() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        assert_eq!(deep(2).unwrap(), 2);
        refused(deep(3), Kind::BudgetDepth);
        // Calls beside one another are not deeper.
        (0..10).for_each(|_| assert_eq!(deep(2).unwrap(), 2));
    });
}

#[budgeted(max_duration = "40ms")]
fn quick() -> Result<(), Refused> {
    Ok(())
}

#[test]
fn time_that_is_used_up_refuses_the_next_step() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        scope_sync("job", || {
            quick().unwrap();
            // Time itself is what is tested.
            std::thread::sleep(Duration::from_millis(60));
            refused(quick(), Kind::BudgetDuration);
        });
        scope_sync("another", || quick().unwrap());
    });
}

#[budgeted(max_steps = 2, per = "call")]
fn per_call(inner: u32) -> Result<(), Refused> {
    (0..inner).try_for_each(|_| step())
}

#[budgeted(max_steps = 2, per = "process")]
fn per_process() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_steps = 2, per = tenant)]
fn per_tenant(tenant: &str) -> Result<(), Refused> {
    Ok(())
}

#[test]
fn whose_account_it_is_can_be_said() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        (0..5).for_each(|_| per_call(1).unwrap());
        refused(per_call(2), Kind::BudgetSteps);

        scope_sync("one", || per_process().unwrap());
        scope_sync("two", || per_process().unwrap());
        scope_sync("three", || refused(per_process(), Kind::BudgetSteps));

        for tenant in ["acme", "globex"] {
            per_tenant(tenant).unwrap();
            per_tenant(tenant).unwrap();
            let refusal = refused(per_tenant(tenant), Kind::BudgetSteps);
            assert!(refusal.to_string().contains(tenant), "{refusal}");
        }
    });
}

#[budgeted(max_cost = "1.00 USD", cost = cost)]
fn spend(cost: &str, charge: Option<Cost>) -> Result<(), Refused> {
    charge.map_or(Ok(()), portcullis::charge)
}

#[test]
fn cost_is_reserved_before_and_settled_after() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        scope_sync("reserved", || {
            spend("0.60 USD", None).unwrap();
            refused(spend("0.41 USD", None), Kind::BudgetCost);
            spend("0.40 USD", None).unwrap();
            refused(spend("0.000001 USD", None), Kind::BudgetCost);
        });
        scope_sync("cheaper than thought", || {
            spend("1.00 USD", Some("0.10 USD".parse().unwrap())).unwrap();
            spend("0.90 USD", None).unwrap();
            refused(spend("0.01 USD", None), Kind::BudgetCost);
        });
        scope_sync("dearer than thought", || {
            refused(spend("0.50 USD", Some("1.50 USD".parse().unwrap())), Kind::BudgetCost);
            // The money is spent, whatever was reserved.
            refused(spend("0.01 USD", None), Kind::BudgetCost);
        });
        scope_sync("unusable", || {
            refused(spend("a dollar", None), Kind::InvalidArgument);
            refused(spend("0.10 EUR", None), Kind::InvalidArgument);
        });
    });
}

#[boundary(before_cost)]
fn only_asks() -> u32 {
    1
}

#[budgeted(max_steps = 3)]
fn asks_too_often() -> Result<u32, Refused> {
    Ok((0..3).map(|_| only_asks()).sum())
}

#[test]
fn a_call_that_cannot_return_the_refusal_ends_the_process() {
    let gate = Gate::allowing();
    let ended = testing::catch(|| gate.scope_sync(asks_too_often)).unwrap_err();
    assert_eq!((ended.code(), ended.action()), ("budget_steps", "only_asks"));
    assert_eq!(gate.crossed().len(), 2, "the third never reached the authority");
}

#[test]
fn the_scope_of_the_configuration_limits_every_guarded_call() {
    let gate = Gate::with_limits(portcullis::budget::Limits::new().steps(2), |_| testing::Answer::Allow);
    gate.scope_sync(|| {
        scope_sync("job", || {
            step().unwrap();
            assert_eq!(only_asks(), 1);
            refused(step(), Kind::BudgetSteps);
        });
        // Outside of every scope, a long-lived process is not limited by it.
        (0..10).for_each(|_| step().unwrap());
    });
}

/// Polls both until both are done, one after the other.
async fn alternate(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_done, mut b_done) = (false, false);
    poll_fn(|cx| {
        a_done = a_done || a.as_mut().poll(cx).is_ready();
        b_done = b_done || b.as_mut().poll(cx).is_ready();
        if a_done && b_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn fifty_steps_and_one() {
    for _ in 0..50 {
        step_async().await.unwrap();
        yield_now().await;
    }
    refused(step_async().await, Kind::BudgetSteps);
}

async fn scopes_that_are_polled_in_turns(gate: Gate) {
    gate.scope(alternate(scope("a", fifty_steps_and_one()), scope("b", fifty_steps_and_one()))).await;
    // And nothing of it is left on this thread.
    gate.scope(scope("c", async { step_async().await.unwrap() })).await;
}

#[test]
fn scopes_do_not_leak_into_one_another_on_any_executor() {
    pollster::block_on(scopes_that_are_polled_in_turns(Gate::allowing()));
    smol::block_on(scopes_that_are_polled_in_turns(Gate::allowing()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async { tokio::spawn(scopes_that_are_polled_in_turns(Gate::allowing())).await }).unwrap();
}

#[test]
fn spawned_work_is_counted_where_it_asks_to_be() {
    let gate = Gate::allowing();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(gate.scope(scope("job", async {
        for _ in 0..50 {
            tokio::spawn(step_async().in_task()).await.unwrap().unwrap();
        }
        refused(step_async().await, Kind::BudgetSteps);
        refused(tokio::spawn(step_async().in_task()).await.unwrap(), Kind::BudgetSteps);
    })));
}

#[test]
fn a_step_that_is_never_polled_is_not_charged() {
    let gate = Gate::allowing();
    pollster::block_on(gate.scope(scope("job", async {
        (0..100).for_each(|_| drop(step_async()));
        for _ in 0..50 {
            step_async().await.unwrap();
        }
        refused(step_async().await, Kind::BudgetSteps);
    })));
}

#[test]
fn many_threads_never_take_more_than_there_is() {
    let gate = Gate::allowing();
    let taken: usize = std::thread::scope(|threads| {
        let threads: Vec<_> = (0..8)
            .map(|_| threads.spawn(|| gate.scope_sync(|| (0..50).filter(|_| per_tenant("contended").is_ok()).count())))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 2);
}

#[test]
fn a_panic_leaves_the_stack_as_it_was() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        let _ = std::panic::catch_unwind(|| scope_sync("job", || -> () { panic!("in a scope") }));
        (0..50).for_each(|_| step().unwrap());
        assert!(refused(step(), Kind::BudgetSteps).to_string().contains("the process"));
    });
}
