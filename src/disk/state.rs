//! The state a checkpoint slot holds, and its bytes.
//!
//! Floor 3. Bytes: `docs/format.md`, "checkpoint". Big endian; the last four bytes are a CRC-32.

use crate::codec::DecodeError;
use crate::codec::crc::crc32;
use crate::disk::meta::Meta;
use crate::sys::Residence;
use crate::words::limits;
use crate::words::log_id::LogId;
use crate::words::offset::Offset;

const MAGIC: [u8; 4] = *b"FBCK";
const UNUSED_MAGIC: [u8; 4] = *b"FBC0";
const VERSION: u16 = 1;
const FLAG_CLEAN: u16 = 1;
const FLAG_SEAL: u16 = 2;
const FLAG_SOURCE: u16 = 4;
const FLAG_CLOSING_TIME: u16 = 8;
const FLAG_RESIDENCE: u16 = 16;
const FLAG_ANCHOR: u16 = 32;
const FLAG_ANCHOR_OF_BOOT: u16 = 64;

/// Everything small that has to survive: kept whole in every slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// What `log.meta` says, for the case that it is lost.
    pub(crate) meta: Meta,
    pub(crate) log_start: Offset,
    /// Every record below it is on the device. At a clean close it is the log end offset.
    pub(crate) recovery_point: Offset,
    /// `Some` from a clean close to the first append after it.
    pub(crate) clean: Option<CleanMark>,
    /// Counts the opens for writing.
    pub(crate) open_number: u64,
    /// Where the open of that number cut the log; the log end offset if it cut nothing.
    pub(crate) cut: Offset,
    /// Where it was written: if this is still so, the page cache was never lost.
    pub(crate) residence: Option<Residence>,
    pub(crate) clock: ClockState,
    /// The log clock when a segment was begun at this offset, oldest first.
    pub(crate) samples: Vec<ClockSample>,
    /// Copies of what a torn rewriting could take, oldest first.
    pub(crate) tails: Vec<TailCopy>,
    pub(crate) consumers: Vec<ConsumerState>,
}

/// The log clock when the state was written (I15). All in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockState {
    pub(crate) log_clock: i64,
    /// The kernel's clock since its start, at the same moment.
    pub(crate) boot: i64,
    /// Log clock and wall clock at the last moment when the wall clock was known to be right.
    pub(crate) anchor: Option<ClockAnchor>,
    /// That moment lies in this run of the kernel.
    pub(crate) anchor_of_boot: bool,
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockAnchor {
    pub(crate) log_clock: i64,
    pub(crate) wall: i64,
}

/// When a segment was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockSample {
    pub(crate) offset: Offset,
    pub(crate) log_clock: i64,
}

impl ClockSample {
    /// What one takes in a slot.
    pub(crate) const ENCODED_BYTES: usize = 16;
}

/// The bytes of a segment from a position to what was its end: what rewriting may tear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TailCopy {
    pub(crate) base: Offset,
    pub(crate) position: u64,
    pub(crate) bytes: Vec<u8>,
}

impl TailCopy {
    /// The position of the end it protects.
    pub(crate) fn end(&self) -> u64 {
        self.position.saturating_add(self.bytes.len() as u64)
    }

    /// Whether it protects an end that lies before this one.
    pub(crate) fn is_before(&self, base: Offset, position: usize) -> bool {
        (self.base, self.end()) < (base, position as u64)
    }
}

/// By this the next open knows the last segment again without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CleanMark {
    pub(crate) active_base: Offset,
    pub(crate) active_bytes: u64,
    /// CRC-32 over the last segment's two index files.
    pub(crate) index_checksum: u32,
    /// The close added a last time entry, which goes again when appending goes on.
    pub(crate) closing_time: bool,
}

/// The progress of one named consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerState {
    pub(crate) name: String,
    /// It only sees what is durable, so what it saw may not change (I17).
    pub(crate) durable: bool,
    pub(crate) committed: Offset,
}

