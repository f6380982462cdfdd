//! forebay itself, through maps and through positioned writes.

use std::path::Path;

use forebay::{FlushPolicy, IoMode, Log, OffsetSpec};

use crate::peer::{Mode, Outcome, Peer, Store, Writer};

const APPEND_ACK: &str = "survives a process kill; a power cut may take it";
const DURABLE_ACK: &str = "on the device: fdatasync, shared by concurrent appends";

pub(crate) static MAPPED: Peer = Peer {
    name: "forebay-mapped",
    package: "forebay",
    survives_kill: true,
    finds_records: true,
    synced: true,
    append_ack: APPEND_ACK,
    durable_ack: DURABLE_ACK,
    append_remark: "",
    durable_remark: "",
    open: |dir, mode| open(dir, mode, IoMode::Mapped),
};

pub(crate) static POSITIONED: Peer = Peer {
    name: "forebay-positioned",
    open: |dir, mode| open(dir, mode, IoMode::Positioned),
    ..MAPPED
};

fn open(dir: &Path, mode: Mode, io_mode: IoMode) -> Outcome<Box<dyn Store>> {
    let flush = match mode {
        Mode::Appended => FlushPolicy::Manual,
        Mode::Durable => FlushPolicy::EveryAppend,
    };
    Ok(Box::new(Forebay(Log::options().io_mode(io_mode).flush(flush).open(dir)?)))
}

struct Forebay(Log);

impl Store for Forebay {
    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(self)
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        for batch in self.0.reader(OffsetSpec::Earliest)? {
            for record in batch?.records() {
                found(record?.value());
            }
        }
        Ok(())
    }
}

impl Writer for &Forebay {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.0.append(record)?;
        Ok(())
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        self.0.append_batch(records.iter().copied())?;
        Ok(())
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        // The policy the log was opened with flushes before this returns.
        self.0.append(record)?;
        Ok(())
    }
}
