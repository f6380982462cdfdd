//! Floor 4's tests: when tombstones may go, by what is kept of earlier compactions.

use super::*;

const DAY: i64 = 24 * 3600 * 1000;

fn moments(state: &CompactionState) -> Vec<(i64, i64)> {
    state.moments.iter().map(|moment| (moment.offset.get(), moment.log_clock)).collect()
}

fn add(state: &mut CompactionState, offset: i64, log_clock: i64, retention: i64) {
    add_moment(state, ClockSample { offset: Offset::new(offset), log_clock }, retention);
}

/// However often a log is compacted, a tombstone goes between its retention and a little more.
#[test]
fn a_tombstone_is_never_ripe_early_and_at_most_a_part_late() {
    for every in [1, 1000, DAY / 100, DAY / 16, DAY / 3, 2 * DAY] {
        let mut state = CompactionState::default();
        // What was compacted at a moment is what came in since the last one: one offset each.
        for pass in 1..3000_i64 {
            let now = pass * every;
            let ripe = ripe_end(&state.moments, now, DAY).get();
            // The offset below `ripe` was compacted in the pass of its number plus one.
            assert!(now - ripe * every >= DAY || ripe == 0, "{every}: {ripe} at pass {pass}");
            let late = now - (ripe + 1) * every;
            assert!(late <= DAY + DAY / 16 + 2 * every, "{every}: {ripe} at pass {pass}");
            add(&mut state, pass, now, DAY);
            assert!(state.moments.len() <= 18, "{:?}", moments(&state));
        }
    }
}

#[test]
fn moments_are_bounded_whatever_the_retention_becomes() {
    let mut state = CompactionState::default();
    let mut now = 0;
    for pass in 0..500 {
        let retention = [0, 16, DAY, i64::MAX][pass % 4];
        now += 100;
        add(&mut state, i64::try_from(pass).unwrap(), now, retention);
        assert!(state.moments.len() <= limits::COMPACTION_MOMENTS_MAX);
        assert!(state.moments.is_sorted_by_key(|moment| (moment.offset, moment.log_clock)));
        let none = ripe_end(&state.moments, now, i64::MAX);
        assert_eq!(none, Offset::ZERO);
    }
}

/// Nothing is new, so nothing that lay below a moment counts for older or younger.
#[test]
fn a_pass_without_news_adds_no_moment() {
    let mut state = CompactionState::default();
    for now in [10, DAY, 2 * DAY] {
        add(&mut state, 7, now, DAY);
    }
    assert_eq!(moments(&state), [(7, 10)]);
}
