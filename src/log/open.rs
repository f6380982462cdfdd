//! Makes a log of a directory: a new one, one that was closed, or what a crash left.
//!
//! Floor 4. Keeps I7, I12, I13, I17 and I20. Opening never needs an operator; what it cannot
//! restore it reports.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use crate::codec::encode::{encode_gap, stamp};
use crate::codec::index::IndexRule;
use crate::codec::layout::HEADER_BYTES;
use crate::codec::seal::Seal;
use crate::disk::active::{ActiveSegment, Resume};
use crate::disk::checkpoint::{self, Checkpoint};
use crate::disk::meta::{Found, Meta};
use crate::disk::names::{self, Part};
use crate::disk::segment::{Segment, SegmentData};
use crate::disk::set::SegmentSet;
use crate::disk::state::State;
use crate::disk::walk::{Gaps, Step, Walker, last_nonzero};
use crate::disk::{Env, create_dir_synced, index_file, note};
use crate::log::flush::Group;
use crate::log::options::{IoMode, LogOptions};
use crate::log::report::{ConsumerMoved, RecoveryReport};
use crate::log::scan::{Ending, Scanned, scan, whole_records};
use crate::log::write::Writer;
use crate::log::{Durable, Inner, Log, OwnLines};
use crate::sys::{Access, FileKind, OsStorage, Storage};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::log_id::LogId;
use crate::words::offset::Offset;

/// Opens on the operating system.
pub(crate) fn open(dir: &Path, options: LogOptions) -> Result<Log> {
    open_on(Arc::new(OsStorage), dir, options)
}

pub(crate) fn open_on(storage: Arc<dyn Storage>, dir: &Path, options: LogOptions) -> Result<Log> {
    let looked = |error| Error::io("cannot look at the directory", dir, error);
    let mut dir = storage.absolute(dir).map_err(looked)?;
    if storage.kind(&dir).map_err(looked)?.is_none() {
        create_dir_synced(&*storage, &dir)?;
        dir = storage.absolute(&dir).map_err(looked)?;
    }
    if storage.kind(&dir).map_err(looked)? != Some(FileKind::Dir) {
        return Err(Error::invalid("a log's directory is expected, this is no directory").at(&dir));
    }
    let lock = storage
        .lock(&dir)
        .map_err(|error| Error::io("cannot lock the directory", &dir, error))?
        .ok_or_else(|| {
            Error::new(ErrorKind::Locked, "the log is open for writing already").at(&dir)
        })?;
    let mut report = RecoveryReport::default();
    let mapped = choose_mode(&*storage, &dir, options.io_mode, &mut report)?;
    let mut env = Env {
        storage,
        dir,
        names: Some(lock),
        seal: Seal::NONE,
        mapped,
        segment_bytes: options.segment_bytes,
        index_interval_bytes: options.index_interval_bytes,
    };
    let mut bases = list(&env, &mut report)?;
    let mut loaded = checkpoint::load(&env)?;
    report.checkpoint_slots_damaged = loaded.damaged_slots as u64;
    let meta = identify(&env, &mut loaded, &bases, &options, &mut report)?;
    if meta.seal {
        env.seal = Seal::of(meta.log_id);
    }
    report.checkpoint_lost = loaded.state.is_none() && !bases.is_empty();
    let first = bases.first().copied().unwrap_or_default();
    let mut state = loaded.state.clone().unwrap_or_else(|| State::new(meta, first));
    state.meta = meta;
    state.open_number += 1;
    // A new log's checkpoint comes before its first segment, so that a crash in between is not
    // taken for a lost one.
    let created = match report.created {
        true => Some(Checkpoint::open(&env, &loaded, &state)?),
        false => None,
    };
    super::delete::sweep(&env, &mut bases, &mut state, &mut report)?;
    let found = recover(&env, &mut bases, &mut state, &mut report)?;
    if report.checkpoint_lost {
        // What is there now has to be told from a torn tail by the next open.
        sync_found(&env, &found)?;
        state.recovery_point = found.end;
    }
    let mut file = match created {
        Some(file) => file,
        None => Checkpoint::open(&env, &loaded, &state)?,
    };
    if !report.clean {
        // What was found and decided has to survive, so that the next open decides the same (I12).
        file.write_synced(&env, &state)?;
    }
    Ok(assemble(env, options, meta, state, file, found, report))
}