impl State {
    /// Bytes of memory what it lists takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let names: usize = self.consumers.iter().map(|consumer| consumer.name.capacity()).sum();
        let tails: usize = self.tails.iter().map(|tail| tail.bytes.capacity()).sum();
        let lists = self.samples.capacity() * size_of::<ClockSample>()
            + self.tails.capacity() * size_of::<TailCopy>()
            + self.consumers.capacity() * size_of::<ConsumerState>();
        lists + names + tails
    }

    pub(crate) fn new(meta: Meta, log_start: Offset) -> State {
        State {
            meta,
            log_start,
            recovery_point: log_start,
            clean: None,
            open_number: 0,
            cut: log_start,
            residence: None,
            clock: ClockState::default(),
            samples: Vec::new(),
            tails: Vec::new(),
            consumers: Vec::new(),
        }
    }

    /// Lays the state out as the slot with this number.
    pub(crate) fn encode(&self, number: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        let flags = [
            (FLAG_CLEAN, self.clean.is_some()),
            (FLAG_SEAL, self.meta.seal),
            (FLAG_SOURCE, self.meta.source.is_some()),
            (FLAG_CLOSING_TIME, self.clean.is_some_and(|mark| mark.closing_time)),
            (FLAG_RESIDENCE, self.residence.is_some()),
            (FLAG_ANCHOR, self.clock.anchor.is_some()),
            (FLAG_ANCHOR_OF_BOOT, self.clock.anchor_of_boot),
        ];
        let flags = flags.iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag);
        out.extend_from_slice(&u16::to_be_bytes(flags));
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(self.meta.log_id.as_bytes());
        let source = self.meta.source.unwrap_or(LogId::from_bytes([0; 16]));
        out.extend_from_slice(source.as_bytes());
        for offset in [self.log_start, self.recovery_point, self.cut] {
            out.extend_from_slice(&offset.get().to_be_bytes());
        }
        out.extend_from_slice(&self.open_number.to_be_bytes());
        let mark = self.clean.unwrap_or(CleanMark {
            active_base: Offset::ZERO,
            active_bytes: 0,
            index_checksum: 0,
            closing_time: false,
        });
        out.extend_from_slice(&mark.active_base.get().to_be_bytes());
        out.extend_from_slice(&mark.active_bytes.to_be_bytes());
        out.extend_from_slice(&mark.index_checksum.to_be_bytes());
        self.encode_times(out);
        let count = u16::try_from(self.consumers.len()).expect("consumers are bounded by 64");
        out.extend_from_slice(&count.to_be_bytes());
        for consumer in &self.consumers {
            out.extend_from_slice(&consumer.committed.get().to_be_bytes());
            out.push(u8::from(consumer.durable));
            out.push(u8::try_from(consumer.name.len()).expect("names are bounded by 249"));
            out.extend_from_slice(consumer.name.as_bytes());
        }
        out.push(u8::try_from(self.tails.len()).expect("tails are bounded by 3"));
        for tail in &self.tails {
            out.extend_from_slice(&tail.base.get().to_be_bytes());
            out.extend_from_slice(&tail.position.to_be_bytes());
            let length = u32::try_from(tail.bytes.len()).expect("tails are bounded by 64 KiB");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&tail.bytes);
        }
        let length = u32::try_from(out.len() + 4).expect("a slot is bounded by 256 KiB");
        if let Some(field) = out.get_mut(8..12) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        let checksum = crc32(out);
        out.extend_from_slice(&checksum.to_be_bytes());
    }

    fn encode_times(&self, out: &mut Vec<u8>) {
        let Residence { boot, mount, directory } =
            self.residence.unwrap_or(Residence { boot: [0; 16], mount: 0, directory: 0 });
        out.extend_from_slice(&boot);
        out.extend_from_slice(&mount.to_be_bytes());
        out.extend_from_slice(&directory.to_be_bytes());
        let anchor = self.clock.anchor.unwrap_or(ClockAnchor { log_clock: 0, wall: 0 });
        for millis in [self.clock.log_clock, self.clock.boot, anchor.log_clock, anchor.wall] {
            out.extend_from_slice(&millis.to_be_bytes());
        }
        out.push(u8::try_from(self.samples.len()).expect("samples are bounded by 128"));
        for sample in &self.samples {
            out.extend_from_slice(&sample.offset.get().to_be_bytes());
            out.extend_from_slice(&sample.log_clock.to_be_bytes());
        }
    }

    /// What lies in a slot that was never written, so that one that lost its bytes is told from it.
    pub(crate) fn encode_unused(out: &mut Vec<u8>) {
        out.extend_from_slice(&UNUSED_MAGIC);
        out.extend_from_slice(&crc32(&UNUSED_MAGIC).to_be_bytes());
    }

    /// Whether a slot was never written.
    pub(crate) fn is_unused(bytes: &[u8]) -> bool {
        let mut unused = Vec::new();
        State::encode_unused(&mut unused);
        bytes.starts_with(&unused)
    }

    /// How long a slot says it is.
    pub(crate) fn slot_length(bytes: &[u8]) -> usize {
        let length = bytes.get(8..12).and_then(|field| field.first_chunk::<4>());
        length.map_or(0, |length| u32::from_be_bytes(*length) as usize)
    }

    /// Reads a slot: its number and state.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(u64, State), DecodeError> {
        let mut fields = Fields { rest: bytes, position: 0 };
        if fields.array::<4>()? != MAGIC {
            return Err(DecodeError::new("no checkpoint slot begins here", 0));
        }
        let version = u16::from_be_bytes(fields.array()?);
        let flags = u16::from_be_bytes(fields.array()?);
        let length = u32::from_be_bytes(fields.array()?) as usize;
        let Some((body, checksum)) =
            bytes.get(..length).and_then(|slot| slot.split_last_chunk::<4>())
        else {
            return Err(DecodeError::new("the slot's length is out of bounds", 8));
        };
        if crc32(body) != u32::from_be_bytes(*checksum) {
            return Err(DecodeError::new("the slot's checksum does not match", length - 4));
        }
        if version > VERSION {
            return Err(DecodeError::new(NEWER, 4));
        }
        let number = u64::from_be_bytes(fields.array()?);
        let log_id = LogId::from_bytes(fields.array()?);
        let source = LogId::from_bytes(fields.array()?);
        let source = (flags & FLAG_SOURCE != 0).then_some(source);
        let meta = Meta { log_id, seal: flags & FLAG_SEAL != 0, source, store: None };
        let (log_start, recovery_point, cut) =
            (fields.offset()?, fields.offset()?, fields.offset()?);
        let open_number = u64::from_be_bytes(fields.array()?);
        let mark = CleanMark {
            active_base: fields.offset()?,
            active_bytes: u64::from_be_bytes(fields.array()?),
            index_checksum: u32::from_be_bytes(fields.array()?),
            closing_time: flags & FLAG_CLOSING_TIME != 0,
        };
        let clean = (flags & FLAG_CLEAN != 0).then_some(mark);
        let residence = Residence {
            boot: fields.array()?,
            mount: u64::from_be_bytes(fields.array()?),
            directory: u64::from_be_bytes(fields.array()?),
        };
        let residence = (flags & FLAG_RESIDENCE != 0).then_some(residence);
        let (log_clock, boot) = (fields.millis()?, fields.millis()?);
        let anchor = ClockAnchor { log_clock: fields.millis()?, wall: fields.millis()? };
        let anchor = (flags & FLAG_ANCHOR != 0).then_some(anchor);
        let samples = fields.samples()?;
        let count = usize::from(u16::from_be_bytes(fields.array()?));
        if count > limits::CONSUMERS_MAX {
            return Err(DecodeError::new("the slot counts too many consumers", fields.position));
        }
        let consumers = (0..count).map(|_| fields.consumer()).collect::<Result<_, _>>()?;
        let tails = fields.tails()?;
        let anchor_of_boot = flags & FLAG_ANCHOR_OF_BOOT != 0;
        let clock = ClockState { log_clock, boot, anchor, anchor_of_boot };
        let state = State {
            meta,
            log_start,
            recovery_point,
            clean,
            open_number,
            cut,
            residence,
            clock,
            samples,
            tails,
            consumers,
        };
        Ok((number, state))
    }
}

