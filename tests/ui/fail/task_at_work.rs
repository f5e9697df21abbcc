//! Ten wrong ways out of `in_progress`, `in_review` and `blocked`. Each message lists the right ones.
use portcullis::tasks::lifecycle::{Blocked, InProgress, InReview, Task};

fn in_progress_shelve(task: Task<InProgress>) {
    let _ = task.shelve("agent-7");
}

fn in_progress_ready(task: Task<InProgress>) {
    let _ = task.ready("agent-7");
}

fn in_progress_start(task: Task<InProgress>) {
    let _ = task.start("agent-7");
}

fn in_review_shelve(task: Task<InReview>) {
    let _ = task.shelve("agent-7");
}

fn in_review_ready(task: Task<InReview>) {
    let _ = task.ready("agent-7");
}

fn in_review_send_to_review(task: Task<InReview>) {
    let _ = task.send_to_review("agent-7");
}

fn blocked_shelve(task: Task<Blocked>) {
    let _ = task.shelve("agent-7");
}

fn blocked_send_to_review(task: Task<Blocked>) {
    let _ = task.send_to_review("agent-7");
}

fn blocked_block(task: Task<Blocked>) {
    let _ = task.block("agent-7");
}

fn blocked_finish(task: Task<Blocked>) {
    let _ = task.finish("agent-7");
}

fn main() {}
