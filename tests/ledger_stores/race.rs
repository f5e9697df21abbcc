//! Everybody at the same key at the same moment, again and again.

use super::*;

#[test]
fn of_64_threads_in_8_processes_at_one_key_one_runs_and_all_get_its_receipt_200_times() {
    let Some(room) = Room::ready() else { return };
    let mut children: Vec<_> = (0..8).map(|_| room.start(&["race", "8", "200"])).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(Process::go);
    for child in &mut children {
        child.expect("{\"ok\": 1600}");
    }
    let effects = room.effects();
    assert_eq!(effects.len(), 200);
    assert!(effects.values().all(|count| *count == 1), "{effects:?}");
}
