//! Reads the fields of records: variable-length numbers, lengths and bytes, and nothing lenient.

pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// A number took more bytes than it needs, or has bits beyond its width. Brokers drop these and
    /// read on; no encoder should write them.
    pub(crate) odd: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, odd: false }
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        if self.left() < length {
            return Err(format!("{length} bytes at {} of {}", self.at, self.bytes.len()));
        }
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, String> {
        Ok(self.take(1)?[0] as i8)
    }

    /// A signed number of at most `bits` bits.
    fn signed(&mut self, bits: u32) -> Result<i64, String> {
        let mut raw: u64 = 0;
        for shift in (0..bits).step_by(7) {
            let byte = self.take(1)?[0];
            let part = u64::from(byte & 0x7f);
            self.odd |= shift + 7 > bits && part >> (bits - shift) != 0;
            raw |= part << shift;
            if byte & 0x80 == 0 {
                self.odd |= shift > 0 && byte == 0;
                let raw = raw & u64::MAX >> (64 - bits);
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err(format!("a number of more than {bits} bits"))
    }

    pub(crate) fn varint(&mut self) -> Result<i32, String> {
        self.signed(32).map(|value| value as i32)
    }

    pub(crate) fn varlong(&mut self) -> Result<i64, String> {
        self.signed(64)
    }

    /// Bytes behind their length; -1 stands for none.
    pub(crate) fn bytes_or_null(&mut self) -> Result<Option<&'a [u8]>, String> {
        match self.varint()? {
            -1 => Ok(None),
            length if length < -1 => Err(format!("a length of {length}")),
            length => self.take(length as usize).map(Some),
        }
    }
}
