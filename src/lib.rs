#![doc = include_str!("../README.md")]

mod codec;
mod consumer;
mod disk;
pub mod docs;
#[cfg(feature = "ffi")]
pub mod ffi;
mod log;
#[cfg(feature = "replicator")]
mod replicator;
mod store;
mod sys;
#[cfg(feature = "typed")]
mod typed;
mod words;

pub use consumer::{Consumer, ConsumerInfo, ConsumerOptions};
pub use log::archive::dir::ArchiveDir;
pub use log::archive::{Archive, ArchivedSegment, SealedSegment};
pub use log::batch::{RecordBatch, Records, TimestampType};
pub use log::compaction::CompactionReport;
pub use log::compaction::options::Cleanup;
#[cfg(feature = "encryption")]
pub use log::encryption::Encryption;
pub use log::export::ExportReport;
pub use log::follow::reader::FollowReader;
pub use log::follow::{ReadOnlyLog, ReadOnlyOptions};
pub use log::inspect::SegmentFile;
pub use log::linger::ticket::Ticket;
pub use log::linger::{Linger, LingerOptions};
pub use log::options::{FlushPolicy, IoMode, LogOptions, Media, RecoveryMode};
pub use log::policy::{Hold, OnFull};
pub use log::produce::ProducerStamp;
pub use log::read::Reader;
pub use log::report::{ConsumerMoved, RecoveryReport};
pub use log::retention::{HeldBack, RetentionReport};
pub use log::snapshot::SnapshotReport;
pub use log::stats::{ConsumerLag, LogStats};
pub use log::validate::Refusal;
pub use log::verify::VerifyReport;
pub use log::wear::Wear;
pub use log::{Log, OffsetSpec, Visibility};
#[cfg(feature = "kafka")]
pub use replicator::{Connection, KafkaUpstream, Network, Sasl, Tls, UpstreamPartition};
#[cfg(feature = "replicator")]
pub use replicator::{
    Delivery, LinkState, LogUpstream, Replicator, ReplicatorNotice, ReplicatorOptions,
    ReplicatorStatus, ReplicatorTurns, Resume, Source, Turn, Upstream, UpstreamStatus,
};
#[cfg(feature = "toml")]
pub use store::config::Config;
pub use store::maintain::MaintainReport;
pub use store::options::StoreOptions;
pub use store::partition::partition_for_key;
pub use store::partitioned::PartitionedLog;
pub use store::stats::StoreStats;
pub use store::{Store, StoreLog, StoreRecovery};
#[cfg(feature = "simulation")]
pub use sys::sim as simulation;
#[cfg(feature = "typed")]
pub use typed::{Bincode, Codec, CodecError, TypedConsumer, TypedLog, TypedReader, TypedRecord};
pub use words::compression::Compression;
pub use words::error::{Error, ErrorKind, Result};
pub use words::log_id::{LogId, ParseLogIdError};
pub use words::offset::Offset;
pub use words::record::{Headers, IntoBytes, NewRecord, Record};
pub use words::time::Timestamp;
