//! Batches by hand, right ones and wrong ones.

use crate::fake::crc32c;

/// The time at which the cluster starts.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// A batch before its bytes: every field can be made wrong.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) base_offset: i64,
    pub(crate) length_added: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) magic: u8,
    pub(crate) crc_flipped: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
    pub(crate) payload: Vec<u8>,
}

impl Parts {
    /// One record per value, a millisecond apart.
    pub(crate) fn new(producer_id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Parts {
        let records = values.iter().enumerate().map(|(n, value)| Record::new(n as i64, value));
        let count = values.len() as i32;
        Parts {
            base_offset: 0,
            length_added: 0,
            leader_epoch: -1,
            magic: 2,
            crc_flipped: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: NOW_MS,
            max_timestamp: NOW_MS + i64::from(count) - 1,
            producer_id,
            producer_epoch: epoch,
            base_sequence: sequence,
            count,
            payload: records.flat_map(|record| record.bytes()).collect(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut checked = self.attributes.to_be_bytes().to_vec();
        checked.extend(self.last_offset_delta.to_be_bytes());
        checked.extend(self.base_timestamp.to_be_bytes());
        checked.extend(self.max_timestamp.to_be_bytes());
        checked.extend(self.producer_id.to_be_bytes());
        checked.extend(self.producer_epoch.to_be_bytes());
        checked.extend(self.base_sequence.to_be_bytes());
        checked.extend(self.count.to_be_bytes());
        checked.extend(&self.payload);
        let mut bytes = self.base_offset.to_be_bytes().to_vec();
        bytes.extend((checked.len() as i32 + 9 + self.length_added).to_be_bytes());
        bytes.extend(self.leader_epoch.to_be_bytes());
        bytes.push(self.magic);
        bytes.extend((crc32c(&checked) ^ self.crc_flipped).to_be_bytes());
        bytes.extend(checked);
        bytes
    }
}

/// A right batch.
pub(crate) fn batch(producer_id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Vec<u8> {
    Parts::new(producer_id, epoch, sequence, values).bytes()
}

/// Name and value, either of which can be none.
type Header = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A record before its bytes.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) length_added: i64,
    pub(crate) attributes: u8,
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
    pub(crate) header_count_added: i64,
    pub(crate) behind: Vec<u8>,
}

impl Record {
    pub(crate) fn new(n: i64, value: &str) -> Record {
        Record {
            length_added: 0,
            attributes: 0,
            timestamp_delta: n,
            offset_delta: n,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
            header_count_added: 0,
            behind: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = vec![self.attributes];
        body.extend(varint(self.timestamp_delta));
        body.extend(varint(self.offset_delta));
        put(&mut body, self.key.as_deref());
        put(&mut body, self.value.as_deref());
        body.extend(varint(self.headers.len() as i64 + self.header_count_added));
        for (name, value) in &self.headers {
            put(&mut body, name.as_deref());
            put(&mut body, value.as_deref());
        }
        body.extend(&self.behind);
        let mut bytes = varint(body.len() as i64 + self.length_added);
        bytes.extend(body);
        bytes
    }
}

fn put(body: &mut Vec<u8>, bytes: Option<&[u8]>) {
    body.extend(varint(bytes.map_or(-1, |bytes| bytes.len() as i64)));
    body.extend(bytes.unwrap_or_default());
}

pub(crate) fn varint(value: i64) -> Vec<u8> {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// Against the standard's own check value, and numbers as Kafka's documents give them.
#[test]
fn checksums_and_numbers_are_the_standard_s() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(varint(-1), [1]);
    assert_eq!(varint(64), [0x80, 1]);
    assert_eq!(varint(i64::MIN), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
}
