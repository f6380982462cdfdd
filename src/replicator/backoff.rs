//! How long to wait after a failure.
//!
//! Floor 6. Full jitter: a random time below a bound that doubles, so that a fleet that lost the
//! same upstream does not come back in step.

use std::time::Duration;

/// Failures in a row, and the chance that spreads them.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration, seed: u64) -> Backoff {
        Backoff { min, max: max.max(min), failures: 0, random: seed }
    }

    /// The link made progress: the next failure counts as the first.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let doubled = self.min.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let bound = u64::try_from(doubled.min(self.max).as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.draw(bound))
    }

    /// A number from 0 to `bound`, by SplitMix64 (Steele, Lea, Flood 2014); the slight bias of the
    /// remainder does not matter here.
    fn draw(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        mixed.checked_rem(bound.saturating_add(1)).unwrap_or(mixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_spread_over_the_whole_range_below_a_doubling_bound() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(30));
        for failures in 0..12 {
            let bound = min.saturating_mul(1 << failures).min(max);
            let mut waits: Vec<_> = (0..400)
                .map(|seed| {
                    let mut backoff = Backoff::new(min, max, seed);
                    (0..failures).fold(backoff.next(), |_, _| backoff.next())
                })
                .collect();
            waits.sort_unstable();
            assert!(waits.iter().all(|wait| *wait <= bound), "after {failures}");
            assert!(waits[20] < bound / 5 && waits[380] > bound * 4 / 5, "after {failures}");
        }
    }

    #[test]
    fn progress_makes_the_next_wait_a_first_one() {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(60), 1);
        let _ = (0..40).fold(Duration::ZERO, |_, _| backoff.next());
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(1));
    }
}
