//! Every bound of the crate in one place.
//!
//! Floor 0. A loop, queue, buffer or length read from disk is bounded by one of these (I11).

/// The largest batch a log takes unless its options say otherwise: Kafka's default (1 MiB).
pub(crate) const MAX_BATCH_BYTES_DEFAULT: usize = 1 << 20;
/// The size at which a segment is rolled unless the options say otherwise.
pub(crate) const SEGMENT_BYTES_DEFAULT: usize = 16 << 20;
/// The smallest segment the options accept.
pub(crate) const SEGMENT_BYTES_MIN: usize = 4 << 10;
/// The largest segment: a position has to fit the index's signed 32 bits.
pub(crate) const SEGMENT_BYTES_MAX: usize = i32::MAX as usize;
/// Bytes between two index entries unless the options say otherwise: Kafka's default.
pub(crate) const INDEX_INTERVAL_BYTES_DEFAULT: usize = 4 << 10;
/// The highest number of records of one batch: offset deltas are signed 32-bit.
pub(crate) const BATCH_RECORDS_MAX: usize = i32::MAX as usize;
/// What the records of a compressed batch take decompressed, at most: a few bytes may claim more
/// than a device has, so a batch of more is stored plain and a stored one refused.
pub(crate) const UNPACKED_BYTES_MAX: usize = 64 << 20;
/// A thread keeps its encode buffer up to this capacity and gives back a larger one.
pub(crate) const ENCODE_BUFFER_KEPT_BYTES: usize = 1 << 20;

/// The size at which a lingering batch is appended unless its options say otherwise.
pub(crate) const LINGER_BATCH_BYTES_DEFAULT: usize = 64 << 10;
/// How long its first record waits for others unless the options say otherwise: Kafka's default.
pub(crate) const LINGER_MILLIS_DEFAULT: u64 = 5;
/// Full batches of a linger that wait for the ones before them; who brings one more waits.
pub(crate) const LINGER_BATCHES_MAX: usize = 4;

/// The first step of a segment's preallocation; it doubles up to the segment's size.
pub(crate) const ALLOCATE_STEP_BYTES: usize = 64 << 10;
/// The smallest and largest stretch that is populated ahead of the appends.
pub(crate) const POPULATE_BYTES_MIN: usize = 4 << 10;
/// See [`POPULATE_BYTES_MIN`].
pub(crate) const POPULATE_BYTES_MAX: usize = 1 << 20;
/// A segment that filled within this time is followed by one that is preallocated whole.
pub(crate) const BUSY_SEGMENT_SECONDS: u64 = 600;
/// A segment of this age is followed by the next one: Kafka's default, 7 days.
pub(crate) const SEGMENT_AGE_SECONDS_DEFAULT: u64 = 7 * 24 * 3600;
/// After what time the log's own thread tries again what failed for want of room.
pub(crate) const RETRY_SECONDS: u64 = 60;
/// How often the age is looked at by appends that read no clock otherwise.
pub(crate) const AGE_CHECK_MILLIS: u64 = 1000;
/// Sealed segments that wait for a flush with their files open; one more flushes the oldest first.
pub(crate) const UNSYNCED_SEGMENTS_MAX: usize = 64;
/// Sealed segments that stay open for readers, least recently used dropped first.
pub(crate) const OPEN_SEALED_SEGMENTS_MAX: usize = 16;

/// How often the thread that is to flush lets others append first, if the last flush was shared.
pub(crate) const GATHER_YIELDS_MAX: u32 = if cfg!(scheduled) { 2 } else { 32 };

/// What a consumer keeps with its committed offset, at most: the checkpoint has one byte for it.
pub(crate) const METADATA_BYTES_MAX: usize = 255;

/// Empty batches of 2^31 offsets that one gap of a mirror may take.
pub(crate) const MIRROR_GAP_BATCHES_MAX: i64 = 64;

