//! What the example claims, checked on what arrived.
//!
//! Every record carries a counter of its own and a running digest over all records before it, so
//! that a reader of the upstream alone sees whether one is missing, there twice, in the wrong place
//! or altered; forebay's offsets and checksums are not relied on. Key: the counter in decimal.
//! Header `chain`: the digest as 16 hexadecimal digits. Value: the payload.

use std::collections::VecDeque;
use std::fmt;
use std::iter::Peekable;
use std::ops::{Range, RangeInclusive};

use forebay::{ErrorKind, Log, NewRecord, Offset, OffsetSpec, Reader, Record, Result, Timestamp};

/// The name under which the source keeps how far it has shipped.
pub(crate) const UPLINK: &str = "uplink";
/// The header that holds the digest.
pub(crate) const CHAIN: &str = "chain";
/// Problems that are told one by one; the rest is only counted.
const FINDINGS_MAX: usize = 10;

/// Where the next record ties in: its counter, and the digest of everything before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) counter: u64,
    pub(crate) digest: u64,
}

impl Chain {
    /// Before the first record.
    pub(crate) const START: Chain = Chain { counter: 0, digest: FNV_BASIS };

    /// Behind the last record of a log: nothing else has to be kept from run to run.
    ///
    /// The error is the log's, or a text: records that were not written here.
    pub(crate) fn resume(log: &Log) -> std::result::Result<Chain, Box<dyn std::error::Error>> {
        let end = log.log_end_offset();
        let last = Offset::new(end.get() - 1).max(log.log_start_offset());
        let mut record = Stream::new(log, OffsetSpec::At(last))?.last_whole();
        if record.is_none() {
            // What stood at the end is gone; the last one that is left is looked for.
            record = Stream::new(log, OffsetSpec::Earliest)?.last_whole();
        }
        let Some(record) = record else { return Ok(Chain::START) };
        let chain = record.chain().ok_or_else(|| {
            format!("{}: offset {} was not written here", log.dir().display(), record.offset)
        })?;
        Ok(chain)
    }

    /// The record for a payload, and the chain behind it: to be kept once it was appended.
    pub(crate) fn stamp<'a>(&self, payload: &'a [u8]) -> (NewRecord<'a>, Chain) {
        let digest = digest(self.digest, self.counter, payload);
        let record = NewRecord::new(payload)
            .key(self.counter.to_string())
            .header(CHAIN, format!("{digest:016x}"));
        (record, Chain { counter: self.counter + 1, digest })
    }
}

/// What was found upstream.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    records: u64,
    counters: Option<RangeInclusive<u64>>,
    offsets: Option<RangeInclusive<i64>>,
    /// Counters that did not come yet though higher ones did.
    missing: Vec<Range<u64>>,
    out_of_order: u64,
    twice: u64,
    altered: u64,
    /// Records that were compared with the source's.
    compared: Option<u64>,
    /// Records that the source has behind the last one upstream.
    waiting: u64,
    problems: u64,
    findings: Vec<String>,
    /// Behind the last record: as it says itself, and as its payload makes it.
    before: Option<(Chain, u64)>,
}

impl Proof {
    /// Reads the whole upstream, and beside it the source if there is one.
    pub(crate) fn read(upstream: &Log, source: Option<&Log>) -> Result<Proof> {
        let mut proof = Proof::default();
        let mut source = match source {
            Some(log) => {
                proof.compared = Some(0);
                proof.check_acknowledged(log, upstream.log_end_offset());
                let records = Stream::new(log, OffsetSpec::Earliest)?.peekable();
                Some((records, log.log_start_offset()))
            }
            None => None,
        };
        for found in Stream::new(upstream, OffsetSpec::Earliest)? {
            let record = match found {
                Ok(record) => record,
                Err(error) => {
                    proof.problem(format!("upstream: {error}"));
                    continue;
                }
            };
            proof.check(&record);
            if let Some((source, start)) = &mut source
                && record.offset >= *start
            {
                proof.compare(&record, source);
            }
        }
        for range in proof.missing.clone() {
            proof.problem(format!("counters {}..={} are missing", range.start, range.end - 1));
        }
        for found in source.into_iter().flat_map(|(source, _)| source) {
            match found {
                Ok(_) => proof.waiting += 1,
                Err(error) => proof.problem(format!("source: {error}")),
            }
        }
        Ok(proof)
    }

