//! okaywal: an entry is committed by a sync, which concurrent entries share.

use std::io;
use std::path::Path;

use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};
use parking_lot::Mutex;
use std::sync::Arc;

use crate::peer::{Mode, Outcome, Peer, Store, Writer, absent};

/// Written with zeros at creation. Large enough that no segment is checkpointed, which would hand
/// its entries to the application and drop them from the log.
const SEGMENT_BYTES: u32 = 64 << 20;

pub(crate) static PEER: Peer = Peer {
    name: "okaywal",
    package: "okaywal",
    survives_kill: true,
    finds_records: true,
    synced: true,
    append_ack: "",
    durable_ack: "on the device: fdatasync over written blocks, shared by concurrent commits",
    append_remark: "",
    durable_remark: "",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    let recovered = Recovered::default();
    let log = Configuration::default_for(dir)
        .preallocate_bytes(SEGMENT_BYTES)
        .checkpoint_after_bytes(u64::from(SEGMENT_BYTES) - (1 << 20))
        .open(recovered.clone())?;
    Ok(Box::new(Okaywal { log, recovered }))
}

/// The records that opening found: okaywal hands them out then and only then.
#[derive(Clone, Debug, Default)]
struct Recovered(Arc<Mutex<Vec<Vec<u8>>>>);

impl LogManager for Recovered {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        if let Some(chunks) = entry.read_all_chunks()? {
            self.0.lock().extend(chunks);
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: EntryId,
        _: &mut SegmentReader,
        _: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}

struct Okaywal {
    log: WriteAheadLog,
    recovered: Recovered,
}

impl Store for Okaywal {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(self)
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        self.recovered.0.lock().iter().for_each(|record| found(record));
        Ok(())
    }
}

impl Writer for &Okaywal {
    fn append(&mut self, _: &[u8]) -> Outcome {
        absent("append without a sync")
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        let mut entry = self.log.begin_entry()?;
        entry.write_chunk(record)?;
        entry.commit()?;
        Ok(())
    }
}
