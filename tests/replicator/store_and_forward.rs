//! The example `store_and_forward`: its proof on planted faults, and the program under kills.

#[path = "../../examples/store_and_forward/proof.rs"]
mod proof;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forebay::{
    Log, LogUpstream, NewRecord, OffsetSpec, Replicator, ReplicatorOptions, Timestamp, Visibility,
};
use proof::{CHAIN, Chain, Proof, UPLINK};

const RECORDS: usize = 8;

#[test]
fn proof_holds_for_what_was_stamped_in_order() {
    let (_tmp, log) = log_of(&stamped());
    let proof = Proof::read(&log, None).unwrap();
    assert!(proof.holds(), "{proof}");
    assert_eq!(
        proof.to_string(),
        "proof: 8 records upstream, counters 0..=7, offsets 0..=7, in order, none missing, none \
         twice, none altered\nproof: no source to compare with"
    );
    let (_tmp, empty) = log_of(&[]);
    assert!(Proof::read(&empty, None).unwrap().holds());
}

/// Each record but the last one: that nothing follows cannot be seen without the source.
#[test]
fn proof_fails_on_a_missing_record() {
    for at in 0..RECORDS - 1 {
        let mut records = stamped();
        records.remove(at);
        let found = failure(&records, None);
        assert!(found.contains(", 1 missing,"), "{at}: {found}");
        assert!(found.contains(&format!("counters {at}..={at} are missing")), "{found}");
    }
}

/// The last one too if the source is there and was told that it had arrived.
#[test]
fn proof_fails_on_a_missing_last_record_that_was_acknowledged() {
    let (_tmp, source) = log_of(&stamped());
    let (_other_tmp, upstream) = log_of(&stamped()[..RECORDS - 1]);
    let proof = Proof::read(&upstream, Some(&source)).unwrap();
    assert!(proof.holds() && proof.waiting() == 1, "it may still wait: {proof}");
    source.flush().unwrap();
    let durable = forebay::ConsumerOptions::new().visibility(Visibility::Durable);
    let mut uplink = source.consumer_with(UPLINK, durable).unwrap();
    uplink.commit_offset(source.log_end_offset()).unwrap();
    let proof = Proof::read(&upstream, Some(&source)).unwrap();
    assert!(!proof.holds(), "{proof}");
}

/// Each record, at each place.
#[test]
fn proof_fails_on_a_record_that_is_there_twice() {
    for at in 0..RECORDS {
        for place in at + 1..=RECORDS {
            let mut records = stamped();
            records.insert(place, records[at].clone());
            let found = failure(&records, None);
            assert!(found.contains(", 1 twice,"), "{at} at {place}: {found}");
            assert!(found.contains("in order, none missing"), "{at} at {place}: {found}");
        }
    }
}

#[test]
fn proof_fails_on_swapped_records() {
    for one in 0..RECORDS {
        for other in one + 1..RECORDS {
            let mut records = stamped();
            records.swap(one, other);
            let found = failure(&records, None);
            assert!(found.contains(" out of order, none missing, none twice"), "{found}");
        }
    }
}

/// The payload, the counter, the digest, and the whole tail numbered anew behind a gap.
#[test]
fn proof_fails_on_an_altered_record() {
    for at in 0..RECORDS {
        let chain = chain_before(at);
        let (_, after) = chain.stamp(PAYLOADS[at % PAYLOADS.len()]);
        let plant = |record: NewRecord<'static>| {
            let mut records = stamped();
            records[at] = record;
            failure(&records, None)
        };
        let payload = marked(b"99.9 C", chain.counter, after.digest);
        assert!(plant(payload).contains(", 1 altered"), "{at}");
        let digest = marked(PAYLOADS[at % PAYLOADS.len()], chain.counter, after.digest ^ 1);
        assert!(plant(digest).contains(", 1 altered"), "{at}");
        let foreign = plant(NewRecord::new("not ours"));
        assert!(foreign.contains("was not written here"), "{at}: {foreign}");
    }
    // Without record 3, but with counters that hide it.
    let mut records = stamped();
    records.truncate(3);
    let mut chain = Chain { counter: 3, ..chain_before(4) };
    for payload in PAYLOADS {
        let (record, after) = chain.stamp(payload);
        records.push(record);
        chain = after;
    }
    assert!(failure(&records, None).contains(", 1 altered"));
}

