//! States that cuts left, put into a directory of their own and judged there.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::model::Image;
use crate::lines::{Lines, Told};
use crate::mix;
use crate::probe::{self, Options};

/// Judges states, each of them once.
pub struct States {
    dir: PathBuf,
    seen: HashSet<u64>,
    /// Distinct states that were judged.
    pub judged: u64,
    /// States that had been seen before, with the same lines.
    pub again: u64,
}

impl States {
    /// In this directory, which should lie in memory.
    pub fn new(dir: &Path) -> io::Result<States> {
        let dir = dir.join("state");
        Ok(States { dir, seen: HashSet::new(), judged: 0, again: 0 })
    }

    /// Recovers a state twice, reads everything, goes on; what of it broke a law. `None` if such a
    /// state was judged before.
    pub fn judge(
        &mut self,
        image: &Image,
        told: &Told,
        options: &Options,
    ) -> io::Result<Option<Vec<String>>> {
        let known =
            told.to_lines().bytes().fold(image.hash(), |sum, byte| mix(sum ^ u64::from(byte)));
        if !self.seen.insert(known ^ mix(options.seed)) {
            self.again += 1;
            return Ok(None);
        }
        self.judged += 1;
        let _ = fs::remove_dir_all(&self.dir);
        fs::create_dir_all(&self.dir)?;
        image.put(&self.dir)?;
        Ok(Some(recover(&self.dir, told, options)))
    }

    /// Where the last state lay; recovered by now.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What the judge has to say of a directory. A panic breaks a law as well (V13).
pub fn recover(dir: &Path, told: &Told, options: &Options) -> Vec<String> {
    let judge = || probe::check(dir, options, told, false, true, &Lines::new());
    match catch_unwind(AssertUnwindSafe(judge)) {
        Ok(judged) => judged.bad,
        Err(_) => vec!["V13 it panicked".to_owned()],
    }
}
