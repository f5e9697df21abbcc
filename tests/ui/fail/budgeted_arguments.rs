//! Every mistake in the arguments of `#[budgeted]`, at the value that is wrong.
use portcullis::{Refused, budgeted};

#[budgeted]
fn no_limit() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_steps = 0, max_depth = -1)]
fn nothing() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_steps = "5", max_depth = 18446744073709551616)]
fn no_number() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_step = 5)]
fn misspelt() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_steps = 5, max_steps = 6)]
fn doubled() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_duration = 30, max_cost = 5.00)]
fn no_units() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_duration = "0s", max_cost = "0.00 USD")]
fn zero() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_duration = "soon", max_cost = "5 dollars", cost = "-1.00 USD")]
fn no_such_units() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_steps = 5, per = "tenant", on_exceed = "panic")]
fn words() -> Result<(), Refused> {
    Ok(())
}

struct Agent;

impl Agent {
    const STEPS: u64 = 5;

    #[budgeted(max_steps = Self::STEPS)]
    fn of_a_type() -> Result<(), Refused> {
        Ok(())
    }
}

fn main() {}
