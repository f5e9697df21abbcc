use super::*;

fn budget(limits: Limits) -> Budget {
    Budget::new("whole", limits).unwrap()
}

fn usd(micros: u64) -> Cost {
    Cost::from_micros(micros, "USD")
}

#[test]
fn parts_cannot_multiply_the_whole() {
    let whole = budget(Limits::new().steps(10));
    let parts: Vec<_> = (0..20).filter_map(|n| whole.carve(format!("part-{n}"), Limits::new().steps(3)).ok()).collect();
    assert_eq!((parts.len(), whole.left().steps), (3, Some(1)));
    let steps = parts.iter().map(|part| (0..100).filter(|_| part.step().is_ok()).count()).sum::<usize>();
    assert_eq!(steps, 9);
    whole.step().unwrap();
    assert_eq!(whole.step().unwrap_err().kind(), Kind::BudgetSteps);
}

#[test]
fn what_a_part_did_not_use_comes_back_and_what_it_used_does_not() {
    let whole = budget(Limits::new().steps(10).cost(usd(1_000)));
    let part = whole.carve("part", Limits::new().steps(8).cost(usd(900))).unwrap();
    part.step().unwrap();
    part.spend(usd(100)).unwrap();
    assert_eq!((whole.left().steps, whole.left().cost), (Some(2), Some(usd(100))));
    drop(part);
    assert_eq!((whole.left().steps, whole.left().cost), (Some(9), Some(usd(900))));

    let part = whole.carve("part", Limits::new().steps(9).cost(usd(900))).unwrap();
    part.end();
    assert_eq!((whole.left().steps, whole.left().cost), (Some(9), Some(usd(900))));
    drop(part);
    assert_eq!((whole.left().steps, whole.left().cost), (Some(9), Some(usd(900))), "not twice");
}

#[test]
fn what_a_part_spends_beyond_its_share_is_missing_from_every_whole() {
    let whole = budget(Limits::new().cost(usd(1_000)));
    let part = whole.carve("part", Limits::new().cost(usd(100))).unwrap();
    let inner = part.carve("inner", Limits::new().cost(usd(10))).unwrap();
    // 10 of its own, 90 that were left in the part, and 200 of the whole's.
    assert_eq!(inner.spend(usd(300)).unwrap_err().kind(), Kind::BudgetCost);
    assert_eq!((part.left().cost, whole.left().cost), (Some(usd(0)), Some(usd(700))));
    drop(inner);
    drop(part);
    assert_eq!(whole.left().cost, Some(usd(700)), "what is spent does not come back");

    let part = whole.carve("part", Limits::new().cost(usd(100))).unwrap();
    let reserved = part.reserve(usd(50)).unwrap();
    assert_eq!(reserved.settle(usd(400)).unwrap_err().kind(), Kind::BudgetCost);
    assert_eq!(whole.left().cost, Some(usd(300)));
}

#[test]
fn a_whole_that_went_over_stays_over() {
    let whole = budget(Limits::new().steps(4));
    let part = whole.carve("part", Limits::new().steps(4)).unwrap();
    whole.step().unwrap_err();
    drop(part);
    whole.step().unwrap_err();
}

#[test]
fn a_part_must_say_what_it_takes_and_gets_no_more_than_is_left() {
    let whole = budget(Limits::new().steps(4).cost(usd(10)).depth(3).duration(std::time::Duration::from_secs(60)));
    assert_eq!(whole.carve("part", Limits::new()).unwrap_err().kind(), Kind::InvalidArgument);
    assert_eq!(whole.carve("part", Limits::new().steps(1)).unwrap_err().kind(), Kind::InvalidArgument);
    let part = Limits::new().steps(1);
    assert_eq!(whole.carve("part", part.cost(usd(11))).unwrap_err().kind(), Kind::BudgetCost);
    assert_eq!(whole.carve("part", part.cost(Cost::from_micros(1, "EUR"))).unwrap_err().kind(), Kind::InvalidArgument);
    assert_eq!(whole.left().steps, Some(4), "what was refused took nothing");

    whole.record_depth(1).unwrap();
    let part = whole.carve("part", part.cost(usd(1)).depth(9)).unwrap();
    assert_eq!(part.limits().max_depth(), Some(2));
    assert!(part.limits().max_duration().unwrap() <= whole.limits().max_duration().unwrap());
}

#[test]
fn the_strictest_of_several_wins_and_all_of_them_count() {
    let (wide, narrow) = (budget(Limits::new().steps(10)), budget(Limits::new().steps(2)));
    let passed = (0..5).filter(|_| Budget::step_all([&wide, &narrow]).is_ok()).count();
    assert_eq!(passed, 2);
    assert_eq!(wide.left().steps, Some(5));
    assert_eq!(wide.left().strictest(narrow.left()).steps, Some(0));
    assert!(narrow.left().is_spent());
}

#[test]
fn money_is_reserved_and_settled() {
    let budget = budget(Limits::new().cost(usd(1_000)));
    budget.reserve(usd(600)).unwrap().settle(usd(200)).unwrap();
    assert_eq!(budget.left().cost, Some(usd(800)));
    budget.reserve(usd(800)).unwrap().release();
    drop(budget.reserve(usd(300)).unwrap());
    assert_eq!(budget.left().cost, Some(usd(500)), "what nobody settled is spent");
    assert_eq!(budget.reserve(usd(501)).unwrap_err().kind(), Kind::BudgetCost);
    let refused = budget.reserve(usd(100)).unwrap().settle(usd(700)).unwrap_err();
    assert_eq!(refused.reason(), "Task whole exceeded cost budget: 0.0006 USD on top of 0.0006 USD, max 0.001 USD");
    assert_eq!(budget.left().cost, Some(usd(0)));
}

#[test]
fn an_agent_reads_what_is_left_and_why_it_was_stopped() {
    let budget = budget(Limits::new().steps(3).cost(usd(3_200_000)));
    assert_eq!(budget.left().to_string(), "3 steps, 3.20 USD left");
    for _ in 0..3 {
        budget.step().unwrap();
    }
    let refused = budget.step().unwrap_err().to_string();
    assert!(
        refused
            .starts_with("budget_steps: refused `whole`: Task whole exceeded step budget: 4 steps taken, max 3; stop")
    );
}

#[test]
fn after_the_end_there_are_no_steps() {
    let budget = budget(Limits::new());
    budget.step().unwrap();
    budget.end();
    assert_eq!(budget.step().unwrap_err().kind(), Kind::TaskEnded);
    assert_eq!(budget.reserve(usd(1)).unwrap_err().kind(), Kind::TaskEnded);
    assert_eq!(budget.carve("part", Limits::new()).unwrap_err().kind(), Kind::TaskEnded);
}
