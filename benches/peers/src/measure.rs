//! Measures: every peer once a round, round after round, each cell in a store of its own.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use crate::arguments::Arguments;
use crate::peer::{Mode, Outcome, Peer, Store, Writer};
use crate::place::{self, Place};

/// Payload after which a cell ends even if time is left, so that dirty pages stay few.
pub(crate) const CELL_BYTES: usize = 64 << 20;
pub(crate) const BATCH_RECORDS: usize = 100;
/// What the raw sync rate writes at a time: a record of 100 bytes as forebay lays it out.
const RAW_WRITE_BYTES: usize = 171;
const RAW_FILE_BYTES: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Append,
    Batch,
    Durable,
}

/// One column of the tables.
pub(crate) struct Work {
    pub(crate) title: &'static str,
    pub(crate) call: Call,
    pub(crate) threads: usize,
    pub(crate) record_bytes: usize,
}

pub(crate) static WORKS: [Work; 6] = [
    work("100 B, 1 thread", Call::Append, 1, 100),
    work("100 B, 4 threads", Call::Append, 4, 100),
    work("1 KiB, 1 thread", Call::Append, 1, 1024),
    work("batches of 100 x 100 B", Call::Batch, 1, 100),
    work("100 B, 1 thread", Call::Durable, 1, 100),
    work("100 B, 16 threads", Call::Durable, 16, 100),
];

const fn work(title: &'static str, call: Call, threads: usize, record_bytes: usize) -> Work {
    Work { title, call, threads, record_bytes }
}

impl Work {
    pub(crate) fn mode(&self) -> Mode {
        if self.call == Call::Durable { Mode::Durable } else { Mode::Appended }
    }

    /// How many records are written between two looks at the clock.
    fn chunk(&self) -> u32 {
        match self.call {
            Call::Append => 256,
            Call::Batch => 400,
            Call::Durable => 1,
        }
    }

    fn warm_up_records(&self) -> u32 {
        match self.call {
            Call::Append | Call::Batch => 2000,
            Call::Durable => 20,
        }
    }
}

/// One row's values for one work, a value a round; empty if the peer does not do it.
pub(crate) struct Results {
    /// By work, then by peer as in the arguments.
    pub(crate) values: Vec<Vec<Vec<f64>>>,
    /// Syncs a second of one thread on a preallocated file.
    pub(crate) raw_syncs: Vec<f64>,
}

pub(crate) fn run(arguments: &Arguments, place: &Place) -> Outcome<Results> {
    place.warm_up()?;
    let mut results = Results { values: Vec::new(), raw_syncs: Vec::new() };
    for (number, work) in WORKS.iter().enumerate() {
        let mut values = vec![Vec::new(); arguments.peers.len()];
        for round in 1..=arguments.rounds {
            eprintln!("work {} of {}, round {round}", number + 1, WORKS.len());
            if work.call == Call::Durable && work.threads == 1 {
                results.raw_syncs.push(raw_sync_rate(place, arguments.seconds)?);
            }
            for (peer, values) in arguments.peers.iter().zip(&mut values) {
                match cell(peer, work, place, arguments.seconds) {
                    Ok(value) => values.extend(value),
                    Err(error) => eprintln!("{}: {error}", peer.name),
                }
            }
        }
        results.values.push(values);
    }
    Ok(results)
}

/// One measurement: nanoseconds a record, or acknowledgements a second for a durable work.
fn cell(peer: &Peer, work: &Work, place: &Place, seconds: f64) -> Outcome<Option<f64>> {
    let ack = match work.mode() {
        Mode::Appended => peer.append_ack,
        Mode::Durable => peer.durable_ack,
    };
    if ack.is_empty() {
        return Ok(None);
    }
    let dir = place.empty_dir("store")?;
    let mut store = (peer.open)(&dir, work.mode())?;
    let records_max = CELL_BYTES / work.record_bytes;
    let budget = AtomicI64::new(i64::try_from(records_max)?);
    let drive = Drive { work, budget, time: Duration::from_secs_f64(seconds) };
    let (records, elapsed) =
        if work.threads == 1 { drive.alone(&mut *store)? } else { drive.together(&*store)? };
    drop(store);
    place::remove(&dir)?;
    Ok(Some(match work.call {
        Call::Durable => records as f64 / elapsed.as_secs_f64(),
        Call::Append | Call::Batch => elapsed.as_nanos() as f64 / records as f64,
    }))
}

