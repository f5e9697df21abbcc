//! Everybody at the same key at the same moment, again and again.

use super::*;

/// How often: `PORTCULLIS_ROUNDS`, or 200 times.
fn rounds() -> usize {
    let wanted = std::env::var("PORTCULLIS_ROUNDS").ok();
    wanted.map_or(200, |rounds| rounds.parse().expect("PORTCULLIS_ROUNDS is a whole number"))
}

#[test]
fn of_64_threads_in_8_processes_at_one_key_one_runs_and_all_get_its_receipt() {
    let Some(room) = Room::ready() else { return };
    let rounds = rounds();
    let mut children: Vec<_> = (0..8).map(|_| room.start(&["race", "8", &rounds.to_string()])).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(Process::go);
    for child in &mut children {
        child.expect(&format!("{{\"ok\": {}}}", 8 * rounds));
    }
    let effects = room.effects();
    assert_eq!(effects.len(), rounds);
    assert!(effects.values().all(|count| *count == 1), "{effects:?}");
}
