//! What every peer has in common: how it is written to, and what is known of it.

use std::error::Error;
use std::path::Path;

use parking_lot::Mutex;

/// The result of anything a peer does.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a store is opened for: some peers take it as an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Appends that no sync follows.
    Appended,
    /// Appends that are acknowledged after the strongest sync the crate documents.
    Durable,
}

/// One row of the table: a crate in one configuration, and what is known of it.
///
/// The three statements are not opinions: `--check-kill` tests the first and much of the second,
/// the sync count of the README the third.
pub(crate) struct Peer {
    /// In the table, and for `--only`.
    pub(crate) name: &'static str,
    /// The crate, whose version is looked up in `Cargo.lock`.
    pub(crate) package: &'static str,
    /// Records acknowledged without a sync are there again after SIGKILL, from any thread.
    pub(crate) survives_kill: bool,
    /// All records that are in its files can be found again after reopening.
    pub(crate) finds_records: bool,
    /// Every durable acknowledgement follows a device sync that covers its record.
    pub(crate) synced: bool,
    /// What the acknowledgement of an append means; empty if there is none without a sync.
    pub(crate) append_ack: &'static str,
    /// What the acknowledgement of a durable append means; empty if the crate has none.
    pub(crate) durable_ack: &'static str,
    /// More on why its appends, or its durable appends, have no rank; empty if there is no more.
    pub(crate) append_remark: &'static str,
    pub(crate) durable_remark: &'static str,
    /// Opens a store in a directory, or creates it; the directory is there.
    pub(crate) open: fn(&Path, Mode) -> Outcome<Box<dyn Store>>,
}

impl Peer {
    /// The mode in which its weakest acknowledgement is given.
    pub(crate) fn weakest_mode(&self) -> Mode {
        if self.append_ack.is_empty() { Mode::Durable } else { Mode::Appended }
    }

    /// Why it is shown without a rank, or nothing if it is ranked.
    pub(crate) fn unranked(&self, mode: Mode) -> Option<String> {
        let (holds, broken, remark) = match mode {
            Mode::Appended => (
                self.survives_kill,
                "loses acknowledged records when the process is killed",
                self.append_remark,
            ),
            Mode::Durable => {
                (self.synced, "acknowledges without a sync of the record", self.durable_remark)
            }
        };
        let why = if !holds {
            broken
        } else if !self.finds_records {
            "does not find all its records again"
        } else {
            return None;
        };
        Some(if remark.is_empty() { why.to_owned() } else { format!("{why}: {remark}") })
    }
}

/// An open store.
pub(crate) trait Store: Send + Sync {
    /// A writer that may be used beside others.
    fn writer(&self) -> Box<dyn Writer + '_>;

    /// A writer that is the only one: without a lock where the peer needs one for several.
    fn sole_writer(&mut self) -> Box<dyn Writer + '_> {
        self.writer()
    }

    /// Hands out every record that can be found.
    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome;
}

/// What one thread writes through.
pub(crate) trait Writer {
    /// Appends a record; no sync is asked for.
    fn append(&mut self, record: &[u8]) -> Outcome;

    /// Appends records by the crate's own batch call, or one by one if it has none.
    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        records.iter().try_for_each(|record| self.append(record))
    }

    /// Appends a record and returns once the crate says that it survives a power cut.
    fn append_durable(&mut self, record: &[u8]) -> Outcome;

    /// Appends the same record many times. Not to be overridden: it puts the loop on the other
    /// side of the virtual call.
    fn append_times(&mut self, record: &[u8], times: u64) -> Outcome {
        (0..times).try_for_each(|_| self.append(record))
    }
}

/// A peer that has one writer at a time: `&mut self`, or a handle that threads cannot share.
pub(crate) trait Single: Writer + Send {
    /// As [`Store::read_all`].
    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome;
}

/// A [`Single`] behind the lock its users would put around it.
pub(crate) struct Locked<S>(Mutex<S>);

impl<S: Single + 'static> Locked<S> {
    pub(crate) fn boxed(single: S) -> Box<dyn Store> {
        Box::new(Locked(Mutex::new(single)))
    }
}

impl<S: Single> Store for Locked<S> {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(&self.0)
    }

    fn sole_writer(&mut self) -> Box<dyn Writer + '_> {
        Box::new(self.0.get_mut())
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        self.0.get_mut().read_all(found)
    }
}

impl<S: Single> Writer for &Mutex<S> {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.lock().append(record)
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        self.lock().append_batch(records)
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        self.lock().append_durable(record)
    }
}

impl<S: Single> Writer for &mut S {
    fn append(&mut self, record: &[u8]) -> Outcome {
        (**self).append(record)
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        (**self).append_batch(records)
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        (**self).append_durable(record)
    }
}

/// The error of a call that a peer does not have; [`Peer`] says so as well, so nobody makes it.
pub(crate) fn absent<T>(what: &str) -> Outcome<T> {
    Err(format!("there is no {what}").into())
}