/// A digest cannot see everything; the source can.
#[test]
fn proof_fails_where_source_and_upstream_differ() {
    let (_tmp, source) = log_of(&stamped());
    let at_another_time = |at: usize| {
        let mut records = stamped();
        records[at] = records[at].clone().timestamp(Timestamp::from_millis(5));
        records
    };
    for at in 0..RECORDS {
        let found = failure(&at_another_time(at), Some(&source));
        assert!(found.contains(&format!("offset {at} differs from the source")), "{found}");
        assert!(found.contains("proof: 7 are the source's own"), "{found}");
    }
    let (_, chain) = chain_before(RECORDS - 1).stamp(PAYLOADS[(RECORDS - 1) % PAYLOADS.len()]);
    let mut longer = stamped();
    longer.push(chain.stamp(b"one more").0);
    assert!(failure(&longer, Some(&source)).contains("offset 8 is not at the source"));
}

/// Batches of several records, shipped by a replicator: the proof reads them one by one.
#[test]
fn proof_holds_for_what_a_replicator_shipped_in_batches() {
    let tmp = tempfile::tempdir().unwrap();
    let source = Log::open(tmp.path().join("edge")).unwrap();
    source.append_batch(stamped()).unwrap();
    assert_eq!(Chain::resume(&source).unwrap(), chain_before(RECORDS));
    let upstream = LogUpstream::new(tmp.path().join("upstream"));
    let replicator = Replicator::start(&source, UPLINK, upstream, ReplicatorOptions::new());
    let replicator = replicator.unwrap();
    source.flush().unwrap();
    assert!(replicator.wait_until(source.log_end_offset(), LIMIT).unwrap());
    replicator.stop().unwrap();
    let upstream = Log::open(tmp.path().join("upstream")).unwrap();
    let proof = Proof::read(&upstream, Some(&source)).unwrap();
    assert!(proof.holds() && proof.waiting() == 0, "{proof}");
    assert!(proof.to_string().ends_with("8 are the source's own, byte for byte, none waits there"));
}

/// Eight runs end by SIGKILL at random moments, with outages; the ninth ends by itself.
#[test]
fn kills_at_random_moments_lose_nothing_and_double_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let mut delays_ms = Vec::new();
    for run in 0..8 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let delay_ms = 30 + u64::from(now.subsec_micros()) % 600;
        delays_ms.push(delay_ms);
        let rate = if run % 3 == 2 { "0" } else { "2000" };
        let options = ["--outages", "--seconds", "600", "--rate", rate];
        let mut child = start(tmp.path(), &options, Stdio::null());
        thread::sleep(Duration::from_millis(delay_ms));
        assert!(child.try_wait().unwrap().is_none(), "run {run} ended before it was killed");
        child.kill().unwrap();
        child.wait().unwrap();
        if run % 4 == 3 && tmp.path().join("upstream").exists() {
            let found = finish(start(tmp.path(), &["--verify"], Stdio::null()));
            assert!(found.status.success(), "killed after {delays_ms:?} ms: {}", all(&found));
        }
    }
    let options = ["--outages", "--seconds", "1", "--rate", "500"];
    let found = finish(start(tmp.path(), &options, Stdio::null()));
    assert!(found.status.success(), "killed after {delays_ms:?} ms: {}", all(&found));

    let before: u64 = between(&found, "next counter ", "\n").parse().unwrap();
    let records: u64 = between(&found, "proof: ", " records upstream").parse().unwrap();
    assert_eq!(records, before + 500, "{}", all(&found));
    let last = records - 1;
    let proof = format!(
        ", counters 0..={last}, offsets 0..={last}, in order, none missing, none twice, none \
         altered"
    );
    assert!(text(&found.stdout).contains(&proof), "{}", all(&found));
    let again = finish(start(tmp.path(), &["--verify"], Stdio::null()));
    assert!(again.status.success() && text(&again.stdout).contains(&proof), "{}", all(&again));
}