/// How the threads of a cell know when to stop.
struct Drive<'a> {
    work: &'a Work,
    /// Records left to write, of all threads.
    budget: AtomicI64,
    time: Duration,
}

/// What one thread did, and from when to when.
struct Span {
    records: u64,
    begin: Instant,
    end: Instant,
}

impl Drive<'_> {
    fn alone(&self, store: &mut dyn Store) -> Outcome<(u64, Duration)> {
        let mut writer = store.sole_writer();
        let span = self.thread(&mut *writer, || {})?;
        Ok((span.records, span.end - span.begin))
    }

    fn together(&self, store: &dyn Store) -> Outcome<(u64, Duration)> {
        let warm = Barrier::new(self.work.threads);
        let ready = || {
            warm.wait();
        };
        let thread = || self.thread(&mut *store.writer(), ready);
        let spans = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.work.threads).map(|_| scope.spawn(thread)).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Outcome<Span>>| match thread.join() {
                Ok(span) => span,
                Err(_) => Err("a thread panicked".into()),
            };
            threads.into_iter().map(join).collect::<Outcome<Vec<Span>>>()
        })?;
        let begin = spans.iter().map(|span| span.begin).min().ok_or("no thread")?;
        let end = spans.iter().map(|span| span.end).max().ok_or("no thread")?;
        Ok((spans.iter().map(|span| span.records).sum(), end - begin))
    }

    fn thread(&self, writer: &mut dyn Writer, ready: impl FnOnce()) -> Outcome<Span> {
        let record = text(self.work.record_bytes);
        let batch = vec![record.as_slice(); BATCH_RECORDS];
        let warmed = self.write(writer, &record, &batch, self.work.warm_up_records());
        // Even after an error: the others wait.
        ready();
        warmed?;
        let chunk = self.work.chunk();
        let begin = Instant::now();
        let mut records = 0;
        loop {
            self.write(writer, &record, &batch, chunk)?;
            records += u64::from(chunk);
            let end = Instant::now();
            let left = self.budget.fetch_sub(i64::from(chunk), Ordering::Relaxed);
            if end - begin >= self.time || left <= i64::from(chunk) {
                return Ok(Span { records, begin, end });
            }
        }
    }

    fn write(
        &self,
        writer: &mut dyn Writer,
        record: &[u8],
        batch: &[&[u8]],
        records: u32,
    ) -> Outcome {
        match self.work.call {
            Call::Append => writer.append_times(record, u64::from(records)),
            Call::Batch => {
                let batches = records as usize / batch.len();
                (0..batches).try_for_each(|_| writer.append_batch(batch))
            }
            Call::Durable => (0..records).try_for_each(|_| writer.append_durable(record)),
        }
    }
}

/// A record without pattern, so that nothing shrinks it; letters, so that any peer reads it.
fn text(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'!' + u8::try_from(state % 94).unwrap_or(0)
    };
    (0..bytes).map(|_| letter()).collect()
}

/// The limit of the durable rows: write a record's bytes behind the last ones, fdatasync, repeat.
fn raw_sync_rate(place: &Place, seconds: f64) -> Outcome<f64> {
    let dir = place.empty_dir("raw")?;
    let rate = raw_sync_rate_in(&dir, Duration::from_secs_f64(seconds))?;
    place::remove(&dir)?;
    Ok(rate)
}

fn raw_sync_rate_in(dir: &Path, time: Duration) -> Outcome<f64> {
    let file = File::create_new(dir.join("raw"))?;
    fallocate(&file, FallocateFlags::empty(), 0, RAW_FILE_BYTES)?;
    file.sync_all()?;
    let record = text(RAW_WRITE_BYTES);
    let writes_max = RAW_FILE_BYTES / record.len() as u64;
    let begin = Instant::now();
    let mut writes = 0;
    while begin.elapsed() < time && writes < writes_max {
        file.write_all_at(&record, writes * record.len() as u64)?;
        file.sync_data()?;
        writes += 1;
    }
    Ok(writes as f64 / begin.elapsed().as_secs_f64())
}
