//! The replicator against upstreams that fail, forget, refuse and lie.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use forebay::{
    ConsumerOptions, Error, ErrorKind, FlushPolicy, LinkState, Log, LogUpstream, Offset,
    OffsetSpec, RecordBatch, Replicator, ReplicatorNotice, ReplicatorOptions, ReplicatorTurns,
    Result, Resume, Source, Turn, Upstream, Visibility,
};

const LONG: Duration = Duration::from_secs(60);

/// What a fake upstream holds, and what it is to do wrong.
#[derive(Default)]
struct World {
    /// Offset and value of every record that arrived, in the order of arrival.
    records: Vec<(i64, Vec<u8>)>,
    /// Durable upstream: a reconnect resumes here.
    durable: i64,
    durable_seen: Vec<i64>,
    /// Each call takes the next fault, if there is one.
    faults: Vec<Fault>,
    connected: bool,
    calls_while_down: u32,
    /// Acknowledge nothing, without an error.
    silent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Connect,
    SendLost,
    SendArrived,
    AcknowledgeLost,
    None,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>);

impl Fake {
    fn fault(world: &mut World, is: &[Fault]) -> Option<Fault> {
        let next = *world.faults.last()?;
        if is.contains(&next) || next == Fault::None {
            world.faults.pop();
        }
        is.contains(&next).then_some(next)
    }
}

impl Upstream for Fake {
    fn connect(&mut self, source: &mut Source<'_>) -> Result<Resume> {
        let mut world = self.0.lock().unwrap();
        assert!(!world.connected, "disconnect comes before the next connect");
        world.durable_seen.push(source.durable().get());
        if Fake::fault(&mut world, &[Fault::Connect]).is_some() {
            return Err(Error::upstream("no route"));
        }
        world.connected = true;
        Ok(Resume::at(Offset::new(world.durable)))
    }

    fn send(&mut self, batch: &RecordBatch, _: &mut Source<'_>) -> Result<()> {
        let mut world = self.0.lock().unwrap();
        world.calls_while_down += u32::from(!world.connected);
        let fault = Fake::fault(&mut world, &[Fault::SendLost, Fault::SendArrived]);
        if fault == Some(Fault::SendLost) {
            return Err(Error::upstream("connection reset before it arrived"));
        }
        for record in batch.records() {
            let record = record?;
            world.records.push((record.offset().get(), record.value().to_vec()));
        }
        if fault == Some(Fault::SendArrived) {
            world.durable = batch.next_offset().get();
            return Err(Error::upstream("connection reset after it arrived"));
        }
        Ok(())
    }

    fn acknowledge(&mut self, _: Duration, _: &mut Source<'_>) -> Result<Offset> {
        let mut world = self.0.lock().unwrap();
        world.calls_while_down += u32::from(!world.connected);
        if world.silent {
            return Ok(Offset::new(world.durable));
        }
        world.durable = world.records.last().map_or(world.durable, |(offset, _)| offset + 1);
        if Fake::fault(&mut world, &[Fault::AcknowledgeLost]).is_some() {
            return Err(Error::upstream("the acknowledgement was lost"));
        }
        Ok(Offset::new(world.durable))
    }

    fn disconnect(&mut self) {
        let mut world = self.0.lock().unwrap();
        world.connected = false;
        // What was not durable is gone with the link.
        let durable = world.durable;
        world.records.retain(|(offset, _)| *offset < durable);
    }
}

fn quick() -> ReplicatorOptions {
    ReplicatorOptions::new().backoff(Duration::from_micros(100), Duration::from_millis(2))
}

fn edge(dir: &Path) -> Log {
    Log::options().segment_bytes(8192).flush(FlushPolicy::Manual).open(dir.join("edge")).unwrap()
}

fn fill(log: &Log, records: i64) {
    for _ in 0..records {
        log.append(format!("record {}", log.log_end_offset()).as_str()).unwrap();
    }
    log.flush().unwrap();
}

fn assert_whole(records: &[(i64, Vec<u8>)], count: i64) {
    let expected: Vec<_> = (0..count).map(|n| (n, format!("record {n}").into_bytes())).collect();
    assert!(records == expected, "{} of {count} records, or not in order", records.len());
}