/// Empty lines, invalid UTF-8, a carriage return, lines around and far above the largest record,
/// and a last line without an end: all arrive, in two runs one behind the other.
#[test]
fn lines_of_standard_input_arrive_as_they_are() {
    const PART: usize = 512 << 10;
    let lines: Vec<Vec<u8>> = vec![
        b"plain".to_vec(),
        Vec::new(),
        Vec::new(),
        b"\xff\xfe invalid \x80".to_vec(),
        b"carriage return\r".to_vec(),
        vec![b'x'; PART - 1],
        vec![b'y'; 3 * PART + 17],
        b"the last".to_vec(),
    ];
    let mut parts: Vec<_> = lines.clone();
    let long = parts.remove(6);
    parts.splice(6..6, long.chunks(PART).map(Vec::from));

    let tmp = tempfile::tempdir().unwrap();
    for run in 1..=2 {
        let mut child = start(tmp.path(), &["--stdin"], Stdio::piped());
        let mut input = child.stdin.take().unwrap();
        input.write_all(&lines.join(&b'\n')).unwrap();
        drop(input);
        let found = finish(child);
        assert!(found.status.success(), "{}", all(&found));
        let upstream = Log::open(tmp.path().join("upstream")).unwrap();
        let mut values = Vec::new();
        for batch in upstream.reader(OffsetSpec::Earliest).unwrap() {
            values.extend(batch.unwrap().records().map(|one| one.unwrap().value().to_vec()));
        }
        let expected: Vec<_> = parts.iter().cycle().take(run * parts.len()).collect();
        assert!(values.iter().eq(expected), "run {run}: {} records", values.len());
    }
}

#[test]
fn an_empty_input_proves_nothing_and_holds() {
    let tmp = tempfile::tempdir().unwrap();
    let found = finish(start(tmp.path(), &["--stdin"], Stdio::null()));
    assert!(found.status.success(), "{}", all(&found));
    assert!(text(&found.stdout).contains("proof: 0 records upstream"), "{}", all(&found));
}

/// Not only the proof's own value: the program's status says it.
#[test]
fn a_planted_fault_makes_the_program_fail() {
    let (_tmp, upstream) = log_of(&[]);
    let root = upstream.dir().parent().unwrap().to_owned();
    let mut records = stamped();
    records.swap(2, 3);
    upstream.append_batch(records).unwrap();
    upstream.close().unwrap();
    let found = finish(start(&root, &["--verify"], Stdio::null()));
    assert_eq!(found.status.code(), Some(1), "{}", all(&found));
    assert!(text(&found.stdout).ends_with("the proof FAILED\n"), "{}", all(&found));
}

#[test]
fn what_cannot_be_done_is_said() {
    let tmp = tempfile::tempdir().unwrap();
    let missing = finish(start(&tmp.path().join("missing"), &["--verify"], Stdio::null()));
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("there is no"), "{}", all(&missing));
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0, "looking creates nothing");

    let _held = Log::open(tmp.path().join("edge")).unwrap();
    let locked = finish(start(tmp.path(), &[], Stdio::null()));
    assert_eq!(locked.status.code(), Some(1));
    assert!(text(&locked.stderr).contains("edge"), "{}", all(&locked));

    for wrong in [&["--rate", "-1"][..], &["--seconds"], &["--verify", "--stdin"], &["x"]] {
        let found = finish(start(tmp.path(), wrong, Stdio::null()));
        assert_eq!(found.status.code(), Some(2), "{wrong:?}");
        assert!(text(&found.stderr).contains("usage: store_and_forward"), "{wrong:?}");
    }
}

