//! raft-engine: the logs of many Raft groups in one; each writer here appends to a group of its
//! own, since the entries of a group have to come in order.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::peer::{Mode, Outcome, Peer, Store, Writer};

const INDEX_BYTES: usize = size_of::<u64>();

pub(crate) static PEER: Peer = Peer {
    name: "raft-engine",
    package: "raft-engine",
    survives_kill: true,
    finds_records: true,
    synced: true,
    append_ack: "in the page cache (write without sync)",
    durable_ack: "on the device: write with sync, fdatasync shared by concurrent writes",
    append_remark: "",
    durable_remark: "",
    open,
};

fn open(dir: &Path, _: Mode) -> Outcome<Box<dyn Store>> {
    let dir = dir.to_str().ok_or("the directory's name is not UTF-8")?.to_owned();
    // Compression would shrink the one record that is repeated here to nothing.
    let batch_compression_threshold = ReadableSize(0);
    let engine = Engine::open(Config { dir, batch_compression_threshold, ..Config::default() })?;
    let groups = engine.raft_groups().into_iter().max().unwrap_or(0);
    Ok(Box::new(RaftEngine { engine, groups: AtomicU64::new(groups) }))
}

struct RaftEngine {
    engine: Engine,
    groups: AtomicU64,
}

/// An entry is its index and the record, as a protobuf message.
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

impl Store for RaftEngine {
    fn writer(&self) -> Box<dyn Writer + '_> {
        let group = self.groups.fetch_add(1, Ordering::Relaxed) + 1;
        Box::new(Group { engine: &self.engine, group, next: 1, batch: LogBatch::default() })
    }

    fn read_all(&mut self, found: &mut dyn FnMut(&[u8])) -> Outcome {
        for group in self.engine.raft_groups() {
            let (Some(first), Some(last)) =
                (self.engine.first_index(group), self.engine.last_index(group))
            else {
                continue;
            };
            for begin in (first..=last).step_by(1000) {
                let end = (begin + 1000).min(last + 1);
                let mut entries = Vec::new();
                self.engine.fetch_entries_to::<Indexed>(group, begin, end, None, &mut entries)?;
                entries.iter().for_each(|entry| found(&entry.value[INDEX_BYTES..]));
            }
        }
        Ok(())
    }
}

struct Group<'a> {
    engine: &'a Engine,
    group: u64,
    next: u64,
    /// Kept for its memory.
    batch: LogBatch,
}

impl Group<'_> {
    fn write(&mut self, records: &[&[u8]], sync: bool) -> Outcome {
        let entries: Vec<BytesValue> = (self.next..)
            .zip(records)
            .map(|(index, record)| {
                let mut entry = BytesValue::new();
                entry.value = [&index.to_le_bytes(), *record].concat();
                entry
            })
            .collect();
        self.next += entries.len() as u64;
        self.batch.add_entries::<Indexed>(self.group, &entries)?;
        self.engine.write(&mut self.batch, sync)?;
        Ok(())
    }
}

impl Writer for Group<'_> {
    fn append(&mut self, record: &[u8]) -> Outcome {
        self.write(&[record], false)
    }

    fn append_batch(&mut self, records: &[&[u8]]) -> Outcome {
        self.write(records, false)
    }

    fn append_durable(&mut self, record: &[u8]) -> Outcome {
        self.write(&[record], true)
    }
}
