//! A second reading of the formats, written from what `docs/format.md` says: sums from tables, a
//! batch from its header to its last record.

use crate::codec::crc;

const CASTAGNOLI: [u32; 256] = table(0x82f6_3b78);
const ISO_HDLC: [u32; 256] = table(0xedb8_8320);

const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut sum = at as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ polynomial } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
}

fn sum(table: &[u32; 256], bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| (sum >> 8) ^ table[(sum as u8 ^ byte) as usize])
}

/// CRC-32C: of batches. The crate's own, which is ten times as fast as a table; that both say the
/// same is checked for one content in some.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let fast = crc::crc32c(bytes);
    if fast.is_multiple_of(64) {
        assert_eq!(fast, sum(&CASTAGNOLI, bytes), "CRC-32C");
    }
    fast
}

/// CRC-32: of seals and small files. As [`crc32c`].
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let fast = crc::crc32(bytes);
    if fast.is_multiple_of(64) {
        assert_eq!(fast, sum(&ISO_HDLC, bytes), "CRC-32");
    }
    fast
}

/// The numbers at a place, big endian.
pub(crate) fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

/// What a header says, as far as laws ask for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) base: i64,
    pub(crate) size: usize,
    pub(crate) last_delta: i32,
    pub(crate) count: i32,
    pub(crate) attributes: i16,
}

/// The four bytes that tie a batch to its log and place.
pub(crate) fn seal(batch: &[u8], log: &[u8; 16]) -> [u8; 4] {
    let mut parts = [0; 32];
    parts[..16].copy_from_slice(log);
    parts[16..28].copy_from_slice(&batch[0..12]);
    parts[28..].copy_from_slice(&batch[17..21]);
    (crc32(&parts) | 0x8000_0000).to_be_bytes()
}

/// Makes the batch's checksum right, and its seal where the log has one.
pub(crate) fn mend(batch: &mut [u8], log: Option<&[u8; 16]>) {
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    if let Some(log) = log {
        let seal = seal(batch, log);
        batch[12..16].copy_from_slice(&seal);
    }
}

/// The batch at the front of some bytes, if it is whole: whose it is, where it ends, its offsets,
/// its checksum.
pub(crate) fn whole(bytes: &[u8], log: Option<&[u8; 16]>) -> Option<Header> {
    if bytes.len() < 61 || bytes[16] != 2 {
        return None;
    }
    if log.is_some_and(|log| bytes[12..16] != seal(bytes, log)) {
        return None;
    }
    let length = i32::from_be_bytes(number(bytes, 8));
    let size = usize::try_from(length).ok()?.checked_add(12)?;
    let base = i64::from_be_bytes(number(bytes, 0));
    let last_delta = i32::from_be_bytes(number(bytes, 23));
    let count = i32::from_be_bytes(number(bytes, 57));
    let offsets = i128::from(last_delta) + 1;
    let right = (61..=bytes.len()).contains(&size)
        && base >= 0
        && (1..=i128::from(i32::MAX)).contains(&offsets)
        && i128::from(base) + offsets <= i128::from(i64::MAX)
        && (0..=offsets).contains(&i128::from(count))
        && bytes[17..21] == crc32c(&bytes[21..size]).to_be_bytes();
    let attributes = i16::from_be_bytes(number(bytes, 21));
    right.then_some(Header { base, size, last_delta, count, attributes })
}

/// One record as it lies in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a> {
    pub(crate) time: i64,
    pub(crate) delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// The records of a whole batch up to the first that is wrong, and whether none is.
pub(crate) fn records<'a>(header: &Header, batch: &'a [u8], lax: bool) -> (Vec<Raw<'a>>, bool) {
    let mut found: Vec<Raw<'a>> = Vec::new();
    if header.attributes & 7 != 0 {
        return (found, false);
    }
    let mut rest = &batch[61..header.size];
    for _ in 0..header.count {
        let Some(raw) = record(&mut rest) else { return (found, false) };
        let least = found.last().map_or(0, |last| last.delta + i32::from(!lax));
        if !(least..=header.last_delta).contains(&raw.delta) {
            return (found, false);
        }
        found.push(raw);
    }
    (found, rest.is_empty())
}

fn record<'a>(rest: &mut &'a [u8]) -> Option<Raw<'a>> {
    let mut body = sized(rest)??;
    let (_, behind) = body.split_first()?;
    body = behind;
    let time = varint(&mut body, 10)?;
    let delta = small(&mut body)?;
    let (key, value) = (sized(&mut body)?, sized(&mut body)?);
    let count = u32::try_from(small(&mut body)?).ok()?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = std::str::from_utf8(sized(&mut body)??).ok()?;
        headers.push((name, sized(&mut body)?));
    }
    body.is_empty().then_some(Raw { time, delta, key, value, headers })
}

/// Bytes behind their length; `Some(None)` for a length of -1.
fn sized<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = small(rest)?;
    if length == -1 {
        return Some(None);
    }
    let (taken, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = behind;
    Some(Some(taken))
}

fn small(rest: &mut &[u8]) -> Option<i32> {
    varint(rest, 5)?.try_into().ok()
}

/// A zigzag number of at most so many bytes, and of 64 bits.
fn varint(rest: &mut &[u8], most: usize) -> Option<i64> {
    let end = rest.iter().take(most).position(|byte| *byte < 0x80)?;
    let (taken, behind) = rest.split_at(end + 1);
    *rest = behind;
    let groups = taken.iter().rev();
    let raw = groups.fold(0_u128, |raw, byte| raw << 7 | u128::from(byte & 0x7f));
    let raw = u64::try_from(raw).ok()?;
    Some((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
}
