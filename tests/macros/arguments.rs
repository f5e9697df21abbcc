//! Each argument does what the documentation says.

use std::sync::atomic::{AtomicU64, Ordering};

use pollster::block_on;
use portcullis::permit::BeforeCost;
use portcullis::testing::{self, Answer, Gate};
use portcullis::{OnErr, Permit, Refused, boundary, budgeted, once};
use serde::{Deserialize, Serialize};

use crate::{Done, Log, code};

#[derive(Clone, Serialize)]
struct Order {
    id: String,
    lines: (u64, u64),
    r#type: String,
}

fn order(id: &str) -> Order {
    Order { id: id.into(), lines: (1, 2), r#type: "sale".into() }
}

#[once(key = "order.id", skip(log))]
fn by_field(log: &Log, order: Order) -> Done {
    log.add("body");
    drop(order);
    Ok(1)
}

#[once(key = "{order.type}:{order.lines.1}:{note}", skip(log))]
async fn by_template(log: &Log, order: Order, note: String) -> Done {
    log.add("body");
    drop((order, note));
    Ok(1)
}

#[once(key = (order.id, note), skip(log, order))]
fn by_tuple(log: &Log, order: Order, note: String) -> Done {
    log.add("body");
    drop((order, note));
    Ok(1)
}

#[test]
fn keys_are_read_before_the_body_takes_the_parameters() {
    let log = Log::default();
    Gate::allowing().scope_sync(|| {
        by_field(&log, order("a")).unwrap();
        by_field(&log, order("a")).unwrap();
        by_field(&log, order("b")).unwrap();
        assert_eq!(log.take(), ["body", "body"]);
        block_on(by_template(&log, order("a"), "x".into())).unwrap();
        assert_eq!(code(block_on(by_template(&log, order("b"), "x".into()))), "key_conflict");
        block_on(by_template(&log, order("a"), "x:y".into())).unwrap();
        assert_eq!(log.take(), ["body", "body"]);
        by_tuple(&log, order("a"), "bc".into()).unwrap();
        by_tuple(&log, order("ab"), "c".into()).unwrap();
        by_tuple(&log, order("ab"), "c".into()).unwrap();
        assert_eq!(log.take(), ["body", "body"]);
    });
}

#[once(key = "{a}-{b}", skip(log))]
fn run_together(log: &Log, a: &str, b: &str) -> Done {
    log.add(format!("{a} and {b}"));
    Ok(1)
}

#[test]
fn interpolations_do_not_run_together() {
    let log = Log::default();
    Gate::allowing().scope_sync(|| {
        run_together(&log, "x-y", "z").unwrap();
        run_together(&log, "x", "y-z").unwrap();
        assert_eq!(log.take(), ["x-y and z", "x and y-z"]);
    });
}

static EVALUATED: AtomicU64 = AtomicU64::new(0);

#[once(key = EVALUATED.fetch_add(1, Ordering::SeqCst) + id)]
async fn by_expression(id: u64) -> Done {
    Ok(EVALUATED.load(Ordering::SeqCst) + id)
}

#[test]
fn a_key_is_evaluated_once_and_only_if_the_call_is_made() {
    Gate::allowing().scope_sync(|| {
        drop(by_expression(0));
        assert_eq!(EVALUATED.load(Ordering::SeqCst), 0);
        assert_eq!(block_on(by_expression(0)).unwrap(), 1);
        assert_eq!(EVALUATED.load(Ordering::SeqCst), 1);
    });
}

#[once(key = "id", skip(note))]
fn fingerprinted(id: u64, (cents, _): (u64, u64), note: &str, _: f64) -> Done {
    let _ = note;
    Ok(id + cents)
}

#[test]
fn the_payload_is_every_name_that_is_not_skipped() {
    Gate::allowing().scope_sync(|| {
        assert_eq!(fingerprinted(1, (5, 6), "first", 0.5).unwrap(), 6);
        assert_eq!(fingerprinted(1, (5, 7), "retry", 0.7).unwrap(), 6);
        assert_eq!(code(fingerprinted(1, (6, 6), "retry", 0.5)), "key_conflict");
    });
}

#[once(key = "id", claim = claim, on_err = "hold")]
fn claims(id: u64, fail: bool) -> Result<String, anyhow::Error> {
    if fail {
        claim.did_not_happen();
        anyhow::bail!("no connection");
    }
    Ok(format!("{id} {}", claim.idempotency_key()))
}

#[once(key = "id", claim = claim)]
#[boundary(before_cost, permit = allowed)]
async fn claims_later(id: u64) -> Result<String, Refused> {
    fn spend(_: &Permit<'_, BeforeCost>) {}
    spend(&allowed);
    std::future::ready(()).await;
    Ok(format!("{id} {}", claim.idempotency_key()))
}

#[test]
fn the_body_may_hold_its_claim_and_its_permit() {
    Gate::allowing().scope_sync(|| {
        assert_eq!(claims(1, true).unwrap_err().to_string(), "no connection");
        // Freed: the same key may run, but what it is for is bound.
        let refused = claims(1, false).unwrap_err().downcast::<Refused>().unwrap();
        assert_eq!(refused.code(), "key_conflict");
        let receipt = claims(2, false).unwrap();
        assert_eq!(receipt.len(), "2 ".len() + 40);
        assert_eq!(claims(2, false).unwrap(), receipt);
        assert_eq!(block_on(claims_later(1)).unwrap(), block_on(claims_later(1)).unwrap());
    });
}

#[derive(Debug, Serialize, Deserialize)]
enum Declined {
    Card,
    Network,
    Refused(String),
}

impl From<Refused> for Declined {
    fn from(refused: Refused) -> Self {
        Declined::Refused(refused.code().into())
    }
}

fn judge(error: &Declined) -> OnErr {
    match error {
        Declined::Card => OnErr::Record,
        Declined::Network => OnErr::Release,
        Declined::Refused(_) => OnErr::Hold,
    }
}

macro_rules! failing {
    ($($name:ident($on_err:expr))*) => {$(
        #[once(key = "id", on_err = $on_err, skip(log, error))]
        fn $name(log: &Log, id: u64, error: Declined) -> Result<u64, Declined> {
            log.add("body");
            let _ = id;
            Err(error)
        }
    )*};
}

failing! {
    holds("hold")
    releases("release")
    records("record")
    judges(judge)
}

#[test]
fn what_an_error_means_is_for_the_function_to_say() {
    type Call = fn(&Log, u64, Declined) -> Result<u64, Declined>;
    let expect = |call: Call, error: fn() -> Declined, runs: usize, last: &str| {
        let log = Log::default();
        Gate::allowing().scope_sync(|| {
            let _ = call(&log, 1, error());
            let second = call(&log, 1, error()).unwrap_err();
            assert_eq!(format!("{second:?}"), last);
            assert_eq!(log.take().len(), runs);
        });
    };
    let in_doubt = "Refused(\"in_doubt\")";
    expect(holds, || Declined::Card, 1, in_doubt);
    expect(releases, || Declined::Card, 2, "Card");
    expect(records, || Declined::Card, 1, "Card");
    expect(judges, || Declined::Card, 1, "Card");
    expect(judges, || Declined::Network, 2, "Network");
    expect(judges, || Declined::Refused("held".into()), 1, in_doubt);
}

#[boundary(before_fan_out, before_job, resource = format!("{}/{}", order.id, order.r#type), width = order.lines.1)]
fn fans_out(order: Order) {
    drop(order);
}

#[test]
fn the_authority_hears_what_is_touched_and_how_wide() {
    let log = Log::default();
    let heard = log.clone();
    let gate = Gate::answering(move |question| {
        heard.add(format!("{} {} {} {:?}", question.boundary, question.action, question.resource, question.width));
        Answer::Allow
    });
    gate.scope_sync(|| fans_out(order("a")));
    let heard = log.take();
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().any(|question| question == "before_fan_out fans_out a/sale Some(2)"), "{heard:?}");
    assert!(heard.iter().any(|question| question.starts_with("before_job fans_out a/sale")), "{heard:?}");
}

#[boundary(before_cost, with = gate)]
fn with_a_gate(gate: &Gate) -> u64 {
    1
}

struct Holder {
    gate: Gate,
}

impl Holder {
    #[boundary(before_cost, with = self.gate)]
    async fn with_its_gate(&self) -> u64 {
        1
    }
}

#[test]
fn a_call_may_name_its_gate() {
    let holder = Holder { gate: Gate::allowing() };
    assert_eq!(with_a_gate(&holder.gate), 1);
    assert_eq!(block_on(holder.with_its_gate()), 1);
    assert_eq!(holder.gate.crossed().len(), 2);
    let denied = Gate::denying("NO");
    assert_eq!(testing::catch(|| with_a_gate(&denied)).unwrap_err().reason(), "NO");
}

#[boundary(before_cost)]
fn ends() -> u64 {
    1
}

#[boundary(before_cost, on_deny = "return")]
async fn returns() -> Done {
    Ok(1)
}

#[boundary(before_cost, on_fault = "return")]
fn returns_faults() -> Done {
    Ok(1)
}

#[boundary(before_cost, on_deny = "return", on_fault = "exit")]
fn returns_denials() -> Done {
    Ok(1)
}

#[boundary(before_cost, on_deny = "return", refused = in_words)]
fn speaks() -> String {
    "done".into()
}

fn in_words(refused: Refused) -> String {
    format!("refused: {}", refused.code())
}

#[test]
fn a_refusal_ends_the_process_or_is_returned() {
    let denied = || Gate::denying("REVOKED");
    let faulty = || Gate::answering(|_| Answer::Fault(portcullis::authority::FaultKind::Unreachable));
    assert_eq!(testing::catch(|| denied().scope_sync(ends)).unwrap_err().code(), "denied");
    assert_eq!(testing::catch(|| faulty().scope_sync(ends)).unwrap_err().code(), "authority_unreachable");
    assert_eq!(code(block_on(denied().scope(returns()))), "denied");
    assert_eq!(code(block_on(faulty().scope(returns()))), "authority_unreachable");
    assert_eq!(testing::catch(|| denied().scope_sync(returns_faults)).unwrap_err().code(), "denied");
    assert_eq!(code(faulty().scope_sync(returns_faults)), "authority_unreachable");
    assert_eq!(code(denied().scope_sync(returns_denials)), "denied");
    assert!(testing::catch(|| faulty().scope_sync(returns_denials)).is_err());
    assert_eq!(denied().scope_sync(speaks), "refused: denied");
    assert_eq!(Gate::allowing().scope_sync(speaks), "done");
}

const STEPS: u64 = 2;

#[budgeted(max_steps = STEPS, per = tenant)]
fn per_tenant(tenant: &str) -> Done {
    Ok(1)
}

#[budgeted(max_steps = 1, per = "call")]
fn per_call() -> Done {
    Ok(1)
}

#[budgeted(max_steps = 1, on_exceed = "exit")]
fn exits() {}

#[budgeted(max_cost = "1.00 USD", cost = "0.60 USD")]
fn costs() -> Done {
    Ok(1)
}

#[budgeted(max_cost = "1.00 USD", cost = price(n))]
async fn costs_what_it_says(n: u64) -> Done {
    Ok(n)
}

fn price(n: u64) -> String {
    format!("0.{n} USD")
}

#[test]
fn budgets() {
    Gate::allowing().scope_sync(|| {
        for tenant in ["a", "b"] {
            assert_eq!((per_tenant(tenant).unwrap(), per_tenant(tenant).unwrap()), (1, 1));
            assert_eq!(code(per_tenant(tenant)), "budget_steps");
        }
        assert_eq!((per_call().unwrap(), per_call().unwrap()), (1, 1));
        exits();
        assert_eq!(testing::catch(exits).unwrap_err().code(), "budget_steps");
        assert_eq!(costs().unwrap(), 1);
        assert_eq!(code(costs()), "budget_cost");
        assert_eq!(block_on(costs_what_it_says(50)).unwrap(), 50);
        assert_eq!(code(block_on(costs_what_it_says(51))), "budget_cost");
        assert_eq!(block_on(costs_what_it_says(49)).unwrap(), 49);
    });
}
