//! TLS: what ships through it, and what is said where a handshake fails.

mod certificates;
mod server;
mod sockets;

use std::time::Duration;

use forebay::{ErrorKind, KafkaUpstream, ReplicatorStatus, Sasl, Tls};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Fault, When};
use crate::ships::{HOUR, assert_once, disk, fill, options};
use crate::world::World;
use certificates::{Authority, BROKERS, Pair, between, named};
use server::{Answers, Port, Secured};

fn upstream(secured: &Secured, tls: Tls) -> KafkaUpstream {
    KafkaUpstream::new("node-1:9092,node-2:9092", "t").network(secured.clone()).tls(tls)
}

/// Records ship through every kind of session, also where a few bytes go through at once.
#[test]
fn records_arrive_once_through_tls() {
    let (authority, devices) = (Authority::new("ours"), Authority::new("devices"));
    let below = authority.below();
    let mut chained = below.broker();
    chained.certificate.push_str(&below.pem);
    let device = devices.device();
    let trusting = || Tls::new().authorities_pem(authority.pem.clone());
    let known = || trusting().client_pem(device.certificate.clone(), device.key.clone());
    let sec1 = || trusting().client_pem(device.certificate.clone(), sec1(&device.key));
    type Setting<'a> = (&'a str, Tls, &'a dyn Fn(&mut Port));
    let settings: [Setting<'_>; 8] = [
        ("1.3", trusting(), &|port| port.version = Some(&rustls::version::TLS13)),
        ("1.2", trusting(), &|port| port.version = Some(&rustls::version::TLS12)),
        ("an authority between", trusting(), &|port| port.certificate = chained.clone()),
        ("both show one", known(), &|port| port.clients = Some(devices.pem.clone())),
        ("a key in SEC1", sec1(), &|port| port.clients = Some(devices.pem.clone())),
        ("nobody asks for it", known(), &|_| {}),
        ("a few bytes at once", known(), &|port| {
            (port.piece, port.clients) = (7, Some(devices.pem.clone()));
        }),
        ("calls that end too early", trusting(), &|port| (port.piece, port.stutters) = (99, true)),
    ];
    for (what, tls, set) in settings {
        let world = World::with_topic(3, 1);
        let lost = Fault::DropAfter { close: true };
        world.state().cluster.fault(ApiKey::Produce, When::PerMille(100), lost);
        world.state().cluster.settings.sasl = Some(("device".to_owned(), "secret".to_owned()));
        let secured = Secured::new(&world, authority.broker());
        set(&mut secured.port());
        let log = options().open_on(&disk(), "/log").unwrap();
        let kafka = upstream(&secured, tls).sasl(Sasl::plain("device", "secret"));
        let mut turns = world.ship(&log, kafka);
        for to in [150, 300] {
            fill(&log, to);
            let status = world.drain(&mut turns, HOUR);
            assert_eq!(status.lag_records, 0, "{what}: {status:?}");
        }
        assert_once(&world, 300);
    }
}

/// Over a link with 12 s to and fro, where 10 s are given for a handshake: it is waited for longer
/// and longer, until it is done.
#[test]
fn a_handshake_that_takes_longer_than_its_time_is_done_in_the_end() {
    let ours = Authority::new("ours");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let world = World::with_topic(3, 1);
        let secured = Secured::new(&world, ours.broker());
        (secured.port().version, secured.port().delay) = (Some(version), Duration::from_secs(12));
        let log = options().open_on(&disk(), "/log").unwrap();
        fill(&log, 60);
        let tls = Tls::new().authorities_pem(ours.pem.clone());
        let mut turns = world.ship(&log, upstream(&secured, tls));
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        assert!(status.failures > 0, "10 s were too few");
        assert_once(&world, 60);
    }
}

/// The key of a P-256 pair in PKCS#8, as openssl wrote such keys before that.
fn sec1(key: &str) -> String {
    let key = rcgen::KeyPair::from_pem(key).unwrap().serialize_der();
    let begin = key.windows(4).position(|window| window == [0x04, 0x6d, 0x30, 0x6b]).unwrap() + 2;
    let text: String = base64(&key[begin..]);
    format!("-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n")
}

