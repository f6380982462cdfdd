//! The state a checkpoint slot holds, and its bytes.
//!
//! Floor 3. Bytes: `docs/format.md`, "checkpoint". Big endian; the last four bytes are a CRC-32.

use crate::codec::DecodeError;
use crate::disk::meta::Meta;
use crate::disk::names;
use crate::disk::slot::{Fields, Moment, Slot, set_bits};
use crate::sys::Residence;
use crate::words::limits;
use crate::words::log_id::LogId;
use crate::words::offset::Offset;

const FLAG_CLEAN: u16 = 1;
const FLAG_SEAL: u16 = 2;
const FLAG_SOURCE: u16 = 4;
const FLAG_CLOSING_TIME: u16 = 8;
const FLAG_SYNC_FAILED: u16 = 128;
const FLAG_COMPACTED: u16 = 256;

/// Of a consumer: it sees only what is durable.
const CONSUMER_DURABLE: u8 = 1;
/// Of a consumer: what its owner keeps follows the name.
const CONSUMER_METADATA: u8 = 2;

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
    /// A sync failed since the recovery point moved last: what lies above it has to be written
    /// again, and not where it lies.
    pub(crate) sync_failed: bool,
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
    pub(crate) compaction: CompactionState,
}

/// How far the log was compacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompactionState {
    /// Of the records below, only the newest of each key is there.
    pub(crate) cleaned: Offset,
    /// The log clock when all below the offset had been compacted, oldest first: since then no
    /// older record of a tombstone's key is there.
    pub(crate) moments: Vec<ClockSample>,
    /// What lies in the segment that begins at the first of these offsets: a file that begins
    /// further up is left over, once that segment reaches over it.
    pub(crate) absorbed: Option<(Offset, Offset)>,
}

impl CompactionState {
    fn is_empty(&self) -> bool {
        *self == CompactionState::default()
    }
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
    /// What its owner keeps with the committed offset.
    pub(crate) metadata: Vec<u8>,
}

impl ConsumerState {
    /// One that keeps nothing beside its offset.
    pub(crate) fn new(name: String, durable: bool, committed: Offset) -> ConsumerState {
        ConsumerState { name, durable, committed, metadata: Vec::new() }
    }
}

impl State {
    /// Bytes of memory what it lists takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let kept =
            |consumer: &ConsumerState| consumer.name.capacity() + consumer.metadata.capacity();
        let names: usize = self.consumers.iter().map(kept).sum();
        let tails: usize = self.tails.iter().map(|tail| tail.bytes.capacity()).sum();
        let moments = self.samples.capacity() + self.compaction.moments.capacity();
        let lists = moments * size_of::<ClockSample>()
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
            sync_failed: false,
            open_number: 0,
            cut: log_start,
            residence: None,
            clock: ClockState::default(),
            samples: Vec::new(),
            tails: Vec::new(),
            consumers: Vec::new(),
            compaction: CompactionState::default(),
        }
    }

    /// Every moment of the log clock that is kept.
    pub(crate) fn moments_mut(&mut self) -> impl Iterator<Item = &mut ClockSample> {
        self.samples.iter_mut().chain(&mut self.compaction.moments)
    }

    fn moment(&self) -> Moment {
        Moment { residence: self.residence, clock: self.clock }
    }
}

impl Slot for State {
    const MAGIC: [u8; 4] = *b"FBCK";
    const UNUSED: [u8; 4] = *b"FBC0";
    const VERSION: u16 = 1;
    const FILE: &'static str = names::CHECKPOINT;
    const FILE_BYTES_MAX: usize = limits::CHECKPOINT_FILE_BYTES_MAX;

    fn is_clean(&self) -> bool {
        self.clean.is_some()
    }

    fn flags(&self) -> u16 {
        let bits = [
            (FLAG_CLEAN, self.clean.is_some()),
            (FLAG_SEAL, self.meta.seal),
            (FLAG_SOURCE, self.meta.source.is_some()),
            (FLAG_CLOSING_TIME, self.clean.is_some_and(|mark| mark.closing_time)),
            (FLAG_SYNC_FAILED, self.sync_failed),
            (FLAG_COMPACTED, !self.compaction.is_empty()),
        ];
        set_bits(&bits) | self.moment().flags()
    }

