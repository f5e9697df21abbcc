//! Ten wrong ways out of `backlog` and `todo`. Each message lists the right ones.
use portcullis::tasks::lifecycle::{Backlog, Todo, Task};

fn backlog_shelve(task: Task<Backlog>) {
    let _ = task.shelve("agent-7");
}

fn backlog_start(task: Task<Backlog>) {
    let _ = task.start("agent-7");
}

fn backlog_send_to_review(task: Task<Backlog>) {
    let _ = task.send_to_review("agent-7");
}

fn backlog_block(task: Task<Backlog>) {
    let _ = task.block("agent-7");
}

fn backlog_finish(task: Task<Backlog>) {
    let _ = task.finish("agent-7");
}

fn backlog_cancel(task: Task<Backlog>) {
    let _ = task.cancel("agent-7");
}

fn todo_shelve(task: Task<Todo>) {
    let _ = task.shelve("agent-7");
}

fn todo_ready(task: Task<Todo>) {
    let _ = task.ready("agent-7");
}

fn todo_send_to_review(task: Task<Todo>) {
    let _ = task.send_to_review("agent-7");
}

fn todo_finish(task: Task<Todo>) {
    let _ = task.finish("agent-7");
}

fn main() {}
