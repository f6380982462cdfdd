//! What brokers and settings can do wrong: each is told with what to do, nothing is lost or
//! doubled by it, and shipping goes on by itself once it is put right.

use std::time::Duration;

use forebay::{ErrorKind, KafkaUpstream, Log, ReplicatorStatus, ReplicatorTurns};
use forebay::{NewRecord, Timestamp, UpstreamPartition};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Action, Fault, Garbage, Keep, When};
use crate::ships::{HOUR, assert_once, disk, fill, options};
use crate::world::{WALL_MS, World};

const MINUTE: Duration = Duration::from_secs(60);
const ASKED_AT_CONNECT: [ApiKey; 3] =
    [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::DescribeProducers];

/// A device that has shipped 30 records, and has 20 more.
struct Rig {
    world: World,
    log: Log,
    turns: ReplicatorTurns,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(|world| world.upstream("t"))
    }

    fn with(upstream: impl Fn(&World) -> KafkaUpstream) -> Rig {
        let world = World::new(3, 7);
        world.state().cluster.create_topic("t", 2, &[]);
        let log = options().open_on(&disk(), "/log").unwrap();
        let mut turns = world.ship(&log, upstream(&world));
        fill(&log, 30);
        assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
        fill(&log, 50);
        Rig { world, log, turns }
    }

    fn act(&self, action: Action) {
        self.world.act(action);
    }

    /// The link breaks, and is opened anew.
    fn reconnect(&self) {
        (1..=3).for_each(|node| self.act(Action::CloseConnections { node }));
    }

    /// Nothing is shipped, and it is told so.
    #[track_caller]
    fn stays(&mut self, kind: ErrorKind, remedies: &[&str]) -> ReplicatorStatus {
        let status = self.world.drain(&mut self.turns, 5 * MINUTE);
        assert_eq!(status.committed.get(), 30, "{status:?}");
        assert_eq!(status.last_error_kind, Some(kind), "{status:?}");
        let error = status.last_error.clone().unwrap();
        for remedy in remedies {
            assert!(error.contains(remedy), "{remedy}: {error}");
        }
        status
    }

    /// It is put right, and everything arrives.
    #[track_caller]
    fn mended(&mut self) {
        self.world.state().cluster.clear_faults();
        let status = self.world.drain(&mut self.turns, 10 * MINUTE);
        assert_eq!((status.lag_records, status.upstream.maybe_doubled), (0, 0), "{status:?}");
        assert_once(&self.world, self.log.log_end_offset().get());
    }

    /// All calls of an API go wrong, then none does.
    #[track_caller]
    fn broken(&mut self, api: ApiKey, fault: Fault, kind: ErrorKind, remedies: &[&str]) {
        self.world.state().cluster.fault(api, When::From(1), fault);
        self.reconnect();
        self.stays(kind, remedies);
        self.mended();
    }
}

#[test]
fn half_an_answer_and_then_silence_is_told_and_tried_again() {
    for bytes in [0, 3, 4, 7, 12] {
        for api in ASKED_AT_CONNECT {
            let remedy = ["no answer came in time", "tried again"];
            Rig::new().broken(api, Fault::Stall(bytes), ErrorKind::Upstream, &remedy);
        }
        let mut rig = Rig::new();
        rig.world.state().cluster.fault(ApiKey::Produce, When::Nth(1), Fault::Stall(bytes));
        rig.mended();
    }
}

#[test]
fn a_length_that_none_can_be_is_told_and_tried_again() {
    for garbage in [Garbage::LengthHuge, Garbage::LengthNegative, Garbage::LengthZero] {
        for api in ASKED_AT_CONNECT {
            let remedy = ["claims an answer of", "tried again"];
            Rig::new().broken(api, Fault::Garbage(garbage.clone()), ErrorKind::Upstream, &remedy);
        }
    }
}

#[test]
fn an_answer_to_another_request_is_told_and_tried_again() {
    for api in ASKED_AT_CONNECT {
        let remedy = ["was awaited", "tried again"];
        Rig::new().broken(api, Fault::Correlation(1), ErrorKind::Upstream, &remedy);
    }
}

#[test]
fn a_version_that_is_not_supported_is_told_with_the_one_to_use() {
    for api in [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::DescribeProducers, ApiKey::Produce] {
        let remedy = ["Kafka 2.8 or later"];
        Rig::new().broken(api, Fault::Error(35), ErrorKind::UpstreamRejected, &remedy);
    }
}

