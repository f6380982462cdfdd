//! Reads batches back from the topic, as many at once as the link brings in time.
//!
//! Floor 6. An answer that takes too long is thrown away with all that came of it, and a megabyte
//! takes nine minutes over a link of 2 KB a second. So little is asked for at first, and twice as
//! much after each answer that came quickly.

use std::time::Duration;

use super::calls::{Fetched, Node, Topic};
use super::network::Network;
use crate::{RecordBatch, Result};

/// How much is asked for at first, and at the most; one whole batch always comes.
const FIRST_BYTES: i32 = 16 << 10;
const BYTES_MAX: i32 = 1 << 20;

pub(super) struct Reading {
    topic: String,
    partition: i32,
    /// The offset that comes next.
    pub(super) at: i64,
    bytes: i32,
}

impl Reading {
    pub(super) fn new(topic: &Topic, partition: i32, at: i64) -> Reading {
        Reading { topic: topic.name.clone(), partition, at, bytes: FIRST_BYTES }
    }

    /// Asks for what comes next.
    pub(super) fn ask(&mut self, node: &mut Node, network: &dyn Network) -> Result<Fetched> {
        let began = network.now();
        let fetched = node.fetch(&self.topic, self.partition, self.at, self.bytes, network)?;
        let took = network.now().saturating_sub(began);
        self.bytes = fitting(self.bytes, took, node.timeout);
        Ok(fetched)
    }

    /// Visits the batches that were fetched, and goes on behind them; whether there was one.
    pub(super) fn visit(
        &mut self,
        fetched: &Fetched,
        mut visit: impl FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<bool> {
        let (mut rest, before): (&[u8], _) = (&fetched.records, self.at);
        while let Some((batch, behind)) = RecordBatch::split_first(rest)? {
            rest = behind;
            self.at = self.at.max(batch.next_offset().get());
            visit(&batch)?;
        }
        Ok(self.at > before)
    }
}

/// How much is asked for next, where an answer to so much took so long. Of what came within a
/// quarter of the timeout, twice as much comes within half of it: the rest is for a link that
/// becomes slower.
fn fitting(bytes: i32, took: Duration, timeout: Duration) -> i32 {
    if took.saturating_mul(4) < timeout {
        bytes.saturating_mul(2).min(BYTES_MAX)
    } else if took.saturating_mul(2) > timeout {
        (bytes / 2).max(FIRST_BYTES)
    } else {
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_answers_double_what_is_asked_for_up_to_a_bound_and_slow_ones_halve_it() {
        let timeout = Duration::from_secs(30);
        let next = |bytes, seconds| fitting(bytes, Duration::from_secs(seconds), timeout);
        let asked = std::iter::successors(Some(FIRST_BYTES), |bytes| Some(next(*bytes, 7)));
        let asked: Vec<_> = asked.take(8).map(|bytes| bytes >> 10).collect();
        assert_eq!(asked, [16, 32, 64, 128, 256, 512, 1024, 1024]);
        assert_eq!([8, 15, 16, 600].map(|seconds| next(64 << 10, seconds) >> 10), [64, 64, 32, 32]);
        assert_eq!(next(FIRST_BYTES, 600), FIRST_BYTES);
    }
}
