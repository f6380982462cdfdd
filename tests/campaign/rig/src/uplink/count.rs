//! What Kafka's own consumer printed, held against the records that have to be there.
//!
//! A line is `Offset:N`, a tab and the value, as its console prints with `print.offset=true`.

use std::fmt;
use std::io::{self, BufRead};

use super::value;

/// How often each record was read, and where not as it has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Records that have to be there, with the numbers from 0 on.
    pub records: u64,
    pub read: u64,
    pub lost: u64,
    /// Records that were read before.
    pub doubled: u64,
    /// First readings behind a higher number.
    pub disordered: u64,
    /// Values that are no record's; offsets that do not rise.
    pub altered: u64,
    /// The first findings, in words.
    pub findings: Vec<String>,
}

const FINDINGS_MAX: usize = 10;

impl Count {
    /// Counts the lines of a consumer.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of(lines: impl BufRead, records: u64, long_every: u64) -> io::Result<Count> {
        let mut count = Count { records, ..Count::default() };
        let mut seen = vec![false; records as usize];
        let (mut highest, mut offset_before) = (None, None);
        for line in lines.lines() {
            let line = line?;
            count.read += 1;
            let Some((offset, number)) = parse(&line, records, long_every) else {
                count.altered += 1;
                count.finding(|| format!("no record: {:.60}", line));
                continue;
            };
            if offset_before >= Some(offset) {
                count.altered += 1;
                count.finding(|| format!("offset {offset} behind {offset_before:?}"));
            }
            offset_before = Some(offset);
            if std::mem::replace(&mut seen[number as usize], true) {
                count.doubled += 1;
                count.finding(|| format!("record {number} again at offset {offset}"));
            } else if highest > Some(number) {
                count.disordered += 1;
                count.finding(|| format!("record {number} at {offset}, behind {highest:?}"));
            }
            highest = highest.max(Some(number));
        }
        for number in (0..records).filter(|number| !seen[*number as usize]) {
            count.lost += 1;
            count.finding(|| format!("record {number} is not there"));
        }
        Ok(count)
    }

    fn finding(&mut self, text: impl FnOnce() -> String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(text());
        }
    }

    /// Whether every record is there, once and in order.
    pub fn holds(&self) -> bool {
        let wrong = self.lost + self.doubled + self.disordered + self.altered;
        wrong == 0 && self.read == self.records
    }
}

/// The offset and the number of a record that is as it has to be.
fn parse(line: &str, records: u64, long_every: u64) -> Option<(u64, u64)> {
    let (offset, text) = line.strip_prefix("Offset:")?.split_once('\t')?;
    let number = text.split_once(':')?.0.parse().ok()?;
    let whole = number < records && text == value(number, long_every);
    offset.parse().ok().filter(|_| whole).map(|offset| (offset, number))
}

/// The line of a record, as the consumer prints it.
pub fn line(offset: u64, number: u64, long_every: u64) -> String {
    format!("Offset:{offset}\t{}\n", value(number, long_every))
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { records, read, lost, doubled, disordered, altered, .. } = self;
        write!(f, "{read} read of {records}: {lost} lost, {doubled} doubled, ")?;
        write!(f, "{disordered} out of order, {altered} altered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(numbers: &[u64]) -> Count {
        let lines = numbers.iter().zip(7..).map(|(number, offset)| line(offset, *number, 0));
        Count::of(lines.collect::<String>().as_bytes(), 4, 0).unwrap()
    }

    #[test]
    fn each_once_and_in_order_holds_and_nothing_else_does() {
        assert!(counted(&[0, 1, 2, 3]).holds());
        let count = counted(&[0, 1, 3]);
        assert_eq!((count.lost, count.doubled, count.disordered, count.holds()), (1, 0, 0, false));
        let count = counted(&[0, 1, 2, 1, 2, 3]);
        assert_eq!((count.lost, count.doubled, count.disordered, count.holds()), (0, 2, 0, false));
        let count = counted(&[0, 2, 1, 3]);
        assert_eq!((count.lost, count.doubled, count.disordered, count.holds()), (0, 0, 1, false));
        assert_eq!(counted(&[0, 1, 2, 3, 4]).altered, 1);
    }

    #[test]
    fn a_value_that_is_cut_or_longer_is_altered() {
        let whole = line(0, 0, 0);
        assert!(Count::of(whole.as_bytes(), 1, 0).unwrap().holds());
        let cut = whole[..whole.len() - 2].to_owned();
        for text in [whole.replace('\n', "x\n"), cut, "x".to_owned()] {
            let count = Count::of(text.as_bytes(), 1, 0).unwrap();
            assert_eq!((count.altered, count.lost), (1, 1), "{text}");
        }
        let same_offset = [whole.clone(), whole].concat();
        assert_eq!(Count::of(same_offset.as_bytes(), 1, 0).unwrap().altered, 1);
    }
}
