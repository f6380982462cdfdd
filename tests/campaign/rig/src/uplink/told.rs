//! What the device says while it ships, line by line; at most every millisecond, when it changed.
//!
//! | line | meaning |
//! |---|---|
//! | `open NUMBER` | the log is open, and goes on with this record |
//! | `at END COMMITTED FLIGHT DOUBTED CONNECTS FAILURES` | see [`Told`] |
//! | `error TEXT` | the last error is another |
//! | `done` | all is shipped, and the log is closed |

/// What the status of an uplink says, as far as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Records appended.
    pub end: u64,
    /// Records acknowledged upstream.
    pub committed: u64,
    /// Requests that are not answered.
    pub flight: u64,
    /// Records that may stand upstream twice, as the device says, since its start.
    pub doubted: u64,
    /// Links made and broken since then.
    pub connects: u64,
    pub failures: u64,
}

impl Told {
    /// The line that says it.
    pub fn line(&self) -> String {
        let Told { end, committed, flight, doubted, connects, failures } = self;
        format!("at {end} {committed} {flight} {doubted} {connects} {failures}\n")
    }

    /// Of the words behind `at`.
    pub fn parse(words: &str) -> Option<Told> {
        let mut numbers = words.split(' ').map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Told {
            end: next()?,
            committed: next()?,
            flight: next()?,
            doubted: next()?,
            connects: next()?,
            failures: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_all_of_it() {
        let told = Told { end: 1, committed: 2, flight: 3, doubted: 4, connects: 5, failures: 6 };
        let line = told.line();
        assert_eq!(Told::parse(line.trim().strip_prefix("at ").unwrap()), Some(told));
        assert_eq!(Told::parse("1 2 3"), None);
    }
}
