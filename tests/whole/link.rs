//! The other end of a replicator: a mirror on a disk of its own, and a link that breaks.
//!
//! Whatever breaks, the mirror holds the log's own records, in order, each once, none missing that
//! the log still has; and what the replicator has committed is durable there (I16, I17).

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::simulation::{CallKind, Disk, Fault, Keep};
use forebay::{
    Error, FlushPolicy, Log, LogOptions, Offset, OffsetSpec, RecordBatch, Replicator,
    ReplicatorOptions, Result, Resume, Source, Upstream,
};

use super::books::{Book, Books};
use super::compacted::{MET, Newest};
use super::laws::{self, Law, Violation, broken, or_broken};
use super::rules::UPLINK;

/// The upstream's machine; a cut puts another one in its place.
pub(crate) type Machine = Arc<Mutex<Disk>>;

/// How a link ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Break {
    /// Behind so many batches; the acknowledgement of the last one is lost at the latest.
    pub(crate) after: u16,
    /// What becomes of the upstream.
    pub(crate) how: u16,
    pub(crate) seed: u64,
}

struct Mirror {
    machine: Machine,
    books: Arc<Mutex<Books>>,
    at: usize,
    dir: String,
    log: Option<Log>,
    end: Break,
    /// What the log had at the connect, and what was sent of it.
    target: i64,
    sent: (i64, i64),
    held_back: bool,
    done: Sender<()>,
}

/// Where the mirror of a log in one of its lives is.
fn dir(at: usize, life: u64) -> String {
    format!("/mirrors/{at}-{life}")
}

fn mirror_options() -> LogOptions {
    Log::options().flush(FlushPolicy::Manual).segment_bytes(4096).max_batch_bytes(4096)
}

impl Mirror {
    fn book<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        change(&mut self.books.lock().unwrap().logs[self.at])
    }

    fn open(&self) -> Result<&Log> {
        self.log.as_ref().ok_or_else(|| Error::upstream("the link is down"))
    }
}

impl Upstream for Mirror {
    fn connect(&mut self, source: &mut Source<'_>) -> Result<Resume> {
        let disk = self.machine.lock().unwrap().clone();
        let log = mirror_options().mirror_of(source.log_id()).open_on(&disk, &self.dir)?;
        let durable = log.flush()?;
        self.target = source.durable().get();
        self.book(|book| {
            book.model.durable = book.model.durable.max(source.durable().get());
            book.linked.extend([durable.get(), source.log_start().get()]);
        });
        if self.end.how == 4 {
            let on = CallKind::SyncFile;
            disk.fail(Fault { on, name: None, after: self.end.seed % 3, times: 1, errno: 5 });
        }
        self.log = Some(log);
        Ok(Resume::at(durable))
    }

    fn send(&mut self, batch: &RecordBatch, _: &mut Source<'_>) -> Result<()> {
        if self.end.after == 0 {
            return Err(Error::upstream("the link broke before a batch"));
        }
        self.end.after -= 1;
        self.open()?.append_mirrored(batch)?;
        self.sent = (batch.base_offset().get(), batch.next_offset().get());
        Ok(())
    }

    fn acknowledge(&mut self, _: Duration, _: &mut Source<'_>) -> Result<Offset> {
        let durable = self.open()?.flush()?.get();
        let below = match self.sent.1 >= self.target {
            false => durable,
            true if self.held_back => {
                return Err(Error::upstream("the acknowledgement was lost"));
            }
            true => {
                self.held_back = true;
                self.sent.0.min(durable)
            }
        };
        self.book(|book| book.linked.insert(below));
        Ok(Offset::new(below))
    }

    fn disconnect(&mut self) {
        if let Some(log) = self.log.take() {
            let mut machine = self.machine.lock().unwrap();
            let next = match self.end.how {
                1 => Some(machine.power_cut(Keep::None)),
                2 => Some(machine.power_cut(Keep::Seed(self.end.seed))),
                3 => Some(machine.kill()),
                _ => None,
            };
            // It is closed behind the cut: on a disk that nobody looks at any more.
            *machine = next.unwrap_or_else(|| machine.clone());
            machine.clear_faults();
            drop(machine);
            drop(log);
        }
        let _ = self.done.send(());
    }
}

