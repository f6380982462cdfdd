//! commitlog: segments written by `write`, one index entry a record in a shared map.

use std::path::Path;

use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{CommitLog, LogOptions, ReadLimit};

use crate::peer::{Locked, Mode, Outcome, Peer, Single, Store, Writer};

pub(crate) static PEER: Peer = Peer {
    name: "commitlog",
    package: "commitlog",
    survives_kill: false,
    finds_records: false,
    synced: false,
    append_ack: "in the page cache",
    durable_ack: "append and flush()",
    append_remark: "a write that the kill cuts short takes the record before it, and all that \
                    is appended behind it",
    durable_remark: "flush() syncs pages of the index when they are full, the records never",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    let log = CommitLog::new(LogOptions::new(dir))?;
    Ok(Locked::boxed(Commitlog { log, batch: MessageBuf::default() }))
}

struct Commitlog {
    log: CommitLog,
    /// Kept for its memory.
    batch: MessageBuf,
}

impl Writer for Commitlog {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.append_batch(&[record])
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        self.batch.clear();
        for record in records {
            self.batch.push(record).map_err(|_| "the record is too large")?;
        }
        self.log.append(&mut self.batch)?;
        Ok(())
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        self.append(record)?;
        Ok(self.log.flush()?)
    }
}

impl Single for Commitlog {
    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        let mut next = 0;
        loop {
            // A piece with damage in it fails as a whole; small pieces come closer to the damage.
            let piece = |bytes| self.log.read(next, ReadLimit::max_bytes(bytes));
            let batch = piece(1 << 20).or_else(|_| piece(4 << 10)).or_else(|_| piece(200))?;
            if batch.is_empty() {
                return Ok(());
            }
            for message in batch.iter() {
                found(message.payload());
                next = message.offset() + 1;
            }
        }
    }
}
