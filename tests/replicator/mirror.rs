//! Mirrors of another log, and looking into segment files without opening their log.

use std::fs;
use std::io::Write;

use forebay::{ErrorKind, Log, LogId, Offset, OffsetSpec, RecordBatch, SegmentFile};

use crate::util::{
    self, Ground, MODES, OpenIn, Place, all_texts, at, batches_of, kind, manual, read_all,
    segments, texts, ways,
};

fn batches(log: &Log) -> Vec<RecordBatch> {
    log.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap).collect()
}

/// A log of 30 batches of two records each, over several segments.
fn source(mode: forebay::IoMode, dir: &Place) -> Log {
    let log = manual(mode).segment_bytes(4096).open_in(dir).unwrap();
    for n in 0..30 {
        log.append_batch([format!("{n} a"), format!("{n} {}", "b".repeat(300))]).unwrap();
    }
    log
}

/// A mirror holds the source's bytes at the source's offsets; only the seal is its own.
#[test]
fn a_mirror_keeps_the_bytes_and_offsets_of_its_source() {
    for (mode, ground) in ways() {
        let (a, b) = (ground.place(), ground.place());
        let source = source(mode, &a);
        let options = manual(mode).segment_bytes(8192).mirror_of(source.id());
        let mirror = options.clone().open_in(&b).unwrap();
        assert_ne!(mirror.id(), source.id());
        for batch in batches(&source) {
            let range = mirror.append_mirrored(&batch).unwrap();
            assert_eq!(range, batch.base_offset()..batch.next_offset());
        }
        assert_eq!(read_all(&mirror), read_all(&source));
        mirror.close().unwrap();
        let mirror = options.open_in(&b).unwrap();
        assert!(mirror.recovery().clean);
        for (ours, theirs) in batches(&mirror).iter().zip(&batches(&source)) {
            assert_eq!(ours.as_bytes()[..12], theirs.as_bytes()[..12]);
            assert_eq!(ours.as_bytes()[16..], theirs.as_bytes()[16..]);
            assert_ne!(ours.leader_epoch(), theirs.leader_epoch());
        }
        let inner = mirror.reader(at(31)).unwrap().next().unwrap().unwrap();
        assert!(texts(&inner)[0].starts_with("15 b"));
    }
}

/// I4: what the source no longer has is a gap; reading goes on behind it, and it is no damage.
#[test]
fn a_gap_of_the_source_is_kept_and_read_over() {
    for (mode, ground) in ways() {
        let (a, b) = (ground.place(), ground.place());
        let source = source(mode, &a);
        let options = manual(mode).segment_bytes(8192).mirror_of(source.id());
        let mirror = options.clone().open_in(&b).unwrap();
        let kept: Vec<_> = batches(&source).into_iter().skip(3).step_by(4).collect();
        for batch in &kept {
            mirror.append_mirrored(batch).unwrap();
        }
        let expected: Vec<_> = kept.iter().flat_map(util::records).collect();
        for reopened in [false, true] {
            let mirror = match reopened {
                false => mirror.clone(),
                true => {
                    mirror.clone().close().unwrap();
                    options.clone().open_in(&b).unwrap()
                }
            };
            assert_eq!(read_all(&mirror), expected);
            assert_eq!(mirror.log_end_offset(), kept.last().unwrap().next_offset());
            for inside in 0..6 {
                let mut reader = mirror.reader(at(inside)).unwrap();
                let first =
                    reader.find_map(|batch| util::records(&batch.unwrap()).first().cloned());
                assert_eq!(first.as_ref(), expected.first(), "from {inside}");
            }
            let mut consumer = mirror.consumer("c").unwrap();
            let mut polled = Vec::new();
            consumer.seek(OffsetSpec::Earliest).unwrap();
            while let Some(batch) = consumer.poll(std::time::Duration::ZERO).unwrap() {
                polled.extend(util::records(&batch));
            }
            assert_eq!((polled, consumer.missed()), (expected.clone(), 0));
            consumer.commit().unwrap();
        }
    }
}

