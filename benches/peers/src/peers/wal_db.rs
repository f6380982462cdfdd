//! wal-db: each append reserves its bytes and writes them by `pwrite`; syncs are shared.

use std::path::Path;

use wal_db::Wal;

use crate::peer::{Mode, Outcome, Peer, Store, Writer};

pub(crate) static PEER: Peer = Peer {
    name: "wal-db",
    package: "wal-db",
    survives_kill: false,
    finds_records: true,
    synced: true,
    append_ack: "in the page cache, but behind writes of other threads that may be missing",
    durable_ack: "on the device: append_and_sync, fdatasync shared by concurrent appends",
    append_remark: "with several threads; a kill between two writes leaves a hole, and opening \
                    cuts the log there",
    durable_remark: "",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(WalDb(Wal::open(dir.join("log.wal"))?)))
}

struct WalDb(Wal);

impl Store for WalDb {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(self)
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        for record in self.0.iter()? {
            found(record?.data());
        }
        Ok(())
    }
}

impl Writer for &WalDb {
    fn append(&mut self, record: &[u8]) -> Outcome {
        Ok(self.0.append(record).map(drop)?)
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        Ok(self.0.append_and_sync(record).map(drop)?)
    }
}
