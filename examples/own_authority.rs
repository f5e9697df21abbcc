//! An authority of your own: one trait, two methods.
//!
//! This one asks a person at the terminal, who answers `y` or anything else.
//!
//! ```sh
//! cargo run --example own_authority
//! ```

use std::io::{BufRead, Write};

use portcullis::authority::{
    Answering, Authority, DecisionId, Denial, Device, Fault, FaultKind, Grant, Question, Registration, Verdict,
};
use portcullis::{Portcullis, Refused, boundary};

#[derive(Debug)]
struct AskAtTheTerminal;

impl Authority for AskAtTheTerminal {
    fn name(&self) -> &str {
        "terminal"
    }

    fn register<'a>(&'a self, _device: &'a Device) -> Answering<'a, Registration> {
        Box::pin(async { Registration::Accepted })
    }

    fn decide<'a>(&'a self, question: &'a Question) -> Answering<'a, Verdict> {
        let prompt = format!("may {} do {} ({})? [y/N] ", question.device, question.action, question.boundary);
        Box::pin(async move {
            // Reading a terminal blocks, and blocking belongs on a thread of its own. A person who thinks longer than
            // the deadline has said no: the core sees to that.
            let asked = tokio::task::spawn_blocking(move || ask(&prompt)).await;
            match (asked, DecisionId::new("terminal")) {
                (Ok(Ok(answer)), Some(id)) if answer.trim() == "y" => Verdict::Allow(Grant::new(id)),
                (Ok(Ok(_)), _) => Verdict::Deny(Denial::new("SAID_NO")),
                (Ok(Err(error)), _) => Verdict::Fault(Fault::new(FaultKind::Unreachable, error.to_string())),
                (Err(error), _) => Verdict::Fault(Fault::new(FaultKind::Unreachable, error.to_string())),
            }
        })
    }
}

fn ask(prompt: &str) -> std::io::Result<String> {
    print!("{prompt}");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}

/// Returns its refusal instead of ending the process, so that the example can show it.
#[boundary(before_side_effect, on_deny = "return")]
fn write_report() -> Result<(), Refused> {
    println!("the report is written");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Portcullis::builder()
        .authority(AskAtTheTerminal)
        .device(Device::parse("report:local:writer:1")?)
        .deadline(std::time::Duration::from_secs(3))
        .install()?;
    if let Err(refused) = write_report() {
        println!("{refused}");
    }
    Ok(())
}
