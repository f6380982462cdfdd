//! LMDB through heed, with a writable map; records under ascending numbers, one transaction an
//! append.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use heed::byteorder::BE;
use heed::types::{Bytes, U64};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags};

use crate::peer::{Mode, Outcome, Peer, Store, Writer};

/// Address space, not disk: the file is as long, but sparse.
const MAP_BYTES: usize = 4 << 30;

pub(crate) static PEER: Peer = Peer {
    name: "lmdb-writemap",
    package: "heed",
    survives_kill: true,
    finds_records: true,
    synced: true,
    append_ack: "in a shared map (WRITEMAP, NOSYNC), no checksum; a power cut can take it all",
    durable_ack: "on the device: msync of the map at each commit (WRITEMAP)",
    append_remark: "",
    durable_remark: "",
    open,
};

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Store>> {
    let flags = match mode {
        Mode::Appended => EnvFlags::WRITE_MAP | EnvFlags::NO_SYNC,
        Mode::Durable => EnvFlags::WRITE_MAP,
    };
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    // SAFETY: without NOSYNC nothing is asked for; with it, a power cut can break the database,
    // which is what the row says.
    unsafe { options.flags(flags) };
    // SAFETY: the directory is this program's own, and no second environment is opened in it.
    let env = unsafe { options.open(dir)? };
    let mut transaction = env.write_txn()?;
    let records: Database<U64<BE>, Bytes> = env.create_database(&mut transaction, None)?;
    let last = records.last(&transaction)?;
    let next = last.map_or(0, |(id, _)| id + 1);
    transaction.commit()?;
    Ok(Box::new(Lmdb { env, records, next: AtomicU64::new(next) }))
}

struct Lmdb {
    env: Env,
    records: Database<U64<BE>, Bytes>,
    /// Taken inside a write transaction, of which there is one at a time: ascending.
    next: AtomicU64,
}

impl Store for Lmdb {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(self)
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        let transaction = self.env.read_txn()?;
        for row in self.records.iter(&transaction)? {
            found(row?.1);
        }
        Ok(())
    }
}

impl Writer for &Lmdb {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.append_batch(&[record])
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        let mut transaction = self.env.write_txn()?;
        for record in records {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            self.records.put_with_flags(&mut transaction, PutFlags::APPEND, &id, record)?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        // The environment was opened without NOSYNC.
        self.append(record)
    }
}