#[test]
fn an_answer_about_another_topic_or_partition_is_not_taken_for_ours() {
    let named = |name: &[u8]| [&[2], name].concat();
    for api in [ApiKey::Metadata, ApiKey::DescribeProducers, ApiKey::DescribeConfigs] {
        let fault = Fault::Replace(named(b"t"), named(b"u"));
        Rig::new().broken(api, fault, ErrorKind::Upstream, &["it answered with", "tried again"]);
    }
    // In answers to Produce by the topic's id, in those to Fetch by its name.
    let mut rig = Rig::new();
    let id: uuid::Uuid = rig.world.state().cluster.topic_id("t");
    let partition = |number: u8| [&id.as_bytes()[..], &[2, 0, 0, 0, number]].concat();
    for (these, those) in [
        (id.as_bytes().to_vec(), vec![7; 16]),
        (partition(0), partition(1)),
        (named(b"t\x02\0\0\0\0"), named(b"t\x02\0\0\0\x01")),
        (named(b"t"), named(b"u")),
    ] {
        let fault = Fault::Replace(these, those);
        let before = rig.turns.status().failures;
        for api in [ApiKey::Fetch, ApiKey::Produce] {
            rig.world.state().cluster.fault(api, When::PerMille(500), fault.clone());
        }
        let lost = Fault::DropAfter { close: true };
        rig.world.state().cluster.fault(ApiKey::Produce, When::PerMille(400), lost);
        for _ in 0..8 {
            fill(&rig.log, rig.log.log_end_offset().get() + 10);
            rig.world.drain(&mut rig.turns, MINUTE);
        }
        let status = rig.turns.status();
        assert!(status.failures > before + 1, "{status:?}");
        rig.mended();
    }
}

#[test]
fn another_cluster_at_the_same_address_is_not_shipped_to() {
    let mut rig = Rig::new();
    let own = rig.world.state().cluster.settings.cluster_id.clone();
    rig.act(Action::ClusterId("another".to_owned()));
    rig.reconnect();
    rig.stays(ErrorKind::Conflict, &["'another'", own.as_str(), "follow_new_topic"]);
    rig.act(Action::ClusterId(own));
    rig.mended();
}

#[test]
fn a_topic_made_anew_is_not_shipped_to_until_that_is_allowed() {
    let mut rig = Rig::new();
    rig.act(Action::Recreate { topic: "t".to_owned() });
    rig.stays(ErrorKind::Conflict, &["deleted and made anew", "offset 30", "follow_new_topic"]);
    let Rig { world, log, turns } = rig;
    drop(turns);
    let mut turns = world.ship(&log, world.upstream("t").follow_new_topic(true));
    assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
    let state = world.state();
    let expected: Vec<_> = (30..50).map(crate::ships::value).collect();
    state.cluster.assert_exactly_once("t", 0, &expected);
}

#[test]
fn a_partition_that_is_not_there_is_told_until_it_is() {
    let world = World::new(1, 1);
    world.state().cluster.create_topic("t", 2, &[]);
    let log = options().open_on(&disk(), "/log").unwrap();
    fill(&log, 10);
    let upstream = world.upstream("t").partition(UpstreamPartition::Fixed(4));
    let mut turns = world.ship(&log, upstream);
    let status = world.drain(&mut turns, MINUTE);
    assert_eq!(status.last_error_kind, Some(ErrorKind::UpstreamRejected), "{status:?}");
    let error = status.last_error.unwrap();
    assert!(error.contains("has 2 partitions, and none 4"), "{error}");
    world.act(Action::Grow { topic: "t".to_owned(), partitions: 5 });
    assert_eq!(world.drain(&mut turns, 10 * MINUTE).lag_records, 0);
    assert_eq!(world.state().cluster.records("t", 4).len(), 10);
}

#[test]
fn more_partitions_do_not_move_a_log_that_was_given_one() {
    let mut rig = Rig::new();
    rig.act(Action::Grow { topic: "t".to_owned(), partitions: 9 });
    rig.reconnect();
    rig.mended();
}

#[test]
fn a_topic_that_is_deleted_is_told_until_one_is_there() {
    let mut rig = Rig::new();
    rig.act(Action::Delete { topic: "t".to_owned() });
    rig.stays(ErrorKind::UpstreamRejected, &["no topic 't'", "create it", "create_topic"]);
    rig.world.state().cluster.create_topic("t", 1, &[]);
    rig.stays(ErrorKind::Conflict, &["made anew", "follow_new_topic"]);
}

