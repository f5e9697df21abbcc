//! Guarded items stay as they are, whatever is in them and wherever they stand.
#![deny(warnings)]

extern crate portcullis as gate;

use gate::{boundary, guarded, once, unguarded};

type Answer = Result<u64, gate::Refused>;

#[guarded]
pub mod shop {
    #![allow(dead_code)]
    use super::*;

    pub const LIMIT: u64 = 2 + 3;
    static NAMES: [fn() -> u64; 1] = [|| 1];

    #[derive(Clone, Debug)]
    pub struct Shop<const N: usize = { 3 }>(pub [u8; N]);

    impl<const N: usize> Shop<{ N }> {
        #[once(key = "id", action = "shop.refund")]
        #[boundary(before_side_effect)]
        pub async fn refund(&self, id: u64) -> Answer {
            fn nested() {}
            nested();
            Ok(id)
        }

        #[unguarded(reason = "made at compile time")]
        pub const fn limit() -> u64 {
            LIMIT
        }
    }

    pub trait Sells {
        fn price(&self) -> u64;

        #[boundary(before_cost)]
        fn sell(&self) {}
    }

    macro_rules! method {
        ($name:ident) => {
            pub fn $name(&self) {}
        };
    }

    impl Shop<1> {
        #[unguarded(reason = "does nothing")]
        method!(nothing);
    }

    #[guarded]
    impl<const N: usize> Sells for Shop<N> {
        #[inline]
        #[unguarded(reason = "reads a constant")]
        fn price(&self) -> u64 {
            LIMIT
        }
    }

    macro_rules! getter {
        ($name:ident) => {
            pub fn $name() -> u64 {
                1
            }
        };
    }

    #[unguarded(reason = "a getter")]
    getter!(one);

    #[unguarded(reason = "a cell")]
    thread_local! {
        pub static CELL: u64 = const { 1 };
    }

    #[cfg(test)]
    mod tests {
        fn helper() {}
    }

    #[test]
    fn works() {}
}

#[guarded(crate = ::gate)]
mod renamed {
    #[gate::boundary(before_cost, crate = ::gate)]
    pub fn guarded() {}

    #[::gate::unguarded(reason = "pure")]
    pub fn pure() {}
}

macro_rules! handed_on {
    ($vis:vis $name:ident $body:block $reason:literal $item:item) => {
        #[guarded]
        $vis mod $name {
            use super::*;

            #[unguarded(reason = $reason)]
            pub fn with_a_body() $body

            $item
        }
    };
}

handed_on! {
    pub handed {} "pure"
    #[boundary(before_cost)]
    pub fn item() {}
}

fn main() {
    #[guarded]
    impl Local {
        #[boundary(before_cost, action = "local.pay")]
        fn pay(&self) {}
    }
    struct Local;

    if false {
        use shop::Sells;
        let shop = shop::Shop([1]);
        let _ = (shop.refund(1), shop.price(), shop::one(), shop::CELL.with(|cell| *cell));
        shop.sell();
        renamed::guarded();
        renamed::pure();
        handed::with_a_body();
        handed::item();
        Local.pay();
    }
}
