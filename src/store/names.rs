//! What the logs of a store are called, and their directories.
//!
//! Floor 5. Pure functions. A log's directory is Kafka's `<name>-<partition>`; a name that would
//! leave the store, be one of its own files, or be the same as another's where case is ignored
//! never comes to the filesystem.

use crate::disk::names::{NEW_SUFFIX, STORE_CHECKPOINT, STORE_META};
use crate::words::error::{Error, Result};
use crate::words::name::{check_name, shown};

/// Reserved: what a lock file of a store would be called. Its directory carries the lock.
const LOCK: &str = "store.lock";

/// The highest number of a partition: Kafka's is a signed 32-bit number.
pub(crate) const PARTITION_MAX: u32 = i32::MAX.unsigned_abs();

/// What every filesystem takes as a name.
const DIR_BYTES_MAX: usize = 255;

/// A log of a store: a name, and which of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogName {
    pub(crate) name: String,
    pub(crate) partition: u32,
}

impl LogName {
    /// Refuses a name that cannot be one, by what is wrong with it.
    pub(crate) fn new(name: &str, partition: u32) -> Result<LogName> {
        check_log_name(name)?;
        if partition > PARTITION_MAX {
            return Err(Error::invalid(format!(
                "partition {partition} of {:?} is above {PARTITION_MAX}",
                shown(name)
            )));
        }
        let log = LogName { name: name.to_owned(), partition };
        let bytes = log.dir_name().len();
        if bytes > DIR_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the log name {:?} has {} bytes, with its partition, {partition}, {bytes} of {}",
                shown(name),
                name.len(),
                DIR_BYTES_MAX
            )));
        }
        Ok(log)
    }

    /// The name of its directory.
    pub(crate) fn dir_name(&self) -> String {
        format!("{}-{}", self.name, self.partition)
    }

    /// The log whose directory has this name; `None` if it is no log's. What [`LogName::dir_name`]
    /// gives comes back as it was, and two directories are never the same log.
    pub(crate) fn parse(dir_name: &str) -> Option<LogName> {
        let (name, digits) = dir_name.rsplit_once('-')?;
        let partition = digits.parse::<u32>().ok()?;
        let log = LogName::new(name, partition).ok()?;
        // Not "07", nor "+7".
        (log.dir_name() == dir_name).then_some(log)
    }

    /// What is the same for two logs whose directories some filesystem takes for one: their names
    /// in lower case.
    pub(crate) fn folded(&self) -> String {
        self.dir_name().to_ascii_lowercase()
    }

    /// Refuses it beside this one, if they differ in case alone.
    pub(crate) fn check_beside(&self, other: &LogName) -> Result<()> {
        let collide = self.name != other.name && self.name.eq_ignore_ascii_case(&other.name);
        if !collide {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the log name {:?} differs from {:?}, which is there, in case alone",
            self.name, other.name
        )))
    }
}

