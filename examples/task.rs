//! A worker whose tasks loop, fail and come back, stopped by their own accounts and by the tree of tasks.
//!
//! ```sh
//! cargo run --example task
//! ```
//! Nothing is configured and nobody is asked: without `durable = true` a task lives in memory.

use portcullis::{Portcullis, Refused, budgeted, task};

/// Reads pages until it has enough of them.
#[task(id = "report", kind = "report", max_steps = 5)]
fn write_report(report: &str, pages: u32) -> Result<u32, Refused> {
    for page in 0..pages {
        read(page)?;
    }
    // A part of the work is a task of its own, and a child of this one.
    review(&format!("{report}/review"))?;
    Ok(pages)
}

#[budgeted(max_steps = 1_000, per = "process")]
fn read(page: u32) -> Result<u32, Refused> {
    Ok(page)
}

#[task(id = "review", kind = "review")]
fn review(review: &str) -> Result<(), Refused> {
    // Work that would create the work that created it.
    let report = review.trim_end_matches("/review");
    if report == "circular" { write_report(report, 1).map(drop) } else { Ok(()) }
}

fn main() -> Result<(), Refused> {
    let tasks = Portcullis::current().expect("nothing has to be configured for this").tasks();
    let tell = |what: &str, id: &str, result: Result<u32, Refused>| {
        let how = result.map_or_else(|refused| format!("{}: {}", refused.code(), refused.reason()), |_| "fine".into());
        println!(
            "{what:<20} {}, {how}",
            tasks.state(id).map_or("unknown", portcullis::tasks::lifecycle::TaskState::name)
        );
    };
    tell("it is short", "short", write_report("short", 3));
    tell("it is done again", "short", write_report("short", 3));
    tell("it is long", "long", write_report("long", 9));
    tell("it is tried again", "long", write_report("long", 1));
    tell("it creates itself", "circular", write_report("circular", 1));
    tasks.cancel("long", "a person")?;
    tell("it was given up", "long", write_report("long", 1));
    Ok(())
}
