//! SQLite through rusqlite: a table with a rowid, WAL mode, one connection behind a lock. Several
//! connections would wait for each other by sleeping.

use std::path::Path;

use rusqlite::Connection;

use crate::peer::{Locked, Outcome, Peer, Single, Store, Writer, absent};

const INSERT: &str = "INSERT INTO log (record) VALUES (?1)";

pub(crate) static OFF: Peer = Peer {
    name: "sqlite-off",
    package: "rusqlite",
    survives_kill: true,
    finds_records: true,
    synced: false,
    append_ack: "in the page cache (WAL, synchronous OFF); a power cut can take the database",
    durable_ack: "",
    append_remark: "",
    durable_remark: "",
    open: |dir, _| open(dir, "OFF"),
};

pub(crate) static NORMAL: Peer = Peer {
    name: "sqlite-normal",
    append_ack: "in the page cache (WAL, synchronous NORMAL: syncs at checkpoints)",
    open: |dir, _| open(dir, "NORMAL"),
    ..OFF
};

pub(crate) static FULL: Peer = Peer {
    name: "sqlite-full",
    synced: true,
    append_ack: "",
    durable_ack: "on the device: fsync of the WAL at each commit (synchronous FULL)",
    open: |dir, _| open(dir, "FULL"),
    ..OFF
};

fn open(dir: &Path, synchronous: &'static str) -> Outcome<Box<dyn Store>> {
    let connection = Connection::open(dir.join("log.sqlite"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, record BLOB NOT NULL)",
    )?;
    Ok(Locked::boxed(Sqlite { connection, full: synchronous == "FULL" }))
}

struct Sqlite {
    connection: Connection,
    full: bool,
}

impl Writer for Sqlite {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.connection.prepare_cached(INSERT)?.execute((record,))?;
        Ok(())
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(INSERT)?;
            for &record in records {
                insert.execute((record,))?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        if self.full { self.append(record) } else { absent("sync at each commit") }
    }
}

impl Single for Sqlite {
    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        let mut select = self.connection.prepare("SELECT record FROM log ORDER BY id")?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            found(row.get_ref(0)?.as_blob()?);
        }
        Ok(())
    }
}