/// Segments before damage that a reader looks into for what it was to read there.
pub(crate) const STRAY_SEGMENTS_MAX: usize = 8;
/// The shortest and longest pause between two polls of a followed log, and what it is unless set.
pub(crate) const POLL_MILLIS_MIN: u64 = 1;
/// See [`POLL_MILLIS_MIN`].
pub(crate) const POLL_MILLIS_MAX: u64 = 50;
/// See [`POLL_MILLIS_MIN`].
pub(crate) const POLL_MILLIS_DEFAULT: u64 = 5;
/// How often one poll looks at a checkpoint that is being written to.
pub(crate) const POLL_LOOKS_MAX: u32 = 16;
/// How much a poll reads behind the end at first; doubled while that is full of batches.
pub(crate) const TAIL_WINDOW_BYTES_MIN: usize = 4 << 10;
/// See [`TAIL_WINDOW_BYTES_MIN`].
pub(crate) const TAIL_WINDOW_BYTES_MAX: usize = 256 << 10;
/// Batches a follower remembers, to know after recoveries up to where the log is still the same.
pub(crate) const SEEN_BATCHES_MAX: usize = 256;
/// Cuts a follower remembers for readers that were not asked since.
pub(crate) const CUTS_MAX: usize = 64;
/// Segments without a whole first batch that a follower looks behind for the end.
pub(crate) const HEADLESS_SEGMENTS_MAX: usize = 64;

/// How much a reader of a log in positioned mode fetches at once.
pub(crate) const READ_CHUNK_BYTES: usize = 64 << 10;
/// How much it fetches first, where it may want a single record; doubled while it reads on.
pub(crate) const READ_CHUNK_BYTES_FIRST: usize = 8 << 10;
/// How much is read at once when a whole segment is scanned.
pub(crate) const SCAN_CHUNK_BYTES: usize = 256 << 10;

/// How much of a file is in memory while it is copied.
pub(crate) const COPY_BYTES: usize = 256 << 10;

/// What one task over the whole log takes, besides batches and indexes: recovering, verifying,
/// copying, or looking for the end of damage.
pub(crate) const TASK_BYTES: usize = 1 << 20;
/// What the checkpoint's buffers and the small state take; tails of media that tear come on top.
pub(crate) const CHECKPOINT_MEMORY_BYTES: usize = 256 << 10;
/// Copies of a tail that are in memory at once, at most: the state, slots being written, the file.
pub(crate) const TAIL_MEMORY_COPIES: usize = 32;
/// A reader or consumer, besides the bytes it has read.
pub(crate) const READER_MEMORY_BYTES: usize = 4 << 10;
/// The stack of the log's own thread, as far as it is used.
pub(crate) const THREAD_MEMORY_BYTES: usize = 64 << 10;

/// What a file's space is counted in: the block of common filesystems.
pub(crate) const BLOCK_BYTES: u64 = 4 << 10;
/// So many blocks of a file can be told of by its inode, wherever they lie: ext4's extents.
pub(crate) const BLOCKS_IN_INODE: u64 = 4;
/// And so many by a block that does nothing else.
pub(crate) const BLOCKS_IN_MAP: u64 = 340;
/// How long an append that waits for room sleeps before it looks again.
pub(crate) const FULL_POLL_MILLIS: u64 = 50;
/// From so many files on that were open, those that are not any more are forgotten.
pub(crate) const METERED_FILES_SWEPT: usize = 64;
/// Logs of a store that are open at a time, unless the options say otherwise.
pub(crate) const OPEN_LOGS_DEFAULT: usize = 64;
/// Files of a store that are open at a time, unless the options say otherwise.
pub(crate) const OPEN_FILES_DEFAULT: usize = 512;
/// Address space that a store's files are mapped to, unless the options say otherwise.
pub(crate) const MAPPED_BYTES_DEFAULT: u64 = 16 << 30;
/// What a store keeps back for its upkeep, unless the options say otherwise.
pub(crate) const STORE_RESERVE_BYTES_DEFAULT: u64 = 256 << 10;
/// From so many logs on that wait for a flush, the filesystem is synced once instead of each file.
pub(crate) const DIRTY_LOGS_FOR_ONE_SYNC: usize = 33;
/// After what time of the log clock a closed log is looked at again in which nothing could go.
pub(crate) const RETENTION_RETRY_MILLIS: i64 = 60_000;
/// Logs nobody touched that one pass of maintenance looks into, to learn when something is due.
pub(crate) const LOGS_PEEKED_A_PASS: usize = 256;
/// How often the store's thread looks at all its logs, if nothing is due before.
pub(crate) const STORE_PASS_SECONDS: u64 = 10;
/// How long it lets others come together after it was woken.
pub(crate) const STORE_WAKE_MILLIS: u64 = 5;
/// Partitions of one name that are taken for meant.
pub(crate) const PARTITIONS_MAX: u32 = 100_000;
/// How long an append that has no room waits for logs of its store that are being opened or closed,
/// if no other log has anything to drop.
pub(crate) const BUSY_LOGS_WAIT_MILLIS: u64 = 10_000;
/// How long an append that has no room waits for another thread that archives.
pub(crate) const HAND_OVER_WAIT_MILLIS: u64 = 10_000;

