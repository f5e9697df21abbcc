//! What can't be guarded says why, and what to write instead.
use portcullis::boundary;

#[boundary(before_cost)]
const fn at_compile_time() {}

#[boundary(before_cost)]
extern "C" fn for_others() {}

#[boundary(before_cost)]
#[track_caller]
fn who_called() {}

trait Pays {
    #[boundary(before_cost)]
    fn pay(&self);
}

#[boundary(before_cost)]
struct Shop;

#[boundary(before_cost)]
impl Shop {}

#[boundary(before_cost)]
trait Sells {}

#[boundary(before_cost)]
mod shop {}

fn main() {}
