//! Zigzag variable-length integers, least significant seven bits first, as Kafka has them.
//!
//! Floor 2. At most 5 bytes for 32 bits and 10 for 64 (Kafka: `ByteUtils`).

use crate::codec::DecodeError;

/// Small numbers of either sign as small numbers without one.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// How many bytes `value` takes.
#[inline]
pub(crate) fn length(value: i64) -> usize {
    match zigzag(value) {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        raw => ((64 - raw.leading_zeros()) as usize).div_ceil(7),
    }
}

/// Appends `value` to `out`.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        let [low, ..] = rest.to_le_bytes();
        out.push(low | 0x80);
        rest >>= 7;
    }
    let [low, ..] = rest.to_le_bytes();
    out.push(low);
}

/// Reads over bytes front to back; every step says where it failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    /// Where `bytes` ends, for error positions only.
    end: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], position: usize) -> Cursor<'a> {
        Cursor { bytes, end: position.saturating_add(bytes.len()) }
    }

    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.end - self.bytes.len()
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline(always)]
    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let Some((&first, rest)) = self.bytes.split_first() else {
            return Err(DecodeError::new("bytes end inside a record", self.position()));
        };
        self.bytes = rest;
        Ok(first)
    }

    #[inline(always)]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err(DecodeError::new("a length reaches beyond its record", self.position()));
        };
        self.bytes = rest;
        Ok(taken)
    }

    /// A number of one or two bytes, as nearly all are; else nothing, unmoved.
    #[inline(always)]
    fn short(&mut self) -> Option<i32> {
        let (raw, rest) = match *self.bytes {
            [low @ ..0x80, ref rest @ ..] => (u32::from(low), rest),
            [low, high @ ..0x80, ref rest @ ..] => {
                (u32::from(low & 0x7f) | u32::from(high) << 7, rest)
            }
            _ => return None,
        };
        self.bytes = rest;
        Some((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    /// A 64-bit integer.
    #[inline(always)]
    pub(crate) fn varlong(&mut self) -> Result<i64, DecodeError> {
        match self.short() {
            Some(short) => Ok(i64::from(short)),
            None => self.long(),
        }
    }

    #[cold]
    fn long(&mut self) -> Result<i64, DecodeError> {
        let start = self.position();
        let (mut raw, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::new("a varint does not fit 64 bits", start));
            }
            raw |= bits << shift;
            if byte < 0x80 {
                return Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()));
            }
            shift += 7;
            if shift > 63 {
                return Err(DecodeError::new("a varint is longer than 10 bytes", start));
            }
        }
    }

    /// A 32-bit integer.
    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<i32, DecodeError> {
        match self.short() {
            Some(short) => Ok(short),
            None => self.long_32(),
        }
    }

    #[cold]
    fn long_32(&mut self) -> Result<i32, DecodeError> {
        let start = self.position();
        let value = self.long()?;
        if self.position() - start > 5 {
            return Err(DecodeError::new("a varint is longer than 5 bytes", start));
        }
        i32::try_from(value).map_err(|_| DecodeError::new("a varint does not fit 32 bits", start))
    }

    /// A length, or `None` for -1.
    #[inline(always)]
    pub(crate) fn nullable_length(&mut self) -> Result<Option<usize>, DecodeError> {
        let start = self.position();
        match self.varint()? {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| DecodeError::new("a length is negative", start)),
        }
    }

    /// Bytes behind their length, or `None` for a length of -1.
    #[inline(always)]
    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        self.nullable_length()?.map(|length| self.take(length)).transpose()
    }
}