/// Which logs of a full store lose segments first, unless the options say otherwise.
pub(crate) const PRIORITY_DEFAULT: u8 = 100;

/// How much of a log may be new before it is compacted, unless the options say otherwise: Kafka's
/// default, in per cent.
pub(crate) const DIRTY_PERCENT_DEFAULT: u8 = 50;
/// How long a tombstone stays, unless the options say otherwise: Kafka's default, a day.
pub(crate) const DELETE_RETENTION_SECONDS_DEFAULT: u64 = 24 * 3600;
/// What a compaction's map of keys takes at most, unless the options say otherwise.
pub(crate) const COMPACTION_MEMORY_BYTES_DEFAULT: usize = 32 << 20;
/// The least it can do with.
pub(crate) const COMPACTION_MEMORY_BYTES_MIN: usize = 64 << 10;
/// Into so many parts of it the time is divided that a tombstone stays, to tell compactions apart.
pub(crate) const COMPACTION_MOMENTS_A_RETENTION: i64 = 16;
/// Compactions of which is kept when they were.
pub(crate) const COMPACTION_MOMENTS_MAX: usize = 40;

/// Hooks that one thread may be in at once: each has appended a record that a hook looks at.
pub(crate) const HOOKS_INSIDE_MAX: u32 = 8;

/// The largest configuration file that is read: tables for tens of thousands of logs.
#[cfg(feature = "toml")]
pub(crate) const CONFIG_BYTES_MAX: usize = 8 << 20;

/// Consumers and replicators one log has room for.
pub(crate) const CONSUMERS_MAX: usize = 64;
/// Bytes of a consumer's name: as Kafka bounds a topic's.
pub(crate) const NAME_BYTES_MAX: usize = 249;
/// The granularity of checkpoint slots: one page, never shared between two slots.
pub(crate) const CHECKPOINT_SLOT_BYTES: usize = 4 << 10;
/// The largest checkpoint file that is believed: 64 consumers with the longest names and two copies
/// of tails need 1.5 MiB.
pub(crate) const CHECKPOINT_FILE_BYTES_MAX: usize = 2 << 20;
/// Logs of a store that the checkpoint of the store names as changing; more of them, or longer
/// names, and it says that everything may have changed.
pub(crate) const STORE_CHANGING_MAX: usize = 65_536;
/// What these names take of a slot, their lengths included: with the rest it fits 4 MiB.
pub(crate) const STORE_CHANGING_BYTES_MAX: usize = (4 << 20) - (4 << 10);
/// The largest checkpoint file of a store that is believed: six slots of 4 MiB.
pub(crate) const STORE_CHECKPOINT_FILE_BYTES_MAX: usize = 24 << 20;
/// Moments of the log clock that are kept: when so many segments were begun.
pub(crate) const CLOCK_SAMPLES_MAX: usize = 128;
/// Copies of tails that still protect something when a log is opened again.
pub(crate) const TAIL_COPIES_KEPT: usize = 2;
/// What a medium that tears may take around a sector that is being rewritten.
pub(crate) const TORN_BYTES_DEFAULT: usize = 4 << 10;
/// See [`TORN_BYTES_DEFAULT`]: a device's sector.
pub(crate) const TORN_BYTES_MIN: usize = 512;
/// See [`TORN_BYTES_DEFAULT`]; areas of the checkpoint lie so far apart there.
pub(crate) const TORN_BYTES_MAX: usize = 64 << 10;
/// `log.meta` is a few lines of text.
pub(crate) const META_BYTES_MAX: usize = 4 << 10;
/// Names of foreign files and damaged ranges that a report lists; the rest is only counted.
pub(crate) const REPORT_LIST_MAX: usize = 64;
