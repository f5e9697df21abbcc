//! An agent that loops, retries and wanders, stopped by each limit in turn.
//!
//! ```sh
//! cargo run --example agent_loop
//! ```
//! Nothing is configured and nothing is asked: budgets, the loop check and the lifecycle decide from what they are told.

use std::time::Duration;

use portcullis::budget::{Budget, Limits, Tracker};
use portcullis::tasks::admission::{Admission, Agent, NewTask};
use portcullis::tasks::escalation::{Backoff, Retries};
use portcullis::tasks::lifecycle::{Lifecycle, Task, TaskState};
use portcullis::tasks::loops::{Detector, Proposal};
use portcullis::{Cost, Refused};

fn main() -> Result<(), Refused> {
    it_loops()?;
    it_goes_deeper()?;
    it_dawdles()?;
    it_spends()?;
    it_spreads()?;
    it_creates_work_for_itself()?;
    it_skips_the_review()?;
    it_tries_again()?;
    it_invents_work()
}

/// What stopped it, in the words that the agent gets to read.
fn stopped(how: &str, refused: &Refused) {
    println!("{how:<28} {}: {}", refused.code(), refused.reason());
}

/// Does `work` until it is refused, and says how often it was done before.
fn until_refused(mut work: impl FnMut() -> Result<(), Refused>) -> (u32, Refused) {
    let mut done = 0;
    loop {
        match work() {
            Ok(()) => done += 1,
            Err(refused) => return (done, refused),
        }
    }
}

fn it_loops() -> Result<(), Refused> {
    let budgets = Tracker::new();
    budgets.start("report", Limits::TASK)?;
    let (done, refused) = until_refused(|| budgets.step("report"));
    stopped(&format!("it loops {done} times"), &refused);
    Ok(())
}

fn it_goes_deeper() -> Result<(), Refused> {
    let budget = Budget::new("digging", Limits::TASK.depth(3))?;
    let mut depth = 0;
    let (done, refused) = until_refused(|| {
        depth += 1;
        budget.record_depth(depth)
    });
    stopped(&format!("it goes {done} levels deep"), &refused);
    Ok(())
}

fn it_dawdles() -> Result<(), Refused> {
    let budget = Budget::new("waiting", Limits::TASK.duration(Duration::from_millis(30)))?;
    let (_, refused) = until_refused(|| {
        std::thread::sleep(Duration::from_millis(10));
        budget.step()
    });
    stopped("it dawdles", &refused);
    Ok(())
}

fn it_spends() -> Result<(), Refused> {
    let budget = Budget::new("asking", Limits::new().cost(Cost::from_micros(100_000, "USD")))?;
    let (done, refused) = until_refused(|| {
        // Reserved before the call to the model, settled by what the call really cost.
        let reserved = budget.reserve(Cost::from_micros(30_000, "USD"))?;
        reserved.settle(Cost::from_micros(25_000, "USD"))
    });
    stopped(&format!("it asks {done} models"), &refused);
    Ok(())
}

fn it_spreads() -> Result<(), Refused> {
    let whole = Budget::new("survey", Limits::new().steps(50))?;
    let mut parts = Vec::new();
    let (done, refused) = until_refused(|| {
        parts.push(whole.carve(format!("part-{}", parts.len()), Limits::new().steps(20))?);
        Ok(())
    });
    stopped(&format!("it spreads to {done} parts"), &refused);
    Ok(())
}

fn it_creates_work_for_itself() -> Result<(), Refused> {
    let tasks = Detector::new(3);
    tasks.admit(&Proposal::new("plan", "agent-1", "plan"))?;
    let again = Proposal::new("plan-2", "agent-1", "plan").parent("plan");
    stopped("it plans to plan", &tasks.admit(&again).expect_err("the same kind of work for the same agent"));

    tasks.admit(&Proposal::new("build", "agent-1", "build").parent("plan"))?;
    let back = Proposal::new("plan", "agent-2", "plan").parent("build");
    stopped("it comes back to the start", &tasks.admit(&back).expect_err("plan comes from itself"));

    tasks.complete("build")?;
    let build = Proposal::new("build", "agent-2", "build").parent("plan");
    stopped("it does it once more", &tasks.admit(&build).expect_err("it is done"));

    let (mut agent, mut parent) = (2, "plan".to_owned());
    let (_, refused) = until_refused(|| {
        agent += 1;
        let (id, name) = (format!("delegated-{agent}"), format!("agent-{agent}"));
        tasks.admit(&Proposal::new(&id, &name, "delegate").parent(&parent))?;
        parent = id;
        Ok(())
    });
    stopped("it delegates on and on", &refused);
    Ok(())
}

fn it_skips_the_review() -> Result<(), Refused> {
    // Where the state is known, `Task::new("fix")?.finish("agent-1")` does not compile.
    let _done = Task::new("fix")?.start("agent-1").send_to_review("agent-1").finish("reviewer");

    let task = Lifecycle::new("fix-2")?;
    stopped("it skips the work", &task.transition(TaskState::Done, "agent-1").expect_err("it has not begun"));
    let _ = task.transition(TaskState::Cancelled, "reviewer")?;
    stopped("it goes on after the end", &task.transition(TaskState::InProgress, "agent-1").expect_err("it has ended"));
    Ok(())
}

fn it_tries_again() -> Result<(), Refused> {
    let retries = Retries::seeded(Backoff::default().base(Duration::from_millis(1)), 7)?;
    let mut calls = 0;
    let work = || {
        calls += 1;
        Err::<(), _>(std::io::Error::other("the printer is on fire"))
    };
    let failed = retries.run("print", work, |_, wait, _| std::thread::sleep(wait)).expect_err("it never succeeds");
    println!("{:<28} gave up: {failed}", format!("it tries {calls} times"));
    Ok(())
}

fn it_invents_work() -> Result<(), Refused> {
    let agent = Agent::new("agent-1", "co-1")?;
    let blank = Admission::new("me", "", "tidiness", " ");
    stopped("it invents work", &agent.create(&NewTask::new("Tidy up", "chore", blank)).expect_err("nobody wants it"));
    agent.sleep();
    let sound = Admission::new("end-user", "login is slow", "40 % faster", "benchmark");
    stopped("it works in its sleep", &agent.create(&NewTask::new("Speed up", "fix", sound)).expect_err("it is idle"));
    Ok(())
}
