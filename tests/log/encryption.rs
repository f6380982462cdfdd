//! Encrypted values: what is stored is closed, opens with its key alone, and is a legal record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use forebay::{
    Encryption, ErrorKind, LingerOptions, Log, NewRecord, Offset, OffsetSpec, ProducerStamp,
    RecordBatch, Refusal,
};

use crate::util::{self, OpenIn, kind, manual, ways};

/// Keys as an application has them: some are there, and any may be destroyed.
#[derive(Clone, Default)]
struct Vault(Arc<Mutex<HashMap<u32, [u8; 32]>>>);

impl Vault {
    fn with(numbers: &[u32]) -> Vault {
        let vault = Vault::default();
        for number in numbers {
            vault.0.lock().unwrap().insert(*number, [*number as u8; 32]);
        }
        vault
    }

    fn encryption(&self, number: u32) -> Encryption {
        let keys = self.clone();
        Encryption::new(number, move |number| keys.0.lock().unwrap().get(&number).copied()).unwrap()
    }
}

/// Every value of a log, opened; or the kind of error and where it was.
fn opened(log: &Log, by: &Encryption) -> Vec<Result<Vec<u8>, (ErrorKind, Offset)>> {
    let batches: Vec<_> = log.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap).collect();
    let records = batches.iter().flat_map(RecordBatch::records).map(Result::unwrap);
    let open =
        |record| by.open(&record).map_err(|error| (error.kind(), error.record_offset().unwrap()));
    records.map(open).collect()
}

/// By every way to append, in both ways of I/O, behind a reopening: the plain value is nowhere in
/// the files, and opens to what it was.
#[test]
fn what_is_stored_is_closed_and_opens_to_what_was_appended() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let encryption = Vault::with(&[7]).encryption(7);
        let options = manual(mode).encryption(&encryption);
        let log = options.clone().open_in(&place).unwrap();
        let secret = |n: usize| format!("a secret of {n} that nobody shall read");
        log.append(secret(0)).unwrap();
        log.append_batch((1..4).map(|n| NewRecord::new(secret(n)).key("k").header("h", "v")))
            .unwrap();
        log.append_at(Offset::new(4), secret(4)).unwrap();
        log.append("").unwrap();
        let linger = log.linger(LingerOptions::new()).unwrap();
        linger.append(secret(6)).unwrap();
        drop(linger);
        log.close().unwrap();
        for name in place.names() {
            let bytes = place.read(&name);
            assert!(!bytes.windows(8).any(|window| window == b"a secret"), "{name}");
        }
        let log = options.open_in(&place).unwrap();
        let mut due: Vec<_> = (0..5).map(|n| Ok(secret(n).into_bytes())).collect();
        due.extend([Ok(Vec::new()), Ok(secret(6).into_bytes())]);
        assert_eq!(opened(&log, &encryption), due);
        let batch = log.reader(OffsetSpec::At(Offset::new(1))).unwrap().next().unwrap().unwrap();
        for record in batch.records().map(Result::unwrap) {
            assert!(Encryption::is_encrypted(&record));
            let headers: Vec<_> = record.headers().collect();
            assert_eq!((record.key(), headers[0]), (Some(&b"k"[..]), ("h", Some(&b"v"[..]))));
            assert_eq!((headers.len(), headers[1].0), (2, Encryption::HEADER));
            let header = headers[1].1.unwrap();
            assert_eq!((header.len(), header[0], &header[1..5]), (45, 1, &[0, 0, 0, 7][..]));
            assert_eq!(header[5..21], *log.id().as_bytes(), "the log's id");
        }
    }
}

/// 74 bytes a record, and a byte for a length that needs one more.
#[test]
fn what_a_record_takes_more_is_what_is_said() {
    let size = |encryption: Option<&Encryption>| {
        let tmp = util::scratch();
        let mut options = Log::options();
        if let Some(encryption) = encryption {
            options = options.encryption(encryption);
        }
        let log = options.open(tmp.path()).unwrap();
        log.append("x".repeat(100)).unwrap();
        log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap().as_bytes().len()
    };
    let encryption = Vault::with(&[7]).encryption(7);
    assert_eq!(size(Some(&encryption)) - size(None), 74);
}

/// Old values open with the key they were sealed with, as long as it is there: destroying it is
/// enough to erase what it sealed, and nothing else.
#[test]
fn keys_change_and_a_destroyed_one_closes_what_it_sealed() {
    let tmp = util::scratch();
    let vault = Vault::with(&[1, 2]);
    let encryption = vault.encryption(1);
    let log = Log::options().encryption(&encryption).open(tmp.path()).unwrap();
    log.append("first").unwrap();
    encryption.use_key(2).unwrap();
    log.append("second").unwrap();
    assert_eq!(encryption.use_key(3).unwrap_err().kind(), ErrorKind::NotFound);
    log.append("third").unwrap();
    let text = |text: &str| Ok(text.as_bytes().to_vec());
    assert_eq!(opened(&log, &encryption), [text("first"), text("second"), text("third")]);
    vault.0.lock().unwrap().remove(&1);
    encryption.forget(1);
    let gone = Err((ErrorKind::NotFound, Offset::ZERO));
    assert_eq!(opened(&log, &encryption), [gone, text("second"), text("third")]);
    vault.0.lock().unwrap().remove(&2);
    encryption.forget(2);
    let error = log.append("fourth").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "never stored in the open: {error}");
    assert_eq!(log.log_end_offset(), Offset::new(3));
    assert_eq!(kind(Encryption::new(9, |_| None)), ErrorKind::NotFound);
}