    fn put(&self, out: &mut Vec<u8>) {
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
        self.moment().put(out);
        out.push(u8::try_from(self.samples.len()).expect("samples are bounded by 128"));
        for sample in &self.samples {
            out.extend_from_slice(&sample.offset.get().to_be_bytes());
            out.extend_from_slice(&sample.log_clock.to_be_bytes());
        }
        let count = u16::try_from(self.consumers.len()).expect("consumers are bounded by 64");
        out.extend_from_slice(&count.to_be_bytes());
        for consumer in &self.consumers {
            out.extend_from_slice(&consumer.committed.get().to_be_bytes());
            let durable = if consumer.durable { CONSUMER_DURABLE } else { 0 };
            let kept = if consumer.metadata.is_empty() { 0 } else { CONSUMER_METADATA };
            out.push(durable | kept);
            out.push(u8::try_from(consumer.name.len()).expect("names are bounded by 249"));
            out.extend_from_slice(consumer.name.as_bytes());
            if kept != 0 {
                let length = u8::try_from(consumer.metadata.len());
                out.push(length.expect("metadata are bounded by 255"));
                out.extend_from_slice(&consumer.metadata);
            }
        }
        out.push(u8::try_from(self.tails.len()).expect("tails are bounded by 3"));
        for tail in &self.tails {
            out.extend_from_slice(&tail.base.get().to_be_bytes());
            out.extend_from_slice(&tail.position.to_be_bytes());
            let length = u32::try_from(tail.bytes.len()).expect("tails are bounded by 64 KiB");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&tail.bytes);
        }
        if !self.compaction.is_empty() {
            self.compaction.put(out);
        }
    }

    fn take(flags: u16, fields: &mut Fields<'_>) -> Result<State, DecodeError> {
        let log_id = LogId::from_bytes(fields.array()?);
        let source = LogId::from_bytes(fields.array()?);
        let source = (flags & FLAG_SOURCE != 0).then_some(source);
        let meta = Meta { log_id, seal: flags & FLAG_SEAL != 0, source, store: None };
        let (log_start, recovery_point, cut) =
            (fields.offset()?, fields.offset()?, fields.offset()?);
        let open_number = fields.u64()?;
        let mark = CleanMark {
            active_base: fields.offset()?,
            active_bytes: fields.u64()?,
            index_checksum: fields.u32()?,
            closing_time: flags & FLAG_CLOSING_TIME != 0,
        };
        let clean = (flags & FLAG_CLEAN != 0).then_some(mark);
        let Moment { residence, clock } = Moment::take(flags, fields)?;
        let samples = take_samples(fields)?;
        let count = usize::from(fields.u16()?);
        if count > limits::CONSUMERS_MAX {
            return Err(fields.error("the slot counts too many consumers"));
        }
        let consumers = (0..count).map(|_| take_consumer(fields)).collect::<Result<_, _>>()?;
        let tails = take_tails(fields)?;
        let compaction = match flags & FLAG_COMPACTED != 0 {
            true => CompactionState::take(fields)?,
            false => CompactionState::default(),
        };
        Ok(State {
            meta,
            log_start,
            recovery_point,
            clean,
            sync_failed: flags & FLAG_SYNC_FAILED != 0,
            open_number,
            cut,
            residence,
            clock,
            samples,
            tails,
            consumers,
            compaction,
        })
    }
}

