//! All that was ever appended, and what of it a log has to show.

use std::collections::BTreeMap;

use forebay::{Cleanup, IoMode, Log, LogOptions};

use crate::util::{Owned, manual, read_all};

/// A map of keys and values.
pub(crate) type Table = BTreeMap<Vec<u8>, Vec<u8>>;

/// Every record by its offset.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) records: Vec<Owned>,
}

/// Options of a small log that is compacted when it is told to.
pub(crate) fn small(mode: IoMode) -> LogOptions {
    let options = manual(mode).segment_bytes(4096).index_interval_bytes(300);
    options.cleanup(Cleanup::Compact).min_cleanable_dirty_percent(100)
}

impl History {
    /// The next records, with these keys; without a value where there is none.
    pub(crate) fn add(&mut self, keys: impl IntoIterator<Item = (u64, Option<usize>)>) -> &[Owned] {
        let first = self.records.len();
        for (key, length) in keys {
            let number = self.records.len();
            let value = |length| format!("{number} {}", "v".repeat(length)).into_bytes();
            self.records.push(Owned {
                offset: i64::try_from(number).unwrap(),
                timestamp: 1_790_000_000_000 + i64::try_from(number * 7919 % 1000).unwrap(),
                key: Some(format!("key {key}").into_bytes()),
                value: length.map(value),
                headers: match number % 5 {
                    0 => vec![("h".to_owned(), Some(vec![0xff, 0]))],
                    _ => Vec::new(),
                },
            });
        }
        &self.records[first..]
    }

    /// Appends one batch of such records.
    pub(crate) fn append(
        &mut self,
        log: &Log,
        keys: impl IntoIterator<Item = (u64, Option<usize>)>,
    ) {
        let records = self.add(keys);
        log.append_batch(records.iter().map(Owned::to_new)).unwrap();
    }

    /// Fills segments with `count` records of `keys` keys.
    pub(crate) fn fill(&mut self, log: &Log, count: u64, keys: u64) {
        for number in 0..count {
            let key = (number * 7 + number * number / 3) % keys;
            let length = (number % 13 != 12).then_some(40 + number as usize % 60);
            self.append(log, [(key, length)]);
        }
    }

    pub(crate) fn end(&self) -> i64 {
        i64::try_from(self.records.len()).unwrap()
    }

    /// The table that all records up to an offset make.
    pub(crate) fn table(&self, end: i64) -> Table {
        table(&self.records[..end as usize])
    }

    /// What a log shows is true, in order, and makes the same table as all there was.
    #[track_caller]
    pub(crate) fn check(&self, log: &Log, what: &str) -> Vec<Owned> {
        let found = read_all(log);
        let end = log.log_end_offset().get();
        assert!(found.is_sorted_by(|a, b| a.offset < b.offset), "{what}");
        for record in &found {
            assert_eq!(*record, self.records[record.offset as usize], "{what}");
        }
        assert_eq!(table(&found), self.table(end), "{what}");
        found
    }

    /// And below this offset no key has two records.
    #[track_caller]
    pub(crate) fn check_compacted(&self, log: &Log, below: i64, what: &str) -> Vec<Owned> {
        let found = self.check(log, what);
        let mut keys: Vec<_> = found.iter().filter(|r| r.offset < below).map(|r| &r.key).collect();
        keys.sort();
        assert!(keys.is_sorted_by(|a, b| a < b), "{what}: two of a key below {below}: {keys:?}");
        let report = log.verify().unwrap();
        assert_eq!(report.damaged_ranges, 0, "{what}: {report:?}");
        found
    }
}

/// The table that records make.
pub(crate) fn table(records: &[Owned]) -> Table {
    let mut table = Table::new();
    for record in records {
        let key = record.key.clone().unwrap_or_default();
        match &record.value {
            Some(value) => table.insert(key, value.clone()),
            None => table.remove(&key),
        };
    }
    table
}
