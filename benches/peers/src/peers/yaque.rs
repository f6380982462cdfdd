//! yaque: a queue in segments of 4 MB; its sender writes each record by one `write`.

use std::path::{Path, PathBuf};

use yaque::{QueueIter, Sender, recovery};

use crate::peer::{Locked, Mode, Outcome, Peer, Single, Store, Writer, absent};

pub(crate) static PEER: Peer = Peer {
    name: "yaque",
    package: "yaque",
    survives_kill: true,
    finds_records: false,
    synced: false,
    append_ack: "in the page cache; lengths only, no checksum of the record",
    durable_ack: "",
    append_remark: "reading panics where the kill cut a write, and what is appended later is \
                    out of reach",
    durable_remark: "",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    // A killed sender leaves its lock file; this is the crate's way to take it away.
    recovery::unlock_queue(dir)?;
    Ok(Locked::boxed(Yaque { sender: Sender::open(dir)?, dir: dir.to_owned() }))
}

struct Yaque {
    sender: Sender,
    dir: PathBuf,
}

impl Writer for Yaque {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.sender.try_send(record).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        self.sender.try_send_batch(records).map_err(|_| "the batch was refused")?;
        Ok(())
    }

    fn append_durable(&mut self, _: &[u8]) -> Outcome {
        absent("sync")
    }
}

impl Single for Yaque {
    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        for record in QueueIter::open(&self.dir)? {
            found(&record?);
        }
        Ok(())
    }
}
