//! Floor 3's tests: what the segment that grows prepares, reserves and keeps count of.

use super::*;
use crate::disk::segment::tests::{append, batch, env};

fn begun(env: &Env) -> ActiveSegment {
    ActiveSegment::begin(env, Offset::ZERO).unwrap()
}

/// Pages are prepared an eighth of what is written between two flushes ahead, within bounds, and a
/// reservation doubles; an append that ends where they do has to prepare none.
#[test]
fn pages_are_prepared_ahead_of_appends() {
    let paces = [0, 4096 * 8, 4096 * 8 + 80, 80_000, usize::MAX].map(window_bytes);
    assert_eq!(paces, [4096, 4096, 4106, 10_000, limits::POPULATE_BYTES_MAX]);
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), true);
    let mut active = begun(&env);
    assert!(active.is_empty() && active.position() == 0 && active.populated() == 0);
    append(&mut active, &env, 0, 1024);
    assert!(!active.is_empty() && std::mem::take(&mut active.behind));
    assert_eq!((active.position(), active.populated(), active.allocated), (1024, 8192, 65_536));
    (1..8).for_each(|offset| append(&mut active, &env, offset, 1024));
    assert_eq!((active.position(), active.behind), (8192, false));
    append(&mut active, &env, 8, 1024);
    assert_eq!((active.populated(), active.behind), (16_384, true));
    (9..129).for_each(|offset| append(&mut active, &env, offset, 1024));
    assert_eq!(active.allocated, 256 << 10);
    (129..257).for_each(|offset| append(&mut active, &env, offset, 1024));
    assert_eq!(active.allocated, 512 << 10);
}

/// Small folios are for logs that are flushed often: by what is written between two flushes.
#[test]
fn pages_are_prepared_in_small_folios_only_where_flushes_come_often() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), true);
    for (bytes, flushed, small) in
        [(0, true, true), (0, false, false), (8 << 20, true, false), (8 << 20, false, false)]
    {
        let mut active = begun(&env);
        let batch = batch(0, 1024, &env.seal);
        active.append(&batch, Offset::ZERO, 0, Pace { bytes, flushed }).unwrap();
        assert_eq!(active.small_folios, small, "{bytes} {flushed}");
    }
}

/// The log's own thread prepares pages before an append has to: two steps ahead, whole pages,
/// within the segment, and only behind what was prepared already.
#[test]
fn a_stretch_ahead_follows_what_is_ready() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), true);
    let mut active = begun(&env);
    assert!(active.stretch_ahead(0).unwrap().is_none(), "nothing was appended");
    append(&mut active, &env, 0, 1024);
    let (data, stretch) = active.stretch_ahead(0).unwrap().unwrap();
    assert_eq!(stretch, 8192..12_288);
    data.populate(stretch.clone()).unwrap();
    active.is_ready(100_000..104_857);
    active.is_ready(8192..1 << 20);
    assert_eq!(active.populated(), 8192, "no such stretch begins or ends there");
    active.is_ready(stretch);
    assert_eq!(active.populated(), 12_288);
    assert!(active.stretch_ahead(0).unwrap().is_none(), "it is far enough ahead");
    let (_, more) = active.stretch_ahead(80_000).unwrap().unwrap();
    assert_eq!(more, 12_288..(1024 + 20_000_usize).next_multiple_of(4096));
    let (_, most) = active.stretch_ahead(usize::MAX).unwrap().unwrap();
    assert_eq!((most.end, active.allocated), (1 << 20, 1 << 20));

    // Opened again in the middle of a page, which has to be prepared anew.
    active.seal(&env).unwrap();
    drop(active);
    let resume =
        Resume { position: 1024, rule: IndexRule::new(0, 4096), entries: IndexEntries::default() };
    let mut active = ActiveSegment::reopen(&env, Offset::ZERO, resume).unwrap();
    let (_, stretch) = active.stretch_ahead(0).unwrap().unwrap();
    assert_eq!(stretch, 0..12_288);

    let small = Env { segment_bytes: 8192, ..self::env(tmp.path(), true) };
    let mut active = begun(&small);
    append(&mut active, &small, 0, 1024);
    assert!(active.stretch_ahead(0).unwrap().is_none(), "the segment ends there");
    let positioned = self::env(tmp.path(), false);
    let mut active = begun(&positioned);
    append(&mut active, &positioned, 0, 1024);
    assert!(active.stretch_ahead(usize::MAX).unwrap().is_none(), "there are no pages");
    assert_eq!(active.populated(), 1024);
}

/// What a medium may tear is copied from where its stretch begins to the end.
#[test]
fn a_tail_is_copied_from_the_start_of_its_stretch() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let mut active = begun(&env);
    assert_eq!(active.tail_copy(4096).unwrap(), None);
    (0..5).for_each(|offset| append(&mut active, &env, offset, 1000));
    let bytes = batch(4, 1000, &env.seal)[96..].to_vec();
    let copy = TailCopy { base: Offset::ZERO, position: 4096, bytes };
    assert_eq!(active.tail_copy(4096).unwrap(), Some(copy));
    assert_eq!(active.tail_copy(1000).unwrap(), None, "the end lies between two stretches");
}

