//! The crate under another name.
extern crate portcullis as gate;

use gate::{boundary, once};

type Answer = Result<u64, gate::Refused>;

#[once(key = "id", crate = ::gate)]
#[boundary(before_cost)]
fn bare(id: u64) -> Answer {
    Ok(id)
}

#[boundary(before_cost)]
#[::gate::once(key = "id", crate = ::gate)]
fn by_path(id: u64) -> Answer {
    Ok(id)
}

mod inner {
    pub mod reexported {
        pub use gate::*;
    }

    #[reexported::boundary(before_cost, crate = crate::inner::reexported)]
    #[crate::inner::reexported::budgeted(max_steps = 5)]
    pub async fn inside() -> super::Answer {
        Ok(1)
    }
}

fn main() {
    if false {
        let _ = (bare(1), by_path(1), inner::inside());
    }
}
