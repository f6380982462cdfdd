//! Records without a key: refused where the log is compacted, dropped where they are old.

use forebay::{Cleanup, ErrorKind, NewRecord};

use crate::history::small;
use crate::util::{OpenIn, Owned, kind, manual, read_all, ways};

/// Nothing of a batch is written, whichever of its records has no key, and it says which.
#[test]
fn a_record_without_a_key_is_refused_and_nothing_is_written() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = small(mode).open_in(&place).unwrap();
        let keyed = || NewRecord::new("v").key("k");
        log.append(keyed()).unwrap();
        let end = log.log_end_offset();
        assert_eq!(kind(log.append("v")), ErrorKind::InvalidArgument);
        assert_eq!(kind(log.append_at(end, "v")), ErrorKind::InvalidArgument);
        assert_eq!(kind(log.append(NewRecord::default())), ErrorKind::InvalidArgument);
        for keyless in 0..3 {
            let batch = (0..3).map(|n| if n == keyless { NewRecord::new("v") } else { keyed() });
            let error = log.append_batch(batch).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert_eq!(
                (error.refused_record(), error.refused_field()),
                (Some(keyless), Some("key"))
            );
        }
        assert_eq!(log.log_end_offset(), end);
        assert_eq!(log.stats().appends_refused, 6);
        assert_eq!(log.append(keyed()).unwrap(), end);
        assert_eq!(log.append(NewRecord::tombstone("k")).unwrap(), end + 1);
        // At once, both ways.
        log.set_options(log.current_options().cleanup(Cleanup::Delete)).unwrap();
        log.append("v").unwrap();
        log.set_options(log.current_options().cleanup(Cleanup::Both)).unwrap();
        assert_eq!(kind(log.append("v")), ErrorKind::InvalidArgument);
    }
}

/// What was appended without a key before goes with the next compaction, and is counted.
#[test]
fn old_records_without_a_key_go_and_are_counted() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).segment_bytes(4096).open_in(&place).unwrap();
        for number in 0..100 {
            let key = format!("{}", number % 10);
            let value = "x".repeat(80);
            log.append_batch([
                NewRecord::new(value.as_str()),
                NewRecord::new(value.as_str()).key(key.as_bytes()),
                NewRecord::default(),
            ])
            .unwrap();
        }
        log.set_options(log.current_options().cleanup(Cleanup::Compact)).unwrap();
        let report = log.compact().unwrap();
        let below = report.cleaned_offset.get();
        assert_eq!(report.keyless_dropped, (below / 3 * 2) as u64, "{report:?}");
        assert_eq!(report.records_after, 10);
        let found = read_all(&log);
        let keyless = |record: &&Owned| record.key.is_none() && record.offset < below;
        assert_eq!(found.iter().find(keyless), None);
        assert!(log.verify().unwrap().is_whole());
    }
}

/// A mirror has what its source has; what has no key goes when the mirror is compacted.
#[test]
fn a_mirror_takes_what_its_source_has() {
    for (mode, ground) in ways() {
        let (source, second) = (ground.place(), ground.place());
        let log = manual(mode).segment_bytes(4096).open_in(&source).unwrap();
        let mirror = small(mode).mirror_of(log.id()).open_in(&second).unwrap();
        for number in 0..100 {
            let record = NewRecord::new("x".repeat(100));
            log.append(if number % 2 == 0 { record.key("k") } else { record }).unwrap();
        }
        for batch in log.reader(forebay::OffsetSpec::Earliest).unwrap() {
            mirror.append_mirrored(&batch.unwrap()).unwrap();
        }
        assert_eq!(read_all(&mirror), read_all(&log));
        let report = mirror.compact().unwrap();
        assert_eq!(report.records_after, 1);
        assert_eq!(report.keyless_dropped + report.superseded + 1, report.records_before);
        assert_eq!(mirror.log_end_offset(), log.log_end_offset());
    }
}
