//! redb: a copy-on-write B-tree; records under ascending numbers, one transaction an append.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::peer::{Mode, Outcome, Peer, Store, Writer};

const TABLE: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("log");

pub(crate) static PEER: Peer = Peer {
    name: "redb",
    package: "redb",
    survives_kill: false,
    finds_records: true,
    synced: true,
    append_ack: "committed with Durability::None: in the process",
    durable_ack: "on the device: a transaction with Durability::Immediate",
    append_remark: "Durability::None is kept only from the next Durability::Immediate on",
    durable_remark: "",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    let db = Database::create(dir.join("log.redb"))?;
    let next = match db.begin_read()?.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => 0,
        table => table?.last()?.map_or(0, |(id, _)| id.value() + 1),
    };
    Ok(Box::new(Redb { db, next: AtomicU64::new(next) }))
}

struct Redb {
    db: Database,
    next: AtomicU64,
}

impl Redb {
    fn put(&self, records: &[&[u8]], durability: Durability) -> Outcome {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for &record in records {
                table.insert(self.next.fetch_add(1, Ordering::Relaxed), record)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Store for Redb {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(self)
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        let transaction = self.db.begin_read()?;
        let table = match transaction.open_table(TABLE) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            table => table?,
        };
        for row in table.iter()? {
            found(row?.1.value());
        }
        Ok(())
    }
}

impl Writer for &Redb {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.put(&[record], Durability::None)
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        self.put(records, Durability::None)
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        self.put(&[record], Durability::Immediate)
    }
}