fn upstream_values(dir: &Path) -> Vec<(i64, Vec<u8>)> {
    let log = Log::open(dir).unwrap();
    let mut records = Vec::new();
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        for record in batch.unwrap().records() {
            let record = record.unwrap();
            records.push((record.offset().get(), record.value().to_vec()));
        }
    }
    records
}

/// I16: every mixture of faults, one after the other, and nothing is lost, doubled or swapped.
#[test]
fn faults_at_every_call_lose_nothing_and_double_nothing() {
    use Fault::{AcknowledgeLost, Connect, None, SendArrived, SendLost};
    let mixtures: [&[Fault]; 6] = [
        &[Connect, Connect, Connect],
        &[SendLost, None, SendArrived, SendArrived, None, SendLost],
        &[AcknowledgeLost, AcknowledgeLost, None, AcknowledgeLost],
        &[SendArrived, Connect, AcknowledgeLost, SendLost, None, None, Connect, SendArrived],
        &[None, None, SendLost, None, SendLost, None, None, SendLost],
        &[],
    ];
    for faults in mixtures {
        let tmp = tempfile::tempdir().unwrap();
        let (log, fake) = (edge(tmp.path()), Fake::default());
        fill(&log, 300);
        fake.0.lock().unwrap().faults = faults.to_vec();
        let small = quick().in_flight_bytes(2000);
        let replicator = Replicator::start(&log, "up", fake.clone(), small).unwrap();
        assert!(replicator.wait_until(Offset::new(300), LONG).unwrap());
        let status = replicator.status();
        assert_eq!((status.lag_records, status.link), (0, LinkState::Connected));
        assert_eq!(status.failures, faults.iter().filter(|f| **f != None).count() as u64);
        replicator.stop().unwrap();
        let world = fake.0.lock().unwrap();
        assert_whole(&world.records, 300);
        assert_eq!(world.calls_while_down, 0);
        assert!(!world.connected, "stopping closes the link");
    }
}

/// I16: what is not durable is not shipped, until somebody flushes; an idle replicator does.
#[test]
fn only_durable_records_are_shipped_and_an_idle_log_is_flushed() {
    let tmp = tempfile::tempdir().unwrap();
    let (log, fake) = (edge(tmp.path()), Fake::default());
    fill(&log, 10);
    let replicator = Replicator::start(&log, "up", fake.clone(), quick()).unwrap();
    assert!(replicator.wait_until(Offset::new(10), LONG).unwrap());
    for _ in 0..5 {
        log.append(format!("record {}", log.log_end_offset()).as_str()).unwrap();
        let shipped = fake.0.lock().unwrap().records.len() as i64;
        assert!(shipped <= log.durable_offset().get());
    }
    // Nobody flushes here: the replicator's thread does, since the policy never would.
    assert!(replicator.wait_until(Offset::new(15), LONG).unwrap());
    assert_whole(&fake.0.lock().unwrap().records, 15);
}

/// The committed offset is kept as a consumer; a new process asks the upstream and goes on.
#[test]
fn a_new_start_resumes_where_the_upstream_ends() {
    let tmp = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    for round in 1..6 {
        let log = edge(tmp.path());
        fill(&log, 50);
        let replicator = Replicator::start(&log, "up", fake.clone(), quick()).unwrap();
        assert_eq!(
            Replicator::start(&log, "up", Fake::default(), quick()).unwrap_err().kind(),
            ErrorKind::ConsumerBusy
        );
        assert!(replicator.wait_until(Offset::new(round * 50), LONG).unwrap());
        let status = replicator.status();
        assert_eq!((status.records_sent, status.rewinds), (50, 0));
        drop(replicator);
        assert_eq!(log.consumers()[0].committed.get(), round * 50);
    }
    assert_whole(&fake.0.lock().unwrap().records, 250);
}

