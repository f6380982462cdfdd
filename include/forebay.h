/*
 * forebay: an append-only log inside the application's own process.
 *
 * Made by cbindgen from src/ffi; do not edit. C99 and C++11; forebay.hpp is C++17.
 * Link libforebay (pkg-config: forebay, CMake: forebay::forebay).
 *
 *   forebay_log *log = NULL;
 *   if (forebay_log_open(forebay_str("/var/lib/sensors"), NULL, &log) != FOREBAY_OK) {
 *     fprintf(stderr, "%s\n", forebay_last_error());
 *     return 1;
 *   }
 *   forebay_status rc = forebay_log_append(log, forebay_str("21.5 C"), NULL);
 *   ...
 *   rc = forebay_log_close(log);
 *
 * Where to begin:
 *
 * To write    forebay_log_open, forebay_log_append, forebay_log_append_batch, forebay_log_flush.
 *             Many logs under one budget of disk: forebay_store_open, forebay_store_log.
 * To read     forebay_log_reader for a look from anywhere; forebay_log_consumer for work that goes
 *             on where it was after a restart: forebay_consumer_poll, forebay_batch_get,
 *             forebay_consumer_commit. In another process than the one that writes:
 *             forebay_follower_open, forebay_follower_reader, forebay_follow_reader_poll.
 * To ship     To Kafka or a log elsewhere: forebay_upstream_kafka_new, forebay_upstream_set,
 *             forebay_replicator_start; in a loop of one's own forebay_turns_new. Over a link of
 *             one's own, such as a modem: a consumer with FOREBAY_DURABLE, forebay_batch_bytes,
 *             forebay_consumer_commit_offset.
 * To be told  forebay_log_recovery after an open, forebay_log_stats, forebay_replicator_status,
 *             forebay_replicator_next_notice.
 * A gateway   sets budget_bytes, so that the disk is never full; hold to FOREBAY_HOLD_EVERYONE, so
 *             that retention waits for what was not shipped; and on_full, for a link that is away
 *             for longer than the budget lasts. It starts the replicator before the first append:
 *             only a consumer that exists holds.
 *
 * Store and forward, for a device that fills up while the link is away: nothing is deleted that was
 * not shipped, and readings are refused (FOREBAY_OUT_OF_SPACE) rather than lost unseen.
 *
 *   forebay_options_init(&options, sizeof options);
 *   options.budget_bytes = 256u << 20;
 *   options.hold = FOREBAY_HOLD_EACH;
 *   options.hold_consumers = forebay_str("uplink");
 *   forebay_log_open(dir, &options, &log);
 *   forebay_upstream_kafka_new(forebay_str("broker:9092"), forebay_str("telemetry"), &upstream);
 *   forebay_replicator_start(log, forebay_str("uplink"), upstream, NULL, &replicator);
 *   ... and only now what appends: a consumer that does not exist yet holds nothing.
 *
 * To end: forebay_replicator_stop_within, then forebay_log_close or forebay_store_close, which do
 * not wait for a link. With each status looked at: examples/c/gateway.c is the whole of it.
 *
 * Link the shared library, or the static one, on Linux, by
 *   cc app.c libforebay.a -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc -Wl,--gc-sections
 *
 * What holds for all functions:
 *
 * Status      0 is FOREBAY_OK, errors are negative; forebay_last_error() has the text of the
 *             calling thread's latest one. Functions that return an offset return a negative status
 *             in its place.
 * Arguments   A handle, what goes in, then what comes out, named *_out and written only on success;
 *             what is opened or read into *_out is set to NULL first. A pointer that must not be
 *             NULL and is gives FOREBAY_INVALID_ARGUMENT.
 * Bytes       Text and bytes are a pointer and a length, forebay_str makes them of a C string.
 *             Nothing that is passed in is kept after the call, but pointers in options until these
 *             are used, and callbacks with their contexts. Paths are bytes on Unix and UTF-8
 *             elsewhere; every other text is UTF-8.
 * Ownership   What a function gives through a pointer to a handle is freed once, by the _free or
 *             _close of its type. A log, its readers, consumers and batches may be freed in any
 *             order.
 * Threads     `const T *` may be used by many threads at once, `T *` by one at a time, whichever.
 *             No thread of the library's own runs unless options say so (background) or
 *             forebay_replicator_start is called.
 * Blocking    What a function may block for is said with it. Nothing blocks for the network but
 *             forebay_turns_turn and forebay_replicator_stop, _stop_within and _free.
 * fork        The child must not use what the parent opened, but may open logs of its own; exec is
 *             fine.
 * Signals     No function may be called in a signal handler, unless it says so. The library
 *             installs none, and its sockets raise no SIGPIPE. Signals do not end a wait; its
 *             threads block none: block yours before opening, where one thread is to get them.
 * Names       forebay_status is what functions return, forebay_progress what
 *             forebay_replicator_status fills in. FOREBAY_LOG_ERROR, _WARNING and _INFO are levels
 *             of forebay_log_callback, for the library's own text; forebay_log_info is a log of a
 *             store. forebay_stats is of a log, forebay_store_totals of a store.
 * Defaults    Stand last in a field's text, behind a semicolon; zero asks for them.
 * Structs     Options begin with their size, set by their init function; reports take sizeof. So
 *             old programs work with new libraries, and new ones with old libraries as long as they
 *             set nothing that is unknown there.
 * Faults      A panic of the library is caught and returned as FOREBAY_PANIC; a library built with
 *             panic=abort ends the process instead, and so does running out of memory. Neither
 *             takes anything that was appended.
 */

#ifndef FOREBAY_H
#define FOREBAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The version this header is of; forebay_version() has the library's. */
#define FOREBAY_VERSION_MAJOR 0
#define FOREBAY_VERSION_MINOR 1
#define FOREBAY_VERSION_PATCH 0
#define FOREBAY_VERSION_NUMBER \
  (FOREBAY_VERSION_MAJOR * 1000000 + FOREBAY_VERSION_MINOR * 1000 + FOREBAY_VERSION_PATCH)

/* Warns where a status is left aside; gcc does so behind a (void) too: keep it in a variable, call
 * the _free of a type that has a _close or _stop, or define this as nothing before. */
#ifndef FOREBAY_NODISCARD
#if defined(__cplusplus) && __cplusplus >= 201703L
#define FOREBAY_NODISCARD [[nodiscard]]
#elif defined(__GNUC__)
#define FOREBAY_NODISCARD __attribute__((warn_unused_result))
#else
#define FOREBAY_NODISCARD
#endif
#endif

/**
 * A level of forebay_log_callback, as the next two: something failed that no status can tell of,
 * as a free that could not store what it had to.
 */
#define FOREBAY_LOG_ERROR 1

/**
 * Something was lost, or will be: what recovery cut or found damaged.
 */
#define FOREBAY_LOG_WARNING 2

/**
 * Something worth to know: a log was opened after an unclean stop. forebay_log_info is no level.
 */
#define FOREBAY_LOG_INFO 3

/**
 * When records are flushed: at most flush_interval_ms after they were appended, kept by whoever
 * waits for records of the log (a poll, a wait, a replicator), by the next call on it, or by a
 * thread with `background`. The default, with 1000 ms. A power cut takes what came since the last
 * flush.
 */
#define FOREBAY_FLUSH_INTERVAL 1

/**
 * Before every append returns: a power cut takes nothing. Appends at once share a device flush.
 */
#define FOREBAY_FLUSH_EVERY_APPEND 2

/**
 * As soon as flush_bytes wait.
 */
#define FOREBAY_FLUSH_EVERY_BYTES 3

/**
 * Only by forebay_log_flush and forebay_log_close.
 */
#define FOREBAY_FLUSH_MANUAL 4

/**
 * How files are written: FOREBAY_IO_MAPPED where kernel and filesystem are known to be good for
 * it, else FOREBAY_IO_POSITIONED. The default; forebay_log_stats says which it is.
 */
#define FOREBAY_IO_AUTO 0

/**
 * Through shared maps: an append is a copy, no system call.
 */
#define FOREBAY_IO_MAPPED 1

/**
 * By pwrite and pread: a system call an append, no map anywhere.
 */
#define FOREBAY_IO_POSITIONED 2

/**
 * What a power cut may do to bytes that were synced before, while their sector is rewritten:
 * FOREBAY_MEDIA_TORN_OVERWRITE on SD cards and USB devices, else FOREBAY_MEDIA_POWER_SAFE.
 */
#define FOREBAY_MEDIA_AUTO 0

/**
 * Nothing. SSD, eMMC, hard disks.
 */
#define FOREBAY_MEDIA_POWER_SAFE 1

/**
 * It may take them: SD cards, USB sticks. Costs one more device sync a flush.
 */
#define FOREBAY_MEDIA_TORN_OVERWRITE 2

/**
 * How much is read when the log was not closed: the last segment after the death of the process,
 * everything since the last flush after a power cut. The default.
 */
#define FOREBAY_RECOVERY_AUTO 0

/**
 * Always everything since the last flush.
 */
#define FOREBAY_RECOVERY_FULL 1

/**
 * Which consumers keep retention from deleting what they have not committed: none. The default,
 * with which retention deletes what was not shipped yet. A replicator is a consumer, by the name
 * it was started under. A consumer holds from the moment it is created: what is appended before is
 * held by no name, however it is spelt. Create it (forebay_log_consumer, which may be freed at
 * once), or start the replicator, before the first append, and on a new log only. Where there is a
 * hold, a log that is full gives up whole segments that those consumers have committed, without
 * any retention option.
 */
#define FOREBAY_HOLD_NOBODY 0

/**
 * Every consumer and replicator that the log has; nothing is held before there is one.
 */
#define FOREBAY_HOLD_EVERYONE 1

/**
 * Each of hold_consumers that exists: what all of these have committed is free to go.
 */
#define FOREBAY_HOLD_EACH 2

/**
 * Any of hold_consumers that exist: what one of these has committed is free to go.
 */
#define FOREBAY_HOLD_ANY 3

/**
 * What an append does when the budget or the disk is full, the log's own or that of its store: it
 * is refused with FOREBAY_OUT_OF_SPACE, and works again once there is room: retention has made
 * some, or the consumers of `hold` have committed a segment. With neither it stays full. The
 * default.
 */
#define FOREBAY_ON_FULL_REJECT 0

/**
 * Deletes the oldest segment, whoever has not read it, and counts what was dropped: of this log
 * where its own budget is short; of those of the store's logs that have this value, the lowest
 * `priority` first, where the store's or the disk is.
 */
#define FOREBAY_ON_FULL_DROP_OLDEST 1

/**
 * Waits up to on_full_block_ms for room, and is refused then.
 */
#define FOREBAY_ON_FULL_BLOCK 2

/**
 * How the records of a batch are compressed, by Kafka's numbers of the codecs. Whoever reads such
 * a batch needs its codec built in (forebay_has_feature); a replicator ships it without. Not at
 * all: the default.
 */
#define FOREBAY_COMPRESSION_NONE 0

/**
 * With "gzip".
 */
#define FOREBAY_COMPRESSION_GZIP 1

/**
 * With "snappy".
 */
#define FOREBAY_COMPRESSION_SNAPPY 2

/**
 * With "lz4": the fastest.
 */
#define FOREBAY_COMPRESSION_LZ4 3

/**
 * With "zstd": the smallest. Brokers before 2.1 do not know it.
 */
#define FOREBAY_COMPRESSION_ZSTD 4

/**
 * What goes from the log: whole segments from the front, by the retention options. The default.
 */
#define FOREBAY_CLEANUP_DELETE 0

/**
 * Records of which the key has a newer one: every record needs a key, or is refused with
 * FOREBAY_INVALID_ARGUMENT. The retention options delete nothing.
 */
#define FOREBAY_CLEANUP_COMPACT 1

/**
 * Both.
 */
#define FOREBAY_CLEANUP_COMPACT_DELETE 2

/**
 * In the flags of a record: it has a key and no value, and deletes that key where a log is
 * compacted.
 */
#define FOREBAY_TOMBSTONE 1

/**
 * Visibility: what was appended, durable or not.
 */
#define FOREBAY_WRITTEN 0

/**
 * Visibility: only what survives a power cut. For whoever carries records elsewhere.
 */
#define FOREBAY_DURABLE 1

/**
 * From the log's start: the oldest record there is. The number is ignored.
 */
#define FOREBAY_FROM_EARLIEST 0

/**
 * From the log's end: what is appended from now on. The number is ignored.
 */
#define FOREBAY_FROM_LATEST 1

/**
 * From this offset.
 */
#define FOREBAY_FROM_OFFSET 2

/**
 * From the first record whose time is this or later, in milliseconds since 1970 UTC; the end if
 * there is none.
 */
#define FOREBAY_FROM_TIMESTAMP 3

/**
 * Link: being opened.
 */
#define FOREBAY_LINK_CONNECTING 0

/**
 * Link: up.
 */
#define FOREBAY_LINK_CONNECTED 1

/**
 * Link: down; it is opened again after retry_in_ms.
 */
#define FOREBAY_LINK_WAITING 2

/**
 * Link: the replicator was stopped, or its log was closed.
 */
#define FOREBAY_LINK_STOPPED 3

/**
 * Delivery: each record stands upstream once.
 */
#define FOREBAY_EXACTLY_ONCE 0

