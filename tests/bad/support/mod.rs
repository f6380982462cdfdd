//! What the tests of bad input share: damaged directories, and the judge over what comes of them.

pub(crate) mod heap;
pub(crate) mod image;
pub(crate) mod judge;
pub(crate) mod sample;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use image::Image;
use judge::{Verdict, judge};
use sample::Sample;

/// The rows of a table as they are judged: all failures are told at the end, not only the first.
#[derive(Default)]
pub(crate) struct Table {
    rows: usize,
    classes: BTreeMap<String, usize>,
    failures: Vec<String>,
    slowest: (Duration, String),
    fattest: (usize, String),
}

/// Failures that are listed; the rest are counted.
const LISTED_MAX: usize = 25;

impl Table {
    /// Puts the image into the directory and has it judged.
    pub(crate) fn row(
        &mut self,
        what: &dyn Fn() -> String,
        sample: &Sample,
        image: &Image,
        dir: &Path,
    ) -> Option<Verdict> {
        let what = || format!("{:?}, {:?}: {}", sample.mode(), sample.left, what());
        self.judged(&what, || image::put(image, dir).then(|| judge(sample, image, dir)))
    }

    /// Counts what came of a row; a panic is its failure.
    pub(crate) fn judged(
        &mut self,
        what: &dyn Fn() -> String,
        judged: impl FnOnce() -> Option<Verdict>,
    ) -> Option<Verdict> {
        self.rows += 1;
        match catch_unwind(AssertUnwindSafe(judged)) {
            Ok(Some(verdict)) => {
                let class = match verdict.kind {
                    Some(kind) => format!("{:?} {kind:?}", verdict.class),
                    None => format!("{:?}", verdict.class),
                };
                *self.classes.entry(class).or_default() += 1;
                if verdict.took > self.slowest.0 {
                    self.slowest = (verdict.took, what());
                }
                if verdict.heap > self.fattest.0 {
                    self.fattest = (verdict.heap, what());
                }
                Some(verdict)
            }
            Ok(None) => {
                *self.classes.entry("not to be made here".to_owned()).or_default() += 1;
                None
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                self.failures.push(format!("{}: {}", what(), text.unwrap_or_default()));
                None
            }
        }
    }

    /// Fails if any row failed.
    pub(crate) fn finish(self) {
        println!(
            "{} rows: {:?}; slowest {:?}, {}; most memory {} bytes, {}",
            self.rows, self.classes, self.slowest.0, self.slowest.1, self.fattest.0, self.fattest.1
        );
        assert!(self.rows > 0);
        let listed = self.failures.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join("\n");
        let count = self.failures.len();
        assert!(count == 0, "{count} of {} rows failed:\n{listed}", self.rows);
    }
}
