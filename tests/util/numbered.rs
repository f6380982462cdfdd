//! Records of about 300 bytes that begin with their number, and the segments they lie in.

use forebay::{Log, OffsetSpec};

use super::Place;

/// A value of 1000 bytes that begins with its number.
pub(crate) fn kilobyte(number: u64) -> Vec<u8> {
    let mut value = vec![b'.'; 1000];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}

/// The numbers of such records, from the log start on.
pub(crate) fn numbers_of(log: &Log) -> Vec<u64> {
    let mut found = Vec::new();
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        for record in batch.unwrap().records() {
            let record = record.unwrap();
            found.push(u64::from_be_bytes(record.value()[..8].try_into().unwrap()));
        }
    }
    found
}

pub(crate) fn text(number: i64) -> String {
    format!("{number:08} {}", "x".repeat(290))
}

pub(crate) fn numbers(texts: &[String]) -> Vec<i64> {
    texts.iter().map(|text| text[..8].parse().unwrap()).collect()
}

pub(crate) fn bases(dir: &Place) -> Vec<i64> {
    dir.segments().iter().map(|name| name.strip_suffix(".log").unwrap().parse().unwrap()).collect()
}
