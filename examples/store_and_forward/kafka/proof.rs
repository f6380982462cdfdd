//! What arrived in the topic, against the log it came from: each record once, in order, unaltered.

use std::fmt;
use std::ops::Range;

use forebay::{Log, Offset, OffsetSpec};

use super::broker::Result;
use crate::proof::{Arrived, Count, Stream};

/// Problems that are told one by one.
const FINDINGS_MAX: usize = 10;

/// What was found in the topic.
#[derive(Debug, Default)]
pub(super) struct Proof {
    offsets: Range<i64>,
    /// Records of this log that should be there.
    expected: usize,
    ours: u64,
    counters: Option<(u64, u64)>,
    /// Of this log too, from before what is looked at.
    earlier: u64,
    others: u64,
    twice: u64,
    out_of_order: u64,
    missing: usize,
    altered: u64,
    waiting: usize,
    findings: Vec<String>,
}

impl Proof {
    /// Holds what arrived against the log from `first` on; from `waiting` on a record need not
    /// have arrived.
    pub(super) fn check(
        arrived: impl Iterator<Item = Result<Arrived>>,
        offsets: Range<i64>,
        log: &Log,
        first: Offset,
        waiting: Offset,
    ) -> Result<Proof> {
        let mut proof = Proof { offsets, ..Proof::default() };
        // By these each record is known again; the records themselves are read beside those that
        // arrived, for a log may be larger than the memory.
        let mut digests = Vec::new();
        let mut due_below = 0;
        let mut begins = None;
        for record in Stream::new(log, OffsetSpec::At(first))? {
            let record = record?;
            let chain = record.chain().ok_or("a record of the log was not written here")?;
            begins.get_or_insert(chain.counter - 1);
            digests.push(chain.digest);
            if record.offset < waiting {
                due_below = digests.len();
            }
        }
        let begins = begins.unwrap_or(0);
        let mut seen = vec![false; digests.len()];
        let mut source = Stream::new(log, OffsetSpec::At(first))?.enumerate();
        let mut next = 0;
        for record in arrived {
            let mut record = record?;
            let there = record.offset;
            let Some(chain) = record.chain() else {
                proof.others += 1;
                continue;
            };
            let counter = chain.counter - 1;
            let Some(at) = counter.checked_sub(begins).and_then(|at| usize::try_from(at).ok())
            else {
                proof.earlier += 1;
                continue;
            };
            let known = digests.get(at) == Some(&chain.digest);
            let Some(seen) = seen.get_mut(at).filter(|_| known) else {
                proof.others += 1;
                continue;
            };
            proof.ours += 1;
            let (low, high) = proof.counters.unwrap_or((counter, counter));
            proof.counters = Some((low.min(counter), high.max(counter)));
            if std::mem::replace(seen, true) {
                proof.twice += 1;
                proof.finding(format!("offset {there}: counter {counter} was there before"));
            } else if at < next {
                proof.out_of_order += 1;
                proof.finding(format!("offset {there}: counter {counter} comes late"));
            } else {
                next = at + 1;
                let original = source.find(|(place, _)| *place == at).map(|(_, record)| record);
                let original = original.ok_or("the log has changed while it was read")??;
                record.offset = original.offset;
                if record != original {
                    proof.altered += 1;
                    proof.finding(format!("offset {there}: counter {counter} is altered"));
                }
            }
        }
        proof.expected = due_below;
        proof.missing = seen.iter().take(due_below).filter(|seen| !**seen).count();
        proof.waiting = seen.iter().skip(due_below).filter(|seen| !**seen).count();
        Ok(proof)
    }

    pub(super) fn holds(&self) -> bool {
        self.twice + self.out_of_order + self.altered == 0 && self.missing == 0
    }

    fn finding(&mut self, text: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(text);
        }
    }
}

impl fmt::Display for Proof {
    /// Lines that begin with `proof:`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proof: {} records upstream", self.ours)?;
        if let Some((low, high)) = self.counters {
            write!(f, ", counters {low}..={high}")?;
        }
        write!(f, ", {}", Count(self.out_of_order, "out of order", "in order"))?;
        write!(f, ", {}", Count(self.missing as u64, "missing", "none missing"))?;
        write!(f, ", {}", Count(self.twice, "twice", "none twice"))?;
        write!(f, ", {}", Count(self.altered, "altered", "none altered"))?;
        write!(f, "\nproof: {} were to be there", self.expected)?;
        write!(f, ", {}", Count(self.waiting as u64, "more wait here", "none waits here"))?;
        let (from, end) = (self.offsets.start, self.offsets.end);
        write!(f, "; read in the topic: offsets {from} to {end}")?;
        if self.earlier + self.others > 0 {
            write!(f, ", {} of earlier runs and {} of others", self.earlier, self.others)?;
        }
        for finding in &self.findings {
            write!(f, "\nproof: {finding}")?;
        }
        Ok(())
    }
}