/**
 * Delivery: each record stands upstream, and after failures some may twice.
 */
#define FOREBAY_AT_LEAST_ONCE 1

/**
 * Nothing happened in time.
 */
#define FOREBAY_NOTICE_NONE 0

/**
 * The link is open.
 */
#define FOREBAY_NOTICE_CONNECTED 1

/**
 * The link could not be opened, or broke: `text` and `status`. It is tried again for ever, and
 * nothing is lost meanwhile, whatever the status; all but FOREBAY_UPSTREAM go on failing until a
 * person does what the text says. The same again in a row is not told again,
 * unless the link was open in between, as with an upstream that is full.
 */
#define FOREBAY_NOTICE_FAILED 2

/**
 * For the first time since the link was opened everything durable is acknowledged: all below
 * `offset`.
 */
#define FOREBAY_NOTICE_CAUGHT_UP 3

/**
 * Shipping to Kafka went on behind `count` offsets that the log does not have any more.
 */
#define FOREBAY_NOTICE_GAP 4

/**
 * `count` records of the log could not be read, damaged or deleted, and were passed over.
 */
#define FOREBAY_NOTICE_UNREADABLE 5

/**
 * The upstream refused `count` records, which went to the dead-letter log.
 */
#define FOREBAY_NOTICE_REFUSED 6

/**
 * `count` records may stand upstream twice: nobody can tell.
 */
#define FOREBAY_NOTICE_MAYBE_DOUBLED 7

/**
 * The upstream had less than it had acknowledged, and is given it again.
 */
#define FOREBAY_NOTICE_REWOUND 8

/**
 * Another device shipped under this one's identity; this one goes on under one of its own.
 */
#define FOREBAY_NOTICE_IDENTITY_SHARED 9

/**
 * A setting of the upstream will do harm: `text` says what to change.
 */
#define FOREBAY_NOTICE_WARNING 10

/**
 * The log was closed, or the replicator stopped: nothing is shipped any more.
 */
#define FOREBAY_NOTICE_STOPPED 11

/**
 * `count` notices before this one were not taken in time.
 */
#define FOREBAY_NOTICE_MISSED 12

/**
 * What a function returns: FOREBAY_OK or one of the errors below, all negative. A number never
 * changes its meaning and is never used again.
 */
enum forebay_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * It is done.
   */
  FOREBAY_OK = 0,
  /**
   * The operating system or the device refused an operation. Check the device, then close the
   * log and open it again.
   */
  FOREBAY_IO = -1,
  /**
   * No space, quota, descriptors or memory of the limit were left; nothing was changed. Free
   * some and call again.
   */
  FOREBAY_OUT_OF_SPACE = -2,
  /**
   * Bytes on the device are not what was written there. The damage is isolated: the next call
   * goes on behind it. forebay_last_error_offsets has what is lost.
   */
  FOREBAY_CORRUPT = -3,
  /**
   * The offset is below the log's start or above its end. forebay_last_error_offsets has what
   * can be read; seek there first.
   */
  FOREBAY_OFFSET_OUT_OF_RANGE = -4,
  /**
   * The record or batch is larger than the log takes. Split it, or raise max_batch_bytes.
   */
  FOREBAY_RECORD_TOO_LARGE = -5,
  /**
   * An argument cannot work: NULL, a length, an option; the text names it. Correct the caller.
   */
  FOREBAY_INVALID_ARGUMENT = -6,
  /**
   * Another process, or another handle of this one, has the directory open for writing.
   * To read it meanwhile: forebay_follower_open.
   */
  FOREBAY_LOCKED = -7,
  /**
   * A newer version of the library wrote these files. They were not touched.
   */
  FOREBAY_UNSUPPORTED_FORMAT = -8,
  /**
   * A sync failed earlier, so what the device holds is unknown; appends and flushes are refused,
   * reading goes on. Close the log and open it again.
   */
  FOREBAY_POISONED = -9,
  /**
   * The log was closed.
   */
  FOREBAY_CLOSED = -10,
  /**
   * The consumer of this name is open already. Free the other handle first.
   */
  FOREBAY_CONSUMER_BUSY = -11,
  /**
   * The upstream could not be reached or broke off. It is tried again by itself.
   */
  FOREBAY_UPSTREAM = -12,
  /**
   * The upstream refused what was sent. Correct its settings.
   */
  FOREBAY_UPSTREAM_REJECTED = -13,
  /**
   * The call would have to wait and was asked not to, or the handle is in use by another thread.
   */
  FOREBAY_WOULD_BLOCK = -14,
  /**
   * Two histories do not fit together; going on would overwrite one of them. Nothing was
   * changed.
   */
  FOREBAY_CONFLICT = -15,
  /**
   * The platform, the filesystem or this build of the library does not offer this:
   * forebay_has_feature tells what was built in.
   */
  FOREBAY_UNSUPPORTED = -16,
  /**
   * The directory or file does not allow writing. Check mount options, owner and mode.
   */
  FOREBAY_READ_ONLY = -17,
  /**
   * What was named does not exist.
   */
  FOREBAY_NOT_FOUND = -18,
  /**
   * A fault of the library was caught. What is on the device is whole; the handle answers
   * nothing else any more: close or free it. A log stays locked until the process ends: end it
   * soon, and report the text.
   */
  FOREBAY_PANIC = -100,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum forebay_status forebay_status;
#else
typedef int32_t forebay_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A batch of records, exactly as it is stored and as Kafka has it (record batch format 2), owned
 * by the caller. It keeps its bytes valid whatever happens to reader, log and files; a segment's
 * file stays on the disk, though deleted, while a batch of it is held.
 * Any number of threads may read it at once.
 */
typedef struct forebay_batch forebay_batch;

/**
 * A named reader whose progress is stored: after a restart the consumer of the same name goes on
 * where it committed. One thread at a time may use it, any thread; a call meanwhile gets
 * FOREBAY_WOULD_BLOCK.
 */
typedef struct forebay_consumer forebay_consumer;

/**
 * The consumers of a log when they were listed, in the order they were created; replicators' among
 * them. Any number of threads may use it at once, for anything but forebay_consumer_list_free.
 */
typedef struct forebay_consumer_list forebay_consumer_list;

/**
 * Reads a followed log in order from anywhere in it. What it gives is whole, in order, and as it
 * was appended, and no offset is left out or given twice untold: forebay_follow_reader_missed.
 * One thread at a time may use it, any thread; a call meanwhile gets FOREBAY_WOULD_BLOCK.
 */
typedef struct forebay_follow_reader forebay_follow_reader;

/**
 * A log opened for reading only, while another process, or another handle of this one, may be
 * writing it. It takes no lock and changes nothing in the directory, which may be on a file system
 * that is mounted read-only; any number of processes may follow one log, and its writer does not
 * wait for them. What is known of the log is what the last look at its files found, by
 * forebay_follower_refresh, forebay_follower_wait or a reader at its end.
 * Nothing keeps retention from deleting what a follower has not read, and no progress is stored:
 * whoever wants to go on after a restart keeps forebay_follow_reader_next_offset itself.
 * Any number of threads may use it at once, for anything but forebay_follower_free.
 */
typedef struct forebay_follower forebay_follower;

/**
 * Makes batches of single records that any number of threads append: 110 bytes on the disk for a
 * value of 100 instead of 170. A record is in the log when its batch is: the death of the process
 * takes what waits here, whose tickets were not answered yet. If one append returned before
 * another one began, its record gets the lower offset; forebay_log_append goes past what waits. It
 * takes up to six batches of memory, beside what memory_limit_bytes counts. Any number of
 * threads may use it at once, for anything but forebay_linger_free. It keeps the log open.
 */
typedef struct forebay_linger forebay_linger;

/**
 * An open log. Any number of threads may use it at once, for anything but forebay_log_close and
 * forebay_log_free.
 * After fork the child must not use it; the parent's stays as it was.
 */
typedef struct forebay_log forebay_log;

/**
 * The logs of a store when they were listed, sorted by name and partition.
 * Any number of threads may use it at once, for anything but forebay_log_list_free.
 */
typedef struct forebay_log_list forebay_log_list;

/**
 * Reads a log in order from anywhere in it; many may read the same log at once.
 * One thread at a time may use it, any thread; a call meanwhile gets FOREBAY_WOULD_BLOCK.
 */
typedef struct forebay_reader forebay_reader;

/**
 * Ships the durable records of a log to an upstream, in order, on one thread of its own. After a
 * kill or a power cut on either side the upstream is asked what it has, and shipping goes on
 * exactly there. Any number of threads may use it at once, for anything but
 * forebay_replicator_stop and forebay_replicator_free.
 */
typedef struct forebay_replicator forebay_replicator;

/**
 * Many named logs in one directory: one lock, one budget of disk, of files and of memory, one
 * flush for all of them. Logs are opened as they are used and closed again when too many are open.
 * Any number of threads may use it at once, for anything but forebay_store_close and
 * forebay_store_free.
 */
typedef struct forebay_store forebay_store;

/**
 * Tells the offset of a record that was handed to a linger. Any number of threads may use it at
 * once, for anything but forebay_ticket_free. It keeps the log open.
 */
typedef struct forebay_ticket forebay_ticket;

/**
 * A replicator that the application's own loop drives by polling it, without a thread.
 * One thread at a time may use it, any thread; a call meanwhile gets FOREBAY_WOULD_BLOCK, and so
 * does one in its own token callback.
 */
typedef struct forebay_turns forebay_turns;

/**
 * What a replicator is to ship to, and how; nothing is opened before it is started.
 * One thread at a time may use it, any thread; a call meanwhile gets FOREBAY_WOULD_BLOCK.
 */
typedef struct forebay_upstream forebay_upstream;

/**
 * Of the library, for its own text, not of a forebay_log. Takes one line of UTF-8, valid during
 * the call. Called on the thread that made the call that has
 * something to say. It may call forebay; what that has to say is not told. Neither an exception
 * nor longjmp may leave it.
 */
typedef void (*forebay_log_callback)(void *context, int32_t level, const char *text);

/**
 * Gives a context back: called once, when nobody uses it any more, on any thread.
 */
typedef void (*forebay_drop_callback)(void *context);

/**
 * Some bytes: not NUL-terminated, never kept by the library after the call it is passed to.
 *
 * `data` may be NULL if `len` is 0; where no bytes differ from none (a key, a header's value),
 * NULL says that there are none.
 */
typedef struct {
  /**
   * The first byte.
   */
  const uint8_t *data;
  /**
   * How many.
   */
  size_t len;
} forebay_bytes;

/**
 * The options of a log. Zero means the default everywhere. Set all of them up with
 * forebay_options_init before setting any; forebay_options_set takes them as text. Where the
 * default is no bound, -1 (UINT64_MAX) says the same, as in Kafka.
 */
typedef struct {
  /**
   * sizeof, set by forebay_options_init.
   */
  uint32_t struct_size;
  /**
   * One of FOREBAY_FLUSH_...; 0: every second.
   */
  uint32_t flush;
  /**
   * With FOREBAY_FLUSH_INTERVAL: milliseconds, 1 or more.
   */
  int64_t flush_interval_ms;
  /**
   * With FOREBAY_FLUSH_EVERY_BYTES: 1 or more.
   */
  uint64_t flush_bytes;
  /**
   * Bytes of a segment's file, 4 KiB to 2 GiB - 1; 16 MiB. Space is given back a segment at a
   * time.
   */
  uint64_t segment_bytes;
  /**
   * Bytes between two index entries; 4096.
   */
  uint64_t index_interval_bytes;
  /**
   * The largest batch, encoded, at most segment_bytes; 1 MiB. A record without key and headers
   * takes 67 to 79 bytes more than its value.
   */
  uint64_t max_batch_bytes;
  /**
   * What the log may take of anonymous memory; no bound.
   */
  uint64_t memory_limit_bytes;
  /**
   * How old a segment gets before the next one is begun, so that retention can take it; 7 days.
   */
  int64_t segment_ms;
  /**
   * Bytes of batches that the log keeps; no bound.
   */
  uint64_t retention_bytes;
  /**
   * How old a record gets; no bound.
   */
  int64_t retention_ms;
  /**
   * How many records the log keeps; no bound.
   */
  uint64_t retention_records;
  /**
   * Despite `hold`, no more bytes than these are kept; no bound.
   */
  uint64_t hold_limit_bytes;
  /**
   * Despite `hold`, a consumer that lags by more records is not waited for; no bound.
   */
  uint64_t hold_lag_records;
  /**
   * The most bytes of disk that all files of the log take together, indexes and what is made
   * ahead included; no bound. Never exceeded. At least two segments and a little: with small
   * ones more of it is records; what is too little is refused with what it takes.
   */
  uint64_t budget_bytes;
  /**
   * With FOREBAY_ON_FULL_BLOCK: milliseconds.
   */
  int64_t on_full_block_ms;
  /**
   * Names of consumers, UTF-8, with commas between them, for FOREBAY_HOLD_EACH and
   * FOREBAY_HOLD_ANY. One that does not exist holds nothing until it is created: mind the
   * spelling, and create it before the first append. One that no consumer can have is refused,
   * and so are no names. Not kept after the call that the options are passed to.
   */
  forebay_bytes hold_consumers;
  /**
   * One of FOREBAY_IO_...
   */
  uint32_t io_mode;
  /**
   * One of FOREBAY_RECOVERY_...
   */
  uint32_t recovery;
  /**
   * One of FOREBAY_MEDIA_...
   */
  uint32_t media;
  /**
   * With FOREBAY_MEDIA_TORN_OVERWRITE: how far around a sector the medium tears, a power of two
   * from 512 to 65536; 4096.
   */
  uint32_t torn_bytes;
  /**
   * One of FOREBAY_HOLD_...
   */
  uint32_t hold;
  /**
   * One of FOREBAY_ON_FULL_...
   */
  uint32_t on_full;
  /**
   * 1: a thread of the log's own keeps the flush interval and makes the next segment ready
   * ahead. 0: whatever call comes next does that.
   */
  uint32_t background;
  /**
   * In a store that is full, of the logs with FOREBAY_ON_FULL_DROP_OLDEST those of a lower
   * priority give up records first, and none of a higher one than the log's that needs room: 1
   * to 255; 0: 128. No log with another on_full gives up any.
   */
  uint32_t priority;
  /**
   * In a store that is full, keep one segment in so many of what would be dropped, so that old
   * times stay in outline; 0: none.
   */
  uint32_t thin_keep_one_in;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * What each batch is compressed by, on the device and on the way to a broker: one of
   * FOREBAY_COMPRESSION_... Small batches gain little: forebay_log_append_batch.
   */
  uint32_t compression;
  /**
   * How hard `compression` tries: gzip 1 to 9, 6; zstd -131072 to 22, 3. The others have none.
   */
  int32_t compression_level;
  /**
   * One of FOREBAY_CLEANUP_...
   */
  uint32_t cleanup_policy;
  /**
   * How much of the sealed bytes may be new before the log is compacted by itself, in per cent,
   * 1 to 100; 50.
   */
  uint32_t min_cleanable_dirty_percent;
  /**
   * How long a tombstone stays in a compacted log; one day.
   */
  int64_t delete_retention_ms;
  /**
   * How old a record is at least before compaction takes it; no bound.
   */
  int64_t min_compaction_lag_ms;
  /**
   * The most bytes of memory in which a compaction keeps keys; 32 MiB.
   */
  uint64_t compaction_memory_bytes;
} forebay_options;