#[test]
fn options_of_a_kafka_that_do_not_fit_are_said_before_anything_is_done() {
    let tmp = tempfile::tempdir().unwrap();
    for (wrong, said) in [
        ("--topic t", "--topic goes with --kafka HOST:PORT"),
        ("--kafka h:1", "--kafka needs --topic NAME"),
        ("--kafka", "--kafka needs a value"),
        ("--kafka h:1 --topic a/b", "make a topic"),
        ("--kafka h:1 --topic t --partition x", "--partition \"x\" is not a number"),
        ("--kafka h:1 --topic t --partition 3000000000", "--partition is too large"),
        ("--kafka h:1 --topic t --ca absent.pem", "--ca absent.pem: No such file"),
        ("--kafka h:1 --topic t --cert /etc/hostname", "--cert and --key go together"),
        ("--kafka h:1 --topic t --key /tmp", "--key /tmp: it is no file"),
        ("--kafka h:1 --topic t --user u", "go with --sasl MECHANISM"),
        ("--kafka h:1 --topic t --sasl GSSAPI", "is none of PLAIN, SCRAM-SHA-256"),
        ("--kafka h:1 --topic t --sasl plain", "--sasl PLAIN needs --user NAME"),
        ("--kafka h:1 --topic t --sasl PLAIN --user u", "needs --password-file FILE, or"),
        (
            "--kafka h:1 --topic t --sasl PLAIN --user u --password-file /dev/null",
            "--password-file /dev/null: it is no file",
        ),
    ] {
        let words: Vec<_> = wrong.split(' ').collect();
        let found = finish(start(tmp.path(), &words, Stdio::null()));
        assert_eq!(found.status.code(), Some(2), "{wrong}");
        let first = text(&found.stderr).lines().next().unwrap_or_default().to_owned();
        assert!(first.contains(said), "{wrong}: {first}");
    }
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0, "nothing is created");
}

const PAYLOADS: [&[u8]; 4] = [b"21.5 C", b"", b"\xff\x00", b"21.5 C"];
const LIMIT: Duration = Duration::from_secs(120);

/// Records as the program writes them, with times that do not depend on the clock.
fn stamped() -> Vec<NewRecord<'static>> {
    let mut chain = Chain::START;
    let stamp = |(at, payload): (i64, &&'static [u8])| {
        let (record, after) = chain.stamp(payload);
        chain = after;
        record.timestamp(Timestamp::from_millis(1_795_000_000_000 + at))
    };
    (0..).zip(PAYLOADS.iter().cycle().take(RECORDS)).map(stamp).collect()
}

/// The chain before record `at` of these.
fn chain_before(at: usize) -> Chain {
    let payloads = PAYLOADS.iter().cycle().take(at);
    payloads.fold(Chain::START, |chain, payload| chain.stamp(payload).1)
}

fn marked(payload: &'static [u8], counter: u64, digest: u64) -> NewRecord<'static> {
    NewRecord::new(payload).key(counter.to_string()).header(CHAIN, format!("{digest:016x}"))
}

/// A log of these records, in `upstream` below a directory of its own.
fn log_of(records: &[NewRecord<'static>]) -> (tempfile::TempDir, Log) {
    let tmp = tempfile::tempdir().unwrap();
    let log = Log::open(tmp.path().join("upstream")).unwrap();
    for record in records {
        log.append(record.clone()).unwrap();
    }
    (tmp, log)
}

/// What the proof says of these records upstream; it has to fail.
fn failure(records: &[NewRecord<'static>], source: Option<&Log>) -> String {
    let (_tmp, log) = log_of(records);
    let proof = Proof::read(&log, source).unwrap();
    assert!(!proof.holds(), "{proof}");
    proof.to_string()
}

fn start(dir: &Path, options: &[&str], input: Stdio) -> Child {
    let mut command = Command::new(crate::util::example("store_and_forward"));
    command.arg("--dir").arg(dir).args(options);
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Its output fits into the pipes, so nobody has to read while it runs.
fn finish(mut child: Child) -> Output {
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end: {}", all(&child.wait_with_output().unwrap()));
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn between(output: &Output, before: &str, after: &str) -> String {
    let text = text(&output.stdout);
    let rest = text.split_once(before).expect("the first text is there").1;
    rest.split_once(after).expect("the second text is there").0.to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn all(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}