/// The same in PKCS#8 without its public part, as Java keeps it.
fn without_public(key: &str) -> String {
    let key = rcgen::KeyPair::from_pem(key).unwrap().serialize_der();
    // The version, the algorithm and the curve; the secret.
    let (kind, secret) = (&key[3..27], &key[34..68]);
    let inner = [&[0x04, 39, 0x30, 37, 0x02, 1, 1][..], secret].concat();
    let whole = [&[0x30, 65][..], kind, &inner].concat();
    assert!(secret.starts_with(&[0x04, 32]) && kind.starts_with(&[0x02, 1, 0]));
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(&whole))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// R16: ships nothing while it fails, says why and what to do, and goes on by itself as soon as
/// `port` and `files` are right.
fn fails_then_ships(
    what: &str,
    secured: &Secured,
    world: &World,
    tls: Option<Tls>,
    mend: impl FnOnce(),
) -> ReplicatorStatus {
    let log = options().open_on(&disk(), "/log").unwrap();
    fill(&log, 60);
    let kafka = KafkaUpstream::new("node-1:9092,node-2:9092", "t").network(secured.clone());
    let kafka = match tls {
        Some(tls) => kafka.tls(tls),
        None => kafka,
    };
    let mut turns = world.ship(&log, kafka);
    let failed = world.drain(&mut turns, Duration::from_secs(120));
    assert_eq!(failed.lag_records, 60, "{what}: {failed:?}");
    assert!(failed.failures > 1, "it tries again: {what}: {failed:?}");
    mend();
    let status = world.drain(&mut turns, HOUR);
    assert_eq!(status.lag_records, 0, "{what}: {status:?}");
    assert_once(world, 60);
    failed
}

#[test]
fn a_certificate_that_is_not_the_brokers_is_told_with_what_to_do() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let pair = |params| ours.issue(params);
    let to = |certificate: Pair| move |port: &mut Port| port.certificate = certificate.clone();
    type Harm<'a> = (&'a str, Box<dyn Fn(&mut Port)>, &'a [&'a str]);
    let ended = between(named("broker", &BROKERS), (2024, 1), (2025, 6));
    let later = between(named("broker", &BROKERS), (2026, 2), (2027, 1));
    let clients_only = Pair { ..ours.device() };
    let own = rcgen::KeyPair::generate().unwrap();
    let of_itself = Pair {
        certificate: named("broker", &BROKERS).self_signed(&own).unwrap().pem(),
        key: own.serialize_pem(),
    };
    let harms: [Harm<'_>; 8] = [
        (
            "another name",
            Box::new(to(pair(named("b", &["kafka.example", "b"])))),
            &["is for kafka.example, b, and not for node-", "Tls::server_name"],
        ),
        ("no name", Box::new(to(pair(named("node-1", &[])))), &["is for no name", "node-"]),
        ("another authority", Box::new(to(other.broker())), &["none of the authorities", "give"]),
        ("nobody's", Box::new(to(of_itself)), &["none of the authorities", "give"]),
        (
            "one that ended",
            Box::new(to(pair(ended))),
            &["ended at 2025-06-01 00:00 UTC", "clock says 2026-01-01 00:0", "renew it"],
        ),
        (
            "not yet",
            Box::new(to(pair(later))),
            &["begins at 2026-02-01 00:00 UTC", "set the clock"],
        ),
        (
            "a clock in 1970",
            Box::new(|port| port.wall_ms = 0),
            &["clock says 1970-01-01", "begins at 2025-01-01", "set the clock"],
        ),
        ("a client's", Box::new(to(clients_only)), &["certificate is not valid"]),
    ];
    for (what, harm, told) in harms {
        for piece in [usize::MAX, 5] {
            let world = World::with_topic(3, 1);
            let secured = Secured::new(&world, ours.broker());
            let right = secured.port().clone();
            harm(&mut secured.port());
            secured.port().piece = piece;
            let tls = Tls::new().authorities_pem(ours.pem.clone());
            let mend = || *secured.port() = right;
            let status = fails_then_ships(what, &secured, &world, Some(tls), mend);
            let error = status.last_error.unwrap();

            assert!(told.iter().all(|word| error.contains(word)), "{what}: {error}");
            assert!(error.starts_with("broker node-"), "{error}");
            assert_eq!(status.last_error_kind, Some(ErrorKind::UpstreamRejected), "{error}");
        }
    }
}