    /// Whether everything that arrived is there once, in order and unaltered.
    pub(crate) fn holds(&self) -> bool {
        self.problems == 0
    }

    /// Records at the source that have not arrived yet.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }

    fn check(&mut self, record: &Arrived) {
        let offset = record.offset.get();
        self.records += 1;
        match self.offsets.clone() {
            Some(seen) if offset != seen.end() + 1 => {
                self.problem(format!("offset {offset} follows {}", seen.end()));
                self.offsets = Some(*seen.start()..=offset);
            }
            Some(seen) => self.offsets = Some(*seen.start()..=offset),
            None => self.offsets = Some(offset..=offset),
        }
        let Some(after) = record.chain() else {
            self.altered += 1;
            self.problem(format!("offset {offset} was not written here, or is altered"));
            self.before = None;
            return;
        };
        let counter = after.counter - 1;
        self.check_counter(offset, counter);
        self.check_digest(offset, after, record.payload());
    }

    /// Each counter comes once, one higher than the one before.
    fn check_counter(&mut self, offset: i64, counter: u64) {
        let due = self.counters.as_ref().map_or(0, |seen| seen.end() + 1);
        if counter < due {
            if self.take_missing(counter) {
                self.out_of_order += 1;
                self.problem(format!("offset {offset}: counter {counter} comes late"));
            } else {
                self.twice += 1;
                self.problem(format!("offset {offset}: counter {counter} was there before"));
            }
            return;
        }
        if counter > due {
            self.missing.push(due..counter);
        }
        let first = self.counters.as_ref().map_or(counter, |seen| *seen.start());
        self.counters = Some(first..=counter);
    }

    /// A record ties in with the one before it; where that is another one, nothing can be said.
    fn check_digest(&mut self, offset: i64, after: Chain, payload: &[u8]) {
        let counter = after.counter - 1;
        let start = (Chain::START, Chain::START.digest);
        let before = if counter == 0 { Some(start) } else { self.before };
        let mut made = after.digest;
        if let Some((before, made_before)) = before.filter(|(before, _)| before.counter == counter)
        {
            made = digest(before.digest, counter, payload);
            // If only the digest before was altered, this record is not.
            if made != after.digest && digest(made_before, counter, payload) != after.digest {
                self.altered += 1;
                self.problem(format!("offset {offset}: counter {counter} is altered"));
            }
        }
        self.before = Some((after, made));
    }

    /// Whether a counter was missed so far; then no longer.
    fn take_missing(&mut self, counter: u64) -> bool {
        let Some(at) = self.missing.iter().position(|range| range.contains(&counter)) else {
            return false;
        };
        let range = self.missing.swap_remove(at);
        let parts = [range.start..counter, counter + 1..range.end];
        self.missing.extend(parts.into_iter().filter(|part| !part.is_empty()));
        true
    }

    /// The same offset has to hold the same record at the source.
    fn compare(&mut self, record: &Arrived, source: &mut Peekable<Stream>) {
        let offset = record.offset;
        let due = |found: &Result<Arrived>| found.as_ref().map_or(true, |at| at.offset <= offset);
        while let Some(found) = source.next_if(due) {
            match found {
                Ok(original) if original.offset < offset => {
                    let absent = original.offset;
                    self.problem(format!("offset {absent} is at the source and not upstream"));
                }
                Ok(original) if original == *record => {
                    self.compared = self.compared.map(|compared| compared + 1);
                    return;
                }
                Ok(_) => return self.problem(format!("offset {offset} differs from the source")),
                Err(error) => self.problem(format!("source: {error}")),
            }
        }
        self.problem(format!("offset {offset} is not at the source"));
    }

    /// What the source was told to be upstream has to be there.
    fn check_acknowledged(&mut self, source: &Log, upstream_end: Offset) {
        let known = source.consumers();
        let uplink = known.iter().find(|consumer| consumer.name == UPLINK);
        if let Some(uplink) = uplink.filter(|uplink| uplink.committed > upstream_end) {
            let below = uplink.committed;
            self.problem(format!("all below {below} was acknowledged, there is {upstream_end}"));
        }
    }

