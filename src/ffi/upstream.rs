//! What a replicator ships to.
//!
//! Floor 6.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::bytes::{forebay_bytes, given, invalid};
use super::callback::{Context, forebay_drop_callback};
use super::fail::guard;
use super::handle::{Inside, exclusive, free, handle, opened, shared, take};
use super::log::forebay_log;
use super::options::forebay_options;
use super::ship::Setup;
use super::sized;
use super::status::forebay_status;
use super::version::needs;
use crate::{FlushPolicy, Result};

/// What a replicator is to ship to, and how; nothing is opened before it is started.
/// One thread at a time may use it, any thread; a call meanwhile gets FOREBAY_WOULD_BLOCK.
pub struct forebay_upstream(Inside<Setup>);
handle!(forebay_upstream, Setup, Upstream, "upstream");

/// What is made of an upstream, whose handle is freed if it can be made.
pub(super) fn used_up<T>(
    upstream: Option<NonNull<forebay_upstream>>,
    make: impl FnOnce(&Setup) -> Result<T>,
) -> Result<T> {
    let setup = exclusive(upstream)?;
    let made = make(&setup)?;
    drop(setup);
    take(upstream)?;
    Ok(made)
}

/// Writes a bearer token, ASCII without a NUL, into `buffer`, of `capacity` bytes, and its length
/// into `*len_out`. Returns FOREBAY_OK; or FOREBAY_OUT_OF_SPACE if it is longer, and the length it
/// has: then it is called again with as many bytes, up to 512 KiB; or any other status, which ends
/// this try to log in, and it is called again after the backoff.
///
/// Called at each login, on the replicator's thread, or within forebay_turns_turn; shipping waits
/// for it. It may call forebay, but what waits for its own replicator is refused with
/// FOREBAY_INVALID_ARGUMENT. Neither an exception nor longjmp may leave it.
pub type forebay_token_callback = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        buffer: *mut u8,
        capacity: usize,
        len_out: *mut usize,
    ) -> i32,
>;

/// An upstream that is a log in another directory: a second disk, a mount. It gets the same offsets
/// and the same bytes, and is one log's alone. `options` are how it is opened and may be NULL; it
/// is flushed before anything is acknowledged, and otherwise only if `flush` asks for it.
/// The directory is made at the first connect. `*upstream_out` is NULL unless this is FOREBAY_OK.
/// Free it with forebay_upstream_free, unless a replicator took it. Does not block.
/// FOREBAY_UNSUPPORTED without "replicator"; FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_upstream_log_new(
    dir: forebay_bytes,
    options: *const forebay_options,
    upstream_out: Option<&mut MaybeUninit<*mut forebay_upstream>>,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        opened(upstream_out, "upstream_out", || {
            let dir = dir.path("dir")?;
            let options: forebay_options = sized::read_or_default(options)?;
            let mut opened_by = options.log_options()?;
            if options.flush == 0 {
                opened_by = opened_by.flush(FlushPolicy::Manual);
            }
            Ok(Setup::log(dir, opened_by))
        })
    })
}

/// An upstream that is a topic of an Apache Kafka cluster, 2.8 or later. `bootstrap` is
/// "host:port,host:port", 9092 where a port is left out; a host that cannot be found is told when
/// the link is opened. Each record stands there
/// once, in order, however often link, brokers, this process and the power fail. It goes to
/// partition 0 in plain text without a login, unless forebay_upstream_set says otherwise. Needs the
/// rights WRITE, READ and DESCRIBE on the topic, and DESCRIBE_CONFIGS to check its settings.
/// `*upstream_out` is NULL unless this is FOREBAY_OK. Free it with forebay_upstream_free, unless a
/// replicator took it. Does not block.
/// FOREBAY_UNSUPPORTED without "kafka"; FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_upstream_kafka_new(
    bootstrap: forebay_bytes,
    topic: forebay_bytes,
    upstream_out: Option<&mut MaybeUninit<*mut forebay_upstream>>,
) -> forebay_status {
    guard(|| {
        needs("kafka")?;
        opened(upstream_out, "upstream_out", || {
            let (bootstrap, topic) = (bootstrap.text("bootstrap")?, topic.text("topic")?);
            for (name, text) in [("bootstrap", bootstrap), ("topic", topic)] {
                if text.trim().is_empty() {
                    return Err(invalid(format!("{name} is empty")));
                }
            }
            Setup::kafka(bootstrap, topic)
        })
    })
}

