//! Reads the one record batch that a Produce request brings for a partition, to its last byte.
//!
//! What a broker refuses is a `Refusal` with its code, found in the order in which a broker looks.
//! What it takes in silence though no encoder should write it goes to the list of violations.

use super::crc::crc32c;
use super::varint::Reader;

pub(crate) const UNKNOWN_SERVER_ERROR: i16 = -1;
pub(crate) const CORRUPT_MESSAGE: i16 = 2;
pub(crate) const MESSAGE_TOO_LARGE: i16 = 10;
pub(crate) const INVALID_TIMESTAMP: i16 = 32;
pub(crate) const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
pub(crate) const INVALID_RECORD: i16 = 87;

/// Bytes in front of the first record.
const HEADER_BYTES: usize = 61;
/// Base offset and length, which the length does not count.
const OVERHEAD_BYTES: usize = 12;
/// Where the bytes that the checksum covers begin.
const CHECKED_FROM: usize = 21;

const CODEC_BITS: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

/// Turns the compressed records of a codec (1 to 4) into plain ones, or says that it cannot.
pub(crate) type Decompress = fn(u8, &[u8]) -> Option<Vec<u8>>;

/// What the topic and the cluster ask of a batch.
pub(crate) struct Rules {
    pub(crate) max_bytes: i64,
    pub(crate) compacted: bool,
    pub(crate) log_append_time: bool,
    pub(crate) now_ms: i64,
    pub(crate) before_max_ms: i64,
    pub(crate) after_max_ms: i64,
    pub(crate) producer_id_required: bool,
    pub(crate) decompress: Option<Decompress>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch {
    pub(crate) attributes: i16,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
    pub(crate) records: Vec<Record>,
    /// As sent, without what followed.
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: i16,
    pub(crate) why: String,
    /// The records at fault, where a broker names them.
    pub(crate) records: Vec<i32>,
    /// Whether the log refused: its answer then says where the log starts.
    pub(crate) by_log: bool,
}

impl Refusal {
    pub(crate) fn new(code: i16, why: impl Into<String>) -> Refusal {
        Refusal { code, why: why.into(), records: Vec::new(), by_log: false }
    }

    pub(crate) fn by_log(code: i16, why: impl Into<String>) -> Refusal {
        Refusal { by_log: true, ..Refusal::new(code, why) }
    }

    fn of_records(code: i16, records: Vec<i32>, why: &str) -> Refusal {
        let why = format!("records {records:?}: {why}");
        Refusal { records, ..Refusal::by_log(code, why) }
    }
}

impl Batch {
    pub(crate) fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// The sequence of the last record: behind 2^31 - 1 comes 0.
    pub(crate) fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + i64::from(self.count) - 1;
        (last % (1 << 31)) as i32
    }
}

pub(crate) fn check(
    sent: &[u8],
    rules: &Rules,
    violations: &mut Vec<String>,
) -> Result<Batch, Refusal> {
    let bytes = only_batch(sent, violations)?;
    if i64_at(bytes, 0) != 0 {
        return Err(Refusal::by_log(INVALID_RECORD, format!("base offset {}", i64_at(bytes, 0))));
    }
    if bytes.len() as i64 > rules.max_bytes {
        let why = format!("{} bytes, at most {}", bytes.len(), rules.max_bytes);
        return Err(Refusal::new(MESSAGE_TOO_LARGE, why));
    }
    if bytes.len() < HEADER_BYTES {
        return Err(Refusal::new(CORRUPT_MESSAGE, format!("a batch of {} bytes", bytes.len())));
    }
    let (said, found) = (i32_at(bytes, 17) as u32, crc32c(&bytes[CHECKED_FROM..]));
    if said != found {
        return Err(Refusal::new(CORRUPT_MESSAGE, format!("CRC {found:08x}, says {said:08x}")));
    }
    let mut batch = Batch {
        attributes: i16_at(bytes, 21),
        base_timestamp: i64_at(bytes, 27),
        max_timestamp: i64_at(bytes, 35),
        producer_id: i64_at(bytes, 43),
        producer_epoch: i16_at(bytes, 51),
        base_sequence: i32_at(bytes, 53),
        count: i32_at(bytes, 57),
        records: Vec::new(),
        bytes: bytes.to_vec(),
    };
    check_header(&batch, i32_at(bytes, 23))?;
    dislike_header(&batch, i32_at(bytes, 12), rules, violations);
    read_records(&mut batch, rules, violations)?;
    check_each(&batch, rules)?;
    dislike_times(&mut batch, violations);
    Ok(batch)
}

