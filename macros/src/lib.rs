//! The attribute macros of portcullis. Use them through the `portcullis` crate, which is the runtime that they expand to.
//!
//! An attribute goes through five steps, each a module: `args` reads what stands in the parentheses, `model` fills in
//! what it means, `classify` finds out what is awaited, `validate` refuses what can't be guarded, and `expand` writes the
//! function anew. `family` drives them for all attributes of a function together. `guarded` looks at whole modules, `impl`s
//! and traits, which `items` takes apart, and `effects` knows what looks like an effect.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod args;
mod call;
mod classify;
mod effects;
mod errors;
mod expand;
mod family;
mod guarded;
mod item;
mod items;
mod key;
mod literal;
mod model;
mod paths;
mod task;
#[cfg(test)]
mod tests;
mod validate;
mod values;

use proc_macro::TokenStream;

use crate::args::Guard;

/// Asks an outside authority before the function runs. Without an explicit, well-formed, timely *allow*, it does not.
///
/// ```
/// use portcullis::boundary;
///
/// #[boundary(before_cost)]
/// async fn ask_model(prompt: &str) -> String {
///     format!("an answer to {prompt}")
/// }
/// ```
///
/// By default a denial ends the process, with exit code 77, where no `Drop`, no panic handler and no agent framework can
/// swallow it. No usable answer (a timeout, a refused connection, a malformed response) is a denial too. With
/// `on_deny = "return"` the caller gets a `portcullis::Refused` instead, and the return type must be able to carry one.
///
/// # Arguments
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `startup`, `before_job`, `before_cost`, `before_side_effect`, `before_fan_out` | where the function stands. Several are asked in this order within one deadline, and all must allow | at least one is required |
/// | `on_deny = "exit"` or `"return"` | end the process, or return the refusal | `"exit"` |
/// | `on_fault = "exit"` or `"return"` | the same where there is no usable answer | as `on_deny` |
/// | `permit = NAME` | binds the permit in the body: a `portcullis::Permit` that unlocks effects at compile time. It can't leave the call, and it is for exactly one boundary | none |
/// | `resource = EXPR` | what is touched, told to the authority. Anything that has `Display` | the action |
/// | `width = EXPR` | with `before_fan_out`: how far the work is spread, told to the authority | unknown |
///
/// Every attribute of portcullis also takes these, each once per function, on any of its attributes:
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `action = EXPR` | the name under which the call is asked, counted and kept | the function's name |
/// | `with = EXPR` | the `portcullis::Portcullis` to use | the ambient one (`gate.scope(…)`), else the installed one |
/// | `refused = path` | a `fn(Refused) -> Ret`, for return types that are no `Result` with `E: From<Refused>` | `From<Refused>` |
/// | `crate = ::path` | where portcullis is, if it goes by another name | `::portcullis` |
///
/// Expressions may use the parameters. They are evaluated once, before the body; `return`, `?` and `.await` in them are a
/// compile error, because they would leave the function before it is guarded.
///
/// # What can be guarded
///
/// Functions and methods, sync and async, with any receiver, generics, lifetimes, patterns and `impl Trait`. What counts is
/// the return type, not the word `async`: of a function that returns `Pin<Box<dyn Future>>`, `BoxFuture` or `impl Future` (and
/// of what `#[async_trait]` leaves behind) the awaited work is guarded. Making the future and dropping it does nothing, also
/// not the part of the body that makes it, so the parameters live as long as the future.
///
/// A future inside of another type, such as `Result<BoxFuture<…>, E>`, is a compile error, because only the making of it would
/// be guarded. Behind an alias in there (`Result<Work, E>`) the macro can't see it: don't.
///
/// The return type must say whether the call succeeded (`portcullis::Outcome`): `Result`, `Option`, `()`, `!`, scalars,
/// `String`, `ExitCode`, and what you implement it for. What can't be guarded is a compile error that says what to write
/// instead: `const fn`, `extern` functions, `#[track_caller]`, futures that the macro can't see into.
///
/// # Several attributes
///
/// They may stand in any order, with other attributes in between. They are taken together and run in one order:
///
/// ```text
/// task entry → budget charge → authority → ledger claim → BODY → settle → task exit
/// ```
///
/// An attribute that goes by another name (`use portcullis::once as exactly_once`) can't be seen by its siblings. That is a
/// compile error, never a second layer.
///
/// # What it expands to
///
/// The function stays as it is, attributes and signature byte for byte, and its body is moved into one call of the runtime:
///
/// ```text
/// async fn ask_model(prompt: &str) -> String {
///     static SITE: Site = Site::unnamed::<Here>(env!("CARGO_PKG_NAME"), "ask_model").boundary(&[BeforeCost], Exit, Exit);
///     let call = Call::new(&SITE);
///     run::<String, _>(call, refuse_by_ending, async move { /* your body */ }).await
/// }
/// ```
///
/// Parameters that the body uses are moved into it, and dropped when it ends; the others when the function returns.
///
/// # Effects
///
/// `portcullis lint` makes clippy refuse raw effects, such as the writing of a file. The body of a function behind
/// `before_side_effect` or `before_cost` is exempt with everything that is written in it: closures, macros, and also items,
/// such as a nested `fn`, although its name may be handed out of the call. The arguments of the attributes are not exempt,
/// because they are evaluated before anybody is asked. Where an attribute on the function, or an inner one at the start of
/// its body, names `clippy::disallowed_methods`, that one holds instead.
///
/// # Cancellation
///
/// Dropping the future of a guarded call before its body has started leaves nothing behind. It does not undo a denial:
/// one that arrives later still ends the process.
#[proc_macro_attribute]
pub fn boundary(args: TokenStream, item: TokenStream) -> TokenStream {
    family::guard(Guard::Boundary, args.into(), item.into()).into()
}

