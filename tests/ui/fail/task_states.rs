//! A task has one state: it is gone from the old one, and there are no states but the seven.
use portcullis::tasks::lifecycle::{State, Task, TaskState};

fn used_twice() -> Result<(), portcullis::Refused> {
    let task = Task::new("t")?;
    let _done = task.start("agent-7").finish("agent-7");
    let _cancelled = task.cancel("agent-8");
    Ok(())
}

enum Mine {}

impl State for Mine {
    const STATE: TaskState = TaskState::Done;
}

fn main() {}
