//! Tiers 3 and 4 of an escalation reach the service.

use std::sync::Arc;

use portcullis::tasks::escalation::{Call, Called, Escalation, InProcess, Tier};
use portcullis::tasks::paperclip::Paperclip;

use super::world::World;

fn escalation(paperclip: &Paperclip) -> Escalation {
    let queue = Arc::new(InProcess::new());
    Escalation::new(paperclip.agent().clone(), queue, Arc::new(paperclip.clone()))
}

#[test]
fn the_lead_agent_gets_an_issue_for_each_call() {
    let world = World::open("lead", &[]);
    let first = world.paperclip(0);
    let escalation = escalation(&first);
    // An agent that has gone idle may still call for help.
    first.agent().sleep();
    let mut issues = Vec::new();
    for task in ["order-17", "order-18"] {
        let call = Call::new(task, "the supplier does not answer").unwrap().detail("tried", 3);
        let Called::LeadNotified { issue, .. } = escalation.escalate(Tier::Lead, &call).unwrap() else {
            panic!("else")
        };
        assert_eq!(issue["assigneeAgentId"], world.id("lead"), "`auto` is the agent with the role `ceo`");
        assert_eq!((&issue["status"], &issue["new"]), (&"todo".into(), &true.into()));
        issues.push(issue["id"].clone());
    }
    assert_ne!(issues[0], issues[1], "two calls with one reason are two calls");
    let named = escalation.lead(world.agent(1).id());
    let call = Call::new("order-19", "a decision is wanted").unwrap();
    let Called::LeadNotified { issue, .. } = named.escalate(Tier::Lead, &call).unwrap() else {
        panic!("something else")
    };
    assert_eq!(issue["assigneeAgentId"], world.agent(1).id());
    let refused = named.lead("nobody").escalate(Tier::Lead, &call).unwrap_err();
    assert_eq!(refused.code(), "invalid_argument");
    assert!(refused.reason().contains("assigneeAgentId: Invalid GUID"), "{refused}");
}

#[test]
fn a_person_gets_a_question() {
    let world = World::open("person", &[]);
    let escalation = escalation(&world.paperclip(0));
    let call = Call::new("order-17", "the budget is spent").unwrap().recommend("raise it");
    let Called::PersonAsked { approval, .. } = escalation.escalate(Tier::Person, &call).unwrap() else {
        panic!("else")
    };
    assert_eq!(approval["status"], "pending");
}

#[test]
fn a_no_of_the_service_is_a_denial() {
    let world = World::open("denied", &[]);
    let stranger = world.paperclip_with(0, "pcp_of_nobody", world.run(0));
    let call = Call::new("order-17", "the budget is spent").unwrap();
    let refused = escalation(&stranger).escalate(Tier::Person, &call).unwrap_err();
    assert_eq!(refused.code(), "denied");
    // And a denial is not escalated.
    assert!(Call::because("order-17", refused).is_err());
}