/// Makes the effect of a function happen once, however often it is retried: by a loop, by another process, after a crash.
///
/// ```
/// use portcullis::{Refused, once};
///
/// #[once(action = "orders.refund", key = "order_id")]
/// async fn refund(order_id: &str, cents: u64) -> Result<String, Refused> {
///     Ok(format!("refunded {cents} for {order_id}"))
/// }
/// ```
///
/// The first call claims `(namespace, action, key)` in the ledger, runs, and settles its result as the receipt. A retry does
/// not run: it gets the receipt. If the first call's outcome is not known (it panicked, its future was dropped, its process
/// was killed, it returned an error), retries are refused as `in_doubt`, until somebody says what happened.
///
/// # Arguments
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `key = "order_id"`, `key = "req.id"` | the parameter, or the field of one, that says what must not happen twice | required |
/// | `key = "order:{symbol}:{req.qty}"` | a template over parameters and their fields. They are escaped, so that they can't run together; `{{` and `}}` are braces | |
/// | `key = EXPR` | without quotes: any expression, such as `(tenant, order_id)` | |
/// | `skip(a, b)` | parameters that are not part of the payload's fingerprint, such as clients | none |
/// | `on_err = "hold"` | after `Err`: stay in doubt | this one |
/// | `on_err = "release"` | after `Err`: free the key, because the effect surely did not happen | |
/// | `on_err = "record"` | after `Err`: the error is the outcome, and a retry gets it again | |
/// | `on_err = path` | a `fn(&E) -> portcullis::OnErr` decides | |
/// | `reconcile = path` | asked what really happened when the call is in doubt and its body is over: a `fn(&portcullis::Doubt) -> portcullis::Reconciled<T>`, `async` if the function is | none: in doubt stays in doubt |
/// | `reconcile_after = "5s"` | how long after the body was over it is asked, for providers whose reads lag | `"0s"` |
/// | `provider_window = "23h"` | the provider deduplicates `claim.idempotency_key()` that long: within it, a call in doubt whose body is over runs again with the same key. After it, never | none |
/// | `wait = "5s"` | how long a concurrent duplicate waits for the first call's receipt | `"0s"`: it is refused as `in_flight` |
/// | `max_run = "10m"` | a body that has not returned by then is put in doubt, and runs on. What it returns late still counts | none |
/// | `claim = NAME` | binds the `portcullis::Claim` in the body: `NAME.idempotency_key()` for the provider, `NAME.note(…)` for who has to find out what happened, `NAME.did_not_happen()` to free the key if the body then returns `Err`, `NAME.settle_in(&tx, …)` to settle in the effect's own transaction | none |
/// | `settle = "durable"` | the settlement is on disk before the call returns | the default |
/// | `settle = "lazy"` | its flush to the disk is not waited for. A power cut can then turn a returned `Ok` into in doubt, never into a second run | |
/// | `settle = "transaction"` | the whole effect is in the transaction of the ledger's own database in which the body settles, with `NAME.settle_in(&tx, &receipt)`. Nothing is ever in doubt: what was not committed has not happened, and runs again | |
/// | `retain = "30d"` | how long the receipt is kept. Its key is remembered after that | for ever |
///
/// `action`, `with`, `refused` and `crate` are explained at [`boundary`](macro@boundary).
///
/// # Identity
///
/// A free function's action defaults to its name. A method, and a generic function whose type parameter is in none of its
/// arguments, must name one, or one type would get the receipts of another; `action = C::NAME` is fine. Renaming an action
/// opens a new space of keys, so name the actions of production code. `self` is not fingerprinted: name the account in the
/// key (`key = "self.account"`, or a template).
///
/// A key that names no parameter and has no `{}` is a compile error, since a constant key would let the function run once
/// ever. Keys are anything `Serialize`; floats, empty keys and keys over 512 bytes are refused as `invalid_key`.
///
/// # The payload
///
/// Every name that a parameter binds and `skip` does not list must be `Serialize`. The same key with another payload is
/// refused as `key_conflict`. A parameter bound as `_` is invisible to the body, and so is no part of the payload.
///
/// # The receipt
///
/// The value in `Ok` must be `Serialize + DeserializeOwned`, and with `on_err = "record"` the error too. The return type must
/// be able to carry a refusal: a `Result` whose error is `From<portcullis::Refused>`, such as `anyhow::Error`, or `refused = path`.
///
/// At most [1 MiB](https://docs.rs/portcullis/latest/portcullis/struct.Builder.html#method.max_receipt) is kept: a larger result is given to the first caller
/// alone, and retries are refused as `receipt_too_large`. Result and error are stored as they are, unless the gate has a [`seal`](https://docs.rs/portcullis/latest/portcullis/struct.Builder.html#method.seal).
///
/// # In doubt
///
/// A body whose outcome nobody knows is never run again because of its age alone. What ends a doubt:
///
/// - the body itself: what it returns late counts, unless somebody has decided otherwise in the meantime;
/// - `reconcile`, which the next caller asks once the body is over. Of several callers that ask at once, one is heard. `Happened`
///   becomes the receipt, `DidNotHappen` lets the body run again, `Unknown` changes nothing. Its argument may be a closure over
///   what is borrowed, such as `|doubt| self.find(doubt)`. It is not asked again within itself;
/// - `provider_window`, counted by the ledger's clock from the first start whose outcome is unknown. If that clock has gone
///   backwards, nothing runs. Choose it shorter than the provider's own time by as long as a body may take;
/// - a person: `portcullis ledger commit` or `release`.
///
/// Each start has an epoch. What a start says that is not the latest any more is kept as evidence, and refused as `fenced`.
///
/// ```
/// use portcullis::{Doubt, Reconciled, Refused, once};
///
/// /// Asks the provider for the refund with our idempotency key.
/// async fn find_refund(doubt: &Doubt) -> Reconciled<String> {
///     match doubt.notes().last() {
///         Some(note) => Reconciled::Happened(String::from_utf8_lossy(&note.bytes).into_owned()),
///         None => Reconciled::Unknown,
///     }
/// }
///
/// #[once(action = "orders.refund", key = "order_id", claim = claim, reconcile = find_refund, reconcile_after = "5s")]
/// async fn refund(order_id: &str) -> Result<String, Refused> {
///     let refund = format!("re_{}", claim.idempotency_key());
///     claim.note(&refund).await?;
///     Ok(refund)
/// }
/// ```
///
/// # Cancellation
///
/// A future that is dropped before its body has started frees its key. Dropped later, its claim is in doubt: the effect may
/// have happened.
#[proc_macro_attribute]
pub fn once(args: TokenStream, item: TokenStream) -> TokenStream {
    family::guard(Guard::Once, args.into(), item.into()).into()
}

