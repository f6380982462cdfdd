//! What was appended, what of it compactions may have taken, and what a log has to show of it.

use std::collections::BTreeMap;

use forebay::{ErrorKind, Log, NewRecord, Offset, OffsetSpec, Reader, Record, Timestamp};

use crate::bodies::planted;

/// A record, every field of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) header: Option<Vec<u8>>,
    /// It is of a control batch.
    pub(super) control: bool,
}

impl Content {
    pub(super) fn of(record: &Record<'_>, control: bool) -> Content {
        let mut headers = record.headers();
        let header = headers.next().map(|(_, value)| value.unwrap_or_default().to_vec());
        assert!(headers.next().is_none(), "nobody gave it two headers");
        Content {
            offset: record.offset().get(),
            timestamp: record.timestamp().millis(),
            key: record.key().map(<[u8]>::to_vec),
            value: (!record.is_tombstone()).then(|| record.value().to_vec()),
            header,
            control,
        }
    }

    pub(super) fn to_new(&self) -> NewRecord<'_> {
        let mut record = match (&self.value, &self.key) {
            (Some(value), Some(key)) => NewRecord::new(value).key(key),
            (Some(value), None) => NewRecord::new(value),
            (None, Some(key)) => NewRecord::tombstone(key),
            (None, None) => NewRecord::default(),
        };
        if let Some(header) = &self.header {
            record = record.header("h", header);
        }
        record.timestamp(Timestamp::from_millis(self.timestamp))
    }
}

/// Every record that was appended, by its offset, and the compactions there may have been.
#[derive(Debug, Default)]
pub(super) struct Table {
    records: BTreeMap<i64, Content>,
    pub(super) start: i64,
    pub(super) end: i64,
    /// When there may have been a compaction, in milliseconds, and below which offset.
    compactions: Vec<(u64, i64)>,
    /// Below this no compaction has taken anything that is younger than tombstones have to be.
    ripe: i64,
    /// Below this something may have gone.
    compacted: i64,
    /// Bytes were changed: what cannot be read may be missing, for ever.
    pub(super) damaged: bool,
}

impl Table {
    /// Adds what an append says it has added.
    pub(super) fn add(&mut self, records: Vec<Content>, end: i64) {
        self.records.extend(records.into_iter().map(|record| (record.offset, record)));
        self.end = end;
    }

    /// Notes that there may be a compaction below an offset now.
    pub(super) fn may_compact(&mut self, now: u64, end: i64, retention: u64) {
        let old = self.compactions.iter().filter(|(then, _)| now - then >= retention);
        self.ripe = old.map(|(_, end)| *end).fold(self.ripe, i64::max);
        self.compacted = self.compacted.max(end);
        self.compactions.push((now, end));
    }

    /// What a stop has left: the log ends here now.
    pub(super) fn cut(&mut self, end: i64) {
        self.records.split_off(&end);
        self.end = end;
        self.ripe = self.ripe.min(end);
        self.compacted = self.compacted.min(end);
        for (_, compacted) in &mut self.compactions {
            *compacted = end.min(*compacted);
        }
    }

    /// What a log shows is true, and nothing is missing that no compaction may take.
    pub(super) fn check(&self, log: &Log) -> Vec<Content> {
        let bounds = (log.log_start_offset().get(), log.log_end_offset().get());
        let (found, errors) = read(&mut log.reader(OffsetSpec::Earliest).unwrap());
        self.true_records(&found);
        let first = found.first().map(|record| record.offset);
        assert!(first.is_none_or(|first| first >= self.start), "{first:?} of {}", self.start);
        if self.damaged {
            return found;
        }
        assert_eq!(bounds, (self.start, self.end), "the log's bounds");
        assert_eq!(errors, 0, "nothing is damaged");
        self.nothing_is_missing(&found);
        found
    }

    /// I2: offsets rise, and each record is what was appended there.
    pub(super) fn true_records(&self, found: &[Content]) {
        assert!(found.is_sorted_by(|one, next| one.offset < next.offset), "in order");
        for record in found {
            assert_eq!(Some(record), self.records.get(&record.offset), "nobody appended that");
        }
    }

    /// Whoever is not there has a newer one of its key, no key, or is a tombstone that is old and
    /// has deleted all older ones.
    fn nothing_is_missing(&self, found: &[Content]) {
        let mut shown = found.iter().map(|record| record.offset).peekable();
        let mut newest = BTreeMap::new();
        for record in self.records.values().filter(|record| !record.control) {
            if record.offset < self.compacted {
                newest.insert(&record.key, record.offset);
            }
        }
        // Older ones that are there, by key.
        let mut older: BTreeMap<&Option<Vec<u8>>, i64> = BTreeMap::new();
        for record in self.records.range(self.start..).map(|(_, record)| record) {
            if shown.next_if_eq(&record.offset).is_some() {
                if !record.control {
                    older.insert(&record.key, record.offset);
                }
                continue;
            }
            let goes = !record.control && record.offset < self.compacted;
            assert!(goes, "{record:?} is missing: compacted below {}", self.compacted);
            if record.key.is_none() || newest.get(&record.key) > Some(&record.offset) {
                continue;
            }
            assert!(record.value.is_none(), "the newest record of its key is missing: {record:?}");
            let old = record.offset < self.ripe && !planted();
            assert!(old, "a young tombstone is missing: {record:?}, old below {}", self.ripe);
            let back = older.get(&record.key);
            assert!(back.is_none(), "{back:?} is what the missing {record:?} deleted");
        }
    }

    /// Below this offset no key has two records, and none has no key.
    pub(super) fn one_of_each_key(found: &[Content], below: i64) {
        let mut seen = BTreeMap::new();
        for record in found.iter().filter(|record| record.offset < below && !record.control) {
            assert!(record.key.is_some(), "{record:?} has no key");
            let before = seen.insert(&record.key, record.offset);
            assert!(before.is_none(), "{before:?} has the key of {record:?} too, below {below}");
        }
    }

    /// I5: by an offset and by a time one comes to the records that were read from the start.
    pub(super) fn lookups(&self, log: &Log, found: &[Content], place: usize) {
        let Some(target) = found.get(place % found.len().max(1)) else { return };
        if self.damaged {
            return;
        }
        let at = OffsetSpec::At(Offset::new(target.offset));
        let (from_there, _) = read(&mut log.reader(at).unwrap());
        let behind = found.iter().skip(place % found.len());
        assert!(from_there.iter().eq(behind), "I5: by the offset of {target:?}");
        let time = OffsetSpec::Timestamp(Timestamp::from_millis(target.timestamp));
        let mut reader = log.reader(time).unwrap();
        let begin = reader.next().and_then(Result::ok).map(|batch| {
            let first = batch.records().find_map(Result::ok);
            first.map_or(batch.base_offset(), |record| record.offset()).get()
        });
        let due = found.iter().find(|record| record.timestamp >= target.timestamp);
        let due = due.map(|record| record.offset);
        assert!(begin <= due && begin.is_some(), "I5: a time leads to {begin:?} behind {due:?}");
    }
}

/// What a reader gives until it ends, and how often it said that something is damaged.
pub(super) fn read(reader: &mut Reader) -> (Vec<Content>, usize) {
    let (mut found, mut errors) = (Vec::new(), 0);
    for steps in 0.. {
        assert!(steps < 20_000, "reading ends");
        match reader.next() {
            None => break,
            Some(Ok(batch)) => {
                let control = batch.is_control();
                found.extend(batch.records().map(|record| Content::of(&record.unwrap(), control)));
            }
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                errors += 1;
            }
        }
    }
    (found, errors)
}
