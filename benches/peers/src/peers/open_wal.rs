//! open-wal: appends stay in the process until `commit` writes and syncs them.

use std::path::Path;

use open_wal::{Lsn, Wal, WalConfig};

use crate::peer::{Locked, Mode, Outcome, Peer, Single, Store, Writer};

pub(crate) static PEER: Peer = Peer {
    name: "open-wal",
    package: "open-wal",
    survives_kill: false,
    finds_records: true,
    synced: true,
    append_ack: "in a buffer of the process until commit()",
    durable_ack: "on the device: append and commit(), one fdatasync; one writer behind a lock",
    append_remark: "",
    durable_remark: "",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    let (wal, _) = Wal::open(dir, WalConfig::default())?;
    Ok(Locked::boxed(OpenWal(wal)))
}

struct OpenWal(Wal);

impl Writer for OpenWal {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.0.append(record)?;
        Ok(())
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        self.0.append(record)?;
        self.0.commit()?;
        Ok(())
    }
}

impl Single for OpenWal {
    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        let mut reader = self.0.reader_from(Lsn(0))?;
        while let Some(next) = reader.next() {
            let (_, record) = next?;
            found(record);
        }
        Ok(())
    }
}