/// A broker with a bad certificate does not stand in the way of one with a good one.
#[test]
fn one_broker_with_a_bad_certificate_is_passed_over() {
    let ours = Authority::new("ours");
    let world = World::with_topic(3, 1);
    let partly = ours.issue(named("broker", &["node-1"]));
    let secured = Secured::new(&world, partly);
    let log = options().open_on(&disk(), "/log").unwrap();
    fill(&log, 60);
    let kafka = KafkaUpstream::new("node-2:9092,node-3:9092,node-1:9092", "t");
    let kafka = kafka.network(secured).tls(Tls::new().authorities_pem(ours.pem.clone()));
    let mut turns = world.ship(&log, kafka);
    let status = world.drain(&mut turns, HOUR);
    assert_eq!((status.lag_records, status.failures), (0, 0), "{status:?}");
    assert_once(&world, 60);
}

#[test]
fn a_certificate_of_the_device_that_is_refused_is_told_with_what_to_do() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let ended = ours.issue(between(named("device", &[]), (2024, 1), (2025, 6)));
    let dir = tempfile::tempdir().unwrap();
    let paths = [dir.path().join("device.pem"), dir.path().join("device.key")];
    let put = |pair: &Pair| {
        std::fs::write(&paths[0], &pair.certificate).unwrap();
        std::fs::write(&paths[1], &pair.key).unwrap();
    };
    let mixed = Pair { key: ours.device().key, ..ours.device() };
    let half = Pair { key: without_public(&ours.device().key), ..ours.device() };
    let absent = Pair { certificate: String::new(), ..ours.device() };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (what, pair, told) in [
            ("by another", Some(other.device()), &["does not trust the authority"][..]),
            ("one that ended", Some(ended.clone()), &["has expired: renew it"]),
            ("another key", Some(mixed.clone()), &["key is not the one", "device.key"]),
            ("half a key", Some(half.clone()), &["openssl ec", "device.key"]),
            ("an empty file", Some(absent.clone()), &["device.pem: has no certificate"]),
            ("none", None, &["asks for a certificate of this device", "Tls::client_files"]),
        ] {
            let world = World::with_topic(3, 1);
            let secured = Secured::new(&world, ours.broker());
            {
                let mut port = secured.port();
                (port.version, port.clients) = (Some(version), Some(ours.pem.clone()));
            }
            let tls = Tls::new().authorities_pem(ours.pem.clone());
            let tls = match &pair {
                Some(pair) => {
                    put(pair);
                    tls.client_files(&paths[0], &paths[1])
                }
                None => tls,
            };
            // Renewed in their files; or the broker does without.
            let mend = || match &pair {
                Some(_) => put(&ours.device()),
                None => secured.port().clients = None,
            };
            let status = fails_then_ships(what, &secured, &world, Some(tls), mend);
            let error = status.last_error.unwrap();

            assert!(told.iter().all(|word| error.contains(word)), "{what}: {error}");
            assert_eq!(status.last_error_kind, Some(ErrorKind::UpstreamRejected), "{error}");
        }
    }
}

