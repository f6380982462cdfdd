//! logdb: appends go into a ring in memory, which a thread writes to segments.

use std::path::Path;

use logdb::{Config, DurabilityMode, LogDb};

use crate::peer::{Mode, Outcome, Peer, Store, Writer};

pub(crate) static PEER: Peer = Peer {
    name: "logdb",
    package: "logdb",
    survives_kill: false,
    finds_records: false,
    synced: true,
    append_ack: "in a ring of the process, written by a thread",
    durable_ack: "on the device: append and flush(), one fdatasync for all that wait",
    append_remark: "",
    durable_remark: "killed once the next segment is made, it numbers from 0 again; what it \
                     appends then is not found",
    open,
};

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Store>> {
    let durability_mode = match mode {
        Mode::Appended => DurabilityMode::Async,
        Mode::Durable => DurabilityMode::Sync,
    };
    let config = Config { data_dir: dir.to_owned(), durability_mode, ..Config::default() };
    Ok(Box::new(Logdb(LogDb::open(config).map_err(|error| error.to_string())?)))
}

struct Logdb(LogDb);

impl Store for Logdb {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(self)
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        for record in self.0.replay_from(0)? {
            found(&record?.content);
        }
        Ok(())
    }
}

impl Writer for &Logdb {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.0.append(record)?;
        Ok(())
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        self.0.append_batch(records)?;
        Ok(())
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        self.append(record)?;
        Ok(self.0.flush()?)
    }
}