/// What a mirror already holds is a conflict, what is no mirror refuses; nothing changes by it.
#[test]
fn mirroring_out_of_order_or_into_a_plain_log_is_refused() {
    for (mode, ground) in ways() {
        let (a, b, c) = (ground.place(), ground.place(), ground.place());
        let source = source(mode, &a);
        let all = batches(&source);
        let mirror = manual(mode).mirror_of(source.id()).open_in(&b).unwrap();
        mirror.append_mirrored(&all[5]).unwrap();
        for earlier in [0, 3, 5] {
            let error = mirror.append_mirrored(&all[earlier]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert_eq!(error.record_offset(), Some(all[earlier].base_offset()));
        }
        kind(mirror.append("a record of its own"));
        kind(mirror.append_batch(["a", "b"]));
        assert_eq!(mirror.log_end_offset(), all[5].next_offset());
        mirror.append_mirrored(&all[6]).unwrap();
        assert_eq!(mirror.reader(at(10)).unwrap().count(), 2);

        let plain = manual(mode).open_in(&c).unwrap();
        assert_eq!(kind(plain.append_mirrored(&all[0])), ErrorKind::InvalidArgument);
        assert_eq!(plain.append("a").unwrap(), Offset::ZERO);
        mirror.clone().close().unwrap();
        assert_eq!(kind(mirror.append_mirrored(&all[7])), ErrorKind::Closed);
    }
}

/// The source is kept for life: another one, or a log that is no mirror, is a conflict.
#[test]
fn opening_a_mirror_for_another_source_is_a_conflict() {
    for (mode, ground) in ways() {
        let (a, b) = (ground.place(), ground.place());
        let one = LogId::from_bytes([1; 16]);
        manual(mode).mirror_of(one).open_in(&a).unwrap().close().unwrap();
        let other = manual(mode).mirror_of(LogId::from_bytes([2; 16]));
        assert_eq!(kind(other.clone().open_in(&a)), ErrorKind::Conflict);
        assert!(manual(mode).mirror_of(one).open_in(&a).unwrap().recovery().clean);

        let plain = manual(mode).open_in(&b).unwrap();
        plain.append("a").unwrap();
        plain.close().unwrap();
        assert_eq!(kind(other.open_in(&b)), ErrorKind::Conflict);
        assert_eq!(all_texts(&manual(mode).open_in(&b).unwrap()), ["a"]);
    }
}

/// Ids are 32 hexadecimal digits, there and back; anything else is refused.
#[test]
fn log_ids_print_and_parse() {
    let id = LogId::from_bytes(*b"0123456789\xff\x00\x01\x80zz");
    let text = id.to_string();
    assert_eq!(text.parse::<LogId>().unwrap(), id);
    assert_eq!(text.to_uppercase().parse::<LogId>().unwrap(), id);
    for bad in ["", &text[1..], &format!("{text}0"), &format!("+{}", &text[1..]), "\u{e4}"] {
        assert!(bad.parse::<LogId>().is_err(), "{bad:?}");
    }
}

/// A segment file is walked without its log, closed or open, alone or beside its `log.meta`.
#[test]
fn a_segment_file_yields_every_batch_with_its_position() {
    for mode in MODES {
        let (a, b) = (Ground::System.place(), Ground::System.place());
        let log = source(mode, &a);
        util::copy_dir(a.path(), b.path());
        log.close().unwrap();
        for dir in [a.path(), b.path()] {
            let found: Vec<_> = segments(dir).iter().flat_map(|path| batches_of(path)).collect();
            assert!(found.iter().map(|(offsets, _)| offsets.start).eq((0..60).step_by(2)));
        }
        for path in segments(a.path()) {
            let alone = b.path().join("renamed");
            fs::copy(&path, &alone).unwrap();
            assert_eq!(batches_of(&alone), batches_of(&path));
            let mut segment = SegmentFile::open(&path).unwrap();
            assert_eq!(segment.file_bytes(), path.metadata().unwrap().len());
            assert_eq!(segment.by_ref().count(), batches_of(&path).len());
            assert_eq!(segment.valid_bytes(), segment.file_bytes());
            assert!(segment.next().is_none());
        }
        let last = segments(b.path()).pop().unwrap();
        let mut segment = SegmentFile::open(&last).unwrap();
        assert!(segment.by_ref().all(|item| item.is_ok()), "the zero tail is no damage");
        assert!(segment.valid_bytes() <= segment.file_bytes());
    }
}

/// I13: damage in a segment file is an error with its position; what is whole behind it follows.
#[test]
fn a_segment_file_reports_damage_and_goes_on_behind_it() {
    let dir = Ground::System.place();
    source(MODES[0], &dir).close().unwrap();
    let path = segments(dir.path())[1].clone();
    let whole = fs::read(&path).unwrap();
    let all = batches_of(&path);
    for (n, (offsets, places)) in all.iter().enumerate() {
        for byte in [0, 7, 8, 11, 12, 16, 17, 21, 23, 57, 60, 61, places.len() - 1] {
            let mut bytes = whole.clone();
            bytes[places.start + byte] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            let mut segment = SegmentFile::open(&path).unwrap();
            let items: Vec<_> = segment.by_ref().take(1000).collect();
            assert_eq!(items.iter().filter(|item| item.is_ok()).count(), all.len() - 1);
            let errors: Vec<_> = items.iter().filter_map(|item| item.as_ref().err()).collect();
            assert_eq!((errors.len(), errors[0].kind()), (1, ErrorKind::Corrupt));
            assert!(places.contains(&usize::try_from(errors[0].file_position().unwrap()).unwrap()));
            assert_eq!(segment.valid_bytes(), places.start as u64);
            if n + 1 < all.len() {
                let lost = Offset::new(offsets.start)..Offset::new(offsets.end);
                assert_eq!(errors[0].lost_offsets(), Some(lost), "byte {byte} of batch {n}");
            }
        }
    }
}

/// Whatever is no regular file is refused at once, and any bytes at all are walked to an end.
#[test]
fn a_segment_file_that_is_none_is_refused_or_reported() {
    let dir = Ground::System.place();
    let path = |name: &str| dir.path().join(name);
    assert_eq!(kind(SegmentFile::open(path("missing"))), ErrorKind::NotFound);
    kind(SegmentFile::open(dir.path()));
    let made = std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap();
    assert!(made.success());
    kind(SegmentFile::open(path("fifo")));
    kind(SegmentFile::open("/dev/zero"));
    fs::write(path("empty"), "").unwrap();
    assert!(SegmentFile::open(path("empty")).unwrap().next().is_none());
    let mut noise = fs::File::create(path("noise")).unwrap();
    let mut state = 1_u64;
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.write_all(&state.to_be_bytes()[..3]).unwrap();
    }
    let found: Vec<_> = SegmentFile::open(path("noise")).unwrap().take(100_000).collect();
    assert!(!found.is_empty() && found.len() < 100_000);
    assert!(found.iter().all(|item| item.as_ref().is_err_and(|e| e.kind() == ErrorKind::Corrupt)));
}