/**
 * A header of a record. `value.data` NULL: a header without value.
 */
typedef struct {
  /**
   * UTF-8.
   */
  forebay_bytes name;
  /**
   * Any bytes.
   */
  forebay_bytes value;
} forebay_header;

/**
 * A record to be appended. forebay_record_of makes one; else set all of it to zero first, then
 * what the record has.
 */
typedef struct {
  /**
   * Its key; `key.data` NULL: none.
   */
  forebay_bytes key;
  /**
   * Its value.
   */
  forebay_bytes value;
  /**
   * Its headers, `header_count` of them, in order.
   */
  const forebay_header *headers;
  /**
   * How many.
   */
  size_t header_count;
  /**
   * Milliseconds since 1970 UTC; 0: the wall clock when it is appended.
   */
  int64_t timestamp_ms;
  /**
   * FOREBAY_TOMBSTONE or 0.
   */
  uint32_t flags;
  /**
   * 0.
   */
  uint32_t reserved_flags;
  /**
   * 0.
   */
  uint64_t reserved[2];
} forebay_new_record;

/**
 * What retention deleted: forebay_log_apply_retention.
 */
typedef struct {
  /**
   * How many bytes of this struct were filled in.
   */
  uint32_t struct_size;
  /**
   * 1 if a consumer that holds kept something that would be due.
   */
  uint32_t held_back;
  /**
   * The log's start now.
   */
  int64_t log_start_offset;
  /**
   * Segments deleted.
   */
  uint64_t segments_deleted;
  /**
   * Records deleted.
   */
  uint64_t records_deleted;
  /**
   * Bytes deleted.
   */
  uint64_t bytes_deleted;
} forebay_retention;

/**
 * What reading the whole log found: forebay_log_verify.
 */
typedef struct {
  /**
   * How many bytes of this struct were filled in.
   */
  uint32_t struct_size;
  /**
   * 1 if nothing is wrong.
   */
  uint32_t whole;
  /**
   * The log's start as it was read.
   */
  int64_t log_start_offset;
  /**
   * The log's end as it was read.
   */
  int64_t log_end_offset;
  /**
   * Segments read.
   */
  uint64_t segments;
  /**
   * Batches read.
   */
  uint64_t batches;
  /**
   * Records read.
   */
  uint64_t records;
  /**
   * Bytes read.
   */
  uint64_t bytes;
  /**
   * Ranges of records that are damaged.
   */
  uint64_t damaged_ranges;
  /**
   * The first of them: its first offset; -1 if there is none.
   */
  int64_t damaged_from;
  /**
   * One past its last offset; -1.
   */
  int64_t damaged_to;
  /**
   * Index entries that do not fit, which recovery makes anew.
   */
  uint64_t index_mismatches;
} forebay_verification;

/**
 * What a log is and has done since it was opened: forebay_log_stats. forebay_store_totals is of a
 * store.
 */
typedef struct {
  /**
   * How many bytes of this struct were filled in.
   */
  uint32_t struct_size;
  /**
   * FOREBAY_IO_MAPPED or FOREBAY_IO_POSITIONED.
   */
  uint32_t io_mode;
  /**
   * The oldest record's offset.
   */
  int64_t log_start_offset;
  /**
   * Records below survive a power cut.
   */
  int64_t durable_offset;
  /**
   * The next record's offset.
   */
  int64_t log_end_offset;
  /**
   * Segments.
   */
  uint64_t segments;
  /**
   * Bytes of batches in them.
   */
  uint64_t batch_bytes;
  /**
   * Bytes of all files, by their lengths.
   */
  uint64_t file_bytes;
  /**
   * Bytes of all files that the filesystem has set aside.
   */
  uint64_t allocated_bytes;
  /**
   * Bytes of deleted files that somebody still reads.
   */
  uint64_t deleted_held_bytes;
  /**
   * Bytes that are mapped.
   */
  uint64_t mapped_bytes;
  /**
   * Anonymous memory that the log takes.
   */
  uint64_t memory_bytes;
  /**
   * The most that it takes under its options.
   */
  uint64_t memory_bytes_max;
  /**
   * Bytes that wait for a flush.
   */
  uint64_t unflushed_bytes;
  /**
   * Records appended.
   */
  uint64_t records_appended;
  /**
   * Batches appended.
   */
  uint64_t batches_appended;
  /**
   * Bytes of batches appended.
   */
  uint64_t bytes_appended;
  /**
   * Appends refused.
   */
  uint64_t appends_refused;
  /**
   * Flushes that synced the device.
   */
  uint64_t flushes;
  /**
   * Bytes of batches appended, in whose terms device_bytes is read.
   */
  uint64_t payload_bytes;
  /**
   * Bytes written to the device, sectors that are rewritten each time included.
   */
  uint64_t device_bytes;
  /**
   * Segments that retention deleted.
   */
  uint64_t segments_deleted;
  /**
   * Records dropped because the log or the disk was full.
   */
  uint64_t records_dropped;
  /**
   * Consumers and replicators: forebay_log_consumers.
   */
  uint64_t consumers;
  /**
   * 1 after a sync failed: close the log and open it again.
   */
  uint32_t poisoned;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * The option budget_bytes; 0 if there is no bound.
   */
  uint64_t budget_bytes;
  /**
   * What is taken of it, in whole blocks, deleted files that somebody reads included; 0 without
   * a bound, as in a store that has one: disk_bytes of forebay_store_totals. Appends find it
   * used up while budget_reserve_bytes are left.
   */
  uint64_t budget_used_bytes;
  /**
   * What of it is kept back from records, so that deleting and committing work; 0 without one.
   */
  uint64_t budget_reserve_bytes;
} forebay_stats;

/**
 * What opening a log found: forebay_log_recovery. With `created` the rest means nothing; with
 * neither `created`, `clean` nor `cache_kept` the machine went down: a power cut, or a reboot
 * without forebay_log_close.
 */
typedef struct {
  /**
   * How many bytes of this struct were filled in.
   */
  uint32_t struct_size;
  /**
   * 1 if there was no log, and it was created.
   */
  uint32_t created;
  /**
   * 1 if it had been closed.
   */
  uint32_t clean;
  /**
   * 1 if nothing but the process had died: everything that was appended is there.
   */
  uint32_t cache_kept;
  /**
   * Segments that were read through.
   */
  uint64_t segments_scanned;
  /**
   * Bytes behind the last whole batch that were cut off.
   */
  uint64_t bytes_cut;
  /**
   * Records that were cut off with them; none of them was durable.
   */
  uint64_t records_cut;
  /**
   * Ranges of records that are damaged. They are passed over with FOREBAY_CORRUPT.
   */
  uint64_t damaged_ranges;
  /**
   * The first offset of records that were durable and are not there; -1 if there are none.
   */
  int64_t lost_from;
  /**
   * One past the last of them; -1.
   */
  int64_t lost_to;
  /**
   * Consumers that were moved back because what they had read is not there.
   */
  uint64_t consumers_moved_back;
  /**
   * Files that are none of the log's; they are left alone.
   */
  uint64_t foreign_files;
  /**
   * 1 if every copy of the consumers' progress was damaged: they begin anew.
   */
  uint32_t checkpoint_lost;
  /**
   * 0.
   */
  uint32_t reserved;
} forebay_recovery;

/**
 * When a batch is appended, and what tickets wait for. Zero means the default everywhere.
 */
typedef struct {
  /**
   * sizeof, set by forebay_linger_options_init.
   */
  uint32_t struct_size;
  /**
   * What forebay_ticket_wait and forebay_linger_flush wait for: FOREBAY_WRITTEN, or
   * FOREBAY_DURABLE, for which they flush the log.
   */
  uint32_t acknowledge;
  /**
   * How long the first record of a batch waits for others, in milliseconds: 5 by default, -1 for
   * no time at all; Kafka's linger.ms.
   */
  int64_t linger_ms;
  /**
   * The size at which a batch is appended, at most max_batch_bytes: 64 KiB by default; Kafka's
   * batch.size.
   */
  uint64_t batch_bytes;
  /**
   * The number of records at which a batch is appended: no bound by default.
   */
  uint64_t batch_records;
} forebay_linger_options;

/**
 * A record that was read. Its bytes lie in the batch and stay valid until forebay_batch_free, and
 * no longer: copy what is to outlive it. They must not be written to.
 */
typedef struct {
  /**
   * Its offset.
   */
  int64_t offset;
  /**
   * Milliseconds since 1970 UTC.
   */
  int64_t timestamp_ms;
  /**
   * Its key; `key.data` NULL: none.
   */
  forebay_bytes key;
  /**
   * Its value; empty for a tombstone.
   */
  forebay_bytes value;
  /**
   * How many headers it has: forebay_batch_header.
   */
  uint32_t header_count;
  /**
   * FOREBAY_TOMBSTONE or 0.
   */
  uint32_t flags;
  /**
   * 0.
   */
  uint64_t reserved[2];
} forebay_record;

/**
 * How a consumer is opened. Zero means the default everywhere.
 */
typedef struct {
  /**
   * sizeof, set by forebay_consumer_options_init.
   */
  uint32_t struct_size;
  /**
   * FOREBAY_WRITTEN, or FOREBAY_DURABLE for one that carries records elsewhere. It stays what it
   * was created with: another one is FOREBAY_INVALID_ARGUMENT.
   */
  uint32_t visibility;
  /**
   * Where a consumer of a name that is new begins, one of FOREBAY_FROM_...: the log's start by
   * default. One that exists goes on where it committed.
   */
  uint32_t from;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * What `from` asks for: an offset, a time.
   */
  int64_t number;
} forebay_consumer_options;

/**
 * A consumer as the log knows it, open or not: forebay_consumer_list_get,
 * forebay_log_consumer_info.
 */
typedef struct {
  /**
   * How many bytes of this struct were filled in.
   */
  uint32_t struct_size;
  /**
   * FOREBAY_WRITTEN or FOREBAY_DURABLE.
   */
  uint32_t visibility;
  /**
   * The next offset it reads after a restart.
   */
  int64_t committed;
  /**
   * How many offsets it has not committed, those of records dropped since included.
   */
  uint64_t lag;
  /**
   * How many records retention took before it had committed them.
   */
  uint64_t overtaken;
  /**
   * 1 if retention waits for it.
   */
  uint32_t holds;
  /**
   * 1 if it is open in this process.
   */
  uint32_t open;
  /**
   * Its name, NUL-terminated.
   */
  char name[256];
} forebay_consumer_info;

/**
 * The options of a store. Zero means the default everywhere. Set all of them up with
 * forebay_store_options_init before setting any; forebay_store_options_set takes them as text.
 * Where the default is no bound, -1 (UINT64_MAX) says the same.
 */
