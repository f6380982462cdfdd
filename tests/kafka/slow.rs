//! Links that are slow, long and lossy: shipping goes on over them, and does not send the same
//! again and again because an answer takes longer than on others.

use std::time::Duration;

use forebay::{FlushPolicy, Log};

use crate::fake::Action;
use crate::lasts::{drain, found, open};
use crate::lost::forget;
use crate::pipe::Pipe;
use crate::ships::{disk, fill, value};
use crate::world::World;

const DAY: Duration = Duration::from_secs(86_400);

/// Ships a backlog of batches of so many records of so many bytes. How many times the bytes of
/// the log went over the link, and how many times as long as it had to it took.
fn ships(seed: u64, pipe: Pipe, batches: i64, (records, bytes): (i64, usize)) -> (f64, f64) {
    let world = World::with_topic(1, seed);
    world.state().pipe = Some(pipe);
    let log = Log::options().flush(FlushPolicy::Manual).open_on(&disk(), "/log").unwrap();
    let value = |number: i64| {
        let mut value = number.to_string().into_bytes();
        value.resize(bytes, b'v');
        value
    };
    for batch in 0..batches {
        let first = batch * records;
        log.append_batch((first..first + records).map(value)).unwrap();
    }
    log.flush().unwrap();
    let mut turns = world.ship(&log, world.upstream("t"));
    let status = world.drain(&mut turns, DAY);
    assert_eq!(status.lag_records, 0, "{status:?}");
    let expected: Vec<_> = (0..batches * records).map(value).collect();
    let (now, state) = (world.now(), world.state());
    state.cluster.assert_no_violations();
    state.cluster.assert_exactly_once("t", 0, &expected);
    let stored = log.stats().batch_bytes as f64;
    let pipe = state.pipe.as_ref().unwrap();
    let least = stored / pipe.bytes_per_second as f64 + pipe.delay.as_secs_f64() * 2.0;
    (pipe.carried as f64 / stored, now.as_secs_f64() / least)
}

/// R19: 2 KB/s and 5 s each way: batches that were put together take two minutes, one of a
/// megabyte nine. Nothing is sent much more than once, and the time is the link's.
#[test]
fn a_link_of_two_kilobytes_a_second_is_shipped_over() {
    for (seed, batch) in (0..).zip([(10, 100), (40, 1500), (1, 300_000), (1, 1_000_000)]) {
        let size = batch.0 as usize * batch.1;
        let batches = (3_000_000 / size).max(3) as i64;
        let pipe = Pipe::new(2000, Duration::from_secs(5), seed);
        let (carried, took) = ships(seed, pipe, batches, batch);
        assert!(carried < 1.2 && took < 3.0, "{batch:?}: {carried} times, in {took} times");
    }
}

/// R19: 128 kbit/s with 10 to 20 of a hundred segments lost, in both directions, or on the way
/// down alone; and a way so long that a connection takes longer to open than is waited at first.
#[test]
fn links_that_lose_much_and_links_that_are_very_long_are_shipped_over() {
    for seed in 0..20 {
        let delay = Duration::from_millis(100 + seed * 40);
        let lost = 100 + seed * 5;
        for pipe in [
            Pipe::new(16_000, delay, seed).lossy(lost, lost),
            Pipe::new(16_000, delay, seed).lossy(0, lost * 2),
            Pipe::new(16_000, Duration::from_secs(6 + seed / 2), seed),
        ] {
            let long = pipe.delay.as_secs() > 1;
            let (carried, took) = ships(seed, pipe, 300, (10, 100));
            assert!(carried < 1.5, "{seed}: {carried} times");
            assert!(long || took < 40.0, "{seed}: {took} times as long");
        }
    }
}

/// What is read back, because brokers have forgotten the device or the device what it had shipped,
/// comes in pieces for which the link has time: no wait runs out.
#[test]
fn a_topic_is_read_back_over_a_link_of_two_kilobytes_a_second() {
    for forgotten_here in [false, true] {
        let (world, disk) = (World::with_topic(1, 1), disk());
        let log = open(&disk);
        fill(&log, 100);
        drain(&world, &log, world.upstream("t"));
        // Another device, on a quick link.
        let other = open(&crate::ships::disk());
        for number in 0..4000 {
            other.append(format!("strange {number:0200}")).unwrap();
        }
        other.flush().unwrap();
        drain(&world, &other, world.upstream("t").merge_bytes(4 << 10));
        world.act(Action::ForgetProducers { topic: "t".to_owned() });
        drop(log);
        if forgotten_here {
            forget(&disk);
        }
        let log = open(&disk);
        fill(&log, 110);
        world.state().pipe = Some(Pipe::new(2000, Duration::from_secs(5), 1));
        let status = drain(&world, &log, world.upstream("t"));
        let counts = (status.lag_records, status.failures, status.upstream.maybe_doubled);
        assert_eq!(counts, (0, 0, 0), "{forgotten_here}: {status:?}");
        let ours = found(&world).into_iter().filter(|value| !value.starts_with(b"strange"));
        assert_eq!(ours.collect::<Vec<_>>(), (0..110).map(value).collect::<Vec<_>>());
    }
}
