//! A lifecycle whose changes are the issue's too.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use portcullis::tasks::lifecycle::{By, Change, Hook, Lifecycle, TaskState, Veto};
use portcullis::tasks::paperclip::Move;
use portcullis_tests::hostile_server::{Server, json};
use serde_json::Value;

use super::hostile::paperclip;
use super::world::World;

#[test]
fn the_issue_goes_where_the_lifecycle_goes() {
    let world = World::open("mirror", &[("issue", "todo")]);
    let (first, second, issue) = (world.paperclip(0), world.paperclip(1), world.id("issue"));
    let ours = Lifecycle::new(issue).unwrap().hook(first.mirror(issue));
    let theirs = Lifecycle::new(issue).unwrap().hook(second.mirror(issue));
    let there = || first.issue(issue).wait().unwrap().state;

    let _ = ours.transition(TaskState::InProgress, "first").unwrap();
    assert_eq!(there(), TaskState::InProgress);
    // Work does not begin without the lock.
    let refused = theirs.transition(TaskState::InProgress, "second").unwrap_err();
    assert_eq!((refused.code(), theirs.state()), ("task_running", TaskState::Todo));

    // The service wants to know more, and the lifecycle stays where it is.
    let refused = ours.transition(TaskState::Blocked, "first").unwrap_err();
    assert_eq!((refused.code(), ours.state()), ("invalid_transition", TaskState::InProgress));
    let by = By::actor("first").note("unblock", "the supplier confirms the order").note("comment", "asked twice");
    let _ = ours.transition(TaskState::Blocked, by).unwrap();
    assert_eq!(there(), TaskState::Blocked);
    let _ = ours.transition(TaskState::InProgress, By::actor("first").note("comment", "not sent")).unwrap();
    let _ = ours.transition(TaskState::Done, "first").unwrap();
    assert_eq!((there(), ours.state(), ours.history().len()), (TaskState::Done, TaskState::Done, 4));
}

#[test]
fn a_service_that_is_one_step_ahead_is_caught_up_with() {
    let world = World::open("ahead", &[("issue", "todo")]);
    let (first, issue) = (world.paperclip(0), world.id("issue"));
    let task = Lifecycle::new(issue).unwrap().hook(first.mirror(issue));
    let _ = task.transition(TaskState::InProgress, "first").unwrap();
    // As if the answer to this one had been lost, or the process had ended before it came.
    first.transition(issue, Move::new(TaskState::InProgress, TaskState::Done)).wait().unwrap();
    assert_eq!(task.state(), TaskState::InProgress);
    // Another end is refused, and the same one goes through.
    let refused = task.transition(TaskState::Cancelled, "first").unwrap_err();
    assert_eq!(refused.code(), "invalid_transition");
    let _ = task.transition(TaskState::Done, "first").unwrap();
    assert_eq!(task.state(), TaskState::Done);
    // After a restart, one begins where the service is.
    let resumed = Lifecycle::at(issue, first.issue(issue).wait().unwrap().state).unwrap();
    assert!(resumed.state().is_terminal());
}

#[test]
fn what_a_person_has_moved_is_not_moved_over() {
    let world = World::open("moved", &[("issue", "todo")]);
    let (first, issue) = (world.paperclip(0), world.id("issue"));
    let task = Lifecycle::new(issue).unwrap().hook(first.mirror(issue));
    let _ = task.transition(TaskState::InProgress, "first").unwrap();
    world.board_moves("issue", "cancelled");
    let refused = task.transition(TaskState::Done, "first").unwrap_err();
    assert_eq!((refused.code(), task.state()), ("invalid_transition", TaskState::InProgress));
    assert!(refused.reason().contains("the issue is in cancelled"), "{refused}");
}

#[test]
fn an_answer_that_is_lost_leaves_the_lifecycle_where_it_is_and_says_so() {
    let server = Server::start(|connection| {
        while let Some(request) = connection.request() {
            if request.0.starts_with("GET") {
                connection.send(json(r#"{"id":"i-1","title":"t","status":"in_progress"}"#));
            } else {
                return connection.close();
            }
        }
    });
    let task = Lifecycle::at("i-1", TaskState::InProgress).unwrap().hook(paperclip(&server.base()).mirror("i-1"));
    let refused = task.transition(TaskState::Done, "first").unwrap_err();
    assert_eq!((refused.code(), task.state()), ("in_doubt", TaskState::InProgress));
    assert!(refused.may_have_happened());
}

/// Lets two threads go on at the same moment.
struct Together(Barrier);

impl Hook for Together {
    fn name(&self) -> &str {
        "together"
    }

    fn before(&self, _: &str, _: &Change) -> Result<(), Veto> {
        self.0.wait();
        Ok(())
    }
}

/// Where an issue stands, and every state to which it was moved.
#[derive(Default)]
struct Moved(Vec<String>);

impl Moved {
    /// Like the real one, it makes nearly every move.
    fn answer(&mut self, request: &str) -> Vec<u8> {
        if request.starts_with("PATCH") {
            let (_, body) = request.split_once("\r\n\r\n").expect("a body");
            let body: Value = serde_json::from_str(body).expect("JSON");
            self.0.push(body["status"].as_str().expect("a state").to_owned());
        }
        let state = self.0.last().map_or("in_progress", String::as_str);
        json(format!(r#"{{"id":"i-1","title":"t","status":"{state}"}}"#))
    }
}

#[test]
fn two_threads_cannot_end_one_issue_twice() {
    for _ in 0..20 {
        let moved = Arc::new(Mutex::new(Moved::default()));
        let there = Arc::clone(&moved);
        let server = Server::start(move |connection| {
            while let Some(request) = connection.request() {
                let answer = there.lock().unwrap().answer(&request.0);
                connection.send(answer);
            }
        });
        let mirror = paperclip(&server.base()).mirror("i-1");
        let task = Lifecycle::at("i-1", TaskState::InProgress).unwrap().hook(Together(Barrier::new(2))).hook(mirror);
        let ended = thread::scope(|scope| {
            let task = &task;
            let ends = [TaskState::Done, TaskState::Cancelled];
            let threads = ends.map(|end| scope.spawn(move || task.transition(end, "one of two").is_ok()));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
        assert_eq!(moved.lock().unwrap().0, [task.state().name()], "what the service made is what was committed here");
    }
}
