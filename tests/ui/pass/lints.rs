//! An attribute of ours brings no warning along, and fulfils no expectation of the user's.
#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications, rust_2018_idioms, let_underscore_drop)]
#![forbid(unsafe_code, unused_imports, unreachable_code, clippy::all)]

use portcullis::{Refused, boundary, budgeted, once};

/// The imports of the siblings stay used in every order.
#[once(key = "order")]
#[inline]
#[budgeted(max_steps = 5)]
#[boundary(before_cost)]
fn one(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

mod other_order {
    use portcullis::{Refused, boundary, budgeted, once};

    #[budgeted(max_steps = 5)]
    #[cfg_attr(all(), once(key = "order"))]
    #[boundary(before_cost)]
    pub(super) async fn two(order: u64) -> Result<u64, Refused> {
        #![allow(unused_variables)]
        let unused = 1;
        Ok(order)
    }
}

macro_rules! wrapped {
    ($name:ident) => {
        #[budgeted(max_steps = 5)]
        #[once(key = "order")]
        #[boundary(before_cost)]
        fn $name(order: u64) -> Result<u64, Refused> {
            Ok(order)
        }
    };
}
wrapped!(three);

#[expect(dead_code)]
#[boundary(before_cost)]
fn expected() {}

#[boundary(before_cost)]
#[expect(unused_variables)]
async fn expected_inside(unused: u64) {}

fn main() {
    if false {
        drop((one(1), three(1), other_order::two(1), expected_inside(1)));
    }
}
