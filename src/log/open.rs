//! Makes a log of a directory: a new one, one that was closed, or what a crash left.
//!
//! Floor 4. Opening never needs an operator; what it cannot restore it reports. `identify` says
//! whose log it is, `recover` what is left of it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::seal::Seal;
use crate::disk::checkpoint::{self, Checkpoint, Loaded};
use crate::disk::meta::{Found, Meta};
use crate::disk::metered::Metered;
use crate::disk::names::{self, Part};
use crate::disk::segment::Segment;
use crate::disk::set::SegmentSet;
use crate::disk::space::Space;
use crate::disk::state::State;
use crate::disk::wear::Written;
use crate::disk::{Env, note, target, unlink_if_there};
use crate::log::background::Background;
use crate::log::clock::{LogClock, Moment};
use crate::log::compaction;
use crate::log::door::{self, Door};
use crate::log::full;
use crate::log::group::Group;
use crate::log::host::{CoveredDir, Host};
use crate::log::identify::{identify, write_meta};
use crate::log::live::Live;
use crate::log::memory::MemoryPlan;
use crate::log::options::{IoMode, LogOptions, Media, RecoveryMode};
use crate::log::policy::Policy;
use crate::log::recover::{Listing, Recovered, recover};
use crate::log::report::RecoveryReport;
use crate::log::write::Writer;
use crate::log::{Durable, Inner, Log, OwnLines, fit};
use crate::sys::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};
use crate::sys::sync::{Mutex, OnceLock, RwLock};
use crate::sys::{Event, FileKind, LockedDir, Medium, OsStorage, Process, Storage};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::log_id::LogId;
use crate::words::offset::Offset;

/// Opens on the operating system.
pub(crate) fn open(dir: &Path, options: LogOptions) -> Result<Log> {
    open_on(Arc::new(OsStorage), dir, options)
}

pub(crate) fn open_on(storage: Arc<dyn Storage>, dir: &Path, options: LogOptions) -> Result<Log> {
    let Door { dir, lock, store } = door::lock_alone(&*storage, dir)?;
    let mut log = open_locked(storage, dir, lock, None, options)?;
    if let Some(inner) = Arc::get_mut(&mut log.inner) {
        inner.store_lock = store;
    }
    log.begin_background()
}

/// Opens a log of a store, which has the lock.
pub(crate) fn open_in(
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    host: Host,
    options: LogOptions,
) -> Result<Log> {
    target::check_finished(&*storage, &dir)?;
    let lock = Box::new(CoveredDir::new(Arc::clone(&storage), dir.clone()));
    open_locked(storage, dir, lock, Some(host), options)
}

fn open_locked(
    clocks: Arc<dyn Storage>,
    dir: PathBuf,
    lock: Box<dyn LockedDir>,
    host: Option<Host>,
    options: LogOptions,
) -> Result<Log> {
    let mut report = RecoveryReport::default();
    let medium = clocks.medium(&dir);
    let torn_bytes = choose_media(&medium, &options, &mut report);
    let space = full::begin_space(&*clocks, &dir, &options, host.as_ref(), torn_bytes.is_some())?;
    let reserve = host.as_ref().map(|host| Arc::clone(&host.reserve));
    let charges = host.as_ref().map(|host| Arc::clone(&host.charges)).unwrap_or_default();
    let storage = Metered::new(Arc::clone(&clocks), &dir, Arc::clone(&space), reserve, charges);
    let mut env = begin_env(Arc::new(storage), dir, lock, torn_bytes, &options);
    // What a later version wrote is refused before anything is changed.
    let mut listing = list(&env, &mut report)?;
    let mut loaded = checkpoint::load(&env)?;
    let found = Meta::read(&*env.storage, &env.dir)?;
    env.mapped = choose_mode(&env, medium, options.io_mode, &mut report)?;
    let memory = MemoryPlan::new(&options, env.mapped, torn_bytes.unwrap_or(0));
    memory.check(&options).map_err(|error| error.at(&env.dir))?;
    remove_unfinished(&env, &listing.unfinished)?;
    report.checkpoint_slots_damaged = loaded.damaged_slots as u64;
    let store = host.as_ref().map(|host| host.store_id);
    let of = (found, &mut loaded);
    let mut meta = identify(&env, of, &listing.bases, &options, store, &mut report)?;
    if meta.seal {
        env.seal = Seal::of(meta.log_id);
    }
    if let Some(archive) = &options.archive {
        archive.attach(meta.log_id, &env.dir)?;
    }
    report.checkpoint_lost = loaded.state.is_none() && !listing.bases.is_empty();
    let first = listing.bases.first().copied().unwrap_or_default();
    let adopted = store.is_some() && meta.store != store;
    let (mut state, (clock, shifted), kept) =
        resume(&env, loaded.state.as_ref(), (meta, first), host.as_ref(), &options);
    // A new log's checkpoint comes before its first segment, so that a crash in between is not
    // taken for a lost one.
    let created = match report.created {
        true => Some(Checkpoint::open(&env, &loaded, &state)?),
        false => None,
    };
    let merged = compaction::swap::leave_out(&env, &mut listing.bases, &state);
    let deleted = super::delete::leave_out(&mut listing.bases, &mut state);
    let found = recover(&env, &mut listing, &mut state, kept, &mut report)
        .inspect_err(|error| leave_word(&env, &loaded, error))?;
    clock.begin_samples(&*env.storage, &mut state, found.active.data.base);
    let mut file = match created {
        Some(file) => file,
        None => Checkpoint::open(&env, &loaded, &state)?,
    };
    if !report.clean || !deleted.0.is_empty() || adopted {
        // What was found and decided has to survive, so that the next open decides the same (I12).
        fit::write_synced(&mut file, &env, &mut state)?;
    }
    if adopted {
        // Behind the moments that were moved: a crash in between moves them by nothing.
        meta.store = store;
        write_meta(&env, meta)?;
    }
    compaction::swap::sweep(&env, merged, &mut report)?;
    super::delete::sweep(&env, deleted, state.log_start, &mut report)?;
    let around = Around { clocks, space, clock, shifted, host };
    Ok(assemble(env, around, (options, memory), (meta, state), (file, found), report))
}