/// Sets one setting of a Kafka upstream from text, as a configuration file has it; where Kafka's
/// own clients have such a setting, it has their name; bootstrap servers and topic are the
/// arguments of forebay_upstream_kafka_new. What is set again replaces what it was; nothing
/// is changed if this fails.
///
/// - client.id: the name by which brokers know this client in logs and quotas; forebay.
/// - partition: a number; by_log_id, one that the log's id decides, to spread a fleet; key:NAME,
///   the one that Kafka's own producers choose for the key NAME; 0.
/// - socket.connection.setup.timeout.ms: how long a connection may take to open, and a TLS
///   handshake again; 10000.
/// - request.timeout.ms: how long a broker may take to answer; 30000. While answers do not come in
///   time it is doubled with each try in a row, up to 32 times as long: on a link that slow nothing
///   would ever arrive otherwise.
/// - compression.type: none, gzip, snappy, lz4, zstd: what batches are compressed by on their way
///   that are stored plain; none. What is stored compressed is sent as it is stored; brokers and
///   consumers take both.
/// - merge.bytes: up to how many bytes small batches are put together; 262144.
/// - security.protocol: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL; PLAINTEXT. Without TLS everybody
///   on the way can read, and change, what is shipped.
/// - ssl.ca.location: a PEM file with the authorities to trust. Files are read at each connect.
/// - ssl.ca.pem: such in PEM, beside those of the file.
/// - ssl.web.authorities: true to trust those that browsers trust, beside others; where no others
///   are named they are trusted anyway.
/// - ssl.certificate.location, ssl.key.location: PEM files with the certificate to show and its key
///   (PKCS#8, PKCS#1 or SEC1, not encrypted).
/// - ssl.certificate.pem, ssl.key.pem: the same in PEM, in place of the files.
/// - ssl.server.name: what a broker's certificate has to be for, where that is not its host.
/// - sasl.mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; or OAUTHBEARER, which asks for
///   forebay_upstream_set_token_callback and is meant where that is set.
/// - sasl.username, sasl.password: for the first three.
/// - sasl.oauthbearer.extensions: what else the broker wants to know: name=value,name=value.
/// - create.topic.partitions: makes the topic where there is none, with so many; -1: as the cluster
///   has it. Unless it is set no topic is made.
/// - create.topic.replicas: makes it with so many; -1.
/// - create.topic.config: makes it with these settings: name=value,name=value. What has no '='
///   belongs to the value before it.
/// - mark.gaps: true to have a record without key and value stand where records were lost before
///   they were shipped, with the headers forebay.gap.first and forebay.gap.next; false.
/// - follow.new.topic: true to go on in a topic that was made anew, or in another cluster, with
///   what was not acknowledged, rather than to stop; false.
/// - accept.expiring: true to ship although the topic's retention takes the oldest records at once,
///   rather than not to begin; false.
///
/// What other clients have and this one decides by itself has no setting: acks (all), linger,
/// idempotence (on), retries (for ever).
///
/// What makes sense only together is checked when the replicator is started. Does not block.
/// FOREBAY_NOT_FOUND if there is no such setting, as for every name with an upstream that is a log;
/// FOREBAY_INVALID_ARGUMENT if it cannot have this value; FOREBAY_UNSUPPORTED without "replicator",
/// and for a codec that is not built in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_upstream_set(
    upstream: Option<NonNull<forebay_upstream>>,
    name: forebay_bytes,
    value: forebay_bytes,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        exclusive(upstream)?.set(name.text("name")?, value)
    })
}

/// Has records that the broker will never take, for their size or form, go to this log, with the
/// headers forebay.offset and forebay.error, and shipping go on behind them; without one it stops
/// there, and says so. The log is still the caller's to close, after the replicator was stopped.
/// Does not block.
/// FOREBAY_INVALID_ARGUMENT, also for an upstream that is a log: it refuses no record.
/// FOREBAY_UNSUPPORTED without "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_upstream_set_dead_letter(
    upstream: Option<NonNull<forebay_upstream>>,
    log: Option<&forebay_log>,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        let mut upstream = exclusive(upstream)?;
        upstream.dead_letter(shared(log)?.value())
    })
}

/// Logs in with OAUTHBEARER, and tokens from `callback`; security.protocol has to be SASL_SSL or
/// SASL_PLAINTEXT. `drop`, which may be NULL, is called with `context` once, on any thread, when
/// neither this upstream nor a replicator uses it any more; if this fails it is not called.
/// Does not block.
/// FOREBAY_INVALID_ARGUMENT, also for an upstream that is a log; FOREBAY_UNSUPPORTED without
/// "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_upstream_set_token_callback(
    upstream: Option<NonNull<forebay_upstream>>,
    callback: forebay_token_callback,
    context: *mut c_void,
    drop: forebay_drop_callback,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        let mut upstream = exclusive(upstream)?;
        let callback = given(callback, "callback")?;
        let before = upstream.token(callback, || Context { pointer: context, drop })?;
        // The handle is free again for what the context before is given back to.
        std::mem::drop(upstream);
        std::mem::drop(before);
        Ok(())
    })
}

/// Frees an upstream that no replicator took. NULL is nothing to do. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_upstream_free(upstream: Option<NonNull<forebay_upstream>>) {
    free(upstream);
}