/// The bytes of the first batch, which has to be the only one.
fn only_batch<'a>(sent: &'a [u8], violations: &mut Vec<String>) -> Result<&'a [u8], Refusal> {
    let whole = whole_batch(sent)?;
    let Some(bytes) = whole else {
        return Err(Refusal::new(INVALID_RECORD, format!("no batch in {} bytes", sent.len())));
    };
    if bytes[16] != 2 {
        let code = if bytes[16] > 2 { CORRUPT_MESSAGE } else { INVALID_RECORD };
        return Err(Refusal::new(code, format!("magic {}", bytes[16])));
    }
    let rest = &sent[bytes.len()..];
    if whole_batch(rest)?.is_some() {
        return Err(Refusal::new(INVALID_RECORD, "more than one batch for a partition"));
    }
    if !rest.is_empty() {
        violations.push(format!("{} bytes behind the batch", rest.len()));
    }
    Ok(bytes)
}

/// The first batch, if all of it is there.
fn whole_batch(bytes: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    if bytes.len() < OVERHEAD_BYTES {
        return Ok(None);
    }
    let length = i32_at(bytes, 8);
    // The shortest record of the oldest format.
    if length < 14 {
        return Err(Refusal::new(CORRUPT_MESSAGE, format!("a batch length of {length}")));
    }
    let whole = OVERHEAD_BYTES + length as usize;
    Ok((bytes.len() >= whole).then(|| &bytes[..whole]))
}

fn check_header(batch: &Batch, last_offset_delta: i32) -> Result<(), Refusal> {
    if batch.attributes & TRANSACTIONAL_BIT != 0 {
        // Whoever names no transactional id may not write to any transaction.
        let code = TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        return Err(Refusal::new(code, "a batch of a transaction"));
    }
    if batch.count <= 0 || i64::from(last_offset_delta) + 1 != i64::from(batch.count) {
        let why = format!("{} records, last offset delta {last_offset_delta}", batch.count);
        return Err(Refusal::by_log(INVALID_RECORD, why));
    }
    if batch.attributes & CONTROL_BIT != 0 {
        return Err(Refusal::by_log(INVALID_RECORD, "a control batch"));
    }
    if batch.has_producer() && batch.base_sequence < 0 {
        return Err(Refusal::by_log(INVALID_RECORD, "a producer id without a sequence"));
    }
    if batch.attributes & CODEC_BITS > 4 {
        return Err(Refusal::by_log(UNKNOWN_SERVER_ERROR, "no such codec"));
    }
    Ok(())
}

/// What a broker takes, or mends at its cost, without a word.
fn dislike_header(batch: &Batch, leader_epoch: i32, rules: &Rules, violations: &mut Vec<String>) {
    let mut dislike = |bad: bool, what: String| {
        if bad {
            violations.push(what);
        }
    };
    let attributes = batch.attributes;
    dislike(leader_epoch != -1, format!("leader epoch {leader_epoch} in a batch sent"));
    dislike(attributes & !0x7f != 0, format!("attributes {attributes:#x}: unused bits"));
    dislike(attributes & DELETE_HORIZON_BIT != 0, "a batch with a delete horizon".into());
    let append_time = attributes & LOG_APPEND_TIME_BIT != 0;
    dislike(append_time, "a batch that claims the broker's time".into());
    if rules.producer_id_required || batch.has_producer() {
        let (id, epoch) = (batch.producer_id, batch.producer_epoch);
        let sequence = batch.base_sequence;
        let bad = id < 0 || epoch < 0 || sequence < 0;
        dislike(bad, format!("producer id {id}, epoch {epoch}, sequence {sequence}"));
    }
}

