//! What the topic's settings would do to the records, found out before the first is shipped.
//!
//! Floor 6. Brokers judge by the records' times: a backlog older than the topic's retention would
//! be acknowledged, and deleted before anybody read it. Pure: settings and times in, findings out.

use std::collections::BTreeMap;
use std::time::Duration;

/// Records of a time before this one were stamped by a clock that was not set: 2020.
const CLOCK_SET_MS: i64 = 1_577_836_800_000;

/// The settings that are looked at, a topic's and a broker's: all of them would be tens of
/// kilobytes at each connect.
pub(super) const NAMES: [&str; 8] = [
    "cleanup.policy",
    "compression.type",
    "max.message.bytes",
    "message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms",
    "message.timestamp.type",
    "producer.id.expiration.ms",
    "retention.ms",
];

/// When a broker forgets a producer: it goes by the time of the producer's last records, which is
/// when they came only where the topic says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forgetting {
    after_ms: i64,
    by_record_time: bool,
}

impl Default for Forgetting {
    /// A broker's own settings, unless it tells others.
    fn default() -> Forgetting {
        Forgetting { after_ms: 86_400_000, by_record_time: true }
    }
}

impl Forgetting {
    pub(super) fn of(
        topic: &BTreeMap<String, String>,
        broker: &BTreeMap<String, String>,
    ) -> Forgetting {
        let told = broker.get("producer.id.expiration.ms").and_then(|text| text.parse().ok());
        Forgetting {
            after_ms: told.unwrap_or(Forgetting::default().after_ms),
            by_record_time: !stamps_arrival(topic),
        }
    }

    /// Whether it may come between two records of `time`, with so long since the last one arrived.
    /// Half of its time is left for clocks that differ and for links that are slow.
    pub(super) fn may_come(self, now: i64, time: i64, quiet: Duration) -> bool {
        let most = self.after_ms / 2;
        let of_its_time = now.saturating_sub(time) > most || time < CLOCK_SET_MS;
        self.by_record_time && of_its_time || quiet.as_millis() > most.unsigned_abs().into()
    }
}

fn stamps_arrival(topic: &BTreeMap<String, String>) -> bool {
    topic.get("message.timestamp.type").is_some_and(|kind| kind == "LogAppendTime")
}

/// The times that matter, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) now: i64,
    /// Of the first record that is not shipped.
    pub(super) oldest: Option<i64>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Records would be lost: shipping does not begin.
    pub(super) refusal: Option<String>,
    pub(super) warnings: Vec<String>,
    /// The largest batch that the topic takes.
    pub(super) batch_bytes_max: Option<usize>,
}

