//! Every shape of function, with the attributes in every order, behaves the same.

use std::marker::PhantomData;

use pollster::block_on;
use portcullis::{Kind, boundary, budgeted, once};

use crate::{BoxFuture, Done, Log};

/// One body, in the four ways in which work is started.
macro_rules! shapes {
    ([$($attribute:tt)*] [$($receiver:tt)*]) => {
        $($attribute)*
        pub fn sync($($receiver)* log: &Log, id: u64) -> Done {
            log.add("body");
            Ok(id)
        }

        $($attribute)*
        pub async fn asynchronous($($receiver)* log: &Log, id: u64) -> Done {
            std::future::ready(()).await;
            log.add("body");
            Ok(id)
        }

        $($attribute)*
        pub fn boxed<'a>($($receiver)* log: &'a Log, id: u64) -> BoxFuture<'a, Done> {
            log.add("prefix");
            Box::pin(async move {
                log.add("body");
                Ok(id)
            })
        }

        $($attribute)*
        pub fn opaque<'a>($($receiver)* log: &'a Log, id: u64) -> impl Future<Output = Done> + Send + 'a {
            log.add("prefix");
            async move {
                log.add("body");
                Ok(id)
            }
        }
    };
}

/// Two steps are allowed: the call runs, its retry gets the receipt, and the third does not even ask.
macro_rules! check {
    ($events:expr, |$log:ident| $call:expr, $unused:expr) => {{
        let $log = &Log::default();
        $log.gate().scope_sync(|| {
            $unused;
            assert_eq!($log.take(), [""; 0], "nothing happens before the future is awaited");
            assert_eq!($call.unwrap(), 7);
            assert_eq!($log.take(), $events);
            assert_eq!($call.unwrap(), 7);
            assert_eq!($log.take(), ["ask pay"], "a receipt is authorized too");
            assert_eq!($call.unwrap_err().kind(), Kind::BudgetSteps);
            assert_eq!($log.take(), [""; 0], "a call that is over its budget does not ask");
        });
    }};
}

macro_rules! check_shapes {
    ($($owner:tt)*) => {
        check!(["ask pay", "body"], |log| $($owner)* sync(log, 7), ());
        check!(["ask pay", "body"], |log| block_on($($owner)* asynchronous(log, 7)), drop($($owner)* asynchronous(log, 7)));
        check!(["ask pay", "prefix", "body"], |log| block_on($($owner)* boxed(log, 7)), drop($($owner)* boxed(log, 7)));
        check!(["ask pay", "prefix", "body"], |log| block_on($($owner)* opaque(log, 7)), drop($($owner)* opaque(log, 7)));
    };
}

macro_rules! matrix {
    ($($order:ident { $($attribute:tt)* })*) => {$(
        mod $order {
            use super::*;

            mod free {
                use super::*;
                shapes!([$($attribute)*] []);
            }

            struct Shared;
            impl Shared {
                shapes!([$($attribute)*] [&self,]);
            }

            struct Exclusive;
            impl Exclusive {
                shapes!([$($attribute)*] [&mut self,]);
            }

            struct Generic<T>(PhantomData<T>);
            impl<T: Sync> Generic<T> {
                shapes!([$($attribute)*] [&self,]);
            }

            #[test]
            fn free() {
                check_shapes!(free::);
            }

            #[test]
            fn shared() {
                check_shapes!(Shared.);
            }

            #[test]
            fn exclusive() {
                check_shapes!(Exclusive.);
            }

            #[test]
            fn generic() {
                check_shapes!(Generic::<Vec<u8>>(PhantomData).);
            }
        }
    )*};
}

matrix! {
    boundary_once_budgeted {
        #[boundary(before_side_effect)]
        #[once(action = "pay", key = "id", skip(log))]
        #[budgeted(max_steps = 2)]
    }
    boundary_budgeted_once {
        #[boundary(before_side_effect)]
        #[budgeted(max_steps = 2)]
        #[once(action = "pay", key = "id", skip(log))]
    }
    once_boundary_budgeted {
        #[once(action = "pay", key = "id", skip(log))]
        #[boundary(before_side_effect)]
        #[budgeted(max_steps = 2)]
    }
    once_budgeted_boundary {
        #[once(action = "pay", key = "id", skip(log))]
        #[budgeted(max_steps = 2)]
        #[boundary(before_side_effect)]
    }
    budgeted_boundary_once {
        #[budgeted(max_steps = 2)]
        #[boundary(before_side_effect)]
        #[once(action = "pay", key = "id", skip(log))]
    }
    budgeted_once_boundary {
        #[budgeted(max_steps = 2)]
        #[once(action = "pay", key = "id", skip(log))]
        #[boundary(before_side_effect)]
    }
    with_others_between {
        /// Pays.
        #[budgeted(max_steps = 2, action = "pay")]
        #[allow(clippy::needless_pass_by_value)]
        #[cfg_attr(all(), once(key = "id", skip(log)))]
        #[must_use = "it says what was paid"]
        #[boundary(before_side_effect)]
    }
    by_path {
        #[::portcullis::boundary(before_side_effect, action = "pay")]
        #[portcullis::budgeted(max_steps = 2)]
        #[once(key = "id", skip(log))]
    }
}
