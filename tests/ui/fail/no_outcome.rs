//! Did it succeed? A type that nobody knows can't say.
use portcullis::boundary;

pub struct Answer;

#[boundary(before_cost)]
pub fn ask() -> Answer {
    Answer
}

fn main() {}
