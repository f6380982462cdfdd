//! What a record takes on the disk, and makes the device write, alone and in company.

use forebay::{FlushPolicy, LingerOptions, Log, Visibility};

use crate::EVER;
use crate::util::{OpenIn, Place, manual, ways};

const RECORDS: usize = 6000;
const VALUE: [u8; 100] = [b'x'; 100];

fn segment_bytes(place: &Place) -> f64 {
    let bytes: usize = place.segments().iter().map(|name| place.len(name)).sum();
    bytes as f64 / RECORDS as f64
}

/// Bytes of batches, of files, and to the device, a record.
fn taken(place: &Place, log: Log) -> (f64, f64, f64) {
    let stats = log.stats();
    assert_eq!(stats.records_appended, RECORDS as u64);
    let batches = stats.bytes_appended as f64 / RECORDS as f64;
    log.flush().unwrap();
    let device = log.stats().wear.device_bytes as f64 / RECORDS as f64;
    log.close().unwrap();
    (batches, segment_bytes(place), device)
}

/// 170 bytes alone, 110 in a batch: a header of 61 bytes, and 9 or 10 of each record's own. And 4
/// KiB to the device for each flush, which a whole batch shares.
#[test]
fn in_company_a_record_takes_two_thirds_of_what_it_takes_alone() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        for _ in 0..RECORDS {
            log.append(&VALUE).unwrap();
        }
        let alone = taken(&place, log);

        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let linger = log.linger(LingerOptions::new().linger(EVER)).unwrap();
        for _ in 0..RECORDS {
            linger.append(&VALUE).unwrap();
        }
        linger.flush().unwrap();
        let together = taken(&place, log);
        println!(
            "{mode:?} {ground:?}, a value of 100 bytes: on disk {:.1} alone, {:.1} in company; to \
             the device {:.1} and {:.1}",
            alone.1, together.1, alone.2, together.2
        );
        assert_eq!((alone.0, alone.1), (170.0, 170.0));
        assert!(together.0 < 110.5 && together.1 < 110.5, "{together:?}");
        assert!(together.2 < alone.2 * 0.75, "{together:?} {alone:?}");
    }
}

/// The same where every answer is durable.
#[test]
fn durable_answers_share_the_pages_that_a_flush_writes() {
    const RECORDS: usize = 300;
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).flush(FlushPolicy::EveryAppend).open_in(&place).unwrap();
        for _ in 0..RECORDS {
            log.append(&VALUE).unwrap();
        }
        let alone = log.stats().wear.device_bytes / RECORDS as u64;

        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let options = LingerOptions::new().linger(EVER).batch_records(100);
        let linger = log.linger(options.acknowledge(Visibility::Durable)).unwrap();
        let mut tickets = Vec::new();
        for _ in 0..RECORDS {
            tickets.push(linger.append(&VALUE).unwrap());
            if tickets.len() == 100 {
                for ticket in tickets.drain(..) {
                    ticket.wait().unwrap();
                }
            }
        }
        assert_eq!(log.durable_offset().get(), RECORDS as i64);
        let together = log.stats().wear.device_bytes / RECORDS as u64;
        println!("{mode:?} {ground:?}, durable, to the device: {alone} alone, {together} of 100");
        assert!(alone > 4000 && together < 400, "{alone} {together}");
    }
}