typedef struct {
  /**
   * sizeof, set by forebay_store_options_init.
   */
  uint32_t struct_size;
  /**
   * 1: one thread does what is due for all logs. 0: forebay_store_maintain does, and whatever
   * call comes next on a log.
   */
  uint32_t background;
  /**
   * The most bytes of disk that all files take together; no bound. Never exceeded. At least two
   * segments of `logs`, even if every log gets options of its own, and reserve_bytes: 32 MiB by
   * the defaults. What an append does that finds it used up is its log's on_full.
   */
  uint64_t budget_bytes;
  /**
   * How much is kept back from records, so that deleting and committing find room on a full
   * disk; 256 KiB.
   */
  uint64_t reserve_bytes;
  /**
   * Address space that files are mapped to at a time; 16 GiB.
   */
  uint64_t max_mapped_bytes;
  /**
   * Above so much anonymous memory of all logs together, those that nobody holds are closed; no
   * bound.
   */
  uint64_t memory_limit_bytes;
  /**
   * How many bytes can be written to the device in its life, by its data sheet, for the estimate
   * of forebay_store_stats; unknown.
   */
  uint64_t rated_endurance_bytes;
  /**
   * Logs that are open at a time; 64.
   */
  uint32_t max_open_logs;
  /**
   * Files that are open at a time; 512.
   */
  uint32_t max_open_files;
  /**
   * The options of logs that are given none of their own; NULL for the defaults. Not kept after
   * the call that these options are passed to.
   */
  const forebay_options *logs;
} forebay_store_options;

/**
 * What a store is and has done since it was created: forebay_store_stats. forebay_stats is of one
 * log.
 */
typedef struct {
  /**
   * How many bytes of this struct were filled in.
   */
  uint32_t struct_size;
  /**
   * 1 if the filesystem tells free_bytes.
   */
  uint32_t free_known;
  /**
   * Logs.
   */
  uint64_t logs;
  /**
   * Of these, open.
   */
  uint64_t open_logs;
  /**
   * Bytes of disk that all files take, deleted ones that somebody reads included.
   */
  uint64_t disk_bytes;
  /**
   * Of these, what is deleted and still read.
   */
  uint64_t deleted_held_bytes;
  /**
   * The bound on disk_bytes; 0 if there is none.
   */
  uint64_t budget_bytes;
  /**
   * Bytes that the filesystem has left.
   */
  uint64_t free_bytes;
  /**
   * Files that are open.
   */
  uint64_t open_files;
  /**
   * Address space that files are mapped to.
   */
  uint64_t mapped_bytes;
  /**
   * Anonymous memory of the open logs.
   */
  uint64_t memory_bytes;
  /**
   * Records dropped because there was no room.
   */
  uint64_t records_dropped;
  /**
   * Bytes of batches appended, in whose terms device_bytes is read.
   */
  uint64_t payload_bytes;
  /**
   * Bytes written to the device, sectors that are rewritten each time included.
   */
  uint64_t device_bytes;
  /**
   * How long the device lasts at this rate, in seconds; -1 without rated_endurance_bytes, or
   * before anything was written.
   */
  int64_t lifetime_seconds;
} forebay_store_totals;

/**
 * A log of a store: forebay_log_list_get, forebay_store_log_info. No level: FOREBAY_LOG_INFO is.
 */
typedef struct {
  /**
   * How many bytes of this struct were filled in.
   */
  uint32_t struct_size;
  /**
   * Its partition; 0 for a log that has no others.
   */
  uint32_t partition;
  /**
   * 1 if it is open now.
   */
  uint32_t open;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Its name, NUL-terminated.
   */
  char name[256];
} forebay_log_info;

/**
 * How a replicator behaves. Zero means the default everywhere; the defaults suit a link that comes
 * and goes. forebay_replicator_options_set takes them as text.
 */
typedef struct {
  /**
   * sizeof, set by forebay_replicator_options_init.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Milliseconds; 100. The wait between two tries is a random time from 0 to a bound that begins
   * here and doubles with every failure in a row, so that a fleet does not come back at once.
   */
  int64_t backoff_min_ms;
  /**
   * Milliseconds, at least backoff_min_ms; 30000. Where the bound stops to double.
   */
  int64_t backoff_max_ms;
  /**
   * Bytes that were sent and not acknowledged, at most; 2 MiB. One batch is always allowed.
   */
  uint64_t in_flight_bytes;
  /**
   * Milliseconds until an acknowledgement that does not come means that the link is dead; 30000.
   * On a link that is slow it is doubled with each time in a row, up to 32 times as long.
   */
  int64_t acknowledge_timeout_ms;
  /**
   * Bytes sent in a second, at most; as many as the link takes, which -1 (UINT64_MAX) says too.
   */
  uint64_t bytes_per_second;
} forebay_replicator_options;

/**
 * Writes a bearer token, ASCII without a NUL, into `buffer`, of `capacity` bytes, and its length
 * into `*len_out`. Returns FOREBAY_OK; or FOREBAY_OUT_OF_SPACE if it is longer, and the length it
 * has: then it is called again with as many bytes, up to 512 KiB; or any other status, which ends
 * this try to log in, and it is called again after the backoff.
 *
 * Called at each login, on the replicator's thread, or within forebay_turns_turn; shipping waits
 * for it. It may call forebay, but what waits for its own replicator is refused with
 * FOREBAY_INVALID_ARGUMENT. Neither an exception nor longjmp may leave it.
 */
typedef int32_t (*forebay_token_callback)(void *context,
                                          uint8_t *buffer,
                                          size_t capacity,
                                          size_t *len_out);

/**
 * How far a replicator has come, and what it is doing: forebay_replicator_status,
 * forebay_turns_status. No forebay_status, which is what functions return.
 */
typedef struct {
  /**
   * How many bytes of this struct were filled in.
   */
  uint32_t struct_size;
  /**
   * What the link is doing, one of FOREBAY_LINK_...
   */
  uint32_t link;
  /**
   * Every record below this offset is known to be durable upstream.
   */
  int64_t committed;
  /**
   * Offsets of the log from there on, also of records that were deleted or dropped since.
   */
  uint64_t lag_records;
  /**
   * About how many bytes they take, or would take.
   */
  uint64_t lag_bytes;
  /**
   * Time of the oldest of them in milliseconds since 1970 UTC; -1 without lag.
   */
  int64_t oldest_timestamp_ms;
  /**
   * Records sent, those sent again included.
   */
  uint64_t records_sent;
  /**
   * Of these, records sent again because they were not known to have arrived.
   */
  uint64_t records_resent;
  /**
   * Batches sent.
   */
  uint64_t batches_sent;
  /**
   * Bytes sent.
   */
  uint64_t bytes_sent;
  /**
   * Times the link was opened.
   */
  uint64_t connects;
  /**
   * Times it could not be opened, or broke.
   */
  uint64_t failures;
  /**
   * Times the upstream had less than it had acknowledged, and was given it again.
   */
  uint64_t rewinds;
  /**
   * Records that could not be read in the log, damaged or deleted, and were passed over.
   */
  uint64_t unreadable_records;
  /**
   * Milliseconds until the link is tried again; -1 unless it is FOREBAY_LINK_WAITING.
   */
  int64_t retry_in_ms;
  /**
   * Requests with records that were sent and not answered.
   */
  uint64_t in_flight;
  /**
   * Where upstream the last acknowledged record stands; -1 if that is not known.
   */
  int64_t upstream_offset;
  /**
   * Times that shipping went on behind offsets which the log does not have any more. To Kafka:
   * an upstream that is a log has the gap in its offsets, and none is counted here.
   */
  uint64_t gaps;
  /**
   * Offsets in these gaps.
   */
  uint64_t gap_records;
  /**
   * Records that the upstream refused, which went to the dead-letter log.
   */
  uint64_t refused;
  /**
   * Records that may stand upstream twice, for nobody can tell whether they arrived.
   */
  uint64_t maybe_doubled;
  /**
   * Times another device was found to ship under this one's identity: a copied disk.
   */
  uint64_t identity_shared;
  /**
   * Settings of the upstream that will do harm; FOREBAY_NOTICE_WARNING has each as text.
   */
  uint64_t warnings;
  /**
   * FOREBAY_EXACTLY_ONCE or FOREBAY_AT_LEAST_ONCE.
   */
  uint32_t delivery;
  /**
   * The kind of the last error, as a status; FOREBAY_OK if there was none. FOREBAY_UPSTREAM goes
   * by itself; FOREBAY_CONFLICT, FOREBAY_UPSTREAM_REJECTED and any other want a person.
   */
  int32_t last_error_status;
  /**
   * The last error, with what to do about it; NUL-terminated, empty if there was none, cut short
   * if it is longer. It stays, with its kind, when the link is up again, and does not say when
   * it was: show it while `link` is not FOREBAY_LINK_CONNECTED.
   */
  char last_error[512];
  /**
   * Batches sent as they are stored, compressed ones as they are compressed.
   */
  uint64_t sent_as_stored;
  /**
   * Batches encoded anew before they were sent: small ones put together, large ones split.
   */
  uint64_t sent_encoded;
} forebay_progress;

/**
 * Something that happened to a replicator: forebay_replicator_next_notice,
 * forebay_turns_next_notice. Each kind says which of the fields it fills in; the others are 0.
 */
typedef struct {
  /**
   * How many bytes of this struct were filled in.
   */
  uint32_t struct_size;
  /**
   * One of FOREBAY_NOTICE_... Pass over those you do not know.
   */
  uint32_t kind;
  /**
   * How many.
   */
  uint64_t count;
  /**
   * An offset of the log.
   */
  int64_t offset;
  /**
   * The kind of an error: FOREBAY_UPSTREAM goes by itself; FOREBAY_CONFLICT,
   * FOREBAY_UPSTREAM_REJECTED and any other want a person.
   */
  int32_t status;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * What failed, and what to do about it; NUL-terminated, cut short if it is longer.
   */
  char text[512];
} forebay_notice;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The name of a status, such as "FOREBAY_LOCKED"; "FOREBAY_UNKNOWN" for a number that is none.
 * Never NULL, static. Does not block; any thread, also in a signal handler.
 */
const char *forebay_status_name(int32_t status);

/**
 * The text of the calling thread's latest failure, one line of UTF-8: what failed, where, and what
 * to do next. Empty if nothing failed yet; success does not clear it. For people: programs go by
 * the status. Never NULL; valid until the thread's next forebay call, forebay_status_name apart.
 * Does not block; any thread.
 */
const char *forebay_last_error(void);

/**
 * The offsets that the calling thread's latest failure is about, the second one past the last:
 * of FOREBAY_OFFSET_OUT_OF_RANGE those that can be read, of FOREBAY_CORRUPT those that are lost.
 * FOREBAY_NOT_FOUND if it had none; that is no failure to be asked for in its turn.
 * FOREBAY_INVALID_ARGUMENT.
 * Does not block; any thread.
 */
FOREBAY_NODISCARD
forebay_status forebay_last_error_offsets(int64_t *from_out, int64_t *to_out);

/**
 * The library's version, such as "0.1.0": that of what is linked, while FOREBAY_VERSION_MAJOR and
 * the others are those of what was compiled. Never NULL, static. Any thread.
 */
const char *forebay_version(void);

/**
 * The library's version as a number: major * 1000000 + minor * 1000 + patch, as
 * FOREBAY_VERSION_NUMBER. Any thread.
 */
uint32_t forebay_version_number(void);

/**
 * Whether something was built in: "replicator" (shipping to another log), "kafka" (shipping to
 * Kafka, TLS and logins included), "toml" (configuration files), "gzip", "snappy", "lz4", "zstd"
 * (compression); "encryption" and "typed", which only Rust can use. Every function is there in
 * every build; what is not built in returns FOREBAY_UNSUPPORTED. false for NULL and names it does
 * not know. Any thread.
 */
bool forebay_has_feature(const char *name);

/**
 * Has the library tell `callback` what no status says: what recovery found, what a free could not
 * do. One for the process; NULL tells nobody any more, which is how it begins. `drop`, which may
 * be NULL, is called with `context` when another one is set and no call runs.
 * Does not block; any thread.
 */
FOREBAY_NODISCARD
forebay_status forebay_set_log_callback(forebay_log_callback callback,
                                        void *context,
                                        forebay_drop_callback drop);

/**
 * Sets all options to their defaults; `size` is sizeof. Call it before setting any.
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_options_init(forebay_options *options, size_t size);

/**
 * Sets one option from text, as a configuration file has it: the name of a field of
 * forebay_options, and a number, or one of these:
 * flush: every_append, manual, interval_ms=N, every_bytes=N;
 * io_mode: auto, mapped, positioned; recovery: auto, full; media: auto, power_safe,
 * torn_overwrite; hold: nobody, everyone, each, any; on_full: reject, drop_oldest, block_ms=N;
 * background: true, false; compression, or compression.type as Kafka has it: none, gzip, snappy,
 * lz4, zstd; cleanup_policy: delete, compact, compact,delete;
 * hold_consumers: names with commas between them, which has to stay
 * valid until the options were used. Other options stay as they are, all of them if this fails.
 * Numbers are decimal, without a unit; -1 where the default is no bound says that. Spaces around a
 * value or a name of hold_consumers are no part of it. What a number may be is checked when the
 * options are used. Each name sets its field alone: flush_interval_ms, flush_bytes,
 * on_full_block_ms and hold_consumers do nothing without the `flush`, `on_full` or `hold` that
 * they are for, nor torn_bytes without `media`, nor compression_level without `compression`;
 * interval_ms=N, every_bytes=N and block_ms=N set both.
 * Does not block. FOREBAY_NOT_FOUND if there is no such option, FOREBAY_INVALID_ARGUMENT if it
 * cannot have this value.
 */
FOREBAY_NODISCARD
forebay_status forebay_options_set(forebay_options *options,
                                   forebay_bytes name,
                                   forebay_bytes value);

