//! sled: a lock-free tree over a page log; records under ascending numbers.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use sled::Db;

use crate::peer::{Mode, Outcome, Peer, Store, Writer};

pub(crate) static PEER: Peer = Peer {
    name: "sled",
    package: "sled",
    survives_kill: false,
    finds_records: true,
    synced: false,
    append_ack: "in a buffer of the process, flushed every 500 ms",
    durable_ack: "written out: insert and flush()",
    append_remark: "",
    durable_remark: "flush() is sync_file_range, which flushes neither metadata nor the \
                     device's cache",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    let db = sled::open(dir)?;
    let next = match db.last()? {
        Some((key, _)) => u64::from_be_bytes(key.as_ref().try_into()?) + 1,
        None => 0,
    };
    Ok(Box::new(Sled { db, next: AtomicU64::new(next) }))
}

struct Sled {
    db: Db,
    next: AtomicU64,
}

impl Sled {
    fn key(&self) -> [u8; 8] {
        self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}

impl Store for Sled {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(self)
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        for row in &*self.db {
            found(&row?.1);
        }
        Ok(())
    }
}

impl Writer for &Sled {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.db.insert(self.key(), record)?;
        Ok(())
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        let mut batch = sled::Batch::default();
        for &record in records {
            batch.insert(&self.key(), record);
        }
        Ok(self.db.apply_batch(batch)?)
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        self.append(record)?;
        self.db.flush()?;
        Ok(())
    }
}