/// Tells the next open of a sync that failed in this one's recovery: the kernel says it once. Best
/// effort, as [`Inner::leave_word`]. A read that failed has the same kind, and costs the next open
/// a copy that was not needed.
#[cold]
fn leave_word(env: &Env, loaded: &Loaded<State>, error: &Error) {
    let unsaid = loaded.state.as_ref().filter(|state| !state.sync_failed);
    if let (Some(state), ErrorKind::Io) = (unsaid, error.kind()) {
        let state = State { sync_failed: true, ..state.clone() };
        let _ = Checkpoint::open(env, loaded, &state).and_then(|mut file| file.write(env, &state));
    }
}

impl Log {
    /// Starts the log's own thread, if it was asked for.
    fn begin_background(self) -> Result<Log> {
        if !self.inner.options.background {
            return Ok(self);
        }
        let closer = Background::start(&self.inner)?;
        Ok(Log { _keeper: Some(closer), ..self })
    }
}

/// What [`Inner::outlook`] would say of a closed log of the store with this id; `None` if it cannot
/// be told. A log that another store had is due at once: opening it makes its ages this store's.
pub(crate) fn peek(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    store: LogId,
    options: &LogOptions,
) -> Option<(i64, Option<i64>)> {
    let lock = Box::new(CoveredDir::new(Arc::clone(storage), dir.to_path_buf()));
    let env = begin_env(Arc::clone(storage), dir.to_path_buf(), lock, None, options);
    let Found::Whole(meta) = Meta::read(&**storage, dir).ok()? else { return None };
    let state = checkpoint::load::<State>(&env).ok()?.state?;
    let bases = list(&env, &mut RecoveryReport::default()).ok()?.bases;
    if meta.store != Some(store) {
        return Some((i64::MIN, None));
    }
    let begun = bases.partition_point(|base| *base <= state.log_start).saturating_sub(1);
    let bases = bases.get(begun..).unwrap_or_default();
    let last = dir.join(names::segment_file(*bases.last()?, Part::Log));
    let holds = storage.file_size(&last).is_ok_and(|size| size.length > 0);
    let ages = (options.retention_age.filter(|_| options.ages()), options.segment_age);
    Some(full::outlook_of(&state.samples, bases.get(1).copied(), holds, ages))
}

fn begin_env(
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    lock: Box<dyn LockedDir>,
    torn_bytes: Option<usize>,
    options: &LogOptions,
) -> Env {
    Env {
        storage,
        dir,
        names: Some(lock),
        seal: Seal::NONE,
        mapped: false,
        segment_bytes: options.segment_bytes,
        index_interval_bytes: options.index_interval_bytes,
        torn_bytes,
        memory_bounded: options.memory_limit_bytes.is_some(),
        written: Written::default(),
    }
}