/**
 * Opens the log in a directory for reading and writing, or creates it; works on whatever a crash
 * left there, and forebay_log_recovery says what that was. `options` may be NULL for the defaults.
 * Close it with forebay_log_close. `*log_out` is NULL unless this is FOREBAY_OK.
 * Blocks for reading what was written since the last flush of an unclean stop.
 * FOREBAY_LOCKED if it is open already: one process writes a log, others follow it by
 * forebay_follower_open; FOREBAY_INVALID_ARGUMENT if an option cannot work; FOREBAY_READ_ONLY,
 * FOREBAY_OUT_OF_SPACE, FOREBAY_IO; FOREBAY_UNSUPPORTED_FORMAT; FOREBAY_UNSUPPORTED for a codec
 * that is not built in.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_open(forebay_bytes dir,
                                const forebay_options *options,
                                forebay_log **log_out);

/**
 * Stores everything durably, closes the log and frees the handle, whatever it returns: a status
 * other than FOREBAY_OK says that the last records may not be durable. Readers and consumers get
 * FOREBAY_CLOSED from then on and are still to be freed; batches stay valid. A replicator of the
 * log ends, without being waited for. NULL is nothing to do. No other call on this handle may run.
 * Blocks for a device sync. FOREBAY_POISONED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_close(forebay_log *log);

/**
 * Lets a handle go. A log of a store stays open there for whoever uses it next. One that was
 * opened by itself is closed with its last handle, reader, consumer and batch: as
 * forebay_log_close, but what fails then only the log callback is told. NULL is nothing to do. No
 * other call on this handle may run. Blocks for a device sync where it closes.
 */
void forebay_log_free(forebay_log *log);

/**
 * The 16 bytes that name this log for ever, wherever it is copied to: with `uint8_t id[16]`, pass
 * `&id`. Does not block.
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_id(const forebay_log *log, uint8_t (*id_out)[16]);

/**
 * Appends a record that is a value alone, as a batch of its own (67 to 79 bytes more than the
 * value), and says its offset; `offset_out`
 * may be NULL. The record survives the death of the process at once, and a power cut once it is
 * flushed, which the flush policy sees to. Mapped, that is one copy and no system call.
 * Blocks as the flush policy says, and while the log is full with FOREBAY_ON_FULL_BLOCK.
 * FOREBAY_OUT_OF_SPACE: nothing was appended; free some and call again, or have the consumers of
 * `hold` commit: forebay_log_consumers says how far each has come. FOREBAY_RECORD_TOO_LARGE,
 * FOREBAY_POISONED, FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_append(const forebay_log *log, forebay_bytes value, int64_t *offset_out);

/**
 * As forebay_log_append, for a record with a key, headers, a time of its own, or none of these.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_append_record(const forebay_log *log,
                                         const forebay_new_record *record,
                                         int64_t *offset_out);

/**
 * Appends `count` records as one batch, all of them or none, and says the first one's offset; the
 * others follow it. `base_offset_out` may be NULL. Cheaper by far than one at a time, on the
 * device and on a link, and what compression works on: batches of several calls are not put
 * together.
 * No record, no batch: then it says where the log ends. As forebay_log_append.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_append_batch(const forebay_log *log,
                                        const forebay_new_record *records,
                                        size_t count,
                                        int64_t *base_offset_out);

/**
 * As forebay_log_append_batch, with a compression of its own for this batch: one of
 * FOREBAY_COMPRESSION_..., such as none for what is compressed already. The level is that of the
 * options where the codec is theirs, else the codec's own. A batch that would not become smaller
 * is stored plain. FOREBAY_UNSUPPORTED for a codec that is not built in: nothing was appended.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_append_batch_compressed(const forebay_log *log,
                                                   uint32_t compression,
                                                   const forebay_new_record *records,
                                                   size_t count,
                                                   int64_t *base_offset_out);

/**
 * As forebay_log_append_batch, if the first record gets the offset `expected`; else nothing is
 * appended: somebody else appended meanwhile. FOREBAY_CONFLICT then; forebay_log_end_offset has
 * where the log ends now.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_append_batch_at(const forebay_log *log,
                                           int64_t expected,
                                           const forebay_new_record *records,
                                           size_t count);

/**
 * Changes the options of an open log: flush policy, retention, hold, budget, what to do when it is
 * full, priority, compression. The others have to be what they are. All or none are changed.
 * Does not block for the device. FOREBAY_INVALID_ARGUMENT for one that cannot change or cannot
 * work; FOREBAY_CLOSED; FOREBAY_UNSUPPORTED for a codec that is not built in.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_set_options(const forebay_log *log, const forebay_options *options);

/**
 * Makes everything that was appended durable, and says how far that is: records below
 * `*durable_out`, which may be NULL, survive a power cut. Callers at once share a device flush.
 * Blocks for a device sync. FOREBAY_POISONED or FOREBAY_IO: close the log and open it again;
 * FOREBAY_CLOSED, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_flush(const forebay_log *log, int64_t *durable_out);

/**
 * The offset of the oldest record there is, or a negative status. Does not block.
 * FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_log_start_offset(const forebay_log *log);

/**
 * The offset that the next record gets, or a negative status. Does not block.
 * FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_log_end_offset(const forebay_log *log);

/**
 * Records below it survive a power cut; or a negative status. Does not block.
 * FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_log_durable_offset(const forebay_log *log);

/**
 * Waits until the record at `offset` can be read (FOREBAY_WRITTEN), or survives a power cut as
 * well (FOREBAY_DURABLE), and says in `reached_out` whether it does. To wait for the next record,
 * pass forebay_log_end_offset. Flushes when the flush interval says so.
 * Blocks up to `timeout_ms` milliseconds; 0 not at all, negative for ever.
 * FOREBAY_CLOSED if the log is closed meanwhile; FOREBAY_POISONED, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_wait(const forebay_log *log,
                                int64_t offset,
                                uint32_t visibility,
                                int64_t timeout_ms,
                                bool *reached_out);

/**
 * Deletes the records below `before`, whoever has not read them, for good: they are not read again
 * after a power cut either. Whole segments are given back to the disk. `start_out`, which may be
 * NULL, gets the log's new start.
 * Blocks for a device sync. FOREBAY_OFFSET_OUT_OF_RANGE above the log's end; FOREBAY_POISONED,
 * FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_delete_records(const forebay_log *log,
                                          int64_t before,
                                          int64_t *start_out);

/**
 * Deletes what the retention options have expired, now rather than when a segment is full, and
 * fills in `retention_out`, of which the caller has `size` bytes (sizeof); it may be NULL with 0.
 * Blocks for the file system. FOREBAY_POISONED, FOREBAY_CLOSED, FOREBAY_IO,
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_apply_retention(const forebay_log *log,
                                           forebay_retention *retention_out,
                                           size_t size);

/**
 * Reads the whole log and checks every batch and index; changes nothing. What is damaged is told
 * in `verification_out`, of which the caller has `size` bytes (sizeof), and is no error.
 * Blocks for reading everything. FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_verify(const forebay_log *log,
                                  forebay_verification *verification_out,
                                  size_t size);

/**
 * Fills in what the log is and has done, into the `size` bytes (sizeof) at `stats_out`.
 * Does not block for the device. FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_stats(const forebay_log *log, forebay_stats *stats_out, size_t size);

/**
 * Fills in what opening the log found, into the `size` bytes (sizeof) at `recovery_out`: whether
 * it was closed, what a crash took. Does not block. FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_recovery(const forebay_log *log,
                                    forebay_recovery *recovery_out,
                                    size_t size);

/**
 * Copies the durable part of the log into a new directory, consumers included, while it goes on:
 * forebay_log_flush before has everything in it. The copy opens as a log of the same id. What can
 * be linked takes no space. Blocks for copying what cannot.
 * FOREBAY_INVALID_ARGUMENT if the directory is not empty; FOREBAY_OUT_OF_SPACE, FOREBAY_READ_ONLY,
 * FOREBAY_CLOSED, FOREBAY_IO.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_snapshot(const forebay_log *log, forebay_bytes dir);

/**
 * Writes the durable part of the log into a new directory as a Kafka broker has it: segments,
 * offset indexes, time indexes. Blocks for writing them. As forebay_log_snapshot.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_export(const forebay_log *log, forebay_bytes dir);

/**
 * Sets all options to their defaults; `size` is sizeof. Call it before setting any.
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_linger_options_init(forebay_linger_options *options, size_t size);

/**
 * Makes a linger of this log; `options` may be NULL for the defaults. Free it with
 * forebay_linger_free. `*linger_out` is NULL unless this is FOREBAY_OK. Does not block.
 * FOREBAY_INVALID_ARGUMENT: also for a mirror, which takes batches of its source only.
 * FOREBAY_CLOSED.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_linger(const forebay_log *log,
                                  const forebay_linger_options *options,
                                  forebay_linger **linger_out);

/**
 * Hands in a record that is a value alone. A ticket tells its offset once its batch is in the log,
 * to be freed with forebay_ticket_free; `ticket_out` may be NULL where nobody asks.
 * `*ticket_out` is NULL unless this is FOREBAY_OK.
 * Blocks where the record fills a batch, until that is in the log, and where four full ones wait.
 * FOREBAY_RECORD_TOO_LARGE, FOREBAY_POISONED, FOREBAY_CLOSED, FOREBAY_INVALID_ARGUMENT: it was not
 * handed in. What stands in the way of its batch is told by its ticket and by
 * forebay_linger_flush.
 */
FOREBAY_NODISCARD
forebay_status forebay_linger_append(const forebay_linger *linger,
                                     forebay_bytes value,
                                     forebay_ticket **ticket_out);

/**
 * As forebay_linger_append, for a record with a key, headers, a time of its own, or none of these.
 */
FOREBAY_NODISCARD
forebay_status forebay_linger_append_record(const forebay_linger *linger,
                                            const forebay_new_record *record,
                                            forebay_ticket **ticket_out);

/**
 * Appends what waits, and returns when all that was handed in before is in the log, or durable
 * where the options ask for it. Blocks for that.
 * FOREBAY_OUT_OF_SPACE and whatever else a batch met that could not be appended since the last
 * flush, told once; those of forebay_log_flush; FOREBAY_CLOSED, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_linger_flush(const forebay_linger *linger);

/**
 * Appends what waits, as forebay_linger_flush does, whose errors go nowhere here, and frees the
 * linger; tickets stay valid. NULL is nothing to do. No other call on this handle may run.
 */
void forebay_linger_free(forebay_linger *linger);

/**
 * Waits for what `acknowledge` of the options says, and says the record's offset; `offset_out` may
 * be NULL. The first thread that waits appends the batch for all when its time is over.
 * What the batch met that could not be appended, the same for all its tickets:
 * FOREBAY_OUT_OF_SPACE, FOREBAY_POISONED: the record is not in the log. Closing the log appends
 * what waits.
 * FOREBAY_IO: it may be, but is not known to be durable. FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_ticket_wait(const forebay_ticket *ticket, int64_t *offset_out);

/**
 * As forebay_ticket_wait, until the record survives a power cut, whatever the options say.
 */
FOREBAY_NODISCARD
forebay_status forebay_ticket_wait_durable(const forebay_ticket *ticket, int64_t *offset_out);

/**
 * What forebay_ticket_wait would say, if it would at once; does nothing for it. Does not block.
 * FOREBAY_WOULD_BLOCK: not yet.
 */
FOREBAY_NODISCARD
forebay_status forebay_ticket_try_wait(const forebay_ticket *ticket, int64_t *offset_out);

/**
 * Frees the ticket; its record takes the same way. NULL is nothing to do. Does not block.
 */
void forebay_ticket_free(forebay_ticket *ticket);

/**
 * Opens a reader: `from` is one of FOREBAY_FROM_..., `number` what that asks for. It sees records
 * as soon as they are appended, durable or not. Free it with forebay_reader_free, before or after
 * the log is closed. `*reader_out` is NULL unless it is FOREBAY_OK.
 * Does not block, but for reading an index.
 * FOREBAY_OFFSET_OUT_OF_RANGE, FOREBAY_CLOSED, FOREBAY_OUT_OF_SPACE (memory_limit_bytes),
 * FOREBAY_INVALID_ARGUMENT, FOREBAY_IO.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_reader(const forebay_log *log,
                                  uint32_t from,
                                  int64_t number,
                                  forebay_reader **reader_out);

/**
 * The next batch, to be freed with forebay_batch_free, or FOREBAY_OK and NULL at the log's end;
 * ask again after more was appended (forebay_log_wait). The bytes are not copied: they lie in the
 * mapped file, or in one buffer that was read. Each batch's checksum is verified.
 * `*batch_out` is NULL unless there is one.
 * Blocks for reading the device, not for records.
 * FOREBAY_CORRUPT: call again to go on behind the damage. FOREBAY_OFFSET_OUT_OF_RANGE: retention
 * took what was to come; seek. FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_reader_next(forebay_reader *reader, forebay_batch **batch_out);

/**
 * Moves the reader; `from` and `number` as for forebay_log_reader. It stays where it is unless
 * this is FOREBAY_OK. Does not block, but for reading an index.
 * FOREBAY_OFFSET_OUT_OF_RANGE, FOREBAY_CLOSED, FOREBAY_INVALID_ARGUMENT, FOREBAY_IO.
 */
