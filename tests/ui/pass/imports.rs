//! However the attributes came into scope, taking them together leaves no import unused.
#![deny(warnings)]

#[macro_use]
extern crate portcullis as _;

type Answer = Result<u64, portcullis::Refused>;

#[boundary(before_cost)]
#[once(key = "id")]
fn from_the_crate_root(id: u64) -> Answer {
    Ok(id)
}

mod by_glob {
    use portcullis::*;

    #[once(key = "id")]
    #[budgeted(max_steps = 5)]
    #[boundary(before_cost)]
    pub(super) fn all(id: u64) -> super::Answer {
        Ok(id)
    }
}

mod from_above {
    use super::*;

    #[budgeted(max_steps = 5)]
    #[once(key = "id")]
    pub(super) fn inherited(id: u64) -> Answer {
        Ok(id)
    }
}

mod local_names {
    use portcullis::{boundary, once};

    #[boundary(before_cost)]
    #[once(key = "id")]
    pub(super) fn once(id: u64) -> super::Answer {
        fn boundary(id: u64) -> u64 {
            id
        }
        Ok(boundary(id))
    }
}

fn main() {
    use portcullis::budgeted;

    mod inner {
        pub(super) use portcullis::once;
    }
    use inner::once;

    #[budgeted(max_steps = 5)]
    #[once(key = "id")]
    fn in_a_body(id: u64) -> Answer {
        Ok(id)
    }
    if false {
        let _ = (from_the_crate_root(1), by_glob::all(1), from_above::inherited(1), local_names::once(1), in_a_body(1));
    }
}
