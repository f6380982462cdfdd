//! Reads decisions off the front of an input; one that is used up gives zeros.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Input<'a> {
        Input(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub(crate) fn i64(&mut self) -> i64 {
        (u64::from(self.u32()) << 32 | u64::from(self.u32())).cast_signed()
    }

    /// A place below `bound`, which may be 0: then 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        match bound {
            0..=1 => 0,
            2..=256 => usize::from(self.byte()) % bound,
            257..=65_536 => usize::from(self.u16()) % bound,
            _ => self.u32() as usize % bound,
        }
    }

    /// As many bytes as there are, up to so many.
    pub(crate) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