/// The segments as recovery leaves them.
struct Recovered {
    list: Vec<Arc<Segment>>,
    active: ActiveSegment,
    end: Offset,
    unsynced: Vec<Arc<SegmentData>>,
}

fn assemble(
    env: Env,
    options: LogOptions,
    meta: Meta,
    state: State,
    file: Checkpoint,
    found: Recovered,
    report: RecoveryReport,
) -> Log {
    let now = env.storage.now_mono();
    let Recovered { list, active, end, unsynced } = found;
    let writer = Writer {
        active,
        next_offset: end,
        refusal: None,
        clean_mark: state.clean.is_some(),
        unsynced,
        // What was made before an unclean stop may never have been synced.
        names_unsynced: state.clean.is_none(),
        since_flush: 0,
        between_flushes: 0,
        active_since: now,
    };
    let inner = Inner {
        segments: SegmentSet::new(list),
        log_start: AtomicI64::new(state.log_start.get()),
        end: OwnLines(AtomicI64::new(end.get())),
        durable: AtomicI64::new(state.recovery_point.min(end).get()),
        closed: AtomicBool::new(false),
        failure: OnceLock::new(),
        flushed_at_ms: AtomicU64::new(u64::try_from(now.as_millis()).unwrap_or(0)),
        writer: OwnLines(Mutex::new(writer)),
        appended: Condvar::new(),
        group: Group::default(),
        recovery: report.above(state.log_start),
        checkpoint: Mutex::new(Durable { state, file, unsaved: false }),
        checkpoint_sync: Mutex::new(()),
        open_consumers: Mutex::new(HashSet::new()),
        closing: Mutex::new(()),
        deletion: Mutex::default(),
        env,
        options,
        meta,
    };
    Log { inner: Arc::new(inner) }
}

/// Whether files are mapped, and why; both ways give the same files.
fn choose_mode(
    storage: &dyn Storage,
    dir: &Path,
    asked: IoMode,
    report: &mut RecoveryReport,
) -> Result<bool> {
    let mut medium = storage.medium(dir);
    if asked == IoMode::Auto && medium.unmappable.is_none() && !can_reserve(storage, dir) {
        medium.unmappable = Some("it cannot reserve blocks");
    }
    let (mapped, reason) = match (asked, medium.unmappable) {
        (IoMode::Auto, None) => (true, format!("{} keeps reserved blocks", medium.filesystem)),
        (IoMode::Auto, Some(why)) => (false, format!("{}: {why}", medium.filesystem)),
        (IoMode::Mapped, None) => (true, "asked for".to_owned()),
        (IoMode::Mapped, Some(why)) => {
            let text = format!("files here cannot be mapped for writing: {why}");
            return Err(Error::new(ErrorKind::Unsupported, text).at(dir));
        }
        (IoMode::Positioned, _) => (false, "asked for".to_owned()),
    };
    report.io_mode = Some(if mapped { IoMode::Mapped } else { IoMode::Positioned });
    report.io_mode_reason = reason;
    Ok(mapped)
}

/// Whether the filesystem reserves blocks: ext2 and ext3 pass for ext4 and do not. Any other
/// trouble is left to those who meet it.
fn can_reserve(storage: &dyn Storage, dir: &Path) -> bool {
    let path = dir.join(PROBE);
    let probe = || -> std::io::Result<()> {
        let file = storage.create_new(&path)?;
        let reserved = file.allocate(0, 1);
        storage.unlink(&path)?;
        reserved
    };
    !probe().is_err_and(|error| error.kind() == std::io::ErrorKind::Unsupported)
}

/// The file [`can_reserve`] makes for a moment.
const PROBE: &str = "probe.new";