fn read_records(
    batch: &mut Batch,
    rules: &Rules,
    violations: &mut Vec<String>,
) -> Result<(), Refusal> {
    let codec = (batch.attributes & CODEC_BITS) as u8;
    let sent = &batch.bytes[HEADER_BYTES..];
    let plain;
    let mut reader = if codec == 0 {
        Reader::new(sent)
    } else {
        let found = rules.decompress.and_then(|decompress| decompress(codec, sent));
        let refusal =
            || Refusal::by_log(UNKNOWN_SERVER_ERROR, format!("codec {codec} not decoded"));
        plain = found.ok_or_else(refusal)?;
        Reader::new(&plain)
    };
    let malformed = |n: i32, why| Refusal::by_log(INVALID_RECORD, format!("record {n}: {why}"));
    let mut records = Vec::new();
    for n in 0..batch.count {
        let record = read_record(&mut reader, batch.base_timestamp, violations);
        let record = record.map_err(|why| malformed(n, why))?;
        if record.offset_delta != n {
            let what = format!("record {n} has offset delta {}", record.offset_delta);
            if codec != 0 {
                return Err(Refusal::by_log(UNKNOWN_SERVER_ERROR, what));
            }
            violations.push(what);
        }
        records.push(record);
    }
    if reader.left() > 0 {
        let why = format!("{} bytes behind the last record", reader.left());
        return Err(Refusal::by_log(INVALID_RECORD, why));
    }
    if reader.odd {
        violations.push("a number in more bytes or bits than it has".into());
    }
    batch.records = records;
    Ok(())
}

fn read_record(
    outer: &mut Reader<'_>,
    base_timestamp: i64,
    violations: &mut Vec<String>,
) -> Result<Record, String> {
    let length = usize::try_from(outer.varint()?).map_err(|_| "a negative length".to_string())?;
    let mut inner = Reader::new(outer.take(length)?);
    let attributes = inner.i8()?;
    // Brokers add without a look, too; their limits of time then find it.
    let timestamp = base_timestamp.wrapping_add(inner.varlong()?);
    let offset_delta = inner.varint()?;
    let key = inner.bytes_or_null()?.map(<[u8]>::to_vec);
    let value = inner.bytes_or_null()?.map(<[u8]>::to_vec);
    let count = inner.varint()?;
    if count < 0 {
        return Err(format!("{count} headers"));
    }
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = inner.bytes_or_null()?.ok_or("a header without a key")?;
        if std::str::from_utf8(name).is_err() {
            violations.push(format!("a header key not in UTF-8: {name:?}"));
        }
        let value = inner.bytes_or_null()?.map(<[u8]>::to_vec);
        headers.push((String::from_utf8_lossy(name).into_owned(), value));
    }
    if inner.left() > 0 {
        return Err(format!("{} bytes behind its fields", inner.left()));
    }
    outer.odd |= inner.odd;
    if attributes != 0 {
        violations.push(format!("record attributes {attributes}"));
    }
    Ok(Record { offset_delta, timestamp, key, value, headers })
}

/// What the settings of the topic say against single records.
fn check_each(batch: &Batch, rules: &Rules) -> Result<(), Refusal> {
    let wrong = |bad: &dyn Fn(&Record) -> bool| -> Vec<i32> {
        let numbered = (0..).zip(&batch.records);
        numbered.filter(|(_, record)| bad(record)).map(|(n, _)| n).collect()
    };
    let keyless = wrong(&|record| rules.compacted && record.key.is_none());
    if !keyless.is_empty() {
        return Err(Refusal::of_records(INVALID_RECORD, keyless, "no key in a compacted topic"));
    }
    let untimely = wrong(&|record| {
        let age = rules.now_ms.wrapping_sub(record.timestamp);
        !rules.log_append_time
            && record.timestamp != -1
            && (age > rules.before_max_ms || age.wrapping_neg() > rules.after_max_ms)
    });
    if !untimely.is_empty() {
        return Err(Refusal::of_records(INVALID_TIMESTAMP, untimely, "too far from the clock"));
    }
    Ok(())
}

/// Brokers mend a wrong highest time, at the cost of the checksum.
fn dislike_times(batch: &mut Batch, violations: &mut Vec<String>) {
    let latest = batch.records.iter().map(|record| record.timestamp).max();
    if let Some(latest) = latest.filter(|latest| *latest != batch.max_timestamp) {
        violations.push(format!("max timestamp {}, is {latest}", batch.max_timestamp));
        batch.max_timestamp = latest;
    }
    let first = batch.records.first().map(|record| record.timestamp);
    if first.is_some_and(|first| first != batch.base_timestamp) {
        violations.push(format!("base timestamp {}, first is {first:?}", batch.base_timestamp));
    }
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}
