//! What stands at an offset: a function of seed, log and offset alone, so that the judge needs no
//! copy of what was written.

use forebay::{NewRecord, Record, Timestamp};

use crate::mix;

/// Milliseconds between two records, and the time of the first one.
const STEP_MS: i64 = 7;
const FIRST_MS: i64 = 1_700_000_000_000;

/// A record as it has to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Content {
    pub key: Option<Vec<u8>>,
    /// `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp: i64,
}

/// The time of the record at an offset.
pub fn timestamp(offset: i64) -> i64 {
    FIRST_MS + offset * STEP_MS
}

/// What stands at this offset of this log.
pub fn content(seed: u64, log: &str, offset: i64) -> Content {
    let name = log.bytes().fold(seed, |sum, byte| mix(sum ^ u64::from(byte)));
    let number = mix(name ^ mix(offset as u64));
    let key = (!number.is_multiple_of(4)).then(|| format!("{log}/{offset}").into_bytes());
    let length = match number >> 8 & 63 {
        0 => 3000,
        1..8 => 700,
        more => more * 3,
    };
    let mut value = format!("{seed}/{log}/{offset}/").into_bytes();
    let mut word = number;
    while (value.len() as u64) < length {
        word = mix(word);
        value.extend(word.to_le_bytes());
    }
    let value = (key.is_none() || number >> 16 & 31 != 0).then_some(value);
    let mut headers = Vec::new();
    if number >> 24 & 7 == 0 {
        headers.push(("offset".to_owned(), Some(offset.to_string().into_bytes())));
        headers.push(("empty".to_owned(), None));
    }
    Content { key, value, headers, timestamp: timestamp(offset) }
}

impl Content {
    /// The record to append.
    pub fn to_append(&self) -> NewRecord<'static> {
        let key = self.key.clone();
        let mut record = match (&self.value, key) {
            (Some(value), Some(key)) => NewRecord::new(value.clone()).key(key),
            (Some(value), None) => NewRecord::new(value.clone()),
            (None, key) => NewRecord::tombstone(key.unwrap_or_default()),
        };
        for (name, value) in &self.headers {
            record = match value {
                Some(value) => record.header(name.clone(), value.clone()),
                None => record.header_without_value(name.clone()),
            };
        }
        record.timestamp(Timestamp::from_millis(self.timestamp))
    }

    /// What was read.
    pub fn of(record: &Record<'_>) -> Content {
        let value = (!record.is_tombstone()).then(|| record.value().to_vec());
        let headers = record.headers().map(|(name, value)| {
            let value = value.map(<[u8]>::to_vec);
            (name.to_owned(), value)
        });
        Content {
            key: record.key().map(<[u8]>::to_vec),
            value,
            headers: headers.collect(),
            timestamp: record.timestamp().millis(),
        }
    }
}