/// Judges the topic's settings, and the broker's where it tells them.
pub(super) fn judge(
    topic: &BTreeMap<String, String>,
    broker: &BTreeMap<String, String>,
    times: Times,
) -> Findings {
    let number = |of: &BTreeMap<String, String>, name: &str| of.get(name)?.parse::<i64>().ok();
    let mut found = Findings::default();
    let text = |name: &str| topic.get(name).map_or("", String::as_str);
    let by_record_time = !stamps_arrival(topic);
    let age = times.oldest.map(|oldest| match oldest < CLOCK_SET_MS {
        true => i64::MAX,
        false => times.now.saturating_sub(oldest),
    });
    if let Some(age) = age.filter(|_| by_record_time) {
        let deletes =
            text("cleanup.policy").is_empty() || text("cleanup.policy").contains("delete");
        let retention = number(topic, "retention.ms").filter(|retention| *retention >= 0);
        if let Some(retention) = retention.filter(|retention| deletes && age > *retention) {
            found.refusal = Some(format!(
                "the oldest record to be shipped is {} old and the topic's retention.ms is \
                 {retention}: the broker would acknowledge and then delete it. Raise retention.ms, \
                 or set message.timestamp.type=LogAppendTime",
                told(age)
            ));
        }
        let expiry = number(broker, "producer.id.expiration.ms");
        if let Some(expiry) = expiry.filter(|expiry| age > *expiry) {
            found.warnings.push(format!(
                "records are {} old and the broker's producer.id.expiration.ms is {expiry}: it \
                 forgets what it has, and that is read back after each failure. Raise \
                 producer.id.expiration.ms, or set message.timestamp.type=LogAppendTime",
                told(age)
            ));
        }
        let before = number(topic, "message.timestamp.before.max.ms")
            .or_else(|| number(topic, "message.timestamp.difference.max.ms"));
        if let Some(before) = before.filter(|before| *before >= 0 && age > *before) {
            found.warnings.push(format!(
                "records are {} old and the topic's message.timestamp.before.max.ms is {before}: \
                 the broker refuses them. Raise it, or set message.timestamp.type=LogAppendTime",
                told(age)
            ));
        }
    }
    let compression = text("compression.type");
    if !matches!(compression, "" | "producer" | "uncompressed") {
        found.warnings.push(format!(
            "the topic's compression.type is {compression}: the broker compresses every batch \
             anew. Set compression.type=producer"
        ));
    }
    let largest = number(topic, "max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok());
    found.batch_bytes_max = largest.filter(|bytes| *bytes > 0);
    found
}

fn told(age: i64) -> String {
    match age / 3_600_000 {
        _ if age == i64::MAX => {
            "of a time before 2020, by a clock that was not set, decades".into()
        }
        hours if hours >= 48 => format!("{} days", hours / 24),
        hours => format!("{hours} hours"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 1_790_000_000_000;

    fn settings(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn found(topic: &[(&str, &str)], oldest: i64) -> Findings {
        let broker = settings(&[("producer.id.expiration.ms", "86400000")]);
        judge(&settings(topic), &broker, Times { now: NOW, oldest: Some(oldest) })
    }

    #[test]
    fn a_backlog_older_than_the_topics_retention_is_refused_with_the_setting_to_change() {
        let topic = [("retention.ms", "86400000"), ("message.timestamp.type", "CreateTime")];
        let refusal = found(&topic, NOW - 2 * DAY).refusal.unwrap();
        assert!(refusal.contains("2 days") && refusal.contains("retention.ms"), "{refusal}");
        assert!(found(&topic, 5_000).refusal.unwrap().contains("clock that was not set"));
        assert_eq!(found(&topic, NOW - DAY / 2).refusal, None);
        let forever = [("retention.ms", "-1")];
        assert_eq!(found(&forever, NOW - 2 * DAY).refusal, None);
        let compacted = [("retention.ms", "1"), ("cleanup.policy", "compact")];
        assert_eq!(found(&compacted, NOW - 2 * DAY).refusal, None);
        let stamped = [("retention.ms", "1"), ("message.timestamp.type", "LogAppendTime")];
        assert_eq!(found(&stamped, NOW - 2 * DAY), Findings::default());
    }

    #[test]
    fn a_broker_may_forget_by_the_time_of_records_or_when_none_came_for_long() {
        let of = |kind: &str, expiry: &str| {
            let topic = settings(&[("message.timestamp.type", kind)]);
            Forgetting::of(&topic, &settings(&[("producer.id.expiration.ms", expiry)]))
        };
        let (by_record, by_arrival) =
            (of("CreateTime", "86400000"), of("LogAppendTime", "86400000"));
        assert_eq!(by_record, Forgetting::default());
        let (soon, long) = (Duration::from_secs(60), Duration::from_secs(13 * 3600));
        assert!(!by_record.may_come(NOW, NOW - DAY / 3, soon));
        assert!(by_record.may_come(NOW, NOW - DAY, soon));
        assert!(by_record.may_come(NOW, 5_000, soon), "a clock that was not set");
        assert!(!by_arrival.may_come(NOW, NOW - DAY, soon));
        assert!(by_arrival.may_come(NOW, NOW, long) && by_record.may_come(NOW, NOW, long));
        assert!(of("CreateTime", "3000").may_come(NOW, NOW - 2000, Duration::ZERO));
    }

    #[test]
    fn what_costs_but_loses_nothing_is_a_warning() {
        let topic = [("compression.type", "zstd"), ("max.message.bytes", "65536")];
        let found = found(&topic, NOW - 2 * DAY);
        assert_eq!((found.refusal, found.batch_bytes_max), (None, Some(65536)));
        assert_eq!(found.warnings.len(), 2, "{:?}", found.warnings);
        assert!(found.warnings[0].contains("producer.id.expiration.ms"));
        assert!(found.warnings[1].contains("compression.type=producer"));
    }
}