/// The state and the clock that the log goes on with, and whether the page cache was never lost.
fn resume(
    env: &Env,
    loaded: Option<&State>,
    (meta, first): (Meta, Offset),
    host: Option<&Host>,
    options: &LogOptions,
) -> (State, (Arc<LogClock>, i64), bool) {
    let mut state = loaded.cloned().unwrap_or_else(|| State::new(meta, first));
    state.meta = meta;
    state.open_number += 1;
    let residence = env.storage.residence(&env.dir);
    let (clock, mut shifted) = match host {
        Some(host) => host.adopt_clock(&*env.storage, &mut state, residence),
        None => {
            let stored = (state.clock, state.residence);
            let clock = LogClock::resume(&*env.storage, stored, residence);
            let shifted = clock.shifted(&state, residence);
            (Arc::new(clock), shifted)
        }
    };
    let kept = options.recovery == RecoveryMode::Auto
        && residence.is_some()
        && state.residence == residence;
    state.residence = residence;
    clock.write_to(&*env.storage, &mut state, &mut shifted);
    // That is `log.meta`'s alone.
    state.meta.store = None;
    (state, (clock, shifted), kept)
}

/// What a log has from elsewhere.
struct Around {
    clocks: Arc<dyn Storage>,
    space: Arc<Space>,
    clock: Arc<LogClock>,
    /// How far the moments in the state were moved with it.
    shifted: i64,
    host: Option<Host>,
}

fn assemble(
    env: Env,
    Around { clocks, space, clock, shifted, host }: Around,
    (options, memory): (LogOptions, MemoryPlan),
    (meta, state): (Meta, State),
    (file, Recovered { list, active, end, rewrite }): (Checkpoint, Recovered),
    report: RecoveryReport,
) -> Log {
    let now = env.storage.now_mono();
    let writer = Writer {
        active,
        next_offset: end,
        refusal: None,
        clean_mark: state.clean.is_some(),
        unsynced: Vec::new(),
        write_out: None,
        rewrite,
        // What was made before an unclean stop may never have been synced.
        names_unsynced: state.clean.is_none(),
        since_flush: 0,
        between_flushes: 0,
        ahead: None,
        appended: Default::default(),
        active_since: now,
        active_clock: Moment::of(state.samples.last(), shifted),
        roll_due: false,
        tail_unsaved: env.torn_bytes.is_some(),
    };
    let segments = begin_segments(list, host.as_ref(), &memory);
    let inner = Inner {
        segments,
        log_start: AtomicI64::new(state.log_start.get()),
        end: OwnLines(AtomicI64::new(end.get())),
        durable: AtomicI64::new(state.recovery_point.min(end).get()),
        closed: AtomicBool::new(false),
        failure: OnceLock::new(),
        age_looked_at_ms: AtomicU64::new(u64::try_from(now.as_millis()).unwrap_or(0)),
        flushed_at_ms: AtomicU64::new(u64::try_from(now.as_millis()).unwrap_or(0)),
        writer: OwnLines(Mutex::new(writer)),
        appended: Event::default(),
        group: Group::default(),
        recovery: report.above(state.log_start),
        checkpoint: Mutex::new(Durable { state, file, unsaved: false, shifted }),
        checkpoint_sync: Mutex::new(()),
        open_consumers: Mutex::new(HashSet::new()),
        closing: Mutex::new(()),
        lanes: Default::default(),
        compacting: Default::default(),
        deletion: Mutex::default(),
        handed_over: Default::default(),
        retention: Default::default(),
        clock,
        process: Process::current(),
        background: OnceLock::new(),
        tally: Default::default(),
        memory,
        readers: AtomicUsize::new(0),
        live: Live::of(&options),
        policy: RwLock::new(Arc::new(Policy::of(&options))),
        clocks,
        space,
        host,
        store_lock: None,
        env,
        options,
        meta,
    };
    Log { inner: Arc::new(inner), _keeper: None }
}

/// The list of segments, of which so many stay open as memory and the store leave room for.
fn begin_segments(list: Vec<Arc<Segment>>, host: Option<&Host>, memory: &MemoryPlan) -> SegmentSet {
    let segments = SegmentSet::new(list);
    let most = host.map_or(usize::MAX, |host| host.share.sealed);
    segments.keep_at_most(memory.sealed_max(0).min(most));
    segments
}