/// Ships until the link breaks; the log has one record at least that was not shipped. Nobody else
/// uses the log meanwhile, so that chance has no part in it.
pub(crate) fn ship(
    log: &Log,
    machine: &Machine,
    books: &Arc<Mutex<Books>>,
    at: usize,
    end: Break,
) -> std::result::Result<std::result::Result<(), Error>, Violation> {
    let (done, broke): (Sender<()>, Receiver<()>) = channel();
    let life = {
        let mut books = books.lock().unwrap();
        let book = &mut books.logs[at];
        book.linked.insert(book.model.start);
        book.life
    };
    let mirror = Mirror {
        machine: Arc::clone(machine),
        books: Arc::clone(books),
        at,
        dir: dir(at, life),
        log: None,
        end,
        target: 0,
        sent: (0, 0),
        held_back: false,
        done,
    };
    let hour = Duration::from_secs(3600);
    let options = ReplicatorOptions::new().backoff(hour, hour).in_flight_bytes(4096);
    let options = options.acknowledge_timeout(hour);
    let replicator = match Replicator::start(log, UPLINK, mirror, options) {
        Ok(replicator) => replicator,
        Err(error) => return Ok(Err(error)),
    };
    if broke.recv_timeout(Duration::from_secs(600)).is_err() {
        return broken(13, format!("the replicator hangs: {:?}", replicator.status()));
    }
    let status = replicator.status();
    or_broken(13, replicator.stop())?;
    if status.last_error_kind == Some(forebay::ErrorKind::Conflict) {
        return broken(5, format!("log and upstream disagree: {status:?}"));
    }
    Ok(Ok(()))
}

/// L = 0, D = 0, in order: the mirror has the log's records, each at its offset, and none is
/// missing that the log still has.
pub(crate) fn compare(upstream: &Disk, at: usize, book: &Book) -> Law {
    let dir = dir(at, book.life);
    if upstream.file_names(&dir).iter().all(|name| !name.ends_with(".log")) {
        return Ok(());
    }
    let copy = upstream.kill();
    // Its source is known to the mirror itself.
    let log = or_broken(13, mirror_options().open_on(&copy, &dir))?;
    let newest = Newest::below(book, book.highest());
    let may_lack = |offset: i64| {
        newest.may_lack(offset).map(drop).map_err(|broken| {
            let what = format!("upstream, of a log from {}: {}", book.model.start, broken.what);
            Violation { law: 1, what }
        })
    };
    let (mut next, mut gaps) = (0, 0);
    for batch in or_broken(2, log.reader(OffsetSpec::Earliest))? {
        let batch = or_broken(2, batch)?;
        let (base, end) = (batch.base_offset().get(), batch.next_offset().get());
        let begun = book.model.start.max(book.thinned_below);
        let missing = begun.max(next)..base;
        gaps = gaps.max(u64::from(!missing.is_empty()));
        missing.into_iter().try_for_each(may_lack)?;
        if end > book.model.durable {
            let durable = book.model.durable;
            return broken(5, format!("upstream has {base}..{end}, durable is {durable} (I16)"));
        }
        if base >= book.model.batches.first().map_or(0, |first| first.base) {
            let gone = laws::v2_what_is_left(&batch, base, &book.model)?;
            gaps = gaps.max(u64::from(!gone.is_empty()));
            gone.into_iter().try_for_each(may_lack)?;
        }
        next = end;
    }
    MET[2].fetch_add(gaps, Ordering::Relaxed);
    let end = log.log_end_offset().get();
    match book.linked() {
        Some(linked) if linked > end.max(book.model.start) => {
            broken(1, format!("{linked} was acknowledged, upstream has {end} (L)"))
        }
        _ => Ok(()),
    }
}