/// The base offsets of the segments there are; removes files that were being made.
fn list(env: &Env, report: &mut RecoveryReport) -> Result<Vec<Offset>> {
    let dir = &env.dir;
    let entries = env.storage.list(dir);
    let entries = entries.map_err(|error| Error::io("cannot list the directory", dir, error))?;
    let mut bases = Vec::new();
    for entry in entries {
        let name = entry.name.unwrap_or_else(|| "(a name that is not UTF-8)".to_owned());
        let regular = entry.kind == FileKind::File;
        match names::parse_segment_file(&name) {
            Some((base, Part::Log)) if regular => bases.push(base),
            Some((_, Part::Index | Part::TimeIndex)) if regular => {}
            _ if regular && (name == names::META || name == names::CHECKPOINT) => {}
            _ if regular && is_unfinished(&name) => {
                let path = dir.join(&name);
                env.storage
                    .unlink(&path)
                    .map_err(|error| Error::io("cannot remove an unfinished file", &path, error))?;
            }
            _ => note(&mut report.foreign_files, name),
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(names::NEW_SUFFIX).is_some_and(|made| {
        name == PROBE
            || made == names::META
            || made == names::CHECKPOINT
            || names::parse_segment_file(made).is_some()
    })
}

/// Whose log this is: by `log.meta`, else by the checkpoint, else a new one. A checkpoint that
/// belongs to another log is dropped.
fn identify(
    env: &Env,
    loaded: &mut checkpoint::Loaded,
    bases: &[Offset],
    options: &LogOptions,
    report: &mut RecoveryReport,
) -> Result<Meta> {
    let (storage, dir) = (&*env.storage, &*env.dir);
    let found = match Meta::read(storage, dir)? {
        Found::Whole(meta) => Some(meta),
        Found::Nothing | Found::Damaged => None,
    };
    let kept = loaded.state.as_ref().map(|state| state.meta);
    let meta = match (found, kept) {
        (Some(found), Some(kept)) if found.log_id != kept.log_id => {
            // One of the two files was brought from elsewhere: the batches say which.
            let of_kept = seals_first_batch(env, bases, &Seal::of(kept.log_id));
            if of_kept {
                rebuild_meta(env, kept, report)?
            } else {
                loaded.state = None;
                found
            }
        }
        (Some(found), None) if found.seal && is_anothers(env, bases, &found) => {
            // Batches of a log whose id nobody knows any more are read without their seal.
            report.seal_lost = true;
            let meta = Meta { seal: false, ..found };
            meta.write(storage, dir)?;
            meta
        }
        (Some(found), _) => found,
        (None, Some(kept)) => rebuild_meta(env, kept, report)?,
        (None, None) => {
            let id = storage
                .random()
                .map_err(|error| Error::io("cannot get random bytes for a log id", dir, error))?;
            report.seal_lost = !bases.is_empty();
            report.created = bases.is_empty();
            let (log_id, seal) = (LogId::from_bytes(id), bases.is_empty());
            let meta = Meta { log_id, seal, source: options.mirror_of };
            meta.write(storage, dir)?;
            meta
        }
    };
    if options.mirror_of.is_some() && meta.source != options.mirror_of {
        let other = meta.source.map_or("no mirror".to_owned(), |id| format!("a mirror of {id}"));
        return Err(Error::new(ErrorKind::Conflict, format!("the log is {other}")).at(dir));
    }
    Ok(meta)
}

fn rebuild_meta(env: &Env, meta: Meta, report: &mut RecoveryReport) -> Result<Meta> {
    report.meta_rebuilt = true;
    meta.write(&*env.storage, &env.dir)?;
    Ok(meta)
}

/// Whether the segments hold batches, but none that this log has sealed.
fn is_anothers(env: &Env, bases: &[Offset], meta: &Meta) -> bool {
    !seals_first_batch(env, bases, &Seal::of(meta.log_id))
        && seals_first_batch(env, bases, &Seal::NONE)
}

/// Whether the first readable batch of a segment was sealed by this log.
fn seals_first_batch(env: &Env, bases: &[Offset], seal: &Seal) -> bool {
    bases.iter().any(|&base| {
        let Ok(data) = SegmentData::open_sealed(env, base) else { return false };
        let mut walker = Walker::new(0, base, Gaps::Expected);
        matches!(walker.next(&data, seal), Ok(Step::Batch(_)))
    })
}

/// Finds the end of the log and opens the active segment there.
fn recover(
    env: &Env,
    bases: &mut Vec<Offset>,
    state: &mut State,
    report: &mut RecoveryReport,
) -> Result<Recovered> {
    let durable = state.consumers.iter().filter(|consumer| consumer.durable);
    let floor = durable.map(|consumer| consumer.committed).fold(state.recovery_point, Offset::max);
    let Some(&last) = bases.last() else {
        return begin(env, floor.max(state.log_start), state, report);
    };
    if let Some((active, end)) = open_clean(env, last, state)? {
        report.clean = true;
        let list = closed_before(bases, bases.len() - 1, &active);
        return Ok(Recovered { list, active, end, unsynced: Vec::new() });
    }
    state.clean = None;
    // Without a checkpoint nobody knows what was durable: damage with whole batches behind it is
    // then taken for damage, and only the last tail for torn.
    let point = if report.checkpoint_lost { Offset::MAX } else { state.recovery_point };
    let chain = scan_chain(env, bases, point, report)?;
    let mut found = settle(env, bases, chain, floor, report)?;
    state.cut = found.end;
    if found.end < floor {
        report.lost = Some(found.end..floor);
        continue_at(env, &mut found, floor)?;
    }
    move_consumers_back(state, found.end, report);
    Ok(found)
}

/// A log without a segment: a new one, or one of which all are gone.
fn begin(
    env: &Env,
    base: Offset,
    state: &mut State,
    report: &mut RecoveryReport,
) -> Result<Recovered> {
    if base > state.log_start {
        report.lost = Some(state.log_start..base);
    }
    state.clean = None;
    state.cut = base;
    let active = ActiveSegment::prepare(env, base, false)?.install(env)?;
    let list = vec![Arc::clone(&active.segment)];
    move_consumers_back(state, base, report);
    Ok(Recovered { list, active, end: base, unsynced: Vec::new() })
}

/// The last segment of a log that was closed, if it is as the clean mark says.
fn open_clean(env: &Env, last: Offset, state: &State) -> Result<Option<(ActiveSegment, Offset)>> {
    let Some(mark) = state.clean else { return Ok(None) };
    let data = SegmentData::open_sealed(env, last)?;
    let bytes = data.published();
    if mark.active_base != last || mark.active_bytes != bytes as u64 {
        return Ok(None);
    }
    let stored = index_file::read(&*env.storage, &env.dir, last, bytes);
    let Some(mut entries) = stored.filter(|all| index_file::checksum(all) == mark.index_checksum)
    else {
        return Ok(None);
    };
    let rule =
        IndexRule::resume(last.get(), env.index_interval_bytes, &mut entries, mark.closing_time);
    let active = ActiveSegment::reopen(env, last, Resume { position: bytes, rule, entries })?;
    Ok(Some((active, state.recovery_point)))
}

/// The scanned segments from the recovery point up to the end of the log: the last ones of them.
struct Chain {
    scanned: Vec<(Arc<SegmentData>, Scanned)>,
    /// How many segments lie behind the end and go.
    behind: usize,
}

/// Scans from the segment of the recovery point on. Files that begin before their predecessor's
/// end are none of the log's: they leave the list.
fn scan_chain(
    env: &Env,
    bases: &mut Vec<Offset>,
    recovery_point: Offset,
    report: &mut RecoveryReport,
) -> Result<Chain> {
    let mut from = match report.checkpoint_lost {
        true => 0,
        false => bases.partition_point(|&base| base <= recovery_point).saturating_sub(1),
    };
    // A file without a whole batch does not say where the log stands; one further down does.
    while from > 0 && bases.get(from).is_some_and(|base| !begins_whole(env, *base)) {
        from -= 1;
    }
    let mut chain = Chain { scanned: Vec::new(), behind: 0 };
    let mut at = from;
    while let Some(&base) = bases.get(at) {
        let expected = chain.scanned.last().map(|(_, scanned)| scanned.next_offset);
        if expected.is_some_and(|expected| base < expected) {
            note(&mut report.foreign_files, names::segment_file(base, Part::Log));
            bases.remove(at);
            continue;
        }
        if let Some(expected) = expected.filter(|&expected| expected < base) {
            if base > recovery_point {
                // Nothing connects it to what is known: it lies behind the end.
                chain.behind = bases.len() - at;
                break;
            }
            damage(report, expected..base);
        }
        let data = Arc::new(SegmentData::open_sealed(env, base)?);
        let until = bases.get(at + 1).copied().unwrap_or(Offset::MAX);
        let scanned = scan(env, &data, recovery_point, until)?;
        report.segments_scanned += 1;
        for range in &scanned.damaged {
            damage(report, range.clone());
        }
        let torn = matches!(scanned.ending, Ending::Torn { .. });
        chain.scanned.push((data, scanned));
        at += 1;
        if torn {
            chain.behind = bases.len() - at;
            break;
        }
        if chain.scanned.len() > limits::UNSYNCED_SEGMENTS_MAX {
            settle_oldest(env, &mut chain, report)?;
        }
    }
    Ok(chain)
}

/// Whether a segment's first batch is one of this log, at its place.
fn begins_whole(env: &Env, base: Offset) -> bool {
    let Ok(data) = SegmentData::open_sealed(env, base) else { return false };
    let mut walker = Walker::new(0, base, Gaps::Refused);
    matches!(walker.next(&data, &env.seal), Ok(Step::Batch(_)))
}

/// Is done with the oldest scanned segment, so that the files that are open stay few.
fn settle_oldest(env: &Env, chain: &mut Chain, report: &mut RecoveryReport) -> Result<()> {
    let (data, found) = chain.scanned.remove(0);
    write_index(env, &data, &found, report);
    data.file.sync_all().map_err(|error| Error::sync("cannot sync a segment", &data.path, error))
}

/// Writes the indexes of a segment that was scanned.
fn write_index(env: &Env, data: &SegmentData, found: &Scanned, report: &mut RecoveryReport) {
    let mut entries = found.resume.entries.clone();
    entries.add(found.resume.rule.clone().finish());
    // A cache (I5): without it the first lookup scans.
    let _ = index_file::write(&*env.storage, &env.dir, data.base, &entries);
    report.indexes_rebuilt += 1;
}

fn damage(report: &mut RecoveryReport, range: std::ops::Range<Offset>) {
    report.damaged_ranges += 1;
    note(&mut report.damaged, range);
}

/// Cuts what lies behind the end, writes the indexes of what was scanned, and opens the last
/// segment for appending. What was cut is synced before anything is appended behind it.
fn settle(
    env: &Env,
    bases: &[Offset],
    chain: Chain,
    floor: Offset,
    report: &mut RecoveryReport,
) -> Result<Recovered> {
    let behind = bases.len() - chain.behind;
    for &base in bases.get(behind..).unwrap_or_default().iter().rev() {
        remove_segment(env, base, report)?;
    }
    if chain.behind > 0 {
        env.sync_names()?;
    }
    let mut scanned = chain.scanned;
    let Some((data, mut last)) = scanned.pop() else {
        return Err(Error::new(ErrorKind::Corrupt, "no segment could be scanned").at(&env.dir));
    };
    if report.checkpoint_lost && last.ending == Ending::Damaged {
        let end = last_nonzero(&data, last.resume.position)?.unwrap_or(last.resume.position);
        let bytes = (end - last.resume.position) as u64;
        last.ending = Ending::Torn { bytes, records: 0 };
    }
    for (sealed, found) in &scanned {
        write_index(env, sealed, found, report);
    }
    report.indexes_rebuilt += 1;
    let mut unsynced: Vec<_> = scanned.into_iter().map(|(data, _)| data).collect();
    let end = last.next_offset;
    if last.ending == Ending::Damaged {
        // The damaged file stays as it is, under its name; the log goes on in a new one.
        let base = floor.max(end).max(data.base + 1);
        damage(report, end..base);
        unsynced.push(Arc::clone(&data));
        let active = ActiveSegment::prepare(env, base, false)?.install(env)?;
        let list = closed_before(bases, behind, &active);
        return Ok(Recovered { list, active, end: base, unsynced });
    }
    if let Ending::Torn { bytes, records } = last.ending {
        report.bytes_cut += bytes;
        report.records_cut += records;
        cut(env, &data, last.resume.position)?;
    }
    let active = ActiveSegment::reopen(env, data.base, last.resume)?;
    let list = closed_before(bases, behind - 1, &active);
    Ok(Recovered { list, active, end, unsynced })
}

/// The segments before the active one, and that one.
fn closed_before(bases: &[Offset], count: usize, active: &ActiveSegment) -> Vec<Arc<Segment>> {
    let sealed = bases.iter().take(count).map(|&base| Arc::new(Segment::closed(base)));
    sealed.chain([Arc::clone(&active.segment)]).collect()
}

fn remove_segment(env: &Env, base: Offset, report: &mut RecoveryReport) -> Result<()> {
    if let Ok(data) = SegmentData::open_sealed(env, base) {
        report.bytes_cut += last_nonzero(&data, 0)?.unwrap_or(0) as u64;
        let mut walker = Walker::new(0, base, Gaps::Expected);
        report.records_cut += whole_records(env, &data, &mut walker)?;
        while walker.resync(&data, &env.seal, Offset::MAX)?.is_some() {
            report.records_cut += whole_records(env, &data, &mut walker)?;
        }
    }
    for part in [Part::TimeIndex, Part::Index, Part::Log] {
        let path = env.dir.join(names::segment_file(base, part));
        match env.storage.unlink(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("cannot remove a segment behind the end", &path, error));
            }
            _ => {}
        }
    }
    report.segments_removed += 1;
    Ok(())
}

