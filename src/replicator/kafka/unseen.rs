//! What stands on the leader, and not on the replicas yet: nobody who reads is shown it.
//!
//! Floor 6. Where the broker has forgotten the producer, the topic is read back, and a Fetch ends
//! at the high watermark. What was on its way may stand above it, for as long as replicas are away;
//! to ship it again would double it. So before anything is read the leader is asked where its log
//! ends, as a debugging consumer asks, and the high watermark is waited for until it is there.

use std::time::Duration;

use super::calls::{Node, Topic};
use super::codes::{self, Verdict};
use super::link::With;
use crate::{Error, Result};

/// How long it waits before it looks again, at first, and at the most: a link may cost by the byte.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a broker is asked that closes the connection, or does not answer this.
const TRIES: u32 = 3;

/// Waits until all that the leader has is on the replicas, and can be read. What is in doubt is
/// counted where the broker does not tell.
///
/// # Errors
/// Of kind [`Upstream`](crate::ErrorKind::Upstream) if it is not there in time, or the leader has
/// moved: then the next one is asked.
pub(super) fn await_replicas(
    node: &mut Node,
    topic: &Topic,
    partition: i32,
    with: &mut With<'_, '_>,
) -> Result<()> {
    let Some(log_end) = log_end(node, topic, partition, with)? else {
        let sent = with.memory.sent.unwrap_or_else(|| with.source.durable());
        let in_doubt = (sent - with.source.committed()).max(0).unsigned_abs();
        with.memory.status.maybe_doubled += in_doubt;
        let warning = node.channel.at("it does not tell where its log ends, replicated or not");
        with.memory.status.warnings.push(warning);
        return Ok(());
    };
    let deadline = with.network.now().saturating_add(with.settings.request_timeout);
    let mut pause = PAUSE;
    loop {
        let high_watermark = node.high_watermark(topic, partition, &*with.network)?;
        if high_watermark.is_some_and(|high_watermark| high_watermark >= log_end) {
            return Ok(());
        }
        if with.network.now() >= deadline {
            let text = "the replicas have not taken what the leader has: see min.insync.replicas";
            return Err(Error::upstream(node.channel.at(text)));
        }
        with.network.sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Where the leader's log ends; `None` where the broker does not tell.
fn log_end(
    node: &mut Node,
    topic: &Topic,
    partition: i32,
    with: &mut With<'_, '_>,
) -> Result<Option<i64>> {
    if with.memory.untold >= TRIES {
        with.memory.untold = 0;
        return Ok(None);
    }
    with.memory.untold += 1;
    let code = match node.log_end(topic, partition, &*with.network)? {
        Ok(log_end) => {
            with.memory.untold = 0;
            return Ok(Some(log_end));
        }
        Err(code) => code,
    };
    if codes::verdict(code) == Verdict::Rejected {
        with.memory.untold = 0;
        return Ok(None);
    }
    if codes::is_of_leader(code) {
        with.memory.untold = 0;
    }
    Err(Error::upstream(node.error(code, "the end of the leader's log").what_failed()))
}