/// Ports that speak something else, or break off: no answer is taken for an agreement.
#[test]
fn ports_that_speak_something_else_are_told_with_what_to_do() {
    let ours = Authority::new("ours");
    let hello_1_1 = [&[0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2][..], &[7; 32], &[0, 0, 0x2f, 0]];
    let rejected = Some(ErrorKind::UpstreamRejected);
    let link = Some(ErrorKind::Upstream);
    for (answers, kind, told) in [
        (Answers::Plain, link, "closed within the TLS handshake: does this port speak TLS?"),
        (Answers::CutAt(0), link, "closed within the TLS handshake: does this port speak TLS?"),
        (Answers::CutAt(3), link, "closed within the TLS handshake: see the broker's log"),
        (Answers::CutAt(300), link, "closed within the TLS handshake: see the broker's log"),
        (Answers::SilentAfter(0), link, "s: the broker says nothing"),
        (Answers::SilentAfter(9), link, "s: the broker or the link is slow"),
        (Answers::Bytes(b"HTTP/1.1 400\r\n".to_vec()), rejected, "the answer is no TLS"),
        (Answers::Bytes(vec![0, 0, 0, 10, 0, 0, 0, 1, 0, 0]), rejected, "the answer is no TLS"),
        (Answers::Bytes(vec![0x15, 3, 1, 0, 2, 2, 70]), rejected, "1.2 or 1.3 is needed"),
        (Answers::Bytes(vec![0x15, 3, 3, 0, 2, 2, 40]), rejected, "cipher in common, or asks for"),
        (Answers::Bytes(hello_1_1.concat()), rejected, "1.2 or 1.3 with modern ciphers"),
    ] {
        let world = World::with_topic(3, 1);
        let secured = Secured::new(&world, ours.broker());
        secured.port().answers = answers.clone();
        let tls = Tls::new().authorities_pem(ours.pem.clone());
        let what = format!("{answers:?}");
        let mend = || secured.port().answers = Answers::Tls;
        let status = fails_then_ships(&what, &secured, &world, Some(tls), mend);
        let error = status.last_error.unwrap();
        assert!(error.contains(told), "{what}: {error}");
        assert_eq!(status.last_error_kind, kind, "{what}: {error}");
    }
}

/// The other way round: TLS is spoken, and not here. Nothing but the first request was sent then.
#[test]
fn a_port_that_speaks_tls_where_it_is_not_used_is_told() {
    let ours = Authority::new("ours");
    for (answers, told) in [
        (Answers::Tls, "this port speaks TLS: use KafkaUpstream::tls"),
        (Answers::CutAt(0), "does this port speak TLS? Then use KafkaUpstream::tls"),
        (Answers::Bytes(b"HTTP/1.1 400\r\n".to_vec()), "speaks HTTP"),
    ] {
        let world = World::with_topic(3, 1);
        let secured = Secured::new(&world, ours.broker());
        secured.port().answers = answers;
        let mend = || secured.port().answers = Answers::Plain;
        let status = fails_then_ships(told, &secured, &world, None, mend);
        let error = status.last_error.unwrap();
        assert!(error.contains(told), "{error}");
    }
}

/// Authorities are read anew at each connect; and a name that no certificate is for is told.
#[test]
fn authorities_that_are_replaced_and_other_names_are_taken_up() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let world = World::with_topic(3, 1);
    let secured = Secured::new(&world, ours.broker());
    std::fs::write(file.path(), &other.pem).unwrap();
    let mend = || std::fs::write(file.path(), format!("{}{}", other.pem, ours.pem)).unwrap();
    let tls = Tls::new().authorities_file(file.path());
    let status = fails_then_ships("another", &secured, &world, Some(tls), mend);
    assert!(status.last_error.unwrap().contains("none of the authorities"));
    let world = World::with_topic(3, 1);
    let secured = Secured::new(&world, ours.issue(named("b", &["kafka.example"])));
    let log = options().open_on(&disk(), "/log").unwrap();
    fill(&log, 20);
    for (name, ships) in [("kafka.example", true), ("node-1", false), ("a b", false)] {
        let tls = Tls::new().authorities_pem(ours.pem.clone()).server_name(name);
        let mut turns = world.ship(&log, upstream(&secured, tls));
        fill(&log, log.log_end_offset().get() + 1);
        let status = world.drain(&mut turns, Duration::from_secs(60));
        assert_eq!(status.lag_records == 0, ships, "{name}: {status:?}");
        assert_eq!(status.last_error.is_none(), ships, "{name}");
    }
}
