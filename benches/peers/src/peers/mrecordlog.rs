//! mrecordlog: asynchronous, one writer, every record in memory as well.

use std::path::Path;

use mrecordlog::{MultiRecordLog, SyncPolicy};
use tokio::runtime::{Builder, Runtime};

use crate::peer::{Locked, Mode, Outcome, Peer, Single, Store, Writer};

const QUEUE: &str = "log";

pub(crate) static PEER: Peer = Peer {
    name: "mrecordlog",
    package: "mrecordlog",
    survives_kill: true,
    finds_records: true,
    synced: false,
    append_ack: "in the page cache (OnAppend)",
    durable_ack: "OnAppend, said to sync and flush at each operation",
    append_remark: "",
    durable_remark: "OnAppend flushes a buffer into the page cache, no call ever syncs",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    let runtime = Builder::new_current_thread().build()?;
    let log = runtime.block_on(async {
        let mut log = MultiRecordLog::open_with_prefs(dir, SyncPolicy::OnAppend).await?;
        if !log.queue_exists(QUEUE) {
            log.create_queue(QUEUE).await?;
        }
        Outcome::Ok(log)
    })?;
    Ok(Locked::boxed(Mrecordlog { runtime, log }))
}

struct Mrecordlog {
    runtime: Runtime,
    log: MultiRecordLog,
}

impl Writer for Mrecordlog {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.runtime.block_on(self.log.append_record(QUEUE, None, record))?;
        Ok(())
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        let records = records.iter().copied();
        self.runtime.block_on(self.log.append_records(QUEUE, None, records))?;
        Ok(())
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        self.append(record)
    }
}

impl Single for Mrecordlog {
    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        let records = self.log.range(QUEUE, ..).map_err(|_| "the queue is gone")?;
        records.for_each(|(_, record)| found(&record));
        Ok(())
    }
}