/// Cuts the torn tail off and syncs that, so that no later crash brings it back.
fn cut(env: &Env, data: &SegmentData, position: usize) -> Result<()> {
    let failed = |what| move |error| Error::sync(what, &data.path, error).position(position);
    let file = env
        .storage
        .open(&data.path, Access::ReadWrite)
        .map_err(|error| Error::io("cannot open the torn segment", &data.path, error))?;
    file.set_len(position as u64).map_err(failed("cannot cut the torn tail"))?;
    file.sync_all().map_err(failed("cannot sync the cut of the torn tail"))
}

/// Syncs every segment that was scanned, and their names.
fn sync_found(env: &Env, found: &Recovered) -> Result<()> {
    for data in found.unsynced.iter().chain([&found.active.data]) {
        data.file
            .sync_all()
            .map_err(|error| Error::sync("cannot sync a segment", &data.path, error))?;
    }
    env.sync_names()
}

/// Lets the log continue at `floor`, above what was found: offsets that were durable or shown as
/// such are never assigned again (I2, I17). An empty batch stands over what is missing.
fn continue_at(env: &Env, found: &mut Recovered, floor: Offset) -> Result<()> {
    let last = Offset::new(floor.get() - 1);
    match i32::try_from(floor - found.end) {
        Ok(missing) if found.active.has_room(HEADER_BYTES, last) => {
            let mut gap = Vec::new();
            encode_gap(&mut gap, missing);
            stamp(&mut gap, found.end.get(), &env.seal);
            found.active.append(&gap, last, -1, 0)?;
        }
        _ => {
            let next = ActiveSegment::prepare(env, floor, false)?.install(env)?;
            found.list.push(Arc::clone(&next.segment));
            let before = std::mem::replace(&mut found.active, next);
            found.unsynced.push(before.data);
        }
    }
    found.end = floor;
    Ok(())
}

/// A consumer that saw written records may have committed what a power cut took again (I7).
fn move_consumers_back(state: &mut State, end: Offset, report: &mut RecoveryReport) {
    for consumer in state.consumers.iter_mut().filter(|consumer| consumer.committed > end) {
        let moved =
            ConsumerMoved { name: consumer.name.clone(), from: consumer.committed, to: end };
        report.consumers_moved_back.push(moved);
        consumer.committed = end;
    }
}
