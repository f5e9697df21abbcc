//! Where one name stands for several functions, the action has to be named.
use std::marker::PhantomData;

use portcullis::{Refused, once};

struct Shop<C>(PhantomData<C>);

impl<C> Shop<C> {
    #[once(key = "order")]
    fn refund(&self, order: u64) -> Result<u64, Refused> {
        Ok(order)
    }

    #[once(key = "order", skip(this))]
    fn associated(this: &Self, order: u64) -> Result<u64, Refused> {
        let _ = this;
        Ok(order)
    }
}

trait Pays {
    #[once(key = "order")]
    fn pay(&self, order: u64) -> Result<u64, Refused> {
        Ok(order)
    }
}

trait Currency {}

#[once(key = "order")]
fn convert<C: Currency>(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = "order")]
fn batch<const SIZE: usize>(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

fn main() {}
