//! An upstream that breaks: every way a link can fail, at random moments.

use std::fmt;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forebay::{Error, Offset, RecordBatch, Result, Resume, Source, Upstream, UpstreamStatus};

/// How the text of every error made here begins.
pub(crate) const INJECTED: &str = "injected: ";

/// The link to an upstream, and what goes wrong on it.
///
/// Every 0.1 to 1.5 seconds one outage is due, and the next call that it fits meets it: the link
/// goes down for 0.2 to 1.5 s, a batch is lost before it arrives, the link breaks after a batch
/// arrived, or an answer is lost: the upstream is open, or has everything durably, and nobody is
/// told.
pub(crate) struct Outages<U> {
    upstream: U,
    /// `None` for a link that never breaks.
    random: Option<Random>,
    counts: Arc<OutageCounts>,
    due: Option<(Instant, Outage)>,
    down_until: Option<Instant>,
}

/// How many outages there were, by kind.
#[derive(Debug, Default)]
pub(crate) struct OutageCounts {
    downs: AtomicU64,
    batches_lost: AtomicU64,
    breaks: AtomicU64,
    answers_lost: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Down,
    BatchLost,
    Break,
    AnswerLost,
}

impl<U: Upstream> Outages<U> {
    /// The link as it is, or one that breaks.
    pub(crate) fn new(upstream: U, breaks: bool) -> Outages<U> {
        let random = breaks.then(Random::new);
        Outages { upstream, random, counts: Arc::default(), due: None, down_until: None }
    }

    /// What went wrong so far; goes on counting while the link is in use elsewhere.
    pub(crate) fn counts(&self) -> Arc<OutageCounts> {
        Arc::clone(&self.counts)
    }

    /// Whether this call meets an outage that is due, one of those that fit.
    fn meets(&mut self, fitting: &[Outage]) -> Option<Outage> {
        let random = self.random.as_mut()?;
        let now = Instant::now();
        let (at, outage) = *self.due.get_or_insert_with(|| {
            let kinds = [Outage::BatchLost, Outage::Break, Outage::AnswerLost];
            let kind = kinds.get(random.below(5)).copied().unwrap_or(Outage::Down);
            (now + random.between_ms(100, 1500), kind)
        });
        if now < at || !fitting.contains(&outage) {
            return None;
        }
        self.due = None;
        let count = match outage {
            Outage::Down => &self.counts.downs,
            Outage::BatchLost => &self.counts.batches_lost,
            Outage::Break => &self.counts.breaks,
            Outage::AnswerLost => &self.counts.answers_lost,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Some(outage)
    }

    /// Fails while the link is down, and takes it down when that is due.
    fn check_up(&mut self) -> Result<()> {
        if self.meets(&[Outage::Down]).is_some() {
            let length = self.random.as_mut().map(|random| random.between_ms(200, 1500));
            self.down_until = length.and_then(|length| Instant::now().checked_add(length));
        }
        match self.down_until {
            Some(until) if Instant::now() < until => Err(broken("the link is down")),
            _ => Ok(()),
        }
    }

    /// Hands on what the upstream said, unless that gets lost.
    fn answer<T>(&mut self, answer: T) -> Result<T> {
        match self.meets(&[Outage::AnswerLost]) {
            Some(_) => Err(broken("the upstream's answer was lost on its way")),
            None => Ok(answer),
        }
    }
}

impl<U: Upstream> Upstream for Outages<U> {
    fn connect(&mut self, source: &mut Source<'_>) -> Result<Resume> {
        self.check_up()?;
        let resume = self.upstream.connect(source)?;
        self.answer(resume)
    }

    fn send(&mut self, batch: &RecordBatch, source: &mut Source<'_>) -> Result<()> {
        self.check_up()?;
        match self.meets(&[Outage::BatchLost, Outage::Break]) {
            Some(Outage::BatchLost) => Err(broken("the batch was lost on its way")),
            Some(_) => {
                self.upstream.send(batch, source)?;
                Err(broken("the link broke after the batch had arrived"))
            }
            None => self.upstream.send(batch, source),
        }
    }

    fn acknowledge(&mut self, max_wait: Duration, source: &mut Source<'_>) -> Result<Offset> {
        self.check_up()?;
        let below = self.upstream.acknowledge(max_wait, source)?;
        self.answer(below)
    }

    fn disconnect(&mut self) {
        self.upstream.disconnect();
    }

    fn pause(&self) -> Duration {
        self.upstream.pause()
    }

    fn status(&self) -> UpstreamStatus {
        self.upstream.status()
    }
}

fn broken(what: &str) -> Error {
    Error::upstream(format!("{INJECTED}{what}"))
}

impl OutageCounts {
    pub(crate) fn total(&self) -> u64 {
        let counts = [&self.downs, &self.batches_lost, &self.breaks, &self.answers_lost];
        counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl fmt::Display for OutageCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} outages: link down {}, batch lost {}, broken behind a batch {}, answer lost {}",
            self.total(),
            self.downs.load(Ordering::Relaxed),
            self.batches_lost.load(Ordering::Relaxed),
            self.breaks.load(Ordering::Relaxed),
            self.answers_lost.load(Ordering::Relaxed)
        )
    }
}

/// Random numbers that need no quality (SplitMix64), different in every run.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Random(u64::from(now.subsec_nanos()) << 32 | u64::from(process::id()))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u32) -> usize {
        usize::try_from(self.next() % u64::from(bound)).unwrap_or(0)
    }

    fn between_ms(&mut self, min: u64, max: u64) -> Duration {
        Duration::from_millis(min + self.next() % (max - min))
    }
}