/// Limits what a function, and everything guarded inside of it, may use up. A loop, a retry or a recursion can't reset it.
///
/// ```
/// use portcullis::{Refused, budgeted};
///
/// #[budgeted(max_steps = 50, max_cost = "5.00 USD", cost = "0.02 USD")]
/// async fn ask_model(prompt: &str) -> Result<String, Refused> {
///     Ok(format!("an answer to {prompt}"))
/// }
/// ```
///
/// Each call of the function, and each guarded call made inside of it, is one step on its account. `max_steps = 50` lets 50
/// steps through and refuses the 51st.
///
/// # Arguments
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `max_steps = 50` | how many steps. A number above zero, or a constant | no limit |
/// | `max_depth = 5` | how many guarded calls deep | no limit |
/// | `max_duration = "30m"` | no step later than this after the account's first. Checked at steps: it never interrupts a body | no limit |
/// | `max_cost = "5.00 USD"` | how much money | no limit |
/// | `cost = EXPR` | what this call costs: a text such as `"0.02 USD"`, or a `portcullis::Cost`. Set aside before the body; `portcullis::charge` inside of it says what it really was | nothing |
/// | `per = "task"` | the account of the ambient task or `portcullis::scope`; without one, the process's | this one |
/// | `per = "call"` | a new account for each call: it limits what happens inside of it | |
/// | `per = "process"` | one account for the process | |
/// | `per = EXPR` | one account for each value, such as a tenant. Anything that has `Display` | |
/// | `on_exceed = "return"` or `"exit"` | return the refusal, or end the process | `"return"` |
///
/// At least one limit is required. `action`, `with`, `refused` and `crate` are explained at [`boundary`](macro@boundary).
///
/// Durations are written as `90s` or `1h 30m`. Limits stand in a `static`, so a constant must not depend on a generic
/// parameter or on `Self`.
///
/// # Errors
///
/// The refusals are `budget_steps`, `budget_depth`, `budget_duration` and `budget_cost`. The return type must be able to
/// carry one, unless `on_exceed = "exit"`.
#[proc_macro_attribute]
pub fn budgeted(args: TokenStream, item: TokenStream) -> TokenStream {
    family::guard(Guard::Budgeted, args.into(), item.into()).into()
}

