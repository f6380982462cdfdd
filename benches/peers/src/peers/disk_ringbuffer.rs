//! disk-ringbuffer: a lock-free channel in mapped pages of 256 MiB.

use std::path::{Path, PathBuf};

use disk_ringbuffer::ringbuf::{self, DiskRing, Receiver, Sender};
use parking_lot::Mutex;

use crate::peer::{Mode, Outcome, Peer, Store, Writer, absent};

pub(crate) static PEER: Peer = Peer {
    name: "disk-ringbuffer",
    package: "disk-ringbuffer",
    survives_kill: false,
    finds_records: false,
    synced: false,
    append_ack: "in a shared map; no checksum",
    durable_ack: "",
    append_remark: "a kill inside a push makes every later read of that page spin forever; a \
                    reopened reader begins at the newest page",
    durable_remark: "",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    let (sender, _) = ringbuf::new(dir)?;
    Ok(Box::new(Ring { sender: Mutex::new(sender), dir: dir.to_owned() }))
}

struct Ring {
    /// Cloned for each writer; every clone is used by one thread.
    sender: Mutex<DiskRing<Sender>>,
    dir: PathBuf,
}

impl Store for Ring {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(RingWriter(self.sender.lock().clone()))
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        let mut receiver = DiskRing::<Receiver>::new(&self.dir)?;
        while let Some(record) = receiver.pop()? {
            found(record.as_bytes());
        }
        Ok(())
    }
}

struct RingWriter(DiskRing<Sender>);

impl Writer for RingWriter {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.0.push(record)?;
        Ok(())
    }

    fn append_durable(&mut self, _: &[u8]) -> Outcome {
        absent("sync")
    }
}