#[test]
fn rights_that_are_missing_are_told_and_granted() {
    let refused = ErrorKind::UpstreamRejected;
    for api in [ApiKey::Metadata, ApiKey::Produce] {
        Rig::new().broken(api, Fault::Error(29), refused, &["(29)", "grant", "WRITE and READ"]);
    }
    Rig::new().broken(ApiKey::Produce, Fault::Error(31), refused, &["IDEMPOTENT_WRITE"]);
    // Settings that may not be read keep nothing from being shipped, but cannot be checked.
    let mut rig = Rig::new();
    rig.world.state().cluster.fault(ApiKey::DescribeConfigs, When::From(1), Fault::Error(29));
    rig.reconnect();
    let status = rig.world.drain(&mut rig.turns, HOUR);
    let [warning] = &status.upstream.warnings[..] else { panic!("{status:?}") };
    assert!(warning.contains("cannot be checked") && warning.contains("grant"), "{warning}");
    rig.mended();
    rig.reconnect();
    fill(&rig.log, 60);
    rig.mended();
    assert_eq!(rig.turns.status().upstream.warnings, Vec::<String>::new());
}

#[test]
fn a_first_producer_id_that_is_refused_is_told_and_given_later() {
    let world = World::with_topic(1, 1);
    world.state().cluster.fault(ApiKey::InitProducerId, When::From(1), Fault::Error(31));
    let log = options().open_on(&disk(), "/log").unwrap();
    fill(&log, 10);
    let mut turns = world.ship(&log, world.upstream("t"));
    let status = world.drain(&mut turns, MINUTE);
    assert_eq!(status.last_error_kind, Some(ErrorKind::UpstreamRejected), "{status:?}");
    assert!(status.last_error.unwrap().contains("grant the user IDEMPOTENT_WRITE"));
    world.state().cluster.clear_faults();
    assert_eq!(world.drain(&mut turns, 10 * MINUTE).lag_records, 0);
    assert_once(&world, 10);
}

#[test]
fn a_record_larger_than_the_topic_allows_is_told_until_it_does() {
    let mut rig = Rig::new();
    // The record 13 of each 97 has 20,000 bytes; the next is 110.
    let small = |bytes: &str| Action::Configure {
        topic: "t".to_owned(),
        name: "max.message.bytes".to_owned(),
        value: bytes.to_owned(),
    };
    rig.mended();
    fill(&rig.log, 130);
    rig.act(small("9000"));
    let status = rig.world.drain(&mut rig.turns, 5 * MINUTE);
    assert_eq!(status.committed.get(), 110, "{status:?}");
    assert_eq!(status.last_error_kind, Some(ErrorKind::UpstreamRejected), "{status:?}");
    let error = status.last_error.unwrap();
    for remedy in ["records 110 to 111", "raise the topic's max.message.bytes", "dead_letter"] {
        assert!(error.contains(remedy), "{remedy}: {error}");
    }
    rig.act(small("1048588"));
    rig.mended();
}

#[test]
fn a_clock_that_runs_ahead_holds_its_records_until_the_broker_takes_them() {
    let mut rig = Rig::new();
    rig.mended();
    let ahead = Timestamp::from_millis(WALL_MS + 3 * 3_600_000);
    rig.log.append(NewRecord::new(crate::ships::value(50)).timestamp(ahead)).unwrap();
    rig.log.flush().unwrap();
    let status = rig.world.drain(&mut rig.turns, 5 * MINUTE);
    assert_eq!((status.committed.get(), status.upstream.refused), (50, 0), "{status:?}");
    let error = status.last_error.unwrap();
    for remedy in ["INVALID_TIMESTAMP", "set this device's clock", "timestamp.after.max.ms"] {
        assert!(error.contains(remedy), "{remedy}: {error}");
    }
    rig.world.drain(&mut rig.turns, 3 * HOUR);
    rig.mended();
}

#[test]
fn a_host_that_is_none_and_a_port_that_refuses_are_told_by_name() {
    let mut rig = Rig::new();
    rig.world.cut();
    rig.stays(ErrorKind::Upstream, &["cannot reach broker node-", "lookup", "tried again"]);
    rig.world.mend();
    rig.mended();
    fill(&rig.log, 60);
    let (nodes, keep) = (1..=3, Keep::All);
    nodes.clone().for_each(|node| rig.act(Action::Kill { node, keep }));
    let status = rig.world.drain(&mut rig.turns, 5 * MINUTE);
    let error = status.last_error.unwrap();
    assert!(error.contains("cannot reach broker") && error.contains("refused"), "{error}");
    nodes.for_each(|node| rig.act(Action::Restart { node }));
    rig.mended();
}

#[test]
fn a_broker_that_wants_a_login_and_gets_none_is_told_as_one() {
    let mut rig = Rig::new();
    rig.world.state().cluster.settings.sasl = Some(("device".to_owned(), "secret".to_owned()));
    rig.reconnect();
    rig.stays(ErrorKind::Upstream, &["may want a login", "KafkaUpstream::sasl"]);
    rig.world.state().cluster.settings.sasl = None;
    let status = rig.world.drain(&mut rig.turns, 10 * MINUTE);
    assert_eq!(status.lag_records, 0, "{status:?}");
}