    fn problem(&mut self, text: String) {
        self.problems += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(text);
        }
    }
}

impl fmt::Display for Proof {
    /// Lines that begin with `proof:`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proof: {} records upstream", self.records)?;
        if let (Some(counters), Some(offsets)) = (&self.counters, &self.offsets) {
            write!(f, ", counters {counters:?}, offsets {offsets:?}")?;
        }
        let missing = self.missing.iter().map(|range| range.end - range.start).sum();
        write!(f, ", {}", Count(self.out_of_order, "out of order", "in order"))?;
        write!(f, ", {}", Count(missing, "missing", "none missing"))?;
        write!(f, ", {}", Count(self.twice, "twice", "none twice"))?;
        write!(f, ", {}", Count(self.altered, "altered", "none altered"))?;
        match self.compared {
            Some(compared) => {
                write!(f, "\nproof: {compared} are the source's own, byte for byte")?;
                write!(f, ", {}", Count(self.waiting, "more wait there", "none waits there"))?;
            }
            None => write!(f, "\nproof: no source to compare with")?,
        }
        for finding in &self.findings {
            write!(f, "\nproof: {finding}")?;
        }
        if self.problems > FINDINGS_MAX as u64 {
            write!(f, "\nproof: and {} more", self.problems - FINDINGS_MAX as u64)?;
        }
        Ok(())
    }
}

/// A number with its word, or the words for zero.
pub(crate) struct Count(pub(crate) u64, pub(crate) &'static str, pub(crate) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str(self.2),
            count => write!(f, "{count} {}", self.1),
        }
    }
}

/// The records of a log, one by one and owned.
pub(crate) struct Stream {
    /// `None` after an error that is not passed by.
    reader: Option<Reader>,
    batch: VecDeque<Result<Arrived>>,
}

/// A record with everything that is compared.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Stream {
    pub(crate) fn new(log: &Log, from: OffsetSpec) -> Result<Stream> {
        Ok(Stream { reader: Some(log.reader(from)?), batch: VecDeque::new() })
    }

    fn last_whole(self) -> Option<Arrived> {
        self.flatten().last()
    }
}

impl Iterator for Stream {
    type Item = Result<Arrived>;

    fn next(&mut self) -> Option<Result<Arrived>> {
        while self.batch.is_empty() {
            match self.reader.as_mut()?.next()? {
                Ok(batch) => self.batch.extend(batch.records().map(|one| one.map(Arrived::of))),
                Err(error) => {
                    // Behind damage reading goes on; anything else would come again for ever.
                    self.reader.take_if(|_| error.kind() != ErrorKind::Corrupt);
                    return Some(Err(error));
                }
            }
        }
        self.batch.pop_front()
    }
}

impl Arrived {
    fn of(record: Record<'_>) -> Arrived {
        let owned = |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(Vec::from));
        Arrived {
            offset: record.offset(),
            timestamp: record.timestamp(),
            key: record.key().map(Vec::from),
            value: (!record.is_tombstone()).then(|| record.value().to_vec()),
            headers: record.headers().map(owned).collect(),
        }
    }

    fn payload(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }

    /// The chain behind this record, as it says itself; `None` if it was not written here.
    pub(crate) fn chain(&self) -> Option<Chain> {
        let counter: u64 = std::str::from_utf8(self.key.as_deref()?).ok()?.parse().ok()?;
        let (name, mark) = self.headers.first()?;
        let mark = std::str::from_utf8(mark.as_deref()?).ok()?;
        let digest = u64::from_str_radix(mark, 16).ok().filter(|_| name == CHAIN)?;
        self.value.as_ref()?;
        Some(Chain { counter: counter.checked_add(1)?, digest })
    }
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a over the digest before, the counter and the payload. Ties records together against
/// accidents, not against an attacker.
fn digest(before: u64, counter: u64, payload: &[u8]) -> u64 {
    let head = before.to_le_bytes().into_iter().chain(counter.to_le_bytes());
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    head.chain(payload.iter().copied()).fold(FNV_BASIS, mix)
}