#[test]
fn a_wrong_key_opens_nothing_and_names_the_record() {
    let tmp = util::scratch();
    let encryption = Vault::with(&[1]).encryption(1);
    let log = Log::options().encryption(&encryption).open(tmp.path()).unwrap();
    log.append_batch(["first", "second"]).unwrap();
    let other = Encryption::new(1, |_| Some([0xee; 32])).unwrap();
    let closed = |offset| Err((ErrorKind::Corrupt, Offset::new(offset)));
    assert_eq!(opened(&log, &other), [closed(0), closed(1)]);
}

/// Whoever changes or moves a value is found out: another record key, another log, another value,
/// a header that is none.
#[test]
fn what_was_changed_or_lies_does_not_open() {
    let tmp = util::scratch();
    let encryption = Vault::with(&[1]).encryption(1);
    let log = Log::options().encryption(&encryption).open(tmp.path().join("one")).unwrap();
    log.append(NewRecord::new("21.5 C").key("a")).unwrap();
    let batch = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
    let record = batch.records().next().unwrap().unwrap();
    let (value, header) = (record.value().to_vec(), record.headers().next().unwrap().1.unwrap());
    let reopened = |record: NewRecord<'_>| {
        let mut bytes = Vec::new();
        RecordBatch::produce_record(&record, ProducerStamp::new(1, 0, 0), &mut bytes).unwrap();
        let (batch, _) = RecordBatch::split_first(&bytes).unwrap().unwrap();
        let record = batch.records().next().unwrap().unwrap();
        encryption.open(&record).map_err(|error| error.kind())
    };
    let with = |value: &[u8], header: &[u8]| {
        reopened(
            NewRecord::new(value.to_vec()).key("a").header(Encryption::HEADER, header.to_vec()),
        )
    };
    assert_eq!(with(&value, header).unwrap(), b"21.5 C");
    for at in 0..value.len() {
        let mut changed = value.clone();
        changed[at] ^= 1;
        assert_eq!(with(&changed, header), Err(ErrorKind::Corrupt), "value byte {at}");
        assert_eq!(with(&value[..at], header), Err(ErrorKind::Corrupt), "cut to {at}");
    }
    for at in 0..header.len() {
        let mut changed = header.to_vec();
        changed[at] ^= 1;
        let due = match at {
            0 => ErrorKind::Corrupt,
            1..5 => ErrorKind::NotFound,
            _ => ErrorKind::Corrupt,
        };
        let found = with(&value, &changed).unwrap_err();
        // The version 0 is none that was ever written, and taken for a newer one.
        assert!(found == due || at == 0 && found == ErrorKind::UnsupportedFormat, "byte {at}");
        assert_eq!(with(&value, &header[..at]), Err(ErrorKind::Corrupt), "header cut to {at}");
    }
    let sealed = || NewRecord::new(value.clone());
    let named = Encryption::HEADER;
    let lies = [
        sealed().key("b").header(named, header.to_vec()),
        sealed().header(named, header.to_vec()),
        sealed().key("a"),
        sealed().key("a").header_without_value(named),
        sealed().key("a").header(named, header.to_vec()).header(named, header.to_vec()),
        NewRecord::tombstone("a").header(named, header.to_vec()),
        NewRecord::new("").key("a").header(named, header.to_vec()),
        NewRecord::new("21.5 C").key("a").header(named, header.to_vec()),
    ];
    for (at, lie) in lies.into_iter().enumerate() {
        assert_eq!(reopened(lie), Err(ErrorKind::Corrupt), "lie {at}");
    }
    // Appended, a header that is none is refused, and one that is one is passed on.
    let error = log.append(NewRecord::new("x").header(named, "short")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let second = Log::options().encryption(&encryption).open(tmp.path().join("two")).unwrap();
    second.append(sealed().key("a").header(named, header.to_vec())).unwrap();
    assert_eq!(opened(&second, &encryption), [Ok(b"21.5 C".to_vec())]);
}

/// Tombstones stay tombstones, hooks see the plain value, two seals of one value differ, and the
/// option is neither changed nor lost while the log is open.
#[test]
fn what_is_beside_the_value_stays_as_it_is() {
    let tmp = util::scratch();
    let encryption = Vault::with(&[1]).encryption(1);
    let options = Log::options().encryption(&encryption).validate(|record: &NewRecord<'_>| {
        match record.get_value() {
            Some(b"no") => Err(Refusal::new("value", "refused")),
            _ => Ok(()),
        }
    });
    let log = options.open(tmp.path()).unwrap();
    log.append(NewRecord::tombstone("k")).unwrap();
    assert!(log.append("no").is_err());
    log.append_batch(["same", "same"]).unwrap();
    let batches: Vec<_> = log.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap).collect();
    let tombstone = batches[0].records().next().unwrap().unwrap();
    assert!(tombstone.is_tombstone() && !Encryption::is_encrypted(&tombstone));
    let pair: Vec<_> =
        batches[1].records().map(|record| record.unwrap().value().to_vec()).collect();
    assert_ne!(pair[0], pair[1]);
    let other = Vault::with(&[1]).encryption(1);
    let error = log.set_options(log.current_options().encryption(&other)).unwrap_err();
    assert!(error.to_string().starts_with("encryption"), "{error}");
    let too_large = Log::options().encryption(&encryption).max_batch_bytes(200);
    let log = too_large.open(tmp.path().join("small")).unwrap();
    assert_eq!(kind(log.append("x".repeat(120))), ErrorKind::RecordTooLarge);
    assert_eq!(log.log_end_offset(), Offset::ZERO);
}
