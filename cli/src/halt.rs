//! `portcullis halt`.

use portcullis::authority::Acted;
use serde_json::json;

use crate::args::{Actor, HaltAct};
use crate::device::existing;
use crate::output::{Failure, Printed};

pub(crate) fn run(url: &str, act: HaltAct) -> Result<Printed, Failure> {
    let local = existing(url)?;
    let (halted, acted) = match act {
        HaltAct::On(Actor { actor }) => (true, local.halt(true, &actor)?),
        HaltAct::Off(Actor { actor }) => (false, local.halt(false, &actor)?),
        HaltAct::Status => (local.halted()?, Acted::Already),
    };
    let text = if halted {
        "halted: every device is refused at its next boundary"
    } else {
        "not halted: devices that are not revoked go on"
    };
    Printed::new(text.to_owned(), json!({ "halted": halted, "changed": acted == Acted::Done }))
}
