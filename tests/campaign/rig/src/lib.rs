//! What the programs of the campaigns share.
//!
//! [`probe`] is a writer that says what it does, line by line, and a judge who holds what a
//! directory has against those lines. Whoever cuts, kills or starves the writer needs nothing else.

pub mod kill;
pub mod limits;
pub mod lines;
pub mod link;
pub mod power;
pub mod probe;
pub mod record;
pub mod run;
pub mod sweep;
pub mod uplink;

/// A small generator of numbers (SplitMix64): the same ones from the same seed, everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}

/// Spreads a number over all bits.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
