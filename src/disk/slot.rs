//! A slot of a checkpoint: what begins and ends it, whatever it holds.
//!
//! Floor 3. Bytes: `docs/format.md`, "checkpoint". Big endian; the last four bytes are a CRC-32.

use std::fmt;

use crate::codec::DecodeError;
use crate::codec::crc::crc32;
use crate::disk::state::{ClockAnchor, ClockState};
use crate::sys::Residence;
use crate::words::offset::Offset;

const FLAG_RESIDENCE: u16 = 16;
const FLAG_ANCHOR: u16 = 32;
const FLAG_ANCHOR_OF_BOOT: u16 = 64;

/// What [`Slot::decode`] says of a whole slot of a later version.
pub(crate) const NEWER: &str = "the slot was written by a newer version";

/// What the slots of one kind of checkpoint hold.
pub(crate) trait Slot: Clone + fmt::Debug {
    /// What a slot begins with.
    const MAGIC: [u8; 4];
    /// What one begins with that was never written.
    const UNUSED: [u8; 4];
    /// The version this crate writes.
    const VERSION: u16;
    /// The file's name.
    const FILE: &'static str;
    /// The longest file that is believed; the longest content leads to no longer one.
    const FILE_BYTES_MAX: usize;

    /// A close wrote it, behind which nothing was left to be synced.
    fn is_clean(&self) -> bool;
    /// What is said by single bits; 16, 32 and 64 are [`Moment`]'s.
    fn flags(&self) -> u16;
    /// Lays out what stands between the number and the checksum.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads what [`Slot::put`] laid out.
    fn take(flags: u16, fields: &mut Fields<'_>) -> Result<Self, DecodeError>;

    /// Lays the content out as the slot with this number.
    fn encode(&self, number: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&Self::MAGIC);
        out.extend_from_slice(&Self::VERSION.to_be_bytes());
        out.extend_from_slice(&self.flags().to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&number.to_be_bytes());
        self.put(out);
        let length = u32::try_from(out.len() + 4).expect("a slot is bounded by its file");
        if let Some(field) = out.get_mut(8..12) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        let checksum = crc32(out);
        out.extend_from_slice(&checksum.to_be_bytes());
    }

    /// Reads a slot: its number and content.
    fn decode(bytes: &[u8]) -> Result<(u64, Self), DecodeError> {
        let mut fields = Fields { rest: bytes, position: 0 };
        if fields.array::<4>()? != Self::MAGIC {
            return Err(DecodeError::new("no checkpoint slot begins here", 0));
        }
        let version = fields.u16()?;
        let flags = fields.u16()?;
        let length = fields.u32()? as usize;
        let Some((body, checksum)) =
            bytes.get(..length).and_then(|slot| slot.split_last_chunk::<4>())
        else {
            return Err(DecodeError::new("the slot's length is out of bounds", 8));
        };
        if crc32(body) != u32::from_be_bytes(*checksum) {
            return Err(DecodeError::new("the slot's checksum does not match", length - 4));
        }
        if version > Self::VERSION {
            return Err(DecodeError::new(NEWER, 4));
        }
        fields.rest = body.get(fields.position..).unwrap_or_default();
        let number = fields.u64()?;
        Ok((number, Self::take(flags, &mut fields)?))
    }

    /// What lies in a slot that was never written, so that one that lost its bytes is told from it.
    fn encode_unused(out: &mut Vec<u8>) {
        out.extend_from_slice(&Self::UNUSED);
        out.extend_from_slice(&crc32(&Self::UNUSED).to_be_bytes());
    }

    /// Whether a slot was never written.
    fn is_unused(bytes: &[u8]) -> bool {
        let mut unused = Vec::new();
        Self::encode_unused(&mut unused);
        bytes.starts_with(&unused)
    }
}

/// How long a slot says it is.
pub(crate) fn slot_length(bytes: &[u8]) -> usize {
    let length = bytes.get(8..12).and_then(|field| field.first_chunk::<4>());
    length.map_or(0, |length| u32::from_be_bytes(*length) as usize)
}

/// Where and when a slot was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) residence: Option<Residence>,
    pub(crate) clock: ClockState,
}

impl Moment {
    pub(crate) fn flags(&self) -> u16 {
        set_bits(&[
            (FLAG_RESIDENCE, self.residence.is_some()),
            (FLAG_ANCHOR, self.clock.anchor.is_some()),
            (FLAG_ANCHOR_OF_BOOT, self.clock.anchor_of_boot),
        ])
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let Residence { boot, mount, directory } =
            self.residence.unwrap_or(Residence { boot: [0; 16], mount: 0, directory: 0 });
        out.extend_from_slice(&boot);
        out.extend_from_slice(&mount.to_be_bytes());
        out.extend_from_slice(&directory.to_be_bytes());
        let anchor = self.clock.anchor.unwrap_or(ClockAnchor { log_clock: 0, wall: 0 });
        for millis in [self.clock.log_clock, self.clock.boot, anchor.log_clock, anchor.wall] {
            out.extend_from_slice(&millis.to_be_bytes());
        }
    }

    pub(crate) fn take(flags: u16, fields: &mut Fields<'_>) -> Result<Moment, DecodeError> {
        let residence =
            Residence { boot: fields.array()?, mount: fields.u64()?, directory: fields.u64()? };
        let residence = (flags & FLAG_RESIDENCE != 0).then_some(residence);
        let (log_clock, boot) = (fields.millis()?, fields.millis()?);
        let anchor = ClockAnchor { log_clock: fields.millis()?, wall: fields.millis()? };
        let anchor = (flags & FLAG_ANCHOR != 0).then_some(anchor);
        let anchor_of_boot = flags & FLAG_ANCHOR_OF_BOOT != 0;
        Ok(Moment { residence, clock: ClockState { log_clock, boot, anchor, anchor_of_boot } })
    }
}

/// The bits whose condition holds.
pub(crate) fn set_bits(bits: &[(u16, bool)]) -> u16 {
    bits.iter().filter(|(_, set)| *set).fold(0, |all, (bit, _)| all | bit)
}

/// The fields of a slot, one after the other.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> Fields<'a> {
    /// What is wrong, just behind the last field.
    pub(crate) fn error(&self, what: &'static str) -> DecodeError {
        DecodeError::new(what, self.position)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.error("the slot is cut short"));
        };
        self.rest = rest;
        self.position += length;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let position = self.position;
        self.take(N)?.try_into().map_err(|_| DecodeError::new("the slot is cut short", position))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn millis(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn offset(&mut self) -> Result<Offset, DecodeError> {
        let position = self.position;
        match i64::from_be_bytes(self.array()?) {
            number if number >= 0 => Ok(Offset::new(number)),
            _ => Err(DecodeError::new("the slot holds a negative offset", position)),
        }
    }

    /// A text of at most 255 bytes, with its length in front of it.
    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let [length] = self.array()?;
        let position = self.position;
        std::str::from_utf8(self.take(usize::from(length))?)
            .map_err(|_| DecodeError::new("a name is not UTF-8", position))
    }
}
