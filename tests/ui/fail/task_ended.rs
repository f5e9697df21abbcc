//! From `done` and `cancelled` there is no way at all: fourteen wrong ones.
use portcullis::tasks::lifecycle::{Cancelled, Done, Task};

fn done_shelve(task: Task<Done>) {
    let _ = task.shelve("agent-7");
}

fn done_ready(task: Task<Done>) {
    let _ = task.ready("agent-7");
}

fn done_start(task: Task<Done>) {
    let _ = task.start("agent-7");
}

fn done_send_to_review(task: Task<Done>) {
    let _ = task.send_to_review("agent-7");
}

fn done_block(task: Task<Done>) {
    let _ = task.block("agent-7");
}

fn done_finish(task: Task<Done>) {
    let _ = task.finish("agent-7");
}

fn done_cancel(task: Task<Done>) {
    let _ = task.cancel("agent-7");
}

fn cancelled_shelve(task: Task<Cancelled>) {
    let _ = task.shelve("agent-7");
}

fn cancelled_ready(task: Task<Cancelled>) {
    let _ = task.ready("agent-7");
}

fn cancelled_start(task: Task<Cancelled>) {
    let _ = task.start("agent-7");
}

fn cancelled_send_to_review(task: Task<Cancelled>) {
    let _ = task.send_to_review("agent-7");
}

fn cancelled_block(task: Task<Cancelled>) {
    let _ = task.block("agent-7");
}

fn cancelled_finish(task: Task<Cancelled>) {
    let _ = task.finish("agent-7");
}

fn cancelled_cancel(task: Task<Cancelled>) {
    let _ = task.cancel("agent-7");
}

fn main() {}