/// An upstream that lost what it had acknowledged is given it again, and that is counted.
#[test]
fn an_upstream_that_lost_its_end_gets_it_again() {
    let tmp = tempfile::tempdir().unwrap();
    let (log, fake) = (edge(tmp.path()), Fake::default());
    fill(&log, 100);
    let replicator = Replicator::start(&log, "up", fake.clone(), quick()).unwrap();
    assert!(replicator.wait_until(Offset::new(100), LONG).unwrap());
    replicator.stop().unwrap();
    {
        let mut world = fake.0.lock().unwrap();
        world.durable = 40;
        world.records.truncate(40);
    }
    let replicator = Replicator::start(&log, "up", fake.clone(), quick()).unwrap();
    fill(&log, 1);
    assert!(replicator.wait_until(Offset::new(101), LONG).unwrap());
    assert_eq!(replicator.status().rewinds, 1);
    assert_whole(&fake.0.lock().unwrap().records, 101);
}

/// I17: an upstream that has more than the log is not overwritten; the status says why.
#[test]
fn an_upstream_beyond_the_log_is_a_conflict_and_nothing_is_sent() {
    let tmp = tempfile::tempdir().unwrap();
    let (log, fake) = (edge(tmp.path()), Fake::default());
    fill(&log, 5);
    fake.0.lock().unwrap().durable = 9;
    let replicator = Replicator::start(&log, "up", fake.clone(), quick()).unwrap();
    while replicator.status().failures < 3 {
        std::thread::yield_now();
    }
    let status = replicator.status();
    assert!(status.last_error.unwrap().contains("the upstream has records up to 9"));
    assert_eq!(status.last_error_kind, Some(ErrorKind::Conflict));
    assert_eq!((status.records_sent, status.committed), (0, Offset::ZERO));
    assert!(!replicator.wait_until(Offset::new(5), Duration::from_millis(1)).unwrap());
}

/// An upstream that takes everything and acknowledges nothing is left and tried again.
#[test]
fn silence_is_a_failure_after_the_timeout() {
    let tmp = tempfile::tempdir().unwrap();
    let (log, fake) = (edge(tmp.path()), Fake::default());
    fill(&log, 5);
    fake.0.lock().unwrap().silent = true;
    let options = quick().acknowledge_timeout(Duration::from_millis(5));
    let replicator = Replicator::start(&log, "up", fake.clone(), options).unwrap();
    while replicator.status().failures < 2 {
        std::thread::yield_now();
    }
    fake.0.lock().unwrap().silent = false;
    assert!(replicator.wait_until(Offset::new(5), LONG).unwrap());
    assert_whole(&fake.0.lock().unwrap().records, 5);
}

/// Closing the log ends the replicator; whoever waits for it hears that.
#[test]
fn closing_the_log_ends_the_replicator() {
    let tmp = tempfile::tempdir().unwrap();
    let log = edge(tmp.path());
    fill(&log, 5);
    let replicator = Replicator::start(&log, "up", Fake::default(), quick()).unwrap();
    assert!(replicator.wait_until(Offset::new(5), LONG).unwrap());
    log.clone().close().unwrap();
    let waited = replicator.wait_until(Offset::new(6), LONG);
    assert_eq!(waited.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(replicator.status().link, LinkState::Stopped);
    replicator.stop().unwrap();
}

/// The same while the link is down, in a wait of minutes for the next try, and while an answer is
/// waited for as long: who waits for a notice, or for records to arrive, is told.
#[test]
fn closing_the_log_ends_a_replicator_whose_link_is_down_or_silent() {
    for silent in [false, true] {
        let tmp = tempfile::tempdir().unwrap();
        let (log, fake) = (edge(tmp.path()), Fake::default());
        fill(&log, 5);
        let mut options = ReplicatorOptions::new().acknowledge_timeout(LONG * 60);
        if silent {
            fake.0.lock().unwrap().silent = true;
        } else {
            fake.0.lock().unwrap().faults = vec![Fault::Connect; 1000];
            options = options.backoff(LONG * 60, LONG * 60);
        }
        let replicator = Replicator::start(&log, "up", fake.clone(), options).unwrap();
        let link = if silent { LinkState::Connected } else { LinkState::Waiting };
        while replicator.status().link != link {
            std::thread::yield_now();
        }
        let closed = std::time::Instant::now();
        log.close().unwrap();
        let waited = replicator.wait_until(Offset::new(6), LONG);
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::Closed, "silent: {silent}");
        let notices = std::iter::from_fn(|| replicator.next_notice(LONG));
        assert_eq!(notices.last(), Some(ReplicatorNotice::Stopped), "silent: {silent}");
        assert!(closed.elapsed() < LONG / 4, "silent: {silent}: {:?}", closed.elapsed());
        assert!(!fake.0.lock().unwrap().connected, "the link is closed");
        replicator.stop().unwrap();
    }
}