/// The zeros behind a segment's end go to the device with the page the end lies in.
#[test]
fn sealing_makes_the_last_page_dirty_unless_it_is_full() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    for (count, pages) in [(5, 1), (8, 0)] {
        let mut active = begun(&env);
        (0..count).for_each(|offset| append(&mut active, &env, offset, 1024));
        let end = active.position();
        assert_eq!(active.data.reached.advance(end, 0), 2);
        active.seal(&env).unwrap();
        assert_eq!(active.data.reached.advance(end, 0), pages);
    }
}

#[cfg(feature = "simulation")]
mod refused {
    use super::*;
    use crate::codec::seal::Seal;
    use crate::sys::sim::{CallKind, Disk, Fault, Profile};
    use crate::words::error::ErrorKind;

    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    const EOPNOTSUPP: i32 = 95;

    fn simulated(mapped: bool, segment_bytes: usize) -> (Disk, Env) {
        let disk = Disk::new(Profile::default());
        disk.write_file("/d/other", b"");
        let env = Env {
            storage: Arc::new(disk.clone()),
            dir: "/d".into(),
            names: None,
            seal: Seal::NONE,
            mapped,
            segment_bytes,
            index_interval_bytes: 4096,
            torn_bytes: None,
            memory_bounded: false,
            written: Default::default(),
        };
        (disk, env)
    }

    fn refuse_once(disk: &Disk, errno: i32) {
        disk.fail(Fault { on: CallKind::Allocate, name: None, after: 0, times: 1, errno });
    }

    /// I19: a full disk is asked for less, and anything else that is refused is an error at once.
    #[test]
    fn only_a_full_disk_is_asked_for_less() {
        for mapped in [true, false] {
            for (errno, bytes, segment_bytes, allocated) in [
                (ENOSPC, 1024, 1 << 20, Some(4096)),
                (EIO, 1024, 1 << 20, None),
                (EIO, 5000, 8192, None),
                (ENOSPC, 5000, 8192, None),
                (ENOSPC, 4000, 8192, Some(4096)),
            ] {
                let (disk, env) = simulated(mapped, segment_bytes);
                let mut active = begun(&env);
                refuse_once(&disk, errno);
                let batch = batch(0, bytes, &env.seal);
                let done = active.append(&batch, Offset::ZERO, 0, Pace::default());
                assert_eq!(done.is_ok(), allocated.is_some(), "{errno} {bytes} {segment_bytes}");
                assert_eq!(active.allocated, allocated.unwrap_or(0));
            }
        }
    }

    /// I19: a segment that is to be made whole is begun with less on a full disk; where nothing can
    /// be reserved at all it is still written by position, and never through a map.
    #[test]
    fn a_segment_is_begun_with_what_there_is() {
        let step = limits::ALLOCATE_STEP_BYTES;
        for (mapped, whole, errno, allocated) in [
            (true, true, None, Ok(1 << 20)),
            (true, false, None, Ok(step)),
            (true, true, Some(ENOSPC), Ok(step)),
            (true, false, Some(ENOSPC), Err(ErrorKind::OutOfSpace)),
            (true, true, Some(EIO), Err(ErrorKind::Io)),
            (true, true, Some(EOPNOTSUPP), Err(ErrorKind::Unsupported)),
            (false, true, Some(EOPNOTSUPP), Ok(1 << 20)),
            (false, false, Some(EIO), Err(ErrorKind::Io)),
        ] {
            let (disk, env) = simulated(mapped, 1 << 20);
            if let Some(errno) = errno {
                refuse_once(&disk, errno);
            }
            let made = ActiveSegment::prepare(&env, names::SEGMENT_NEXT, whole);
            let say = format!("{mapped} {whole} {errno:?}");
            let unsupported = errno == Some(EOPNOTSUPP);
            match (made, allocated) {
                (Ok(made), Ok(allocated)) => {
                    assert_eq!((made.allocated, made.preallocates), (allocated, !unsupported));
                }
                (Err(error), Err(kind)) => assert_eq!(error.kind(), kind, "{say}"),
                (made, _) => panic!("{say}: {made:?}"),
            }
        }
    }

    /// What was prepared ahead is there for the store: else the disk panics as a machine would.
    #[test]
    fn a_stretch_that_is_ready_takes_stores() {
        let (disk, env) = simulated(true, 1 << 20);
        let mut active = begun(&env);
        append(&mut active, &env, 0, 1024);
        let (data, stretch) = active.stretch_ahead(80_000).unwrap().unwrap();
        data.populate(stretch.clone()).unwrap();
        active.is_ready(stretch);
        active.behind = false;
        (1..20).for_each(|offset| append(&mut active, &env, offset, 1024));
        assert!(!active.behind, "no append had to prepare a page");
        let calls = disk.calls();
        data.start_write_out();
        assert_eq!(disk.calls(), calls + 1, "the device begins with it");
    }
}