FOREBAY_NODISCARD
forebay_status forebay_reader_seek(forebay_reader *reader, uint32_t from, int64_t number);

/**
 * The offset that forebay_reader_next goes on at, or a negative status. Does not block.
 * FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_reader_next_offset(forebay_reader *reader);

/**
 * Frees the reader; its batches stay valid. NULL is nothing to do. Does not block.
 */
void forebay_reader_free(forebay_reader *reader);

/**
 * How many records forebay_batch_get has: 0 for a batch of which none is left (a gap), or for NULL
 * and what is no batch. Does not block.
 */
size_t forebay_batch_count(const forebay_batch *batch);

/**
 * The batch's first offset, or a negative status: a consumer or reader that began in the middle
 * gets the whole batch and the records from there on. Does not block. FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_batch_base_offset(const forebay_batch *batch);

/**
 * One past the batch's last offset: what is committed once it is processed; or a negative status.
 * Does not block. FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_batch_next_offset(const forebay_batch *batch);

/**
 * Fills in the record of this index, 0 to forebay_batch_count - 1. Costs a record's decoding when
 * asked for in order; else all before it are passed again. Nothing is copied.
 * Does not block. FOREBAY_NOT_FOUND beyond the last; FOREBAY_CORRUPT for a record whose writer
 * encoded it wrongly; FOREBAY_UNSUPPORTED if the batch is compressed by what is not built in;
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_batch_get(const forebay_batch *batch,
                                 size_t index,
                                 forebay_record *record_out);

/**
 * Fills in the records from this index on, up to `capacity` of them, and says in `count_out` how
 * many there were: 0 beyond the last. Cheaper than one at a time by half.
 * Does not block. Where a record is encoded wrongly those before it are given, and it is
 * FOREBAY_CORRUPT when it is the first; FOREBAY_UNSUPPORTED if the batch is compressed by what is
 * not built in; FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_batch_get_many(const forebay_batch *batch,
                                      size_t index,
                                      forebay_record *records_out,
                                      size_t capacity,
                                      size_t *count_out);

/**
 * Fills in a header of a record: `header` from 0 to the record's header_count - 1, in the order
 * they were appended in. As forebay_batch_get, whose record of the same index may be asked for
 * before at no cost. FOREBAY_NOT_FOUND beyond the last record or header.
 */
FOREBAY_NODISCARD
forebay_status forebay_batch_header(const forebay_batch *batch,
                                    size_t index,
                                    size_t header,
                                    forebay_header *header_out);

/**
 * The batch as it is stored: what Kafka calls a record batch, its checksum included; always whole,
 * also where a reader or consumer began in the middle of it and forebay_batch_count is less. A
 * batch is what one append call made, and none are put together: where bytes cost, take
 * forebay_log_append_batch, and compression. To
 * carry batches over a link of one's own: read them by a consumer with FOREBAY_DURABLE, send these
 * bytes (and once forebay_log_id, that they are told from another device's), and when the other
 * side has them durably, forebay_consumer_commit_offset with forebay_batch_next_offset. To send
 * again what was not acknowledged, seek to forebay_consumer_committed. The other side takes them
 * by forebay_batch_read, and passes over records whose offsets it has. Empty for NULL and what is
 * no batch. Valid until forebay_batch_free. Does not block.
 */
forebay_bytes forebay_batch_bytes(const forebay_batch *batch);

/**
 * Reads the batch at the front of bytes that came from elsewhere, checksum and all, and says in
 * `used_out` how many bytes it took. The bytes are copied. FOREBAY_OK and NULL, with 0 used, if
 * the front is a batch that is cut short: get more bytes, but no more than the sender's
 * max_batch_bytes, for the length itself is only known to be right with the whole
 * (forebay_batch_read_within takes care of that). Nothing finds
 * the next batch behind bytes that are none: have the link begin anew. Free it with
 * forebay_batch_free. Does not block.
 * FOREBAY_CORRUPT if the bytes are no batch or its checksum is wrong; FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_batch_read(forebay_bytes bytes, forebay_batch **batch_out, size_t *used_out);

/**
 * As forebay_batch_read, from somebody who is not trusted with memory: a batch that says it has
 * more than `max_bytes` bytes is refused as soon as its first 61 are there, so that no more are
 * gathered for it. What the sender's max_batch_bytes is, is such a bound.
 * FOREBAY_RECORD_TOO_LARGE for such a batch; FOREBAY_CORRUPT if the bytes are no batch or its
 * checksum is wrong; FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_batch_read_within(forebay_bytes bytes,
                                         size_t max_bytes,
                                         forebay_batch **batch_out,
                                         size_t *used_out);

/**
 * Writes the batch as a Kafka producer sends it: base offset 0 and the id, epoch and sequence of
 * an idempotent producer, or -1 for each. For an application that speaks Kafka's protocol itself;
 * what ships by forebay_replicator_start needs none of it. `size_out` says how many bytes it
 * takes; if `capacity` is less nothing is written and it is FOREBAY_OUT_OF_SPACE, so a call with 0
 * asks for the size. Does not block. FOREBAY_UNSUPPORTED for a batch that a producer cannot send
 * (a gap, a marker of a transaction); FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_batch_produce(const forebay_batch *batch,
                                     int64_t producer_id,
                                     int16_t producer_epoch,
                                     int32_t sequence,
                                     uint8_t *buffer,
                                     size_t capacity,
                                     size_t *size_out);

/**
 * Frees the batch, and with it what its records point to. NULL is nothing to do. Does not block.
 */
void forebay_batch_free(forebay_batch *batch);

/**
 * Sets all options to their defaults; `size` is sizeof. Call it before setting any.
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_consumer_options_init(forebay_consumer_options *options, size_t size);

/**
 * Opens the consumer of this name, 1 to 249 of letters, digits, '.', '_' and '-', or creates it.
 * `options` may be NULL for the defaults. Free it with forebay_consumer_free. `*consumer_out` is
 * NULL unless this is FOREBAY_OK. Does not block, but for reading an index.
 * FOREBAY_CONSUMER_BUSY if it is open in this process; FOREBAY_OFFSET_OUT_OF_RANGE if a new one is
 * to begin where the log is not; FOREBAY_OUT_OF_SPACE, FOREBAY_CLOSED, FOREBAY_IO,
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_consumer(const forebay_log *log,
                                    forebay_bytes name,
                                    const forebay_consumer_options *options,
                                    forebay_consumer **consumer_out);

/**
 * Forgets the consumer of this name and its progress. FOREBAY_NOT_FOUND if there is none,
 * FOREBAY_CONSUMER_BUSY if it is open. Does not block for the device.
 * FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_delete_consumer(const forebay_log *log, forebay_bytes name);

/**
 * Fills in the consumer of this index, from 0, replicators' among them, into the `size` bytes
 * (sizeof) at `info_out`. Each call costs what forebay_log_stats does: whoever wants more than a
 * few takes forebay_log_consumers. FOREBAY_NOT_FOUND beyond the last. Does not block.
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_consumer_info(const forebay_log *log,
                                         size_t index,
                                         forebay_consumer_info *info_out,
                                         size_t size);

/**
 * The next batch, to be freed with forebay_batch_free, or FOREBAY_OK and NULL if none came in
 * time. It has the records from the consumer's position on. Nothing is committed by it.
 * `*batch_out` is NULL unless there is one.
 * Blocks up to `timeout_ms` milliseconds for records; 0 not at all, negative for ever.
 * FOREBAY_CORRUPT: call again to go on behind the damage. FOREBAY_CLOSED, FOREBAY_IO,
 * FOREBAY_INVALID_ARGUMENT. Records that retention took meanwhile are passed over and counted:
 * forebay_consumer_lag.
 */
FOREBAY_NODISCARD
forebay_status forebay_consumer_poll(forebay_consumer *consumer,
                                     int64_t timeout_ms,
                                     forebay_batch **batch_out);

/**
 * Stores the consumer's position as its progress: everything it was handed is processed. It
 * survives the death of the process at once, a power cut with the log's next sync, or
 * forebay_consumer_sync. Does not block for the device, unless it is not mapped: then one write.
 * FOREBAY_OFFSET_OUT_OF_RANGE if deletion overtook it since the last poll: poll first.
 * FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_consumer_commit(forebay_consumer *consumer);

/**
 * As forebay_consumer_commit, with an offset of the caller's: everything below it is processed,
 * such as what forebay_batch_next_offset says of a batch that the other side has acknowledged. It
 * may lie before the last one. FOREBAY_OFFSET_OUT_OF_RANGE outside of the log.
 */
FOREBAY_NODISCARD
forebay_status forebay_consumer_commit_offset(forebay_consumer *consumer, int64_t offset);

/**
 * As forebay_consumer_commit_offset, and stores up to 255 bytes of the caller's with it, as one.
 */
FOREBAY_NODISCARD
forebay_status forebay_consumer_commit_with(forebay_consumer *consumer,
                                            int64_t offset,
                                            forebay_bytes metadata);

/**
 * The bytes that were stored with the last commit; empty if there are none, for NULL and while
 * another call uses the consumer. Valid until the consumer's next call. Does not block.
 */
forebay_bytes forebay_consumer_metadata(forebay_consumer *consumer);

/**
 * Makes what was committed survive a power cut. Blocks for a device sync.
 * FOREBAY_POISONED, FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_consumer_sync(forebay_consumer *consumer);

/**
 * Moves the consumer, `from` and `number` as for forebay_log_reader; commits nothing. Does not
 * block, but for reading an index.
 * FOREBAY_OFFSET_OUT_OF_RANGE, FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_consumer_seek(forebay_consumer *consumer, uint32_t from, int64_t number);

/**
 * The offset that the next poll goes on at, or a negative status. Does not block.
 * FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_consumer_position(forebay_consumer *consumer);

/**
 * The offset that was committed last: everything below it is processed; or a negative status.
 * Does not block. FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_consumer_committed(forebay_consumer *consumer);

/**
 * How many records lie between what was committed and the log's end, and how many could not be
 * read: damaged, or taken by retention before this consumer came to them. Either may be NULL. Does
 * not block. FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_consumer_lag(forebay_consumer *consumer,
                                    uint64_t *lag_out,
                                    uint64_t *missed_out);

/**
 * Frees the consumer; its progress stays, its batches stay valid. NULL is nothing to do.
 * Does not block.
 */
void forebay_consumer_free(forebay_consumer *consumer);

/**
 * Opens the log in a directory for reading only, whether it is being written, was closed, or is
 * what a crash left; it is not created. `dir` is a log's own directory; that of a store's log is
 * STORE/NAME-P, P its partition, 0 without others, such as STORE/readings-0.
 * `poll_interval_ms`, 1 to 50 or 0 for the default of 5, is how often it is looked at while
 * something waits: how late a record is seen at most.
 * Free it with forebay_follower_free. `*follower_out` is NULL unless this is FOREBAY_OK.
 * Blocks for reading what is not known to be durable, at most about a segment.
 * FOREBAY_NOT_FOUND if there is no log; FOREBAY_INVALID_ARGUMENT, also if `dir` is no directory or
 * a snapshot that is not complete; FOREBAY_READ_ONLY if the files may not be read;
 * FOREBAY_UNSUPPORTED_FORMAT, FOREBAY_IO.
 */
FOREBAY_NODISCARD
forebay_status forebay_follower_open(forebay_bytes dir,
                                     int64_t poll_interval_ms,
                                     forebay_follower **follower_out);

/**
 * The offset of the oldest record there was at the last look, or a negative status. Does not
 * block, but for a look that runs. FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_follower_start_offset(const forebay_follower *follower);

/**
 * One past the last record that the last look saw whole, or a negative status. It falls where a
 * recovery cut the log. Does not block, but for a look that runs. FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_follower_end_offset(const forebay_follower *follower);

/**
 * Records below it survive a power cut, as far as the writer's last flush has stored that; or a
 * negative status. No recovery takes them. Does not block, but for a look that runs.
 * FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_follower_durable_offset(const forebay_follower *follower);

/**
 * Looks at the files for what changed, and reads what is new to its end; six system calls where
 * nothing did. For a loop that does not wait: forebay_follower_wait and the readers look by
 * themselves. Blocks for reading what came in.
 * FOREBAY_NOT_FOUND if the directory is gone; FOREBAY_CONFLICT if another log stands there now:
 * open it anew; FOREBAY_UNSUPPORTED_FORMAT once a newer version wrote there; FOREBAY_READ_ONLY,
 * FOREBAY_IO: a later call tries again; FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_follower_refresh(const forebay_follower *follower);

/**
 * Waits until the record at `offset` can be read (FOREBAY_WRITTEN), or survives a power cut as
 * well (FOREBAY_DURABLE), and says in `reached_out` whether it does. To wait for the next record,
 * pass forebay_follower_end_offset. It looks, and sleeps for the poll interval in between.
 * Blocks up to `timeout_ms` milliseconds; 0 for one look, negative for ever.
 * As forebay_follower_refresh.
 */
FOREBAY_NODISCARD
forebay_status forebay_follower_wait(const forebay_follower *follower,
                                     int64_t offset,
                                     uint32_t visibility,
                                     int64_t timeout_ms,
                                     bool *reached_out);