/// Without a thread the first turn behind the close says so, whatever the link was waiting for.
#[test]
fn the_first_turn_after_the_close_is_the_last() {
    for silent in [false, true] {
        let tmp = tempfile::tempdir().unwrap();
        let (log, fake) = (edge(tmp.path()), Fake::default());
        fill(&log, 5);
        fake.0.lock().unwrap().silent = silent;
        if !silent {
            fake.0.lock().unwrap().faults = vec![Fault::Connect; 1000];
        }
        let options = ReplicatorOptions::new();
        let clock = || Duration::ZERO;
        let mut turns = ReplicatorTurns::new(&log, "up", fake, &options, clock).unwrap();
        for _ in 0..10 {
            assert_ne!(turns.turn(), Turn::Ended);
        }
        log.close().unwrap();
        assert_eq!(turns.turn(), Turn::Ended, "silent: {silent}");
        let notices = std::iter::from_fn(|| turns.next_notice());
        assert_eq!(notices.last(), Some(ReplicatorNotice::Stopped));
        assert_eq!(turns.status().link, LinkState::Stopped);
    }
}

/// An upstream that panics takes its thread with it, nothing else.
#[test]
fn a_panicking_upstream_is_reported_by_stop() {
    struct Panics;
    impl Upstream for Panics {
        fn connect(&mut self, _: &mut Source<'_>) -> Result<Resume> {
            panic!("planted");
        }
        fn send(&mut self, _: &RecordBatch, _: &mut Source<'_>) -> Result<()> {
            Ok(())
        }
        fn acknowledge(&mut self, _: Duration, _: &mut Source<'_>) -> Result<Offset> {
            Ok(Offset::ZERO)
        }
        fn disconnect(&mut self) {}
    }
    let tmp = tempfile::tempdir().unwrap();
    let log = edge(tmp.path());
    fill(&log, 1);
    let replicator = Replicator::start(&log, "up", Panics, quick()).unwrap();
    assert!(replicator.wait_until(Offset::new(1), LONG).is_err());
    assert!(replicator.stop_within(LONG).unwrap());
    assert_eq!(replicator.stop().unwrap_err().kind(), ErrorKind::Upstream);
    assert_eq!(log.append("goes on").unwrap(), Offset::new(1));
}

/// A call into the upstream that does not return keeps nobody longer than it wants to wait.
#[test]
fn a_stop_with_a_bound_says_whether_it_is_over() {
    struct Stuck(mpsc::Receiver<()>, mpsc::Sender<()>);
    impl Upstream for Stuck {
        fn connect(&mut self, _: &mut Source<'_>) -> Result<Resume> {
            self.1.send(()).unwrap();
            let _ = self.0.recv();
            Err(Error::upstream("no route"))
        }
        fn send(&mut self, _: &RecordBatch, _: &mut Source<'_>) -> Result<()> {
            Ok(())
        }
        fn acknowledge(&mut self, _: Duration, _: &mut Source<'_>) -> Result<Offset> {
            Ok(Offset::ZERO)
        }
        fn disconnect(&mut self) {}
    }
    let tmp = tempfile::tempdir().unwrap();
    let log = edge(tmp.path());
    let ((go, goes), (called, calls)) = (mpsc::channel(), mpsc::channel());
    let replicator = Replicator::start(&log, "up", Stuck(goes, called), quick()).unwrap();
    calls.recv().unwrap();
    for millis in [0, 20] {
        assert!(!replicator.stop_within(Duration::from_millis(millis)).unwrap());
    }
    let durable = ConsumerOptions::new().visibility(Visibility::Durable);
    let again = || log.consumer_with("up", durable.clone());
    assert_eq!(again().unwrap_err().kind(), ErrorKind::ConsumerBusy, "it has its consumer still");
    go.send(()).unwrap();
    assert!(replicator.stop_within(LONG).unwrap());
    assert!(replicator.stop_within(Duration::ZERO).unwrap(), "and stays so");
    assert!(again().is_ok(), "it has let go of everything");
    assert!(calls.recv().is_err(), "nothing was tried again");
    replicator.stop().unwrap();
}

