//! What an exploration has seen: states, each counted once, and those that broke a law.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::laws::Violation;
use super::words::mix;

/// A set of numbers that are hashes already.
type Hashes = HashSet<u64, BuildHasherDefault<Plain>>;

#[derive(Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// A state that broke a law, with the line that leads to it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) line: String,
    pub(crate) broken: Violation,
}

/// What an exploration has seen, for all its workloads and threads.
pub(crate) struct Tally {
    /// Images of disks, each counted once.
    images: Mutex<Hashes>,
    /// Images with the obligations they were checked under.
    keys: Mutex<Hashes>,
    recovered: AtomicU64,
    found: Mutex<Vec<Found>>,
    enough: AtomicBool,
    from: Instant,
    until: Mutex<Option<Instant>>,
    /// So many images are enough.
    wanted: AtomicUsize,
    jobs: AtomicUsize,
}

impl Tally {
    pub(crate) fn new() -> Arc<Tally> {
        Arc::new(Tally {
            images: Mutex::default(),
            keys: Mutex::default(),
            recovered: AtomicU64::new(0),
            found: Mutex::default(),
            enough: AtomicBool::new(false),
            from: Instant::now(),
            until: Mutex::default(),
            wanted: AtomicUsize::new(usize::MAX),
            jobs: AtomicUsize::new(0),
        })
    }

    pub(crate) fn distinct(&self) -> usize {
        self.images.lock().unwrap().len()
    }

    pub(crate) fn recovered(&self) -> u64 {
        self.recovered.load(Ordering::Relaxed)
    }

    pub(crate) fn found(&self) -> Vec<Found> {
        self.found.lock().unwrap().clone()
    }

    /// `crash states: N distinct, M recovered, in S s`, as the gate prints it.
    pub(crate) fn line(&self) -> String {
        let (distinct, recovered) = (self.distinct(), self.recovered());
        let seconds = self.from.elapsed().as_secs_f64();
        format!("crash states: {distinct} distinct, {recovered} recovered, in {seconds:.0} s")
    }

    /// Counts an image, and whether it is new under the obligations that `key` stands for; then it
    /// is to be recovered.
    pub(crate) fn is_new(&self, image: u64, key: u64) -> bool {
        let distinct = {
            let mut images = self.images.lock().unwrap();
            if images.insert(image) { images.len() } else { 0 }
        };
        if distinct > 0 && distinct.is_multiple_of(PROGRESS_STATES) {
            println!("so far {}", self.line());
        }
        let new = self.keys.lock().unwrap().insert(key);
        self.recovered.fetch_add(u64::from(new), Ordering::Relaxed);
        new
    }

    /// Another workload is begun.
    pub(crate) fn begin(&self) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
    }

    /// How many workloads were begun.
    pub(crate) fn workloads(&self) -> usize {
        self.jobs.load(Ordering::Relaxed)
    }

    /// The exploration ends after this long.
    pub(crate) fn end_after(&self, most: Duration) {
        *self.until.lock().unwrap() = Some(Instant::now() + most);
    }

    /// It ends with so many distinct states, too.
    pub(crate) fn end_at(&self, distinct: usize) {
        self.wanted.store(distinct, Ordering::Relaxed);
    }

    pub(crate) fn over(&self) -> bool {
        let until = *self.until.lock().unwrap();
        self.enough.load(Ordering::Relaxed)
            || until.is_some_and(|end| Instant::now() > end)
            || self.distinct() >= self.wanted.load(Ordering::Relaxed)
    }

    pub(crate) fn fail(&self, line: &impl fmt::Display, broken: Violation) {
        // At once: a run may be stopped before its end.
        println!("{line}\n  {broken}");
        let mut found = self.found.lock().unwrap();
        found.push(Found { line: line.to_string(), broken });
        if found.len() >= FOUND_MAX {
            self.enough.store(true, Ordering::Relaxed);
        }
    }
}

/// So often a long run says how far it is.
const PROGRESS_STATES: usize = 100_000;

/// After so many failures nothing new is learnt.
const FOUND_MAX: usize = 20;
