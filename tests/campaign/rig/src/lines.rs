//! What a writer says while it works, and what remains of it for the judge.
//!
//! | line | said | meaning |
//! |---|---|---|
//! | `O <log>` | after | a log was opened: what failed before is another handle's |
//! | `W <log> <offset>` | before | this record is handed over |
//! | `P <log> <offset>` | after | its append returned |
//! | `A <log> <offset>` | after | it was acknowledged durable |
//! | `S <log> <offset>` | after | a deletion returned: the log starts here or above |
//! | `T <log>:<consumer> <offset>` | before | this commit is made |
//! | `M <log>:<consumer> <offset>` | after | the commit returned |
//! | `C <log>:<consumer> <offset>` | after | the commit was synced |
//! | `E <what> <kind> <text>` | after | a call failed |
//! | `BAD <text>` | after | a law was broken before the writer's own eyes |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

/// Where lines go. Each call of [`Lines::say`] is one write to each place: a kill in between cuts
/// no line that the judge would take for whole.
#[derive(Default)]
pub struct Lines {
    to: Mutex<Vec<Box<dyn Write + Send>>>,
}

impl Lines {
    /// Lines that nobody hears.
    pub fn new() -> Lines {
        Lines::default()
    }

    /// Says them here too.
    pub fn and(self, place: impl Write + Send + 'static) -> Lines {
        self.lock().push(Box::new(place));
        self
    }

    /// Says them to standard output, unbuffered.
    pub fn and_output(self) -> io::Result<Lines> {
        use std::os::fd::AsFd;

        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(self.and(File::from(output)))
    }

    /// Appends them to a file.
    pub fn and_file(self, path: &Path) -> io::Result<Lines> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(self.and(file))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Write + Send>>> {
        self.to.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Says whole lines at once. What cannot be said ends the program: nothing could be judged.
    pub fn say(&self, text: &str) {
        debug_assert!(text.is_empty() || text.ends_with('\n'));
        for place in self.lock().iter_mut() {
            // One call as a rule; a short write or a signal asks for another.
            place.write_all(text.as_bytes()).expect("nobody takes the lines");
        }
    }

    /// The same letter and log for each of some offsets.
    pub fn each(&self, letter: char, log: &str, offsets: std::ops::Range<i64>) {
        let mut text = String::new();
        for offset in offsets {
            let _ = writeln!(text, "{letter} {log} {offset}");
        }
        self.say(&text);
    }
}

/// What is known of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldLog {
    /// One past the last record handed over, returned for, acknowledged durable.
    pub handed: i64,
    pub put: i64,
    pub acknowledged: i64,
    /// The log start that a deletion has told.
    pub start: i64,
}

/// What is known of one consumer: the furthest commit that was tried, returned and synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldConsumer {
    pub tried: i64,
    pub made: i64,
    pub synced: i64,
}

/// The sum of all lines: offsets rise, so the furthest says it all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub logs: BTreeMap<String, ToldLog>,
    /// By log and name.
    pub consumers: BTreeMap<(String, String), ToldConsumer>,
    /// What the writer itself found wrong.
    pub bad: Vec<String>,
    /// Calls that failed, by kind.
    pub failed: BTreeMap<String, u64>,
}

impl Told {
    /// Sums up a file of lines; one that is not there says nothing.
    pub fn read(path: &Path) -> io::Result<Told> {
        match fs::read(path) {
            Ok(bytes) => Ok(Told::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Told::default()),
            Err(error) => Err(error),
        }
    }

    /// Sums up lines; an unfinished one at the end does not count.
    pub fn parse(bytes: &[u8]) -> Told {
        let mut told = Told::default();
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            told.add(line);
        }
        told
    }

    /// Takes in one line.
    pub fn add(&mut self, line: &str) {
        let (letter, rest) = line.split_once(' ').unwrap_or((line, ""));
        match letter {
            "BAD" => self.bad.push(rest.to_owned()),
            "E" => {
                let kind = rest.split(' ').nth(1).unwrap_or("").to_owned();
                *self.failed.entry(kind).or_default() += 1;
            }
            "W" | "P" | "A" | "S" | "T" | "M" | "C" => {
                let parsed = rest.split_once(' ');
                let parsed = parsed.and_then(|(name, at)| Some((name, at.parse().ok()?)));
                match parsed {
                    Some((name, offset)) => self.note(letter, name, offset),
                    None => self.bad.push(format!("a line that says nothing: {line:?}")),
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, letter: &str, name: &str, offset: i64) {
        let raise = |slot: &mut i64, to: i64| *slot = (*slot).max(to);
        if let Some((log, consumer)) = name.split_once(':') {
            let key = (log.to_owned(), consumer.to_owned());
            let known = self.consumers.entry(key).or_default();
            match letter {
                "T" => raise(&mut known.tried, offset),
                "M" => raise(&mut known.made, offset),
                _ => raise(&mut known.synced, offset),
            }
            return;
        }
        let known = self.logs.entry(name.to_owned()).or_default();
        match letter {
            "W" => raise(&mut known.handed, offset + 1),
            "P" => raise(&mut known.put, offset + 1),
            "A" => raise(&mut known.acknowledged, offset + 1),
            _ => raise(&mut known.start, offset),
        }
    }

    /// The fewest lines that sum up to this: what a long series of runs goes on with.
    pub fn to_lines(&self) -> String {
        let mut text = String::new();
        for (log, told) in &self.logs {
            for (letter, end) in [('W', told.handed), ('P', told.put), ('A', told.acknowledged)] {
                if end > 0 {
                    let _ = writeln!(text, "{letter} {log} {}", end - 1);
                }
            }
            let _ = writeln!(text, "S {log} {}", told.start);
        }
        for ((log, consumer), told) in &self.consumers {
            for (letter, at) in [('T', told.tried), ('M', told.made), ('C', told.synced)] {
                let _ = writeln!(text, "{letter} {log}:{consumer} {at}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_sum_up_and_an_unfinished_one_does_not_count() {
        let text = "W a 0\nP a 0\nA a 0\nW a 1\nT a:x 1\nM a:x 1\nC a:x 1\nS a 0\nW a 2";
        let told = Told::parse(text.as_bytes());
        let log = ToldLog { handed: 2, put: 1, acknowledged: 1, start: 0 };
        assert_eq!(told.logs["a"], log);
        assert_eq!(Told::parse(told.to_lines().as_bytes()), told);
    }
}
