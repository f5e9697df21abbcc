//! Taking, moving, speaking about, giving back and making issues.

use portcullis::tasks::admission::{Admission, NewTask};
use portcullis::tasks::lifecycle::TaskState::{self, Blocked, Done, InProgress, InReview, Todo};
use portcullis::tasks::paperclip::{Failure, Move, NoAnswer};

use super::world::World;

fn task(title: &str) -> NewTask {
    NewTask::new(title, "chore", Admission::new("the shop", "orders wait", "they go out", "none is left"))
}

#[test]
fn an_issue_is_taken_worked_on_and_done() {
    let world = World::open("done", &[("issue", "todo")]);
    let (first, issue) = (world.paperclip(0), world.id("issue"));
    assert_eq!(first.issue(issue).wait().unwrap().state, Todo);
    let taken = first.checkout(issue).wait().unwrap();
    assert_eq!((taken.state, taken.assignee.as_deref()), (InProgress, Some(first.agent().id())));
    assert_eq!(taken.run.as_deref(), Some(first.run()));
    // Asked again, by its short name: the same yes.
    assert_eq!(first.checkout(&taken.identifier.unwrap()).wait().unwrap().id, issue);
    assert_eq!(first.comment(issue, "on it: \"half\" of it\nis done – ☂").wait().unwrap().issue_id, issue);
    let done = first.transition(issue, Move::new(InProgress, Done).comment("as ordered")).wait().unwrap();
    assert_eq!(done.state, Done);
    // Asked again, because an answer may have been lost.
    assert_eq!(first.transition(issue, Move::new(InProgress, Done)).wait().unwrap().state, Done);
    // The end is the end, and nobody is asked.
    let Err(Failure::Refused(refused)) = first.transition(issue, Move::new(Done, Todo)).wait() else { panic!("moved") };
    assert_eq!(refused.code(), "task_ended");
    // Nor is it taken by somebody who thinks that it is still to be done.
    let Err(Failure::NotMine(holder)) = first.checkout(issue).wait() else { panic!("taken") };
    assert_eq!(holder.state, Some(Done));
}

#[test]
fn what_another_run_holds_is_not_ours() {
    let world = World::open("not_mine", &[("issue", "todo")]);
    let (first, second, issue) = (world.paperclip(0), world.paperclip(1), world.id("issue"));
    first.checkout(issue).wait().unwrap();
    let Err(Failure::NotMine(holder)) = second.checkout(issue).wait() else { panic!("taken") };
    assert_eq!((holder.state, holder.agent.as_deref()), (Some(InProgress), Some(first.agent().id())));
    assert_eq!(holder.run.as_deref(), Some(first.run()));
    let Err(Failure::NotMine(holder)) = second.transition(issue, Move::new(InProgress, Done)).wait() else {
        panic!("moved")
    };
    assert_eq!(holder.said.code.as_deref(), Some("issue_write_assignee_run_lock"));
    assert!(matches!(second.release(issue).wait(), Err(Failure::NotMine(_))));
    assert_eq!(second.issue(issue).wait().unwrap().state, InProgress);
}

#[test]
fn what_is_given_back_can_be_taken_by_another() {
    let world = World::open("release", &[("issue", "todo")]);
    let (first, second, issue) = (world.paperclip(0), world.paperclip(1), world.id("issue"));
    first.checkout(issue).wait().unwrap();
    let released = first.release(issue).wait().unwrap();
    assert_eq!((released.state, released.assignee, released.run), (Todo, None, None));
    let taken = second.checkout(issue).wait().unwrap();
    assert_eq!(taken.run.as_deref(), Some(second.run()));
    assert!(matches!(first.checkout(issue).wait(), Err(Failure::NotMine(_))));
    assert_eq!(second.release(issue).wait().unwrap().state, Todo);
}