/**
 * Opens a reader: `from` is one of FOREBAY_FROM_..., `number` what that asks for, `visibility`
 * what it gives: with FOREBAY_WRITTEN a record maybe a moment before the writer's append returns,
 * with FOREBAY_DURABLE only what no recovery takes. Free it with forebay_follow_reader_free,
 * before or after the follower is freed. `*reader_out` is NULL unless it is FOREBAY_OK.
 * Looks once, and blocks for reading what came in.
 * FOREBAY_OFFSET_OUT_OF_RANGE, and as forebay_follower_refresh.
 */
FOREBAY_NODISCARD
forebay_status forebay_follower_reader(const forebay_follower *follower,
                                       uint32_t from,
                                       int64_t number,
                                       uint32_t visibility,
                                       forebay_follow_reader **reader_out);

/**
 * Frees the follower; its readers stay usable and are still to be freed. NULL is nothing to do. No
 * other call on this handle may run. Does not block.
 */
void forebay_follower_free(forebay_follower *follower);

/**
 * The next batch, to be freed with forebay_batch_free, or FOREBAY_OK and NULL if none came in
 * time. `*batch_out` is NULL unless there is one. It stays valid whatever becomes of the reader,
 * the follower and the log.
 * Blocks for reading, and up to `timeout_ms` milliseconds for records; 0 for one look, negative
 * for ever.
 * FOREBAY_CORRUPT: call again to go on behind the damage; and as forebay_follower_refresh.
 */
FOREBAY_NODISCARD
forebay_status forebay_follow_reader_poll(forebay_follow_reader *reader,
                                          int64_t timeout_ms,
                                          forebay_batch **batch_out);

/**
 * Moves the reader; `from` and `number` as for forebay_log_reader. It stays where it is unless
 * this is FOREBAY_OK. Looks once, and blocks for reading what came in.
 * FOREBAY_OFFSET_OUT_OF_RANGE, and as forebay_follower_refresh.
 */
FOREBAY_NODISCARD
forebay_status forebay_follow_reader_seek(forebay_follow_reader *reader,
                                          uint32_t from,
                                          int64_t number);

/**
 * The offset that the next poll goes on at, or a negative status. It falls where a recovery cut
 * the log below it: forebay_follow_reader_missed. Does not block. FOREBAY_INVALID_ARGUMENT.
 */
int64_t forebay_follow_reader_next_offset(forebay_follow_reader *reader);

/**
 * How many offsets were deleted before this reader came to them, and how many of those it gave a
 * recovery of the log took again: they come again with other records, and a copy that was made of
 * them is to be cut back to forebay_follow_reader_next_offset when this rises. A writer that was
 * killed takes nothing; a power cut takes what was not durable. Either may be NULL. Does not
 * block. FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_follow_reader_missed(forebay_follow_reader *reader,
                                            uint64_t *missed_out,
                                            uint64_t *retracted_out);

/**
 * Frees the reader; its batches stay valid. NULL is nothing to do. Does not block.
 */
void forebay_follow_reader_free(forebay_follow_reader *reader);

/**
 * Sets all options to their defaults; `size` is sizeof. Call it before setting any.
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_options_init(forebay_store_options *options, size_t size);

/**
 * Sets one option from text, as a configuration file has it: the name of a field of
 * forebay_store_options, `logs` apart, and a number, decimal and without a unit; for background,
 * true or false. The others stay as they are, all of them if this fails. Does not block.
 * FOREBAY_NOT_FOUND if there is no such option, FOREBAY_INVALID_ARGUMENT if it cannot have this
 * value.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_options_set(forebay_store_options *options,
                                         forebay_bytes name,
                                         forebay_bytes value);

/**
 * Opens the store in a directory, or creates it. `options` may be NULL for the defaults. No log is
 * opened by it, whatever a crash left of them. Close it with forebay_store_close. `*store_out` is
 * NULL unless this is FOREBAY_OK.
 * Blocks for listing its directories. FOREBAY_LOCKED if it, or a log of it, is open already;
 * FOREBAY_INVALID_ARGUMENT if an option cannot work or the directory is a log;
 * FOREBAY_READ_ONLY, FOREBAY_OUT_OF_SPACE, FOREBAY_IO, FOREBAY_UNSUPPORTED_FORMAT;
 * FOREBAY_UNSUPPORTED for a codec that is not built in.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_open(forebay_bytes dir,
                                  const forebay_store_options *options,
                                  forebay_store **store_out);

/**
 * As forebay_store_open, with the options of a configuration file: of the store, of all logs, of
 * each by its name. What is wrong in it is told with line, table and key.
 * FOREBAY_NOT_FOUND if there is no such file; FOREBAY_UNSUPPORTED if the library was built without
 * "toml".
 */
FOREBAY_NODISCARD
forebay_status forebay_store_open_config(forebay_bytes dir,
                                         forebay_bytes config_file,
                                         forebay_store **store_out);

/**
 * Stores everything durably, closes all logs and the store and frees its handle, whatever it
 * returns. Handles of its logs get FOREBAY_CLOSED from then on and are still to be freed.
 * Replicators of its logs end, without being waited for. NULL is nothing to do. No other call on
 * this handle may run.
 * Blocks for device syncs. FOREBAY_POISONED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_close(forebay_store *store);

/**
 * As forebay_store_close, for who has no use for its status: what fails only the log callback is
 * told.
 */
void forebay_store_free(forebay_store *store);

/**
 * The log of this name, 1 to 249 of letters, digits, '.', '_' and '-', opened or created if need
 * be, in STORE/NAME-0. `options` may be NULL: those of the store. Let it go with forebay_log_free:
 * forebay_log_close closes it for everybody. `*log_out` is NULL unless this is FOREBAY_OK.
 * Blocks as forebay_log_open if it is not open. A log that is open takes the
 * options as forebay_log_set_options does. FOREBAY_INVALID_ARGUMENT if an option or the name
 * cannot work; FOREBAY_READ_ONLY, FOREBAY_OUT_OF_SPACE, FOREBAY_IO, FOREBAY_UNSUPPORTED_FORMAT;
 * FOREBAY_CLOSED; FOREBAY_UNSUPPORTED for a codec that is not built in.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_log(const forebay_store *store,
                                 forebay_bytes name,
                                 const forebay_options *options,
                                 forebay_log **log_out);

/**
 * The log of a partition, 0 to `partitions` - 1, of this name, in STORE/NAME-PARTITION, with the
 * options of the store. How
 * many partitions there are is the caller's to know, and to say the same each time.
 * As forebay_store_log.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_partition(const forebay_store *store,
                                       forebay_bytes name,
                                       uint32_t partitions,
                                       uint32_t partition,
                                       forebay_log **log_out);

/**
 * The partition that Kafka's own producers choose for this key; 0 for 0 partitions, and for bytes
 * that are NULL with a length. Does not block; any thread.
 */
uint32_t forebay_partition_for_key(forebay_bytes key, uint32_t partitions);

/**
 * Deletes the log of this name, all of its partitions, and its consumers, for good. Handles of it
 * get FOREBAY_CLOSED. FOREBAY_NOT_FOUND if there is none.
 * Blocks for the file system. FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_delete_log(const forebay_store *store, forebay_bytes name);

/**
 * Makes everything durable that was appended to any of its logs. Blocks for device syncs, as few
 * as there can be. FOREBAY_POISONED or FOREBAY_IO: of one log; the others are flushed all the
 * same. FOREBAY_CLOSED, FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_flush(const forebay_store *store);

/**
 * Does what is due in all logs, those that nobody touches too: flushes, retention, closing what
 * was not used. To be called every few seconds where there is no thread for it (background).
 * Blocks for the flushes and deletions it makes. FOREBAY_CLOSED, FOREBAY_IO,
 * FOREBAY_INVALID_ARGUMENT; what fails in one log its next call tells.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_maintain(const forebay_store *store);

/**
 * Fills in what the store is and has done, into the `size` bytes (sizeof) at `stats_out`.
 * Blocks for asking the filesystem. FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_stats(const forebay_store *store,
                                   forebay_store_totals *stats_out,
                                   size_t size);

/**
 * Fills in the log of this index, from 0, partitions each by itself, into the `size` bytes
 * (sizeof) at `info_out`. Each call lists them all: whoever wants more than a few takes
 * forebay_store_logs. FOREBAY_NOT_FOUND beyond the last. Does not block.
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_log_info(const forebay_store *store,
                                      size_t index,
                                      forebay_log_info *info_out,
                                      size_t size);

/**
 * Lists the logs of a store, partitions each by itself, as they are now: what comes and goes later
 * does not change the list. Free it with forebay_log_list_free, before or after the store is
 * closed. `*list_out` is NULL unless this is FOREBAY_OK. Does not block.
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_store_logs(const forebay_store *store, forebay_log_list **list_out);

/**
 * How many logs are in the list; 0 for NULL and what is no list. Does not block.
 */
size_t forebay_log_list_count(const forebay_log_list *list);

/**
 * Fills in the log of this index, 0 to forebay_log_list_count - 1, into the `size` bytes (sizeof)
 * at `info_out`. Does not block. FOREBAY_NOT_FOUND beyond the last; FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_list_get(const forebay_log_list *list,
                                    size_t index,
                                    forebay_log_info *info_out,
                                    size_t size);

/**
 * Frees the list. NULL is nothing to do. Does not block.
 */
void forebay_log_list_free(forebay_log_list *list);

/**
 * Lists the consumers that a log knows, open or not, replicators' among them, as they are now.
 * Costs what forebay_log_stats does. Free it with forebay_consumer_list_free, before or after the
 * log is closed. `*list_out` is NULL unless this is FOREBAY_OK. Does not block for the device.
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_log_consumers(const forebay_log *log, forebay_consumer_list **list_out);

/**
 * How many consumers are in the list; 0 for NULL and what is no list. Does not block.
 */
size_t forebay_consumer_list_count(const forebay_consumer_list *list);

/**
 * Fills in the consumer of this index, 0 to forebay_consumer_list_count - 1, into the `size` bytes
 * (sizeof) at `info_out`. Does not block. FOREBAY_NOT_FOUND beyond the last;
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_consumer_list_get(const forebay_consumer_list *list,
                                         size_t index,
                                         forebay_consumer_info *info_out,
                                         size_t size);

/**
 * Frees the list. NULL is nothing to do. Does not block.
 */
void forebay_consumer_list_free(forebay_consumer_list *list);

/**
 * Sets all options to their defaults; `size` is sizeof. Call it before setting any.
 * FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_replicator_options_init(forebay_replicator_options *options, size_t size);

/**
 * Sets one option from text, as a configuration file has it: the name of a field of
 * forebay_replicator_options, which is that of ReplicatorOptions in Rust's files too, and a
 * number, decimal and without a unit; for bytes_per_second -1 too. The others stay as they are,
 * all of them if this fails. What a number may be is checked when the options are used.
 * Does not block. FOREBAY_NOT_FOUND if there is no such option, FOREBAY_INVALID_ARGUMENT if it
 * cannot have this value.
 */
FOREBAY_NODISCARD
forebay_status forebay_replicator_options_set(forebay_replicator_options *options,
                                              forebay_bytes name,
                                              forebay_bytes value);

/**
 * The name of a kind of notices, such as "FOREBAY_NOTICE_GAP"; "FOREBAY_NOTICE_UNKNOWN" for a
 * number that is none. Never NULL, static. Does not block; any thread.
 */
const char *forebay_notice_name(uint32_t kind);

/**
 * The name of what a link is doing, such as "FOREBAY_LINK_WAITING"; "FOREBAY_LINK_UNKNOWN" for a
 * number that is none. Never NULL, static. Does not block; any thread.
 */
const char *forebay_link_name(uint32_t link);

/**
 * An upstream that is a log in another directory: a second disk, a mount. It gets the same offsets
 * and the same bytes, and is one log's alone. `options` are how it is opened and may be NULL; it
 * is flushed before anything is acknowledged, and otherwise only if `flush` asks for it.
 * The directory is made at the first connect. `*upstream_out` is NULL unless this is FOREBAY_OK.
 * Free it with forebay_upstream_free, unless a replicator took it. Does not block.
 * FOREBAY_UNSUPPORTED without "replicator"; FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_upstream_log_new(forebay_bytes dir,
                                        const forebay_options *options,
                                        forebay_upstream **upstream_out);

/**
 * An upstream that is a topic of an Apache Kafka cluster, 2.8 or later. `bootstrap` is
 * "host:port,host:port", 9092 where a port is left out; a host that cannot be found is told when
 * the link is opened. Each record stands there
 * once, in order, however often link, brokers, this process and the power fail. It goes to
 * partition 0 in plain text without a login, unless forebay_upstream_set says otherwise. Needs the
 * rights WRITE, READ and DESCRIBE on the topic, and DESCRIBE_CONFIGS to check its settings.
 * `*upstream_out` is NULL unless this is FOREBAY_OK. Free it with forebay_upstream_free, unless a
 * replicator took it. Does not block.
 * FOREBAY_UNSUPPORTED without "kafka"; FOREBAY_INVALID_ARGUMENT.
 */
FOREBAY_NODISCARD
forebay_status forebay_upstream_kafka_new(forebay_bytes bootstrap,
                                          forebay_bytes topic,
                                          forebay_upstream **upstream_out);

