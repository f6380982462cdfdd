//! Appends numbered records, and ships them to a Kafka: see `rig::uplink::device`.
//!
//! ```text
//! device DIR --to HOST:PORT,... --topic TOPIC --records N [--pace N] [--lag-max N]
//!        [--long-every N] [--asks] [--forgetful] [--clock-s N]
//! ```

use std::sync::Arc;
use std::time::Duration;

use forebay::{KafkaUpstream, Replicator};
use rig::lines::Lines;
use rig::uplink::device::{Device, shipping};
use rig::uplink::{UPLINK, Words};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words = Words::of_process();
    let device = Device {
        dir: words.plain.first().ok_or("DIR")?.into(),
        records: words.number("records", 20_000)?,
        pace: words.number("pace", 0)?,
        lag_max: words.number("lag-max", 4_000)?,
        long_every: words.number("long-every", 256)?,
        asks: words.has("asks"),
        allowed: Arc::default(),
        forgetful: words.has("forgetful"),
        clock_s: words.number("clock-s", 0)?,
    };
    let upstream = KafkaUpstream::new(words.text("to")?, words.text("topic")?)
        .timeouts(Duration::from_secs(2), Duration::from_secs(3));
    let lines = Lines::new().and_output()?;
    device.live(&lines, |log| Replicator::start(log, UPLINK, upstream, shipping()))?;
    Ok(())
}
