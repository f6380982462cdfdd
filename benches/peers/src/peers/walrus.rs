//! walrus: topics in blocks of 10 MB inside sparse files of 1 GB, through maps or by `pwrite`.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::thread;

use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus, disable_fd_backend, enable_fd_backend};

use crate::peer::{Mode, Outcome, Peer, Store, Writer};

const TOPIC: &str = "log";
/// The crate takes its directory from here and its log's name from a key.
pub(crate) const DIR_VARIABLE: &str = "WALRUS_DATA_DIR";
/// Without it the crate prints a line an append.
pub(crate) const QUIET_VARIABLE: &str = "WALRUS_QUIET";

pub(crate) static MAPPED: Peer = Peer {
    name: "walrus-mapped",
    package: "walrus-rust",
    survives_kill: true,
    finds_records: true,
    synced: true,
    append_ack: "in a shared map; a batch is synced (msync) whatever the schedule",
    durable_ack: "on the device: msync of the whole 1 GB file (SyncEach)",
    append_remark: "",
    durable_remark: "",
    open: |dir, mode| {
        disable_fd_backend();
        open(dir, mode)
    },
};

pub(crate) static POSITIONED: Peer = Peer {
    name: "walrus-positioned",
    append_ack: "in the page cache; a batch is synced (fsync) whatever the schedule",
    durable_ack: "on the device: fsync of the file (SyncEach)",
    open: |dir, mode| {
        enable_fd_backend();
        open(dir, mode)
    },
    ..MAPPED
};

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Store>> {
    let schedule = match mode {
        Mode::Appended => FsyncSchedule::NoFsync,
        Mode::Durable => FsyncSchedule::SyncEach,
    };
    let key = dir.file_name().and_then(OsStr::to_str).ok_or("a directory without a name")?;
    let reading = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
    Ok(Box::new(Topic(Walrus::with_consistency_and_schedule_for_key(key, reading, schedule)?)))
}

struct Topic(Walrus);

impl Store for Topic {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(self)
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        loop {
            let entries = self.0.batch_read_for_topic(TOPIC, 1 << 20, true)?;
            if entries.is_empty() {
                return Ok(());
            }
            entries.iter().for_each(|entry| found(&entry.data));
        }
    }
}

/// While one thread writes a batch, the others are told to try again.
fn until_free(mut call: impl FnMut() -> io::Result<()>) -> Outcome {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
            done => return Ok(done?),
        }
    }
}

impl Writer for &Topic {
    fn append(&mut self, record: &[u8]) -> Outcome {
        until_free(|| self.0.append_for_topic(TOPIC, record))
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        until_free(|| self.0.batch_append_for_topic(TOPIC, records))
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        // The schedule the log was opened with syncs before this returns.
        self.append(record)
    }
}