/**
 * Sets one setting of a Kafka upstream from text, as a configuration file has it; where Kafka's
 * own clients have such a setting, it has their name; bootstrap servers and topic are the
 * arguments of forebay_upstream_kafka_new. What is set again replaces what it was; nothing
 * is changed if this fails.
 *
 * - client.id: the name by which brokers know this client in logs and quotas; forebay.
 * - partition: a number; by_log_id, one that the log's id decides, to spread a fleet; key:NAME,
 *   the one that Kafka's own producers choose for the key NAME; 0.
 * - socket.connection.setup.timeout.ms: how long a connection may take to open, and a TLS
 *   handshake again; 10000.
 * - request.timeout.ms: how long a broker may take to answer; 30000. While answers do not come in
 *   time it is doubled with each try in a row, up to 32 times as long: on a link that slow nothing
 *   would ever arrive otherwise.
 * - compression.type: none, gzip, snappy, lz4, zstd: what batches are compressed by on their way
 *   that are stored plain; none. What is stored compressed is sent as it is stored; brokers and
 *   consumers take both.
 * - merge.bytes: up to how many bytes small batches are put together; 262144.
 * - security.protocol: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL; PLAINTEXT. Without TLS everybody
 *   on the way can read, and change, what is shipped.
 * - ssl.ca.location: a PEM file with the authorities to trust. Files are read at each connect.
 * - ssl.ca.pem: such in PEM, beside those of the file.
 * - ssl.web.authorities: true to trust those that browsers trust, beside others; where no others
 *   are named they are trusted anyway.
 * - ssl.certificate.location, ssl.key.location: PEM files with the certificate to show and its key
 *   (PKCS#8, PKCS#1 or SEC1, not encrypted).
 * - ssl.certificate.pem, ssl.key.pem: the same in PEM, in place of the files.
 * - ssl.server.name: what a broker's certificate has to be for, where that is not its host.
 * - sasl.mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; or OAUTHBEARER, which asks for
 *   forebay_upstream_set_token_callback and is meant where that is set.
 * - sasl.username, sasl.password: for the first three.
 * - sasl.oauthbearer.extensions: what else the broker wants to know: name=value,name=value.
 * - create.topic.partitions: makes the topic where there is none, with so many; -1: as the cluster
 *   has it. Unless it is set no topic is made.
 * - create.topic.replicas: makes it with so many; -1.
 * - create.topic.config: makes it with these settings: name=value,name=value. What has no '='
 *   belongs to the value before it.
 * - mark.gaps: true to have a record without key and value stand where records were lost before
 *   they were shipped, with the headers forebay.gap.first and forebay.gap.next; false.
 * - follow.new.topic: true to go on in a topic that was made anew, or in another cluster, with
 *   what was not acknowledged, rather than to stop; false.
 * - accept.expiring: true to ship although the topic's retention takes the oldest records at once,
 *   rather than not to begin; false.
 *
 * What other clients have and this one decides by itself has no setting: acks (all), linger,
 * idempotence (on), retries (for ever).
 *
 * What makes sense only together is checked when the replicator is started. Does not block.
 * FOREBAY_NOT_FOUND if there is no such setting, as for every name with an upstream that is a log;
 * FOREBAY_INVALID_ARGUMENT if it cannot have this value; FOREBAY_UNSUPPORTED without "replicator",
 * and for a codec that is not built in.
 */
FOREBAY_NODISCARD
forebay_status forebay_upstream_set(forebay_upstream *upstream,
                                    forebay_bytes name,
                                    forebay_bytes value);

/**
 * Has records that the broker will never take, for their size or form, go to this log, with the
 * headers forebay.offset and forebay.error, and shipping go on behind them; without one it stops
 * there, and says so. The log is still the caller's to close, after the replicator was stopped.
 * Does not block.
 * FOREBAY_INVALID_ARGUMENT, also for an upstream that is a log: it refuses no record.
 * FOREBAY_UNSUPPORTED without "replicator".
 */
FOREBAY_NODISCARD
forebay_status forebay_upstream_set_dead_letter(forebay_upstream *upstream, const forebay_log *log);

/**
 * Logs in with OAUTHBEARER, and tokens from `callback`; security.protocol has to be SASL_SSL or
 * SASL_PLAINTEXT. `drop`, which may be NULL, is called with `context` once, on any thread, when
 * neither this upstream nor a replicator uses it any more; if this fails it is not called.
 * Does not block.
 * FOREBAY_INVALID_ARGUMENT, also for an upstream that is a log; FOREBAY_UNSUPPORTED without
 * "replicator".
 */
FOREBAY_NODISCARD
forebay_status forebay_upstream_set_token_callback(forebay_upstream *upstream,
                                                   forebay_token_callback callback,
                                                   void *context,
                                                   forebay_drop_callback drop);

/**
 * Frees an upstream that no replicator took. NULL is nothing to do. Does not block.
 */
void forebay_upstream_free(forebay_upstream *upstream);

/**
 * Starts to ship `log` to `upstream`, and takes the upstream if this is FOREBAY_OK: its handle is
 * freed; else it is still the caller's. `name` is the consumer of the log that progress is kept
 * under, and by which hold_consumers knows it: retention waits for what is not acknowledged if
 * `hold` of the log's options says so, and else may take it before. `options` may be NULL for the
 * defaults. End it with forebay_replicator_stop, and close the log then. `*replicator_out` is NULL
 * unless this is FOREBAY_OK.
 * Does not block for the network: that the link cannot be opened is told by
 * forebay_replicator_next_notice and forebay_replicator_status, and it is tried again.
 * FOREBAY_INVALID_ARGUMENT if settings of the upstream do not go together: the text names them;
 * FOREBAY_CONSUMER_BUSY if one of this name is open; FOREBAY_OUT_OF_SPACE, FOREBAY_CLOSED,
 * FOREBAY_IO; FOREBAY_UNSUPPORTED without "replicator".
 */
FOREBAY_NODISCARD
forebay_status forebay_replicator_start(const forebay_log *log,
                                        forebay_bytes name,
                                        forebay_upstream *upstream,
                                        const forebay_replicator_options *options,
                                        forebay_replicator **replicator_out);

/**
 * Fills in how far it has come and what it is doing, into the `size` bytes (sizeof) at
 * `progress_out`. With a lag it costs the reading of one batch. Does not block.
 * FOREBAY_INVALID_ARGUMENT; FOREBAY_UNSUPPORTED without "replicator".
 */
FOREBAY_NODISCARD
forebay_status forebay_replicator_status(const forebay_replicator *replicator,
                                         forebay_progress *progress_out,
                                         size_t size);

/**
 * Takes the next thing that happened, in order, and fills it in, into the `size` bytes (sizeof) at
 * `notice_out`; FOREBAY_OK and the kind FOREBAY_NOTICE_NONE if nothing happened in time. 64 wait
 * to be taken; then the oldest are dropped and counted. After FOREBAY_NOTICE_STOPPED nothing comes
 * any more, and nothing is waited for: a thread that waits here is ended by closing the log.
 * Blocks up to `timeout_ms` milliseconds, 0 not at all, negative for ever; no longer than until
 * the replicator stops.
 * FOREBAY_INVALID_ARGUMENT, also in its own token callback unless `timeout_ms` is 0;
 * FOREBAY_UNSUPPORTED without "replicator".
 */
FOREBAY_NODISCARD
forebay_status forebay_replicator_next_notice(const forebay_replicator *replicator,
                                              int64_t timeout_ms,
                                              forebay_notice *notice_out,
                                              size_t size);

/**
 * Waits until every record below `offset` is known to be durable upstream, and says in
 * `reached_out` whether it is. Only records that are durable here are shipped: flush first, or
 * leave it to the flush policy, whose interval the replicator keeps.
 * Blocks up to `timeout_ms` milliseconds; 0 not at all, negative for ever.
 * FOREBAY_CLOSED if the replicator stopped before, for its log was closed;
 * FOREBAY_INVALID_ARGUMENT, also in its own token callback; FOREBAY_UNSUPPORTED without
 * "replicator".
 */
FOREBAY_NODISCARD
forebay_status forebay_replicator_wait(const forebay_replicator *replicator,
                                       int64_t offset,
                                       int64_t timeout_ms,
                                       bool *reached_out);

/**
 * Where upstream the record of this offset stands, or a negative status: exactly there if nobody
 * else writes to that partition and no gap lies near, else near there. Does not block.
 * FOREBAY_NOT_FOUND if it is not known to have arrived, or so old that it was forgotten, and
 * always for an upstream that is a log, where offsets are the same; FOREBAY_INVALID_ARGUMENT;
 * FOREBAY_UNSUPPORTED without "replicator".
 */
int64_t forebay_replicator_upstream_offset(const forebay_replicator *replicator, int64_t offset);

/**
 * Stops shipping, closes the link and frees the handle, whatever it returns. What is in flight is
 * accounted for by the next start. NULL is nothing to do. No other call on this handle may run.
 * Blocks until a call into the upstream that is under way returns: against a broker that says
 * nothing, as long as request.timeout.ms, and that may have doubled five times. To be done in a
 * bounded time: forebay_replicator_stop_within, then forebay_log_close or forebay_store_close,
 * which do not wait for the link, whatever it said; nothing is lost by not stopping.
 * FOREBAY_UPSTREAM if the upstream met a fault; FOREBAY_INVALID_ARGUMENT, and nothing is freed, in
 * its own token callback; FOREBAY_UNSUPPORTED without "replicator".
 */
FOREBAY_NODISCARD
forebay_status forebay_replicator_stop(forebay_replicator *replicator);

/**
 * As forebay_replicator_stop, but waits no longer than `timeout_ms` milliseconds; 0 not at all,
 * negative for ever. FOREBAY_WOULD_BLOCK if a call into the upstream is under way still: nothing
 * is freed, and behind that call nothing more is sent; call again, or leave the handle and end the
 * process. Whatever else is returned, the handle is freed.
 * FOREBAY_UPSTREAM if the upstream met a fault; FOREBAY_INVALID_ARGUMENT, and nothing is freed, in
 * its own token callback; FOREBAY_UNSUPPORTED without "replicator".
 */
FOREBAY_NODISCARD
forebay_status forebay_replicator_stop_within(forebay_replicator *replicator, int64_t timeout_ms);

/**
 * As forebay_replicator_stop, for who has no use for its status.
 */
void forebay_replicator_free(forebay_replicator *replicator);

/**
 * Makes what ships `log` to `upstream`, as forebay_replicator_start does, and like that takes the
 * upstream if this is FOREBAY_OK. Nothing is done but by forebay_turns_turn. Free it with
 * forebay_turns_free. `*turns_out` is NULL unless this is FOREBAY_OK. Does not block.
 * As forebay_replicator_start.
 */
FOREBAY_NODISCARD
forebay_status forebay_turns_new(const forebay_log *log,
                                 forebay_bytes name,
                                 forebay_upstream *upstream,
                                 const forebay_replicator_options *options,
                                 forebay_turns **turns_out);

/**
 * Does the next step: opens the link, sends a batch, or takes answers; and says in `wait_ms_out`
 * what follows. 0: there is more to do at once. More: nothing is due for so many milliseconds, at
 * most 100, for records may become durable; after forebay_log_flush ask at once. The log's flush
 * interval is kept here too. -1: the log was closed, nothing is shipped any more.
 * That the link failed is no failure of this call: forebay_turns_next_notice tells it.
 * Blocks as long as the step takes: for the network, as long as the upstream's timeouts say.
 * FOREBAY_INVALID_ARGUMENT; FOREBAY_UNSUPPORTED without "replicator".
 */
FOREBAY_NODISCARD
forebay_status forebay_turns_turn(forebay_turns *turns, int64_t *wait_ms_out);

/**
 * Takes the next thing that happened, as forebay_replicator_next_notice, but never waits for one.
 * Does not block. FOREBAY_INVALID_ARGUMENT; FOREBAY_UNSUPPORTED without "replicator".
 */
FOREBAY_NODISCARD
forebay_status forebay_turns_next_notice(forebay_turns *turns,
                                         forebay_notice *notice_out,
                                         size_t size);

/**
 * As forebay_replicator_status. Does not block.
 */
FOREBAY_NODISCARD
forebay_status forebay_turns_status(forebay_turns *turns,
                                    forebay_progress *progress_out,
                                    size_t size);

/**
 * As forebay_replicator_upstream_offset. Does not block.
 */
int64_t forebay_turns_upstream_offset(forebay_turns *turns, int64_t offset);

/**
 * Closes the link and frees the turns; progress stays, and what is in flight is accounted for by
 * the next start. NULL is nothing to do. Blocks for a device sync where the upstream is a log, not
 * for the network.
 */
void forebay_turns_free(forebay_turns *turns);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus


#ifdef __cplusplus
extern "C" {
#endif

/* The bytes of a C string without its NUL; none for NULL. */
static inline forebay_bytes forebay_str(const char *text) {
  forebay_bytes bytes;
  bytes.data = (const uint8_t *)text;
  bytes.len = text == NULL ? 0 : strlen(text);
  return bytes;
}

/* A record to be appended, with this key (its data NULL: none), this value, and nothing else. */
static inline forebay_new_record forebay_record_of(forebay_bytes key, forebay_bytes value) {
  forebay_new_record record;
  memset(&record, 0, sizeof record);
  record.key = key;
  record.value = value;
  return record;
}

#ifdef __cplusplus
}
#endif

#endif  /* FOREBAY_H */
