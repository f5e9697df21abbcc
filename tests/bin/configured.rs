//! Says what a gate from environment and files lets pass.

use portcullis::tasks::settings::Settings;
use portcullis::{Refused, boundary, budgeted, once, scope_sync};

#[boundary(before_cost, on_deny = "return")]
fn asks() -> Result<(), Refused> {
    Ok(())
}

#[once(action = "once", key = "key")]
fn claims(key: &str) -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_steps = 1000)]
fn step() -> Result<(), Refused> {
    Ok(())
}

fn say(what: &str, result: Result<(), Refused>) {
    match result {
        Ok(()) => println!("{what}: ok"),
        Err(refused) => println!("{what}: {refused}"),
    }
}

fn main() {
    say("budget", step());
    say("boundary", asks());
    say("once", claims("key"));
    let steps = scope_sync("job", || (0..100).take_while(|_| step().is_ok()).count());
    println!("steps in a scope: {steps}");
    match Settings::gather() {
        Ok(settings) => println!("tasks: {}", serde_json::to_string(&settings).expect("JSON")),
        Err(error) => println!("tasks: {error}"),
    }
}