/// Refuses what no log of a store can be called.
pub(crate) fn check_log_name(name: &str) -> Result<()> {
    check_name("log", name)?;
    let own = [LOCK, STORE_META, STORE_CHECKPOINT];
    // The files these are made in, too.
    let folded = name.to_ascii_lowercase();
    let base = folded.strip_suffix(NEW_SUFFIX).unwrap_or(&folded);
    if own.contains(&base) {
        let text = format!("the log name {name:?} is reserved: a store has files called so");
        return Err(Error::invalid(text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::limits;

    fn name(name: &str, partition: u32) -> LogName {
        LogName::new(name, partition).unwrap()
    }

    #[test]
    fn a_directory_name_comes_back_as_the_log_it_was() {
        let cases = [
            ("temperature", 0, "temperature-0"),
            ("a-1", 0, "a-1-0"),
            ("a", 10, "a-10"),
            ("a-", 3, "a--3"),
            ("-", 0, "--0"),
            ("...", 7, "...-7"),
            ("store", 0, "store-0"),
            ("a", PARTITION_MAX, "a-2147483647"),
        ];
        for (of, partition, dir) in cases {
            let log = name(of, partition);
            assert_eq!(log.dir_name(), dir);
            assert_eq!(LogName::parse(dir), Some(log));
        }
    }

    #[test]
    fn a_directory_of_somebody_else_is_no_log() {
        let foreign = [
            "",
            "-",
            "-0",
            "temperature",
            "temperature-",
            "temperature-x",
            "temperature-00",
            "temperature-01",
            "temperature-+1",
            "temperature--1x",
            "temperature-1 ",
            "temperature-\u{661}",
            "temperature-4294967296",
            "temperature-2147483648",
            "temperature-18446744073709551616",
            ".-0",
            "..-0",
            "a/b-0",
            "../a-0",
            "a b-0",
            "lost+found",
            "temperature-0.1f2e-delete",
            "temperature-0.deleted",
            "store.lock",
            "store.meta-0",
        ];
        for dir in foreign {
            assert_eq!(LogName::parse(dir), None, "{dir:?}");
        }
        let long = format!("{}-0", "n".repeat(limits::NAME_BYTES_MAX + 1));
        assert_eq!(LogName::parse(&long), None);
    }

    /// Every string of these few letters is no log's directory, or exactly one's.
    #[test]
    fn two_directories_are_never_the_same_log() {
        let letters = ['a', '-', '.', '0', '1', '+'];
        let mut all = vec![String::new()];
        let mut seen = std::collections::HashSet::new();
        for _ in 0..5 {
            let longer = |text: &String| letters.map(|letter| format!("{text}{letter}"));
            all = all.iter().flat_map(longer).collect();
            for dir in &all {
                if let Some(log) = LogName::parse(dir) {
                    assert_eq!(&log.dir_name(), dir);
                    assert!(seen.insert(log), "{dir}");
                }
            }
        }
        assert!(seen.len() > 300, "{}", seen.len());
    }

    #[test]
    fn the_longest_names_fit_a_directory() {
        let longest = "n".repeat(limits::NAME_BYTES_MAX);
        assert_eq!(name(&longest, 99_999).dir_name().len(), 255);
        let error = LogName::new(&longest, 100_000).unwrap_err().to_string();
        assert!(error.contains("249 bytes") && error.contains("256 of 255"), "{error}");
        assert!(LogName::new(&"n".repeat(244), PARTITION_MAX).is_ok());
        assert!(LogName::new(&"n".repeat(245), PARTITION_MAX).is_err());
        let error = LogName::new("a", PARTITION_MAX + 1).unwrap_err().to_string();
        assert!(error.contains("partition 2147483648 of \"a\" is above 2147483647"), "{error}");
    }

    #[test]
    fn names_of_the_stores_own_files_are_reserved() {
        let own = ["store.lock", "store.meta", "store.checkpoint", "Store.Lock", "STORE.META.NEW"];
        for of in own {
            let error = LogName::new(of, 0).unwrap_err().to_string();
            assert!(error.contains("is reserved"), "{error}");
        }
        for of in ["store", "store.locks", "a.store.lock", "store.lock.old", ".new"] {
            assert!(LogName::new(of, 0).is_ok(), "{of}");
        }
    }

    #[test]
    fn names_that_differ_in_case_alone_collide() {
        let there = name("Temperature", 0);
        for (of, partition) in [("temperature", 0), ("TEMPERATURE", 0), ("temperaturE", 3)] {
            let error = name(of, partition).check_beside(&there).unwrap_err().to_string();
            assert!(error.contains(of) && error.contains("\"Temperature\""), "{error}");
        }
        for (of, partition) in [("Temperature", 0), ("Temperature", 1), ("temperatur", 0)] {
            assert!(name(of, partition).check_beside(&there).is_ok(), "{of}");
        }
        assert_eq!(name("TemPerature", 12).folded(), "temperature-12");
        assert_eq!(there.folded(), name("temperature", 0).folded());
    }
}
