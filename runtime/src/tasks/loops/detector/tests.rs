use super::*;

fn task(id: &str) -> Proposal<'_> {
    Proposal::new(id, "agent-1", id)
}

fn code<T: std::fmt::Debug>(result: Result<T, Refused>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn a_check_takes_nothing_and_an_admission_does() {
    let tasks = Detector::default();
    assert_eq!(tasks.check(&task("t")).unwrap(), 0);
    assert_eq!(tasks.check(&task("t")).unwrap(), 0);
    assert_eq!(tasks.admit(&task("t")).unwrap(), 0);
    assert_eq!(code(tasks.admit(&task("t"))), "loop_identity");
}

#[test]
fn admitted_tasks_cannot_be_deeper_than_the_limit() {
    let tasks = Detector::new(3);
    let mut parent = "n0".to_owned();
    tasks.admit(&task("n0")).unwrap();
    for depth in 1..=3 {
        let id = format!("n{depth}");
        assert_eq!(tasks.admit(&task(&id).parent(&parent)).unwrap(), depth);
        parent = id;
    }
    let refused = tasks.admit(&task("n4").parent(&parent)).unwrap_err();
    assert_eq!(refused.code(), "loop_depth");
    assert_eq!(refused.reason(), "Task depth 4 exceeds maximum 3. Chain: n0(n0) -> n1(n1) -> n2(n2) -> n3(n3)");
    assert_eq!(code(tasks.check(&task("other").depth(4))), "loop_depth");
}

#[test]
fn refusals_come_in_their_order() {
    let tasks = Detector::new(0);
    tasks.register(&task("p")).unwrap();
    tasks.complete("done").unwrap();
    let p = |id| Proposal::new(id, "agent-1", "p");
    for (proposal, expected) in [
        (p("t ").parent("t ").creator("ghost"), "loop_invalid"),
        (p("t").parent("t").creator("ghost"), "loop_cycle"),
        (p("t").parent("ghost").creator("t"), "loop_unknown_parent"),
        (p("t").parent("p").creator("t"), "loop_depth"),
        (p("t").creator("t"), "loop_cycle"),
        (p("t").creator("ghost"), "loop_unknown_creator"),
        (p("done"), "loop_reprocess"),
        (p("p"), "loop_identity"),
    ] {
        assert_eq!(code(tasks.check(&proposal)), expected, "{proposal:?}");
    }
    let tasks = Detector::new(9);
    tasks.register(&task("a")).unwrap();
    tasks.register(&task("b").creator("a")).unwrap();
    tasks.complete("a").unwrap();
    assert_eq!(code(tasks.check(&Proposal::new("a", "agent-1", "b").parent("b"))), "loop_cycle");
    assert_eq!(code(tasks.check(&Proposal::new("done", "agent-1", "b").parent("b").creator("a"))), "loop_identity");
}

#[test]
fn a_message_names_the_nearest_ancestors_of_a_long_chain() {
    let tasks = Detector::new(1_000);
    tasks.admit(&task("n0")).unwrap();
    for n in 1..=1_000 {
        tasks.admit(&task(&format!("n{n}")).parent(&format!("n{}", n - 1))).unwrap();
    }
    let refused = tasks.check(&task("new").parent("n1000")).unwrap_err();
    assert!(
        refused.reason().contains("Chain: … -> n993(n993)") && refused.reason().ends_with("n1000(n1000)"),
        "{refused}"
    );
    assert_eq!(code(tasks.check(&task("n3").creator("n1000"))), "loop_cycle");
}

#[test]
fn an_id_is_admitted_once_however_many_threads_want_it() {
    let tasks = Detector::default();
    let admitted = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..200).filter(|n| tasks.admit(&task(&format!("t{n}"))).is_ok()).count()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(admitted, 200);
}

#[test]
fn what_is_refused_leaves_no_trace() {
    let tasks = Detector::default();
    assert_eq!(code(tasks.register(&task("c").parent("ghost"))), "loop_unknown_parent");
    assert_eq!(code(tasks.check(&task("d").parent("c"))), "loop_unknown_parent");
    assert_eq!(code(tasks.complete("t ")), "loop_invalid");
}

/// Counts what is looked up.
struct Counting<'a>(&'a Records, std::cell::Cell<usize>);

impl Nodes for Counting<'_> {
    fn find(&self, id: &str) -> Result<Known, Refused> {
        self.1.set(self.1.get() + 1);
        self.0.find(id)
    }
    fn is_ancestor(&self, ancestor: &str, of: &str) -> Result<bool, Refused> {
        self.1.set(self.1.get() + 1);
        self.0.is_ancestor(ancestor, of)
    }
}

#[test]
fn a_check_looks_up_as_much_at_depth_10_as_at_depth_1000() {
    let lookups = |depth: usize, id: &str| {
        let tasks = Detector::new(u64::MAX);
        tasks.admit(&task("n0")).unwrap();
        for n in 1..=depth {
            let before = format!("n{}", n - 1);
            tasks.admit(&task(&format!("n{n}")).parent(&before).creator(&before)).unwrap();
        }
        let (records, last) = (tasks.lock(), format!("n{depth}"));
        let counting = Counting(&records, std::cell::Cell::new(0));
        let decided = decide(&counting, &Proposal::new(id, "agent-2", "k").parent(&last).creator(&last), u64::MAX);
        (decided.is_ok(), counting.1.get())
    };
    for (id, allowed) in [("new", true), ("n0", false)] {
        assert_eq!(lookups(10, id), lookups(1_000, id), "{id}");
        assert_eq!(lookups(10, id).0, allowed);
    }
}