/// How far a power cut may reach around a rewritten sector, and why.
fn choose_media(
    medium: &Medium,
    options: &LogOptions,
    report: &mut RecoveryReport,
) -> Option<usize> {
    let (media, reason) = match (options.media, medium.tears) {
        (Some(asked), _) => (asked, "asked for"),
        (None, Some(why)) => (Media::TornOverwrite, why),
        (None, None) => (Media::PowerSafe, "no SD card and no USB"),
    };
    report.media = Some(media);
    report.media_reason = reason.to_owned();
    (media == Media::TornOverwrite).then_some(options.torn_bytes)
}

/// Whether files are mapped, and why; both ways give the same files.
fn choose_mode(
    env: &Env,
    mut medium: Medium,
    asked: IoMode,
    report: &mut RecoveryReport,
) -> Result<bool> {
    if asked == IoMode::Auto && medium.unmappable.is_none() && !can_reserve(env) {
        medium.unmappable = Some("it cannot reserve blocks");
    }
    let unfit = match asked {
        IoMode::Auto => medium.unmappable.or(medium.tears),
        _ => medium.unmappable,
    };
    let (mapped, reason) = match (asked, unfit) {
        (IoMode::Auto, None) => (true, format!("{} keeps reserved blocks", medium.filesystem)),
        (IoMode::Auto, Some(why)) => (false, format!("{}: {why}", medium.filesystem)),
        (IoMode::Mapped, None) => (true, "asked for".to_owned()),
        (IoMode::Mapped, Some(why)) => {
            let text = format!("files here cannot be mapped for writing: {why}");
            return Err(Error::new(ErrorKind::Unsupported, text).at(&env.dir));
        }
        (IoMode::Positioned, _) => (false, "asked for".to_owned()),
    };
    report.io_mode = Some(if mapped { IoMode::Mapped } else { IoMode::Positioned });
    report.io_mode_reason = reason;
    Ok(mapped)
}

/// Whether the filesystem reserves blocks: ext2 and ext3 pass for ext4 and do not. Any other
/// trouble is left to those who meet it.
fn can_reserve(env: &Env) -> bool {
    let path = env.dir.join(PROBE);
    let probe = || -> std::io::Result<()> {
        // One that a crash left says nothing.
        let _ = env.storage.unlink(&path);
        let file = env.storage.create_new(&path)?;
        let reserved = file.allocate(0, 1);
        env.storage.unlink(&path)?;
        reserved
    };
    !probe().is_err_and(|error| error.kind() == std::io::ErrorKind::Unsupported)
}

/// The file [`can_reserve`] makes for a moment.
const PROBE: &str = "probe.new";

/// The segments there are, what was set aside, and files that were being made.
fn list(env: &Env, report: &mut RecoveryReport) -> Result<Listing> {
    let dir = &env.dir;
    let entries = env
        .storage
        .list(dir)
        .map_err(|error| Error::io("cannot list the directory", dir, error))?;
    let mut listing = Listing::default();
    for entry in entries {
        let name = entry.name.unwrap_or_else(|| "(a name that is not UTF-8)".to_owned());
        let regular = entry.kind == FileKind::File;
        let is_ours = name == names::META || name == names::CHECKPOINT;
        match names::parse_segment_file(&name) {
            Some((base, Part::Log)) if regular => listing.bases.push(base),
            Some((_, Part::Index | Part::TimeIndex)) if regular => {}
            _ if regular && is_ours => {}
            _ if regular && names::parse_aside_file(&name).is_some() => listing.asides.push(name),
            _ if regular && is_unfinished(&name) => listing.unfinished.push(name),
            _ if is_ours && entry.kind == FileKind::Dir => {
                let text = "a directory lies where the log keeps a file; move it away";
                return Err(Error::invalid(text).at(&dir.join(name)));
            }
            _ => note(&mut report.foreign_files, name),
        }
    }
    listing.bases.sort_unstable();
    Ok(listing)
}

fn remove_unfinished(env: &Env, names: &[String]) -> Result<()> {
    for name in names {
        let path = env.dir.join(name);
        unlink_if_there(&*env.storage, &path)
            .map_err(|error| Error::io("cannot remove an unfinished file", &path, error))?;
    }
    Ok(())
}

fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(names::NEW_SUFFIX).is_some_and(|made| {
        name == PROBE
            || name == names::SEGMENT_NEXT
            || name == names::SEGMENT_AHEAD
            || name == names::COMPACTED
            || made == names::META
            || made == names::CHECKPOINT
            || names::parse_segment_file(made).is_some()
    })
}