#[test]
fn the_services_own_rules_are_told() {
    let world = World::open("rules", &[("issue", "todo")]);
    let (first, issue) = (world.paperclip(0), world.id("issue"));
    first.checkout(issue).wait().unwrap();
    let rule = |wanted: Move| match first.transition(issue, wanted).wait() {
        Err(Failure::Rule { to, said }) => (to, said.status, said.code.clone(), said.to_string()),
        other => panic!("{other:?}"),
    };
    let (to, status, code, said) = rule(Move::new(InProgress, Blocked));
    assert_eq!((to, status, code), (Blocked, 422, None));
    assert!(said.contains("unblockDescriptor"), "{said}");
    let (to, status, code, _) = rule(Move::new(InProgress, InReview));
    assert_eq!((to, status, code.as_deref()), (InReview, 422, Some("invalid_issue_disposition")));

    let walk = |wanted: Move, state: TaskState| {
        assert_eq!(first.transition(issue, wanted).wait().unwrap().state, state);
    };
    let blocked = Move::new(InProgress, Blocked).unblock("the supplier confirms the order").comment("asked twice");
    walk(blocked, Blocked);
    walk(Move::new(Blocked, InProgress), InProgress);
    assert_eq!(first.request_review(issue, "Look at it", "All tests pass.").wait().unwrap().status, "pending");
    walk(Move::new(InProgress, InReview), InReview);
    walk(Move::new(InReview, InProgress), InProgress);
    let Err(Failure::Elsewhere { expected, found }) = first.transition(issue, Move::new(InReview, Done)).wait() else {
        panic!("moved")
    };
    assert_eq!((expected, found), (InReview, InProgress));
    walk(Move::new(InProgress, Blocked), Blocked);
    walk(Move::new(Blocked, Todo), Todo);
    walk(Move::new(Todo, TaskState::Cancelled), TaskState::Cancelled);
}

#[test]
fn what_is_wrong_is_told_as_what_it_is() {
    let world = World::open("mistakes", &[("issue", "todo")]);
    let (first, issue) = (world.paperclip(0), world.id("issue"));
    let nowhere = "00000000-0000-4000-8000-000000000000";
    for id in [nowhere, "no such issue", "../companies"] {
        assert!(matches!(first.checkout(id).wait(), Err(Failure::NotFound(_))), "{id}");
    }
    let stranger = world.paperclip_with(0, "pcp_of_nobody", first.run());
    let Err(Failure::Denied(said)) = stranger.issue(issue).wait() else { panic!("let in") };
    assert_eq!(said.status, 401);
    // The other agent's key: it may take issues in its own name only.
    let impostor = world.paperclip_with(0, world.key(1), world.run(1));
    let Err(Failure::Denied(said)) = impostor.checkout(issue).wait() else { panic!("taken") };
    assert_eq!(said.status, 403);
    // A run that the service does not know breaks it, and nobody knows what it has done.
    let lost = world.paperclip_with(0, world.key(0), nowhere);
    let Err(failure @ Failure::NoAnswer(_)) = lost.checkout(issue).wait() else { panic!("taken") };
    assert!(failure.may_have_happened());
    let Failure::NoAnswer(NoAnswer { status, .. }) = failure else { unreachable!() };
    assert_eq!(status, Some(500));
    let Err(Failure::Denied(said)) = lost.comment(issue, "hello").wait() else { panic!("written") };
    assert_eq!(said.code.as_deref(), Some("cross_issue_influence_run_context_required"));
    assert_eq!(first.issue(issue).wait().unwrap().state, Todo);
}

#[test]
fn issues_are_made_and_found_again() {
    let world = World::open("create", &[]);
    let first = world.paperclip(0);
    let made = first.create(&task("Pack the orders").description("All of today.")).wait().unwrap();
    assert!(made.new);
    assert_eq!((made.issue.state, made.issue.assignee.as_deref()), (Todo, Some(first.agent().id())));
    // The service takes an open issue of the same title for the same one, and says so.
    let found = first.create(&task("Pack the orders")).wait().unwrap();
    assert_eq!((found.new, &found.issue.id), (false, &made.issue.id));
    // With a key it is the key that counts, and the title does not.
    let keyed = first.create_once("orders:today", &task("Pack the orders")).wait().unwrap();
    assert!(keyed.new && keyed.issue.id != made.issue.id);
    let again = first.create_once("orders:today", &task("Pack what is left")).wait().unwrap();
    assert_eq!((again.new, &again.issue.id), (false, &keyed.issue.id));

    let Err(Failure::Rejected(said)) = first.create(&task("For nobody").assignee("auto")).wait() else {
        panic!("made")
    };
    assert_eq!((said.status, said.message.as_str()), (400, "Validation error; assigneeAgentId: Invalid GUID"));
    let nowhere = "00000000-0000-4000-8000-000000000000";
    assert!(matches!(first.create(&task("Of nothing").parent(nowhere)).wait(), Err(Failure::NotFound(_))));

    // Nothing of this is sent.
    first.agent().sleep();
    for (wrong, code) in [(task("More"), "idle"), (NewTask::new("More", "chore", Admission::default()), "not_admitted")]
    {
        let Err(Failure::Refused(refused)) = first.create(&wrong).wait() else { panic!("made") };
        assert_eq!(refused.code(), code);
    }
    for key in ["", " k", &"k".repeat(256)] {
        let Err(Failure::Refused(refused)) = first.create_once(key, &task("More")).wait() else { panic!("made") };
        assert_eq!(refused.code(), "invalid_argument");
    }
}
