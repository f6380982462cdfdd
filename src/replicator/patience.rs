//! How much longer than usual answers are waited for, on a link that is slow.
//!
//! Floor 6. A wait that runs out costs what was on its way, so on a link where answers take longer
//! than the timeout the same would be sent again for ever. Each wait that ran out doubles the
//! next ones, up to a bound; answers that come within a quarter of it halve them. In between
//! nothing changes, so that a link which is always slow does not run out again and again.

use std::time::Duration;

/// How often the timeouts of one link are doubled.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    doublings: u32,
    doublings_max: u32,
}

impl Patience {
    /// For answers: up to 32 times the timeout.
    pub(super) fn with_answers() -> Patience {
        Patience { doublings: 0, doublings_max: 5 }
    }

    /// For connections: up to 4 times. One that is tried for long is not there sooner.
    #[cfg(feature = "kafka")]
    pub(super) fn with_connections() -> Patience {
        Patience { doublings: 0, doublings_max: 2 }
    }

    /// How long is waited where `timeout` is set.
    pub(super) fn of(&self, timeout: Duration) -> Duration {
        timeout.saturating_mul(1 << self.doublings)
    }

    /// A wait ran out.
    pub(super) fn ran_out(&mut self) {
        self.doublings = (self.doublings + 1).min(self.doublings_max);
    }

    /// What was waited for where `timeout` is set came after so long.
    pub(super) fn answered(&mut self, took: Duration, timeout: Duration) {
        if took.saturating_mul(4) < self.of(timeout) {
            self.doublings = self.doublings.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_that_run_out_double_up_to_a_bound_and_quick_answers_halve_them() {
        let mut patience = Patience::with_answers();
        for doubled in [1, 2, 4, 8, 16, 32, 32, 32] {
            assert_eq!(patience.of(SECOND), SECOND * doubled);
            patience.ran_out();
        }
        // Neither quick nor too late: as it is.
        patience.answered(SECOND * 8, SECOND);
        patience.answered(SECOND * 31, SECOND);
        assert_eq!(patience.of(SECOND), SECOND * 32);
        for halved in [16, 8, 4, 4, 4] {
            patience.answered(SECOND * 3 / 2, SECOND);
            assert_eq!(patience.of(SECOND), SECOND * halved);
        }
        for halved in [2, 1, 1] {
            patience.answered(Duration::ZERO, SECOND);
            assert_eq!(patience.of(SECOND), SECOND * halved);
        }
        assert_eq!(patience.of(Duration::MAX), Duration::MAX);
    }
}
