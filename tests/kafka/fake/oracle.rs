//! What the cluster holds in the end, and whether it is what should be there.

use super::cluster::Cluster;

/// A record that consumers see.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp: i64,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

impl Cluster {
    /// What lies below the high watermark, by offset.
    pub(crate) fn records(&self, topic: &str, partition: i32) -> Vec<Row> {
        let topic = self.topics.get(topic).expect("a topic that was created");
        let visible = topic.partitions[partition as usize].visible();
        let rows = visible.flat_map(|stored| {
            let batch = &stored.batch;
            batch.records.iter().enumerate().map(|(n, record)| {
                let sequence = (i64::from(batch.base_sequence) + n as i64) % (1 << 31);
                Row {
                    offset: stored.base_offset + n as i64,
                    key: record.key.clone(),
                    value: record.value.clone(),
                    timestamp: stored.append_time.unwrap_or(record.timestamp),
                    headers: record.headers.clone(),
                    producer_id: batch.producer_id,
                    epoch: batch.producer_epoch,
                    sequence: if batch.has_producer() { sequence as i32 } else { -1 },
                }
            })
        });
        rows.collect()
    }

    pub(crate) fn high_watermark(&self, topic: &str, partition: i32) -> i64 {
        self.topics[topic].partitions[partition as usize].high_watermark
    }

    /// Where the leader's log ends, replicated or not.
    pub(crate) fn log_end(&self, topic: &str, partition: i32) -> i64 {
        self.topics[topic].partitions[partition as usize].end()
    }

    /// Below it, retention has deleted.
    pub(crate) fn log_start(&self, topic: &str, partition: i32) -> i64 {
        self.topics[topic].partitions[partition as usize].log_start
    }

    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.topics[topic].partitions[partition as usize].leader
    }

    /// These values, in this order, each of them once, and nothing else.
    #[track_caller]
    pub(crate) fn assert_exactly_once(
        &self,
        topic: &str,
        partition: i32,
        expected: &[impl AsRef<[u8]>],
    ) {
        let expected: Vec<&[u8]> = expected.iter().map(AsRef::as_ref).collect();
        let rows = self.records(topic, partition);
        let found: Vec<&[u8]> =
            rows.iter().map(|row| row.value.as_deref().unwrap_or_default()).collect();
        if let Some(difference) = difference(&expected, &found) {
            panic!("{topic}-{partition}: {difference}");
        }
    }

    /// The client did nothing that no client may do.
    #[track_caller]
    pub(crate) fn assert_no_violations(&self) {
        let count = self.violations.len();
        assert!(count == 0, "{count} violations:\n{}", self.violations.join("\n"));
    }
}

/// Says what is missing, doubled, foreign or out of place; None if all is as expected.
pub(crate) fn difference(expected: &[&[u8]], found: &[&[u8]]) -> Option<String> {
    if expected == found {
        return None;
    }
    let count = |list: &[&[u8]], value: &[u8]| list.iter().filter(|one| **one == value).count();
    let mut distinct = [expected, found].concat();
    distinct.sort_unstable();
    distinct.dedup();
    let mut said = Vec::new();
    for (what, more) in [("missing", false), ("too often", true)] {
        let wrong = distinct.iter().filter(|value| {
            let (wanted, there) = (count(expected, value), count(found, value));
            if more { there > wanted } else { there < wanted }
        });
        let wrong: Vec<_> = wrong.map(|value| shown(value)).collect();
        if !wrong.is_empty() {
            let some = wrong.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
            said.push(format!("{} {what}: {some}", wrong.len()));
        }
    }
    let same = expected.iter().zip(found).take_while(|(one, other)| one == other).count();
    let at = |list: &[&[u8]]| list.get(same).map_or("the end".into(), |value| shown(value));
    said.push(format!(
        "{} expected, {} found; the first {same} are right, then comes {} where {} should be",
        expected.len(),
        found.len(),
        at(found),
        at(expected)
    ));
    Some(said.join("; "))
}

/// A value as text, and no more than the start of it.
fn shown(value: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(value).chars().take(40).collect();
    format!("{text:?}")
}