impl CompactionState {
    fn put(&self, out: &mut Vec<u8>) {
        let (from, to) = self.absorbed.unwrap_or_default();
        for offset in [self.cleaned, from, to] {
            out.extend_from_slice(&offset.get().to_be_bytes());
        }
        out.push(u8::try_from(self.moments.len()).expect("moments are bounded by 40"));
        for moment in &self.moments {
            out.extend_from_slice(&moment.offset.get().to_be_bytes());
            out.extend_from_slice(&moment.log_clock.to_be_bytes());
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<CompactionState, DecodeError> {
        let (cleaned, from, to) = (fields.offset()?, fields.offset()?, fields.offset()?);
        let [count] = fields.array()?;
        if usize::from(count) > limits::COMPACTION_MOMENTS_MAX {
            return Err(fields.error("the slot counts too many compactions"));
        }
        let moment = |_| Ok(ClockSample { offset: fields.offset()?, log_clock: fields.millis()? });
        let moments = (0..count).map(moment).collect::<Result<_, _>>()?;
        Ok(CompactionState { cleaned, moments, absorbed: (from < to).then_some((from, to)) })
    }
}

fn take_samples(fields: &mut Fields<'_>) -> Result<Vec<ClockSample>, DecodeError> {
    let [count] = fields.array()?;
    if usize::from(count) > limits::CLOCK_SAMPLES_MAX {
        return Err(fields.error("the slot counts too many clock samples"));
    }
    let sample = |_| Ok(ClockSample { offset: fields.offset()?, log_clock: fields.millis()? });
    (0..count).map(sample).collect()
}

fn take_tails(fields: &mut Fields<'_>) -> Result<Vec<TailCopy>, DecodeError> {
    let [count] = fields.array()?;
    let mut tails = Vec::new();
    for _ in 0..count {
        let base = fields.offset()?;
        let position = fields.u64()?;
        let length = fields.u32()? as usize;
        if length > limits::TORN_BYTES_MAX {
            return Err(fields.error("a copy of a tail is too long"));
        }
        tails.push(TailCopy { base, position, bytes: fields.take(length)?.to_vec() });
    }
    Ok(tails)
}

fn take_consumer(fields: &mut Fields<'_>) -> Result<ConsumerState, DecodeError> {
    let committed = fields.offset()?;
    let [kind] = fields.array()?;
    let name = fields.text()?.to_owned();
    let mut metadata = Vec::new();
    if kind & CONSUMER_METADATA != 0 {
        let [length] = fields.array()?;
        metadata.extend_from_slice(fields.take(usize::from(length))?);
    }
    Ok(ConsumerState { name, durable: kind & CONSUMER_DURABLE != 0, committed, metadata })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> State {
        let consumer = |name: &str, committed, durable| ConsumerState {
            name: name.to_owned(),
            durable,
            committed: Offset::new(committed),
            metadata: if durable { vec![durable.into(); 255] } else { Vec::new() },
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
            sync_failed: true,
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
            compaction: CompactionState {
                cleaned: Offset::new(700),
                moments: vec![ClockSample { offset: Offset::new(512), log_clock: -2 }; 40],
                absorbed: Some((Offset::new(3), Offset::new(9))),
            },
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

    fn decoded(state: &State) -> Result<State, DecodeError> {
        let mut bytes = Vec::new();
        state.encode(7, &mut bytes);
        State::decode(&bytes).map(|(_, state)| state)
    }

    /// What is absent stays absent: each part that has a flag of its own alone, and none.
    #[test]
    fn every_optional_part_is_told_by_its_own_flag() {
        let least = State {
            meta: Meta { seal: false, source: None, ..sample().meta },
            ..State::new(sample().meta, Offset::ZERO)
        };
        let open_mark = CleanMark { closing_time: false, ..sample().clean.unwrap() };
        let all = sample();
        let parts = [
            least.clone(),
            State { meta: Meta { seal: true, ..least.meta }, ..least.clone() },
            State { meta: Meta { source: all.meta.source, ..least.meta }, ..least.clone() },
            State { clean: Some(open_mark), ..least.clone() },
            State { clean: all.clean, ..least.clone() },
            State { sync_failed: true, ..least.clone() },
            State { residence: all.residence, ..least.clone() },
            State {
                clock: ClockState { anchor: all.clock.anchor, ..least.clock },
                ..least.clone()
            },
            State { clock: ClockState { anchor_of_boot: true, ..all.clock }, ..least.clone() },
            State { compaction: all.compaction.clone(), ..least.clone() },
            State {
                compaction: CompactionState { cleaned: Offset::new(1), ..Default::default() },
                ..least.clone()
            },
        ];
        for part in parts {
            assert_eq!(part.is_clean(), part.clean.is_some());
            assert_eq!(decoded(&part), Ok(part.clone()));
        }
    }

    /// Each bounded list at its bound and above it (I11).
    #[test]
    fn lists_are_bounded_to_the_element() {
        let tail = |length| TailCopy { base: Offset::ZERO, position: 0, bytes: vec![1; length] };
        let with_tail = |length| State { tails: vec![tail(length)], ..sample() };
        assert!(decoded(&with_tail(limits::TORN_BYTES_MAX)).is_ok());
        assert!(decoded(&with_tail(limits::TORN_BYTES_MAX + 1)).is_err());
        assert!(decoded(&with_tail(limits::TORN_BYTES_MAX + 9)).is_err());
        let of_samples = |count| State { samples: vec![sample().samples[0]; count], ..sample() };
        assert!(decoded(&of_samples(limits::CLOCK_SAMPLES_MAX)).is_ok());
        assert!(decoded(&of_samples(limits::CLOCK_SAMPLES_MAX + 1)).is_err());
        let of_moments = |count| {
            let moments = vec![sample().samples[0]; count];
            State { compaction: CompactionState { moments, ..Default::default() }, ..sample() }
        };
        assert!(decoded(&of_moments(limits::COMPACTION_MOMENTS_MAX)).is_ok());
        assert!(decoded(&of_moments(limits::COMPACTION_MOMENTS_MAX + 1)).is_err());
        let of =
            |count| State { consumers: vec![sample().consumers[0].clone(); count], ..sample() };
        assert!(decoded(&of(limits::CONSUMERS_MAX)).is_ok());
        assert!(decoded(&of(limits::CONSUMERS_MAX + 1)).is_err());
    }

    /// A checksum that fits does not make an offset of a negative number; the error has its place.
    #[test]
    fn a_negative_offset_is_refused_where_it_stands() {
        let mut bytes = Vec::new();
        sample().encode(7, &mut bytes);
        // The slot with this number at this place, and a checksum that fits.
        let with = |place: usize, number: i64| {
            let mut bytes = bytes.clone();
            let body = bytes.len() - 4;
            bytes[place..place + 8].copy_from_slice(&number.to_be_bytes());
            let checksum = crc32fast::hash(&bytes[..body]);
            bytes[body..].copy_from_slice(&checksum.to_be_bytes());
            bytes
        };
        for place in (52..76).step_by(8).chain([84]) {
            assert_eq!(State::decode(&with(place, -1)).unwrap_err().position, place);
            assert!(State::decode(&with(place, 0)).is_ok());
        }
    }

    #[test]
    fn a_copy_of_an_end_is_before_what_lies_behind_it() {
        let tail = TailCopy { base: Offset::new(5), position: 100, bytes: vec![0; 20] };
        assert_eq!(tail.end(), 120);
        let place = |base, position| tail.is_before(Offset::new(base), position);
        assert_eq!(
            [place(5, 119), place(5, 120), place(5, 121), place(4, 999), place(6, 0)],
            [false, false, true, false, true]
        );
    }

    #[test]
    fn the_memory_a_state_takes_is_what_its_lists_hold() {
        assert_eq!(State::new(sample().meta, Offset::ZERO).memory_bytes(), 0);
        let all = sample();
        let none = State::new(sample().meta, Offset::ZERO);
        let samples = State { samples: all.samples.clone(), ..none.clone() };
        let tails = State { tails: all.tails.clone(), ..none.clone() };
        let consumers = State { consumers: all.consumers.clone(), ..none.clone() };
        let compaction = State { compaction: all.compaction.clone(), ..none };
        assert_eq!(samples.memory_bytes(), 128 * size_of::<ClockSample>());
        assert_eq!(tails.memory_bytes(), 2 * size_of::<TailCopy>() + 615);
        assert_eq!(consumers.memory_bytes(), 2 * size_of::<ConsumerState>() + 250 + 255);
        assert_eq!(compaction.memory_bytes(), 40 * size_of::<ClockSample>());
        let parts = [samples, tails, consumers, compaction];
        assert_eq!(all.memory_bytes(), parts.iter().map(State::memory_bytes).sum::<usize>());
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
