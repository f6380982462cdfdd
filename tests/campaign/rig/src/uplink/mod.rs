//! A log shipped to a real Kafka while brokers, the link and the device itself fail.
//!
//! `device` is the program on the device: it appends numbered records and ships them, until it
//! is killed, and goes on when it is started again. [`drive`] kills it, the brokers and the link.
//! [`count`] holds what Kafka's own consumer reads against what has to be there.

pub mod count;
#[cfg(feature = "kafka")]
pub mod device;
pub mod drive;
pub mod inside;
pub mod node;
pub mod told;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::mix;

/// The consumer that the uplink keeps its progress under.
pub const UPLINK: &str = "uplink";

/// Bytes a record has, as a rule; a long one has up to so many.
const RECORD_BYTES: std::ops::Range<u64> = 20..400;
const LONG_BYTES: u64 = 12_000;

/// The value of a record: its number, and as many letters as its number says. One of `long_every`
/// is a long one; none if that is 0. A consumer prints it in one line.
pub fn value(number: u64, long_every: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut word = mix(number ^ 0x7570_6c69_6e6b);
    let length = match long_every {
        0 => 0,
        every => u64::from(word.is_multiple_of(every)) * (word >> 32) % LONG_BYTES,
    };
    let length = length.max(RECORD_BYTES.start + (word >> 16) % (RECORD_BYTES.end - 20)) as usize;
    let mut text = format!("{number}:");
    while text.len() < length {
        word = mix(word);
        let letters = word.to_le_bytes().map(|byte| char::from(LETTERS[usize::from(byte & 63)]));
        text.extend(letters);
    }
    text.truncate(length.max(text.find(':').unwrap_or(0) + 1));
    text
}

/// How many records the batch that begins with this one has, unless the end is nearer: mostly one,
/// at times so many that the batch is shipped as it is stored.
pub fn records_of_batch(number: u64) -> u64 {
    let word = mix(number ^ 0x0062_6174_6368);
    let more = word >> 8;
    match word % 10 {
        0..=4 => 1,
        5..=7 => 2 + more % 8,
        8 => 10 + more % 50,
        _ => 60 + more % 200,
    }
}

/// A command line of `--name value` and `--name`, behind some words.
#[derive(Debug, Default)]
pub struct Words {
    pub plain: Vec<String>,
    named: BTreeMap<String, String>,
}

impl Words {
    /// The words of this process. A name followed by another name has no value.
    pub fn of_process() -> Words {
        Words::parse(std::env::args().skip(1))
    }

    pub fn parse(words: impl IntoIterator<Item = String>) -> Words {
        let mut found = Words::default();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) => {
                    let value = words.next_if(|next| !next.starts_with("--")).unwrap_or_default();
                    found.named.insert(name.to_owned(), value);
                }
                None => found.plain.push(word),
            }
        }
        found
    }

    pub fn has(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    pub fn text(&self, name: &str) -> Result<&str, String> {
        self.named.get(name).map(String::as_str).ok_or_else(|| format!("--{name} is missing"))
    }

    pub fn number<T: FromStr<Err: Display>>(&self, name: &str, without: T) -> Result<T, String> {
        let Some(text) = self.named.get(name) else { return Ok(without) };
        text.parse().map_err(|error| format!("--{name} {text}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_begin_with_their_number_and_differ_in_length() {
        let values: Vec<String> = (0..5_000).map(|number| value(number, 256)).collect();
        for (number, text) in values.iter().enumerate() {
            assert_eq!(text.split_once(':').unwrap().0, number.to_string());
            assert!(text.len() < LONG_BYTES as usize && !text.contains(char::is_whitespace));
        }
        assert!(values.iter().any(|text| text.len() > 4_000));
        assert!(values.iter().any(|text| text.len() < 40));
        assert!((0..5_000).all(|number| value(number, 0).len() < 400));
    }

    #[test]
    fn batches_are_of_many_sizes() {
        let bytes = |from: u64| -> usize {
            (from..from + records_of_batch(from)).map(|number| value(number, 256).len()).sum()
        };
        let sizes: Vec<usize> = (0..1_000).map(bytes).collect();
        assert!(sizes.iter().any(|size| *size > 32 << 10));
        assert!(sizes.iter().filter(|size| **size < 1_000).count() > 400);
    }

    #[test]
    fn words_have_values_or_none() {
        let words = ["a", "--n", "7", "--forget", "--to", "b:1"].map(str::to_owned);
        let words = Words::parse(words);
        assert_eq!(
            (words.plain.len(), words.number("n", 0), words.has("forget")),
            (1, Ok(7), true)
        );
        assert_eq!(words.text("to"), Ok("b:1"));
        assert!(words.text("nothing").is_err() && words.number("to", 1_u64).is_err());
    }
}