/// Opens a task: a unit of work with a state, a place in the tree of tasks, and an account of its own.
///
/// ```
/// use portcullis::{Refused, budgeted, task};
///
/// #[task(id = "order", kind = "order", max_steps = 50)]
/// fn fulfil(order: &str) -> Result<(), Refused> {
///     pack(order)?;                       // a step of the task
///     ship(&format!("{order}/parcel"))    // a task inside of it: its child
/// }
///
/// #[budgeted(max_steps = 20)]
/// fn pack(order: &str) -> Result<(), Refused> {
///     Ok(())
/// }
///
/// #[task(id = parcel, kind = "parcel")]
/// fn ship(parcel: &str) -> Result<(), Refused> {
///     Ok(())
/// }
///
/// fulfil("o-17")?;
/// // It is done, and what is done is not done again.
/// assert_eq!(fulfil("o-17").unwrap_err().code(), "loop_reprocess");
/// # Ok::<(), Refused>(())
/// ```
///
/// The task is `in_progress` while the body runs. It is `done` if that returns a success, and `blocked` after an `Err`, a panic, a dropped
/// future, and every refusal on the way to the body. A blocked task may be entered again, and goes on with the account that it has. While
/// it is in progress, nobody else enters it (`task_running`). It is `cancelled` only by an explicit
/// [call](https://docs.rs/portcullis/latest/portcullis/tasks/struct.Tasks.html).
///
/// # Arguments
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `id = "order"`, `id = "req.id"`, `id = "order:{id}"`, `id = EXPR` | which piece of work it is: written like the [`key`](macro@once#arguments) of `#[once]` | required |
/// | `kind = EXPR` | what kind of work it is, for the loop check | the action |
/// | `agent = EXPR` | who works on it, for the loop check and the history | the device |
/// | `max_steps = 50` | how many guarded calls inside of the body. A number above zero, or a constant | configured, else 50 |
/// | `max_depth = 5` | how many guarded calls deep | configured, else 10 |
/// | `max_duration = "30m"` | no step later than this after the task was opened. Checked at steps: it never interrupts a body | configured, else 30 minutes |
/// | `max_cost = "5.00 USD"` | how much money | no limit |
/// | `on_exceed = "return"` or `"exit"` | return what refuses the task, or end the process | `"return"` |
/// | `durable = true` | state, tree and account are kept in the ledger, and go on after a crash | `false`: in memory |
///
/// `action`, `with`, `refused` and `crate` are explained at [`boundary`](macro@boundary). `kind` and `agent` take what has `Display`.
///
/// # The account
///
/// Each guarded call inside of the body is a step of the task, also across `.await`, and in spawned work that takes the scope along
/// with `.in_task()`. A task inside is a step too, and its steps count for both. The task's own call is a step of what surrounds it, and
/// not of itself. A task whose account is spent is not entered again.
///
/// # The loop check
///
/// A task that is opened inside of another one is its child. Refused are a task that is too deep in the tree (`loop_depth`), that would be
/// its own ancestor (`loop_cycle`), that is of the same kind and agent as its parent (`loop_identity`), and one that is finished
/// (`loop_reprocess`).
///
/// # Cancellation
///
/// Nothing happens before the first poll. Dropped later, the task is `blocked`.
///
/// # Errors
///
/// `loop_depth`, `loop_cycle`, `loop_identity`, `loop_reprocess`, `loop_unknown_parent`, `loop_invalid`, `task_running`, `already_started`
/// (the id is on record as another kind of work), and the account's `budget_steps`, `budget_depth`, `budget_duration` and `budget_cost`. The
/// return type must be able to carry one, unless `on_exceed = "exit"`.
#[proc_macro_attribute]
pub fn task(args: TokenStream, item: TokenStream) -> TokenStream {
    family::guard(Guard::Task, args.into(), item.into()).into()
}

/// Checks that every function of an inline module, an `impl` or a trait is guarded, or says why not.
///
/// ```
/// #[portcullis::guarded]
/// mod mail {
///     use portcullis::{boundary, unguarded};
///
///     #[boundary(before_side_effect)]
///     pub async fn send(to: &str, text: &str) -> bool {
///         // … the call that sends the mail …
///         true
///     }
///
///     #[unguarded(reason = "pure: it only formats")]
///     pub fn subject(order: u64) -> String {
///         format!("Your order {order}")
///     }
/// }
/// ```
///
/// A function that carries neither one of our attributes nor [`unguarded`](macro@unguarded) does not compile:
///
/// ```compile_fail
/// #[portcullis::guarded]
/// mod mail {
///     pub fn send(to: &str) {}
/// }
/// ```
///
/// The item itself stays as it is, token by token.
///
/// # Arguments
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `crate = ::path` | where portcullis is, if it goes by another name | `::portcullis` |
///
/// # What must be guarded
///
/// Functions and methods with a body, also in the modules, `impl`s and traits inside of a guarded module. They are guarded by
/// [`boundary`](macro@boundary), [`once`](macro@once), [`budgeted`](macro@budgeted) or [`task`](macro@task), which stand on the function itself:
/// bare, below `portcullis::`, or below the path that `crate` names. A `cfg_attr` around one is refused, because it may switch
/// the guard off, and so is a bare `#[once]` without a `key` or `#[task]` without an `id`, which is another crate's.
///
/// An inner item that is `#[guarded]` itself checks itself. What is under `#[cfg(test)]`, or `#[cfg(all(test, …))]`, and
/// functions with a bare `#[test]` are left alone. Other `cfg`s change nothing: what is switched off today is checked too.
///
/// What can't be seen into is refused, so that nothing slips through unseen:
///
/// | what | what to do |
/// | --- | --- |
/// | a macro's invocation in place of an item, such as `thread_local! { … }` | move it out, or put `#[unguarded(reason = "…")]` on it |
/// | a module in another file, `mod name;` | put `#[guarded]` on what is in that file |
/// | a function inside of a constant's value, and the like | move it out of there |
///
/// # What it can't see
///
/// It sees the names and the places of attributes, before any other macro in there has run, and no types:
///
/// - functions inside of a function's body, closures, and what macros in a body or a value make;
/// - what a `derive` or another attribute adds beside an item;
/// - whether a bare `#[boundary]` is portcullis's, if you import another one under that name. One of ours that was imported under
///   another name it does not know, so it asks for the attribute itself;
/// - the `impl`s of a guarded trait: each needs its own `#[guarded]`;
/// - functions that an `extern` block declares.
///
/// That a function is guarded says that somebody is asked before it runs. For a proof that an effect can't be reached without,
/// lock its client in `portcullis::Locked`.
#[proc_macro_attribute]
pub fn guarded(args: TokenStream, item: TokenStream) -> TokenStream {
    guarded::guarded(args.into(), item.into()).into()
}

/// Says why a function in a [`guarded`](macro@guarded) module, `impl` or trait may run unguarded.
///
/// ```
/// use portcullis::{boundary, guarded, unguarded};
///
/// struct Shop;
///
/// #[guarded]
/// impl Shop {
///     #[boundary(before_side_effect, action = "shop.refund")]
///     fn refund(&self, order: u64) {}
///
///     #[unguarded(reason = "reads a constant")]
///     fn name(&self) -> &'static str {
///         "shop"
///     }
///
///     #[unguarded(reason = "a cache that is rebuilt at every start", effects)]
///     fn forget(&self) -> std::io::Result<()> {
///         std::fs::remove_dir_all("/tmp/shop-cache")
///     }
/// }
/// ```
///
/// It adds nothing to the function. A function is guarded or unguarded: together with one of the attributes that guard it, it
/// is a compile error, in whatever order they stand. On a macro's invocation in place of an item it speaks for every function
/// that the macro makes.
///
/// # Arguments
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `reason = "…"` | why no guard is needed: at least one word | required |
/// | `effects` | it has effects, and they are meant: what looks like one is not pointed at | pointed at |
///
/// # What looks like an effect
///
/// Inside of a `#[guarded]` item, an unguarded function with one of these in its body does not compile, unless it says `effects`:
///
/// | written | of |
/// | --- | --- |
/// | `fs::write`, `remove_file`, `remove_dir`, `remove_dir_all`, `rename`, `copy`, `create_dir`, `create_dir_all`, `hard_link`, `symlink`, `set_permissions` | `std`, `tokio`, `fs_err` |
/// | `File::create`, `File::create_new`, `File::options`, `OpenOptions::new` | `std`, `tokio` |
/// | `Command::new` and, later in the body, `.spawn()`, `.output()` or `.status()` | `std`, `tokio` |
/// | `TcpStream::connect`, `TcpStream::connect_timeout`, `UnixStream::connect`, `.send_to(…)` | `std`, `tokio` |
/// | `.send()` directly followed by `.await` or `?`; `reqwest::get`, `blocking::get` | `reqwest`, cloud SDKs |
/// | `ureq::get`, `post`, `put`, `patch`, `delete` | `ureq` |
/// | `.execute(…)`, `.execute_batch(…)`, `.batch_execute(…)` | SQL clients |
///
/// This is a hint and proves nothing. It knows names and no types: an imported `write(path, text)`, a `.send().unwrap()` or a
/// function that does the effect elsewhere is not seen, and a `File` of your own is.
#[proc_macro_attribute]
pub fn unguarded(args: TokenStream, item: TokenStream) -> TokenStream {
    guarded::unguarded(args.into(), item.into()).into()
}
