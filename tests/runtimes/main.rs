//! Guarded calls on every runtime and on none: nothing panics, nothing deadlocks, and what is made of them can be sent.

use std::future::Future;
use std::sync::Arc;

use portcullis::testing::Gate;
use portcullis::{Boundary, Refused, boundary, budgeted, once, permit};

#[boundary(before_side_effect)]
#[once(action = "sync", key = "key")]
#[budgeted(max_steps = 1000)]
fn guarded(key: &str) -> Result<String, Refused> {
    Ok(key.to_owned())
}

#[boundary(before_side_effect)]
#[once(action = "async", key = "key")]
#[budgeted(max_steps = 1000)]
async fn guarded_async(key: &str) -> Result<String, Refused> {
    Ok(key.to_owned())
}

#[boundary(before_cost, permit = permit)]
#[once(action = "bound", key = "key", claim = claim)]
async fn bound(key: &str) -> Result<String, Refused> {
    spend(&permit).await;
    Ok(claim.idempotency_key().to_owned() + key)
}

async fn spend(permit: &portcullis::Permit<'_, permit::BeforeCost>) {
    assert_eq!(permit.boundary(), Boundary::BeforeCost);
}

async fn both(gate: Gate) {
    gate.scope(async {
        assert_eq!(guarded("a").unwrap(), "a");
        assert_eq!(guarded_async("b").await.unwrap(), "b");
        assert_eq!(bound("c").await.unwrap().len(), 41);
    })
    .await;
    assert_eq!(gate.crossed().len(), 3);
}

#[test]
fn on_no_runtime_at_all() {
    let gate = Gate::allowing();
    assert_eq!(gate.scope_sync(|| guarded("a")).unwrap(), "a");
    pollster::block_on(both(Gate::allowing()));
}

#[test]
fn on_a_current_thread_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(both(Gate::allowing()));
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async { tokio::task::spawn_local(both(Gate::allowing())).await }).unwrap();
}

#[test]
fn on_a_multi_thread_tokio_with_more_tasks_than_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        (0..16).for_each(|_| {
            tasks.spawn(both(Gate::allowing()));
        });
        tasks.join_all().await;
    });
}

#[test]
fn on_smol() {
    smol::block_on(async { smol::spawn(both(Gate::allowing())).await });
}

#[test]
fn inside_a_task_whose_cooperative_budget_is_spent() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let gate = Gate::allowing();
    runtime.block_on(gate.scope(async {
        // Tokio makes its own primitives wait once a task has used them often enough; a blocking call must not spin on that.
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        (0..1000).for_each(|n| sender.send(n).unwrap());
        for n in 0..1000 {
            assert_eq!(receiver.recv().await, Some(n));
            if n % 100 == 99 {
                assert_eq!(guarded(&n.to_string()).unwrap(), n.to_string());
            }
        }
    }));
}

fn is_send<F: Future + Send>(future: F) -> F {
    future
}

#[test]
fn futures_can_be_sent_and_stay_small() {
    let gate = Gate::allowing();
    drop(is_send(guarded_async("k")));
    drop(is_send(bound("k")));
    drop(is_send(gate.scope(bound("k"))));
    drop(is_send(portcullis::scope("job", guarded_async("k"))));

    // What the guard itself adds; the argument is in the caller's future once and in the body's once.
    const ARGUMENT: usize = 4096;
    async fn bare(argument: [u8; ARGUMENT]) -> Result<u8, Refused> {
        std::future::ready(()).await;
        Ok(argument[0])
    }
    #[boundary(before_cost)]
    async fn asked(argument: [u8; ARGUMENT]) -> Result<u8, Refused> {
        std::future::ready(()).await;
        Ok(argument[0])
    }
    #[boundary(before_cost)]
    #[once(action = "sized", key = "key", skip(argument))]
    #[budgeted(max_steps = 9, cost = "0.01 USD")]
    async fn stacked(key: u8, argument: [u8; ARGUMENT]) -> Result<u8, Refused> {
        std::future::ready(()).await;
        Ok(argument[usize::from(key)])
    }
    let argument = [0; ARGUMENT];
    let bare = size_of_val(&bare(argument));
    for guarded in [size_of_val(&asked(argument)), size_of_val(&stacked(0, argument))] {
        assert!(guarded <= bare + ARGUMENT + 512, "bare {bare}, guarded {guarded}");
    }
}

#[test]
fn nested_guards_grow_linearly() {
    macro_rules! nest {
        ($($outer:ident -> $inner:ident,)*) => {$(
            #[boundary(before_cost)]
            async fn $outer() -> u8 {
                $inner().await
            }
        )*};
    }
    async fn zero() -> u8 {
        std::future::ready(0).await
    }
    nest!(one -> zero, two -> one, three -> two, four -> three,);
    let sizes = [size_of_val(&one()), size_of_val(&two()), size_of_val(&three()), size_of_val(&four())];
    let step = sizes[1] - sizes[0];
    assert!(sizes.windows(2).all(|pair| pair[1] - pair[0] <= step + 16), "{sizes:?}");
}

#[test]
fn many_callers_share_a_gate() {
    let gate = Arc::new(Gate::allowing());
    std::thread::scope(|threads| {
        for thread in 0..16 {
            let gate = Arc::clone(&gate);
            threads.spawn(move || {
                for n in 0..20 {
                    let key = format!("{thread}-{n}");
                    assert_eq!(gate.scope_sync(|| guarded(&key)).unwrap(), key);
                }
            });
        }
    });
    assert_eq!(gate.crossed().len(), 320);
}
