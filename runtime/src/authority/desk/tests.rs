//! What holds for every provider, on providers that misbehave.

use std::pin::Pin;
use std::sync::mpsc as std_mpsc;
use std::task::{Context, Poll};

use super::*;
use crate::authority::{Answering, Grant};

const PATIENCE: Duration = Duration::from_secs(2);

fn device() -> Device {
    Device::parse("pay:prod:worker:1").unwrap()
}

fn granted() -> Verdict {
    Verdict::Allow(Grant::new(DecisionId::new("d-1").unwrap()))
}

type Decide = Box<dyn Fn(&Question) -> Answering<'static, Verdict> + Send + Sync>;

/// A provider whose answers are a closure, and which remembers what it was asked.
struct Scripted {
    decide: Decide,
    register: Box<dyn Fn() -> Registration + Send + Sync>,
    heard: Mutex<Vec<String>>,
    /// Hears when the provider is dropped.
    _gone: Option<std_mpsc::Sender<()>>,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Authority for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn register<'a>(&'a self, _: &'a Device) -> Answering<'a, Registration> {
        self.heard.lock().unwrap().push("register".into());
        Box::pin(async { (self.register)() })
    }

    fn decide<'a>(&'a self, question: &'a Question) -> Answering<'a, Verdict> {
        self.heard.lock().unwrap().push(format!("{} {}", question.boundary, question.resource));
        (self.decide)(question)
    }
}

fn scripted(decide: impl Fn(&Question) -> Answering<'static, Verdict> + Send + Sync + 'static) -> Scripted {
    Scripted {
        decide: Box::new(decide),
        register: Box::new(|| Registration::Accepted),
        heard: Mutex::default(),
        _gone: None,
    }
}

fn always(verdict: impl Fn() -> Verdict + Send + Sync + 'static) -> Scripted {
    scripted(move |_| {
        let verdict = verdict();
        Box::pin(async { verdict })
    })
}

fn open_for(authority: &Arc<Scripted>, patience: Duration) -> Desk {
    let authority: Arc<dyn Authority> = Arc::<Scripted>::clone(authority);
    Desk::open(authority, device(), patience, Ending::Unwind).unwrap()
}

fn open(authority: Scripted) -> Desk {
    open_for(&Arc::new(authority), PATIENCE)
}

fn at(boundaries: &'static [Boundary]) -> Ask {
    Ask {
        boundaries,
        action: "orders.refund".into(),
        resource: None,
        width: None,
        on_deny: OnRefusal::Return,
        on_fault: OnRefusal::Return,
    }
}

fn effect() -> Ask {
    at(&[Boundary::BeforeSideEffect])
}