/// What [`State::decode`] says of a whole slot of a later version.
pub(crate) const NEWER: &str = "the slot was written by a newer version";

struct Fields<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(DecodeError::new("the slot is cut short", self.position));
        };
        self.rest = rest;
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let position = self.position;
        self.take(N)?.try_into().map_err(|_| DecodeError::new("the slot is cut short", position))
    }

    fn offset(&mut self) -> Result<Offset, DecodeError> {
        let position = self.position;
        match i64::from_be_bytes(self.array()?) {
            number if number >= 0 => Ok(Offset::new(number)),
            _ => Err(DecodeError::new("the slot holds a negative offset", position)),
        }
    }

    fn millis(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    fn samples(&mut self) -> Result<Vec<ClockSample>, DecodeError> {
        let [count] = self.array()?;
        if usize::from(count) > limits::CLOCK_SAMPLES_MAX {
            return Err(DecodeError::new("the slot counts too many clock samples", self.position));
        }
        let sample = |_| Ok(ClockSample { offset: self.offset()?, log_clock: self.millis()? });
        (0..count).map(sample).collect()
    }

    fn tails(&mut self) -> Result<Vec<TailCopy>, DecodeError> {
        let [count] = self.array()?;
        let mut tails = Vec::new();
        for _ in 0..count {
            let base = self.offset()?;
            let position = u64::from_be_bytes(self.array()?);
            let length = u32::from_be_bytes(self.array()?) as usize;
            if length > limits::TORN_BYTES_MAX {
                return Err(DecodeError::new("a copy of a tail is too long", self.position));
            }
            tails.push(TailCopy { base, position, bytes: self.take(length)?.to_vec() });
        }
        Ok(tails)
    }

    fn consumer(&mut self) -> Result<ConsumerState, DecodeError> {
        let committed = self.offset()?;
        let [durable, length] = self.array()?;
        let position = self.position;
        let name = std::str::from_utf8(self.take(usize::from(length))?)
            .map_err(|_| DecodeError::new("a consumer's name is not UTF-8", position))?;
        Ok(ConsumerState { name: name.to_owned(), durable: durable != 0, committed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> State {
        let consumer = |name: &str, committed, durable| ConsumerState {
            name: name.to_owned(),
            durable,
            committed: Offset::new(committed),
        };
        State {
            meta: Meta {
                log_id: LogId::from_bytes([3; 16]),
                seal: true,
                source: Some(LogId::from_bytes([4; 16])),
                store: None,
            },
            log_start: Offset::new(10),
            recovery_point: Offset::new(900),
            clean: Some(CleanMark {
                active_base: Offset::new(512),
                active_bytes: 4711,
                index_checksum: 0xdead_beef,
                closing_time: true,
            }),
            open_number: 5,
            cut: Offset::new(880),
            residence: Some(Residence { boot: [8; 16], mount: 9, directory: 10 }),
            clock: ClockState {
                log_clock: 5,
                boot: 6,
                anchor: Some(ClockAnchor { log_clock: 4, wall: -3 }),
                anchor_of_boot: true,
            },
            samples: vec![ClockSample { offset: Offset::new(512), log_clock: 2 }; 128],
            tails: vec![
                TailCopy { base: Offset::new(512), position: 4096, bytes: vec![7; 615] },
                TailCopy { base: Offset::new(900), position: 0, bytes: Vec::new() },
            ],
            consumers: vec![consumer("a", 0, false), consumer(&"z".repeat(249), 900, true)],
        }
    }

    #[test]
    fn a_slot_decodes_to_what_was_encoded() {
        let mut bytes = Vec::new();
        sample().encode(77, &mut bytes);
        assert_eq!(State::decode(&bytes).unwrap(), (77, sample()));
        bytes.extend_from_slice(&[0; 100]);
        assert_eq!(State::decode(&bytes).unwrap(), (77, sample()));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_of_a_slot_is_taken_for_a_state() {
        let mut bytes = Vec::new();
        sample().encode(77, &mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(State::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..bytes.len() {
            assert!(State::decode(&bytes[..cut]).is_err(), "cut {cut}");
        }
    }
}
