use std::sync::Mutex;

use super::*;

#[derive(Default)]
struct Service(Mutex<Vec<String>>);

impl TaskService for Service {
    fn create(&self, task: &NewTask) -> Result<Value, Refused> {
        self.0.lock().unwrap().push(task.title.clone());
        Ok(json!({"id": "i-1"}))
    }
    fn request_approval(&self, request: &Request) -> Result<Value, Refused> {
        self.0.lock().unwrap().push(request.path.clone());
        Ok(json!({"id": "a-1"}))
    }
}

fn denied() -> Refused {
    Refused::new(Kind::Denied, "orders.refund", "DEVICE_REVOKED")
}

#[test]
fn a_denial_is_neither_tried_again_nor_escalated() {
    assert_eq!(Call::because("t", denied()).unwrap_err().kind(), Kind::Denied);

    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] Refused);
    let retries = Retries::new(Backoff::default()).unwrap();
    let mut calls = 0;
    let failed = retries.run(
        "t",
        || -> Result<(), _> {
            calls += 1;
            Err(Wrapped(denied()))
        },
        |_, _, _| unreachable!(),
    );
    assert_eq!((failed.unwrap_err().0.kind(), calls), (Kind::Denied, 1));
}

#[test]
fn a_refusal_that_passes_is_tried_again_and_a_spent_budget_is_not() {
    let retries = Retries::new(Backoff::default()).unwrap();
    let busy = Refused::new(Kind::InFlight, "a", "it is running");
    assert!(matches!(retries.after_failure("t", &busy), Next::Again { failed: 1, .. }));
    let spent = Refused::new(Kind::BudgetSteps, "a", "spent");
    assert_eq!(retries.after_failure("t", &spent), Next::GiveUp);
    let call = Call::because("t", spent).unwrap();
    assert_eq!(call.details["code"], "budget_steps");
}

#[test]
fn attempts_that_were_recorded_count() {
    let retries = Retries::new(Backoff::default().jitter(false)).unwrap();
    retries.record("t");
    let mut calls = 0;
    let failed = retries.run(
        "t",
        || -> Result<(), _> {
            calls += 1;
            Err(std::fmt::Error)
        },
        |_, _, _| (),
    );
    assert_eq!((failed.is_err(), calls), (true, 2));
}

#[test]
fn the_same_seed_waits_the_same_and_jitter_stays_under_the_cap() {
    let waits = |seed| {
        let retries =
            Retries::seeded(Backoff::default().max_retries(20).cap(std::time::Duration::from_secs(10)), seed).unwrap();
        std::iter::from_fn(|| match retries.after_failure("t", &std::fmt::Error) {
            Next::Again { after, .. } => Some(after),
            Next::GiveUp => None,
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(waits(7), waits(7));
    assert_ne!(waits(7), waits(8));
    assert!(waits(7).iter().all(|wait| wait.as_secs_f64() <= 10.0));
    assert_eq!(waits(7).len(), 19);
}

#[test]
fn an_idle_agent_may_call_for_help() {
    let (agent, service, queue) =
        (Agent::new("me", "co").unwrap(), Arc::new(Service::default()), Arc::new(InProcess::new()));
    agent.sleep();
    let escalation =
        Escalation::new(agent, Arc::clone(&queue) as Arc<dyn Queue>, Arc::clone(&service) as Arc<dyn TaskService>);
    let call = Call::new("t", "needs a decision").unwrap().target("peer");
    for tier in [Tier::Peer, Tier::Lead, Tier::Person] {
        let _ = escalation.escalate(tier, &call).unwrap();
    }
    assert_eq!(*service.0.lock().unwrap(), ["[Escalation] needs a decision", "/api/companies/co/approvals"]);
    let delivery = queue.dequeue("peer", std::time::Duration::from_secs(1)).unwrap().unwrap();
    assert_eq!(delivery.message.payload["escalated_task_id"], "t");
}

#[test]
fn a_call_has_a_task_and_a_reason() {
    assert_eq!(Call::new("t", " ").unwrap_err().kind(), Kind::InvalidArgument);
    assert_eq!(Call::new("t ", "r").unwrap_err().kind(), Kind::InvalidArgument);
}