fn refused(answered: Option<Answered>) -> Refused {
    match answered {
        Some(Answered::Refused(refused)) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn an_allow_at_each_boundary_allows() {
    let authority = Arc::new(always(granted));
    let desk = open_for(&authority, PATIENCE);
    let ask = Ask { resource: Some("order 7".into()), ..at(&[Boundary::BeforeCost, Boundary::BeforeSideEffect]) };
    assert!(matches!(desk.ask(ask).wait(), Some(Answered::Allowed)));
    assert_eq!(*authority.heard.lock().unwrap(), ["register", "before_cost order 7", "before_side_effect order 7"]);
}

#[test]
fn a_later_boundary_can_refuse_and_the_ones_after_it_are_not_asked() {
    let authority = Arc::new(scripted(|question| {
        let no = question.boundary == Boundary::BeforeCost;
        Box::pin(async move { if no { Verdict::Deny(Denial::new("PLAN_FROZEN")) } else { granted() } })
    }));
    let desk = open_for(&authority, PATIENCE);
    let asked = at(&[Boundary::BeforeJob, Boundary::BeforeCost, Boundary::BeforeSideEffect]);
    let refused = refused(desk.ask(asked).wait());
    assert_eq!(refused.kind(), Kind::Denied);
    assert_eq!(refused.reason(), "`scripted` said no to pay:prod:worker:1 at before_cost: PLAN_FROZEN");
    assert_eq!(authority.heard.lock().unwrap().len(), 3);
}

#[test]
fn where_no_boundary_is_named_nothing_is_allowed() {
    assert_eq!(refused(open(always(granted)).ask(at(&[])).wait()).kind(), Kind::NotConfigured);
}

#[test]
fn a_denial_that_exits_is_carried_to_a_caller_that_unwinds() {
    let no = || Verdict::Deny(Denial::new("DEVICE_REVOKED").with_decision(DecisionId::new("7b0e")));
    let ask = Ask { on_deny: OnRefusal::Exit, ..effect() };
    match open(always(no)).ask(ask).wait() {
        Some(Answered::End(notice)) => {
            assert_eq!(notice.kind, Kind::Denied);
            assert_eq!((notice.boundary, notice.action.as_str()), ("before_side_effect", "orders.refund"));
            assert_eq!((notice.code.as_str(), notice.request_id.as_str()), ("DEVICE_REVOKED", "7b0e"));
            assert_eq!(notice.device, "pay:prod:worker:1");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn denials_and_faults_have_consequences_of_their_own() {
    let fault = || Verdict::Fault(Fault::new(FaultKind::Unreachable, "gone"));
    let deny = || Verdict::Deny(Denial::new("NO"));
    let only_deny_exits = || Ask { on_deny: OnRefusal::Exit, ..effect() };
    let only_fault_exits = || Ask { on_fault: OnRefusal::Exit, ..effect() };
    assert!(matches!(open(always(fault)).ask(only_deny_exits()).wait(), Some(Answered::Refused(_))));
    assert!(matches!(open(always(fault)).ask(only_fault_exits()).wait(), Some(Answered::End(_))));
    assert!(matches!(open(always(deny)).ask(only_deny_exits()).wait(), Some(Answered::End(_))));
    assert!(matches!(open(always(deny)).ask(only_fault_exits()).wait(), Some(Answered::Refused(_))));
}

#[test]
fn each_fault_has_its_code() {
    for (fault, kind) in [
        (FaultKind::Unreachable, Kind::AuthorityUnreachable),
        (FaultKind::Timeout, Kind::AuthorityTimeout),
        (FaultKind::Malformed, Kind::AuthorityMalformed),
        (FaultKind::NotConfigured, Kind::NotConfigured),
    ] {
        let desk = open(always(move || Verdict::Fault(Fault::new(fault, "so it is"))));
        let refused = refused(desk.ask(effect()).wait());
        assert_eq!(refused.kind(), kind);
        assert_eq!(refused.reason(), "no usable answer at before_side_effect: so it is");
    }
}

#[test]
fn an_allow_for_another_device_is_malformed() {
    let other = || Verdict::Allow(Grant::new(DecisionId::new("d").unwrap()).for_device("pay:prod:worker:2"));
    assert_eq!(refused(open(always(other)).ask(effect()).wait()).kind(), Kind::AuthorityMalformed);
    let ours = || Verdict::Allow(Grant::new(DecisionId::new("d").unwrap()).for_device("pay:prod:worker:1"));
    assert!(matches!(open(always(ours)).ask(effect()).wait(), Some(Answered::Allowed)));
}

#[test]
fn the_device_is_registered_once_and_at_each_startup() {
    let authority = Arc::new(always(granted));
    let desk = open_for(&authority, PATIENCE);
    for boundary in [&[Boundary::BeforeJob][..], &[Boundary::BeforeJob], &[Boundary::Startup]] {
        let boundaries: &'static [Boundary] = boundary.to_vec().leak();
        assert!(matches!(desk.ask(at(boundaries)).wait(), Some(Answered::Allowed)));
    }
    let heard = authority.heard.lock().unwrap();
    let expected = ["register", "before_job", "before_job", "register", "startup"];
    assert!(heard.iter().zip(expected).all(|(heard, expected)| heard.starts_with(expected)), "{heard:?}");
    assert_eq!(heard.len(), expected.len());
}

#[test]
fn a_registration_that_fails_refuses_and_is_tried_again() {
    let answers = Mutex::new(vec![
        Registration::Accepted,
        Registration::Refused(Denial::new("limit_reached")),
        Registration::Fault(Fault::new(FaultKind::Unreachable, "gone")),
    ]);
    let register = Box::new(move || answers.lock().unwrap().pop().expect("asked too often"));
    let desk = open(Scripted { register, ..always(granted) });
    assert_eq!(refused(desk.ask(effect()).wait()).kind(), Kind::AuthorityUnreachable);
    let second = refused(desk.ask(effect()).wait());
    assert_eq!((second.kind(), second.reason().contains("limit_reached")), (Kind::Denied, true));
    assert!(matches!(desk.ask(effect()).wait(), Some(Answered::Allowed)));
    assert!(matches!(desk.ask(effect()).wait(), Some(Answered::Allowed)));
}

#[test]
fn an_answer_that_never_comes_is_a_timeout() {
    let desk = open_for(&Arc::new(scripted(|_| Box::pin(std::future::pending()))), Duration::from_millis(50));
    let asked = Instant::now();
    assert_eq!(refused(desk.ask(effect()).wait()).kind(), Kind::AuthorityTimeout);
    assert!(asked.elapsed() >= Duration::from_millis(50));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[test]
fn a_provider_that_blocks_the_thread_does_not_hold_up_the_deadline() {
    let (release, blocked) = std_mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    let authority = scripted(move |_| {
        let _ = blocked.lock().unwrap().recv();
        Box::pin(async { granted() })
    });
    let desk = open_for(&Arc::new(authority), Duration::from_millis(200));
    let asked = Instant::now();
    let (first, second) = (desk.ask(effect()), desk.ask(effect()));
    assert_eq!(refused(first.wait()).kind(), Kind::AuthorityTimeout);
    assert_eq!(refused(second.wait()).kind(), Kind::AuthorityTimeout);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    drop(release);
}

#[test]
fn an_allow_that_is_ready_too_late_is_a_timeout() {
    // Ready at its first poll, but that poll ends after the deadline: the timer alone would let it through.
    let authority = scripted(|question| {
        while Instant::now() < question.deadline {
            std::hint::spin_loop();
        }
        Box::pin(async { granted() })
    });
    let desk = open_for(&Arc::new(authority), Duration::from_millis(5));
    assert_eq!(refused(desk.ask(effect()).wait()).kind(), Kind::AuthorityTimeout);
}

/// A future that panics where it is told to.
struct Bomb {
    in_poll: bool,
    in_drop: bool,
}

impl Future for Bomb {
    type Output = Verdict;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Verdict> {
        assert!(!self.in_poll, "in poll");
        Poll::Ready(granted())
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.in_drop || thread::panicking(), "in drop");
    }
}

#[test]
fn a_panic_in_a_provider_is_a_fault_wherever_it_happens() {
    let providers = [
        scripted(|_| panic!("in making")),
        scripted(|_| Box::pin(Bomb { in_poll: true, in_drop: false })),
        scripted(|_| Box::pin(Bomb { in_poll: false, in_drop: true })),
        Scripted { register: Box::new(|| panic!("in registering")), ..always(granted) },
    ];
    for provider in providers {
        let desk = open(provider);
        let refused = refused(desk.ask(effect()).wait());
        assert_eq!(refused.kind(), Kind::AuthorityMalformed);
        assert!(refused.reason().contains("panicked"), "{refused}");
        // The thread lives on.
        assert_eq!(self::refused(desk.ask(effect()).wait()).kind(), Kind::AuthorityMalformed);
    }
}

#[test]
fn questions_run_at_the_same_time() {
    let together = Arc::new(tokio::sync::Barrier::new(100));
    let desk = open(scripted(move |_| {
        let together = Arc::clone(&together);
        Box::pin(async move {
            together.wait().await;
            granted()
        })
    }));
    let tickets: Vec<_> = (0..100).map(|_| desk.ask(effect())).collect();
    assert!(tickets.into_iter().all(|ticket| matches!(ticket.wait(), Some(Answered::Allowed))));
}

#[test]
fn a_closed_desk_answers_what_it_was_asked_and_lets_the_provider_go() {
    let (let_go, started) = (Arc::new(tokio::sync::Notify::new()), std_mpsc::channel());
    let (gone, hear_gone) = std_mpsc::channel();
    let (begun, hear_begun) = started;
    let waits = Arc::clone(&let_go);
    let authority = Scripted {
        _gone: Some(gone),
        ..scripted(move |_| {
            begun.send(()).unwrap();
            let waits = Arc::clone(&waits);
            Box::pin(async move {
                waits.notified().await;
                granted()
            })
        })
    };
    let desk = open(authority);
    let ticket = desk.ask(effect());
    hear_begun.recv().unwrap();
    drop(desk);
    let_go.notify_one();
    assert!(matches!(ticket.wait(), Some(Answered::Allowed)));
    // The sender inside the provider goes with the last thread that holds it.
    assert_eq!(hear_gone.recv_timeout(Duration::from_secs(5)), Err(std_mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_fork_is_refused_without_the_threads() {
    let mut desk = open(always(granted));
    desk.pid = desk.pid.wrapping_add(1);
    assert_eq!(refused(desk.ask(effect()).wait()).kind(), Kind::Forked);
    let exits = Ask { on_fault: OnRefusal::Exit, ..effect() };
    assert!(matches!(desk.ask(exits).wait(), Some(Answered::End(Notice { kind: Kind::Forked, .. }))));
}

#[test]
fn a_question_may_be_waited_for_inside_a_runtime() {
    let desk = open(always(granted));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(async { matches!(desk.ask(effect()).wait(), Some(Answered::Allowed)) }));
    assert!(runtime.block_on(async { matches!(desk.ask(effect()).await, Some(Answered::Allowed)) }));
}

#[test]
fn after_a_lull_the_second_thread_is_awake_again() {
    // Longer than the watchdog's lull, then a question that only it can answer.
    let (release, blocked) = std_mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    let desk = open_for(
        &Arc::new(scripted(move |_| {
            let _ = blocked.lock().unwrap().recv();
            Box::pin(async { granted() })
        })),
        Duration::from_millis(100),
    );
    desk.watchdog.wait_until_asleep();
    assert_eq!(refused(desk.ask(effect()).wait()).kind(), Kind::AuthorityTimeout);
    drop(release);
}
