//! fjall: a log-structured tree with a journal; records under ascending numbers.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::peer::{Mode, Outcome, Peer, Store, Writer};

pub(crate) static PEER: Peer = Peer {
    name: "fjall",
    package: "fjall",
    survives_kill: true,
    finds_records: true,
    synced: true,
    append_ack: "in the page cache",
    durable_ack: "on the device: insert and persist(SyncAll)",
    append_remark: "",
    durable_remark: "",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    let db = Database::builder(dir).open()?;
    let records = db.keyspace("log", KeyspaceCreateOptions::default)?;
    let next = match records.last_key_value() {
        Some(last) => after(&last.key()?)?,
        None => 0,
    };
    Ok(Box::new(Fjall { db, records, next: AtomicU64::new(next) }))
}

fn after(key: &[u8]) -> Outcome<u64> {
    Ok(u64::from_be_bytes(key.try_into()?) + 1)
}

struct Fjall {
    db: Database,
    records: Keyspace,
    next: AtomicU64,
}

impl Fjall {
    fn key(&self) -> [u8; 8] {
        self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}

impl Store for Fjall {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(self)
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        for row in self.records.iter() {
            found(&row.value()?);
        }
        Ok(())
    }
}

impl Writer for &Fjall {
    fn append(&mut self, record: &[u8]) -> Outcome {
        Ok(self.records.insert(self.key(), record)?)
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        let mut batch = self.db.batch();
        for &record in records {
            batch.insert(&self.records, self.key(), record);
        }
        Ok(batch.commit()?)
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        self.append(record)?;
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}
