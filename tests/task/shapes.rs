//! Every shape of function, with the attributes in every order, behaves the same.

use std::sync::Mutex;

use pollster::block_on;
use portcullis::testing::Answer;
use portcullis::{boundary, once};

use super::*;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the task stood when something happened.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn add(&self, event: &str) {
        let state = Portcullis::current().unwrap().tasks().state("t7").map_or("none", TaskState::name);
        self.0.lock().unwrap().push(format!("{event} {state}"));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

macro_rules! shapes {
    ([$($attribute:tt)*] [$($receiver:tt)*]) => {
        $($attribute)*
        pub fn sync($($receiver)* log: &Log, id: u64) -> Done {
            log.add("body");
            Ok(id)
        }

        $($attribute)*
        pub async fn asynchronous($($receiver)* log: &Log, id: u64) -> Done {
            pause().await;
            log.add("body");
            Ok(id)
        }

        $($attribute)*
        pub fn boxed<'a>($($receiver)* log: &'a Log, id: u64) -> BoxFuture<'a, Done> {
            Box::pin(async move {
                log.add("body");
                Ok(id)
            })
        }

        $($attribute)*
        pub fn opaque<'a>($($receiver)* log: &'a Log, id: u64) -> impl Future<Output = Done> + Send + 'a {
            async move {
                log.add("body");
                Ok(id)
            }
        }
    };
}

macro_rules! check {
    (|$log:ident| $call:expr) => {{
        let $log = &Log::default();
        let gate = Gate::answering(|_| Answer::Allow);
        gate.scope_sync(|| {
            assert_eq!($call.unwrap(), 7);
            assert_eq!($log.take(), ["body in_progress"]);
            assert_eq!(gate.tasks().state("t7"), Some(TaskState::Done));
            assert_eq!($call.unwrap_err().kind(), Kind::LoopReprocess);
            assert_eq!(gate.crossed().len(), 1, "what is refused at the entry is not asked about");
            assert_eq!($log.take(), [""; 0]);
        });
    }};
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

            #[test]
            fn free_functions() {
                check!(|log| free::sync(log, 7));
                check!(|log| block_on(free::asynchronous(log, 7)));
                check!(|log| block_on(free::boxed(log, 7)));
                check!(|log| block_on(free::opaque(log, 7)));
            }

            #[test]
            fn methods() {
                check!(|log| Shared.sync(log, 7));
                check!(|log| block_on(Shared.asynchronous(log, 7)));
                check!(|log| block_on(Shared.boxed(log, 7)));
                check!(|log| block_on(Shared.opaque(log, 7)));
                check!(|log| Exclusive.sync(log, 7));
                check!(|log| block_on(Exclusive.asynchronous(log, 7)));
                check!(|log| block_on(Exclusive.boxed(log, 7)));
                check!(|log| block_on(Exclusive.opaque(log, 7)));
            }
        }
    )*};
}

matrix! {
    task_first {
        #[task(id = "t{id}", max_steps = 5)]
        #[boundary(before_side_effect)]
        #[once(action = "pay", key = "id", skip(log))]
        #[budgeted(max_steps = 2)]
    }
    task_last {
        #[budgeted(max_steps = 2)]
        #[once(action = "pay", key = "id", skip(log))]
        #[boundary(before_side_effect)]
        #[task(id = "t{id}", max_steps = 5)]
    }
    task_between {
        /// Pays.
        #[boundary(before_side_effect)]
        #[portcullis::task(id = "t{id}", action = "pay")]
        #[allow(clippy::needless_pass_by_value)]
        #[budgeted(max_steps = 2)]
    }
    task_and_boundary {
        #[task(id = "t{id}")]
        #[boundary(before_side_effect)]
    }
}

#[test]
fn what_can_not_carry_a_refusal_says_how_by_a_path_or_ends_the_process() {
    #[derive(Debug, PartialEq)]
    struct Text(String);
    impl portcullis::Outcome for Text {
        fn is_success(&self) -> bool {
            self.0 != "failed"
        }
    }
    fn text(refused: Refused) -> Text {
        Text(refused.code().into())
    }
    #[task(id = "id", refused = text)]
    fn says(id: u64, what: &str) -> Text {
        Text(what.into())
    }
    let gate = gate();
    gate.scope_sync(|| {
        assert_eq!(says(1, "failed"), Text("failed".into()));
        assert_eq!(gate.tasks().state("1"), Some(TaskState::Blocked));
        assert_eq!(says(1, "fine"), Text("fine".into()));
        assert_eq!(says(1, "fine"), Text("loop_reprocess".into()));
    });
}

#[test]
fn permits_and_claims_are_bound_as_elsewhere() {
    #[task(id = "id")]
    #[boundary(before_cost, permit = permit)]
    async fn with_permit(id: u64) -> Done {
        let _: &portcullis::Permit<'_, portcullis::permit::BeforeCost> = &permit;
        Ok(id)
    }
    #[task(id = "id")]
    #[once(action = "claims", key = "id", claim = claim)]
    async fn with_claim(id: u64) -> Done {
        claim.note("here").await?;
        Ok(id)
    }
    gate().scope_sync(|| {
        assert_eq!(block_on(with_permit(1)).unwrap(), 1);
        assert_eq!(block_on(with_claim(2)).unwrap(), 2);
    });
}

#[test]
fn futures_stay_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    #[task(id = "id")]
    async fn works(id: u64) -> Done {
        pause().await;
        Ok(id)
    }
    drop(send(works(1)));
}