/// The log upstream: the same offsets and bytes but for the seal, across restarts and mixed modes.
#[test]
fn a_mirror_holds_the_same_batches_at_the_same_offsets() {
    let tmp = tempfile::tempdir().unwrap();
    let mirror = tmp.path().join("mirror");
    let small = Log::options().segment_bytes(16_384).flush(FlushPolicy::Manual);
    for round in 1..4 {
        let log = edge(tmp.path());
        fill(&log, 400);
        let upstream = LogUpstream::new(&mirror).options(small.clone());
        let replicator = Replicator::start(&log, "copy", upstream, quick()).unwrap();
        assert!(replicator.wait_until(Offset::new(round * 400), LONG).unwrap());
        replicator.stop().unwrap();
    }
    assert_whole(&upstream_values(&mirror), 1200);
    let (source, copy) = (edge(tmp.path()), Log::open(&mirror).unwrap());
    let pairs = source
        .reader(OffsetSpec::Earliest)
        .unwrap()
        .zip(copy.reader(OffsetSpec::Earliest).unwrap());
    for (ours, theirs) in pairs {
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!(ours.as_bytes()[..12], theirs.as_bytes()[..12]);
        assert_eq!(ours.as_bytes()[16..], theirs.as_bytes()[16..]);
        assert_ne!(ours.leader_epoch(), theirs.leader_epoch());
    }
}

/// One source each: a mirror refuses another log, and an ordinary log refuses to become one.
#[test]
fn a_mirror_of_one_log_refuses_another() {
    let tmp = tempfile::tempdir().unwrap();
    let log = edge(tmp.path());
    fill(&log, 3);
    for other in ["mirror", "plain"] {
        let dir = tmp.path().join(other);
        let options = match other {
            "mirror" => Log::options().mirror_of(forebay::LogId::from_bytes([9; 16])),
            _ => Log::options(),
        };
        options.open(&dir).unwrap().close().unwrap();
        let before = fs::read(dir.join("log.meta")).unwrap();
        let replicator = Replicator::start(&log, other, LogUpstream::new(&dir), quick()).unwrap();
        while replicator.status().failures < 2 {
            std::thread::yield_now();
        }
        assert!(replicator.status().last_error.unwrap().contains("mirror"));
        replicator.stop().unwrap();
        assert_eq!(fs::read(dir.join("log.meta")).unwrap(), before);
        assert_eq!(Log::open(&dir).unwrap().log_end_offset(), Offset::ZERO);
    }
}

/// I13: a damaged batch is passed over, counted, and stands as a gap in the mirror.
#[test]
fn a_damaged_batch_becomes_a_counted_gap_upstream() {
    let tmp = tempfile::tempdir().unwrap();
    let log = edge(tmp.path());
    fill(&log, 30);
    log.close().unwrap();
    let segment = tmp.path().join("edge/00000000000000000000.log");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(9).position(|window| window == b"record 12").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let log = edge(tmp.path());
    let mirror = tmp.path().join("mirror");
    let replicator = Replicator::start(&log, "copy", LogUpstream::new(&mirror), quick()).unwrap();
    assert!(replicator.wait_until(Offset::new(30), LONG).unwrap());
    assert_eq!(replicator.status().unreadable_records, 1);
    replicator.stop().unwrap();
    let offsets: Vec<_> = upstream_values(&mirror).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, (0..30).filter(|offset| *offset != 12).collect::<Vec<_>>());
}
