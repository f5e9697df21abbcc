//! The dependency goes by another name in `Cargo.toml`, and `crate = ::path` says which.

use gate::permit::BeforeSideEffect;
use gate::{Locked, Refused, boundary, budgeted, guarded, once, unguarded};

type Done = Result<u64, Refused>;

/// One attribute says it for all of the function.
#[boundary(before_side_effect, on_deny = "return", crate = ::gate)]
#[once(action = "orders.refund", key = "order")]
#[budgeted(max_steps = 3)]
pub async fn refund(order: u64, cents: u64) -> Done {
    std::future::ready(()).await;
    Ok(order + cents)
}

/// Below other macros, by path, and with a permit.
#[inline]
#[::gate::boundary(before_side_effect, permit = allowed, crate = ::gate)]
pub fn send(mailer: &Locked<Vec<u64>, BeforeSideEffect>, id: u64) -> bool {
    mailer.unlock(&allowed).contains(&id)
}

/// A crate that hands the macros on.
pub mod prelude {
    pub use gate::*;
}

#[crate::prelude::once(key = "id", crate = crate::prelude)]
#[crate::prelude::boundary(before_cost)]
pub fn by_way_of_a_prelude(id: u64) -> Done {
    Ok(id)
}

#[guarded(crate = ::gate)]
pub mod tools {
    use super::*;

    #[boundary(before_cost, crate = ::gate)]
    pub fn ask(id: u64) -> u64 {
        id
    }

    #[unguarded(reason = "adds")]
    pub fn add(a: u64, b: u64) -> u64 {
        a + b
    }
}

#[cfg(test)]
mod tests {
    use gate::Boundary;
    use gate::testing::Gate;
    use pollster::block_on;

    use super::*;

    #[test]
    fn a_renamed_dependency_guards_as_ever() {
        let gate = Gate::allowing();
        gate.scope_sync(|| {
            assert_eq!(block_on(refund(1, 500)).unwrap(), 501);
            assert_eq!(block_on(refund(1, 500)).unwrap(), 501);
            assert_eq!(block_on(refund(1, 900)).unwrap_err().code(), "key_conflict");
            assert_eq!(block_on(refund(2, 500)).unwrap_err().code(), "budget_steps");
            assert!(send(&Locked::new(vec![7]), 7));
            assert_eq!(by_way_of_a_prelude(3).unwrap(), 3);
            assert_eq!(tools::add(tools::ask(1), 1), 2);
        });
        let refund = (Boundary::BeforeSideEffect, "orders.refund".to_owned());
        let rest = [
            (Boundary::BeforeSideEffect, "send".to_owned()),
            (Boundary::BeforeCost, "by_way_of_a_prelude".to_owned()),
            (Boundary::BeforeCost, "ask".to_owned()),
        ];
        assert_eq!(gate.crossed()[..3], [refund.clone(), refund.clone(), refund]);
        assert_eq!(gate.crossed()[3..], rest);
    }

    #[test]
    fn a_renamed_dependency_refuses_as_ever() {
        let denied = Gate::denying("DEVICE_REVOKED");
        let refused = denied.scope_sync(|| block_on(refund(1, 500))).unwrap_err();
        assert_eq!(refused.code(), "denied");
        assert!(refused.reason().ends_with("DEVICE_REVOKED"), "{refused}");
    }
}
