//! The settings of a Kafka upstream: each one, and which go together. And who gives tokens.

use std::ffi::c_void;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

use forebay::ffi::*;

use super::face::*;

/// Each setting with values that it can have, and some that it cannot.
const SETTINGS: [(&str, &[&str], &[&str]); 26] = [
    ("client.id", &["gateway-1", ""], &[]),
    ("partition", &["0", " 12 ", "by_log_id", "key:engine-7", "key:"], &["-1", "", "any", "4e9"]),
    ("socket.connection.setup.timeout.ms", &["1", "60000"], &["0", "-1", "10s", ""]),
    ("request.timeout.ms", &["30000"], &["0", "-1", "soon"]),
    ("merge.bytes", &["0", "262144"], &["-1", "256k"]),
    ("compression.type", &["none"], &["", "brotli", "Zstandard"]),
    ("security.protocol", &["PLAINTEXT", "ssl", "SASL_PLAINTEXT", " SASL_SSL "], &["TLS", ""]),
    ("ssl.ca.location", &["/etc/ca.pem"], &[""]),
    ("ssl.ca.pem", &["-----BEGIN CERTIFICATE-----"], &[]),
    ("ssl.web.authorities", &["true", "false "], &["1", "yes", ""]),
    ("ssl.certificate.location", &["device.pem"], &[""]),
    ("ssl.key.location", &["device.key"], &[""]),
    ("ssl.certificate.pem", &["-----BEGIN CERTIFICATE-----"], &[]),
    ("ssl.key.pem", &["-----BEGIN PRIVATE KEY-----"], &[]),
    ("ssl.server.name", &["broker.example"], &[]),
    ("sasl.mechanism", &["PLAIN", "scram-sha-256", "SCRAM-SHA-512", "OAUTHBEARER"], &["GSSAPI"]),
    ("sasl.username", &["device"], &[]),
    ("sasl.password", &[" secret "], &[]),
    ("sasl.oauthbearer.extensions", &["logicalCluster=lkc-1,pool=2", ""], &["a", "=b"]),
    ("create.topic.partitions", &["1", "-1", "48"], &["0", "-2", "many"]),
    ("create.topic.replicas", &["3", "-1"], &["0", "40000"]),
    ("create.topic.config", &["cleanup.policy=compact,delete,retention.ms=-1"], &["compact"]),
    ("mark.gaps", &["true", "false"], &["on"]),
    ("follow.new.topic", &["true", "false"], &["on"]),
    ("accept.expiring", &["true", "false"], &["TRUE"]),
    // Not there, near as it is.
    ("bootstrap.servers", &[], &[]),
];

fn kafka() -> NonNull<forebay_upstream> {
    opened(|place| unsafe {
        forebay_upstream_kafka_new(bytes("127.0.0.1:9"), bytes("telemetry"), place)
    })
}

fn set(upstream: NonNull<forebay_upstream>, name: &str, value: &str) -> forebay_status {
    unsafe { forebay_upstream_set(Some(upstream), bytes(name), bytes(value)) }
}

fn free(upstream: NonNull<forebay_upstream>) {
    unsafe { forebay_upstream_free(Some(upstream)) }
}

#[test]
fn each_setting_takes_what_it_can_have_and_nothing_else() {
    let upstream = kafka();
    for (name, good, bad) in SETTINGS {
        for value in good {
            ok(set(upstream, name, value));
        }
        for value in bad {
            fails(set(upstream, name, value), INVALID, name.split('.').next_back().unwrap());
        }
        if good.is_empty() {
            fails(set(upstream, name, "x"), forebay_status::FOREBAY_NOT_FOUND, name);
        }
        let set = |data, len| {
            let value = forebay_bytes { data, len };
            unsafe { forebay_upstream_set(Some(upstream), bytes(name), value) }
        };
        let no_text = [0xff];
        if good.is_empty() {
            continue;
        } else if name.ends_with(".location") || name.ends_with(".pem") {
            ok(set(no_text.as_ptr(), 1));
        } else {
            fails(set(no_text.as_ptr(), 1), INVALID, "UTF-8");
        }
        fails(set(ptr::null(), 3), INVALID, "is NULL with 3 bytes");
    }
    for name in ["", "CLIENT.ID", "client_id", "topic"] {
        fails(set(upstream, name, "x"), forebay_status::FOREBAY_NOT_FOUND, "no setting");
    }
    free(upstream);
}

/// What the header lists is what there is.
#[test]
fn the_header_lists_each_setting() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/forebay.h");
    let header = std::fs::read_to_string(header).unwrap();
    let from = header.find("Sets one setting of a Kafka upstream").unwrap();
    let to = from + header[from..].find("forebay_upstream_set(").unwrap();
    let items = header[from..to].lines().filter_map(|line| line.strip_prefix(" * - "));
    let mut listed: Vec<_> = items
        .filter_map(|item| item.split_once(':'))
        .flat_map(|(names, _)| names.split(", "))
        .collect();
    let mut known: Vec<_> = SETTINGS.iter().filter(|set| !set.1.is_empty()).map(|s| s.0).collect();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known);
}

/// Settings that do not go together, and what the text names.
const APART: [(&[(&str, &str)], &str); 18] = [
    (&[("ssl.ca.location", "/ca.pem")], "ssl.ca.location is set, but security.protocol"),
    (&[("ssl.ca.pem", "x")], "ssl.ca.pem is set, but security.protocol"),
    (&[("ssl.web.authorities", "true")], "ssl.web.authorities is set"),
    (&[("ssl.certificate.location", "x")], "ssl.certificate.location is set"),
    (&[("ssl.key.location", "x")], "ssl.key.location is set"),
    (&[("ssl.certificate.pem", "x")], "ssl.certificate.pem is set"),
    (&[("ssl.key.pem", "x")], "ssl.key.pem is set"),
    (&[("security.protocol", "SASL_PLAINTEXT"), ("ssl.server.name", "x")], "ssl.server.name"),
    (&[("security.protocol", "SSL"), ("ssl.key.pem", "x")], "ssl.certificate.pem and ssl.key.pem"),
    (
        &[("security.protocol", "SSL"), ("ssl.certificate.location", "a"), ("ssl.key.pem", "x")],
        "ssl.certificate.location and ssl.key.location",
    ),
    (&[("sasl.username", "me")], "sasl.username is set, but security.protocol"),
    (&[("security.protocol", "SSL"), ("sasl.mechanism", "PLAIN")], "sasl.mechanism is set, but"),
    (&[("security.protocol", "SASL_SSL")], "security.protocol asks for sasl.mechanism"),
    (
        &[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), ("sasl.username", "me")],
        "sasl.username and sasl.password",
    ),
    (
        &[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "OAUTHBEARER")],
        "forebay_upstream_set_token_callback",
    ),
    (
        &[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.oauthbearer.extensions", "a=b"),
        ],
        "sasl.oauthbearer.extensions is set, but sasl.mechanism",
    ),
    (&[("create.topic.replicas", "3")], "create.topic.replicas is set without"),
    (&[("create.topic.config", "a=b")], "create.topic.config is set without"),
];

#[test]
fn settings_that_do_not_go_together_are_named_and_the_upstream_stays_the_callers() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    for (settings, says) in APART {
        let upstream = kafka();
        for (name, value) in settings {
            ok(set(upstream, name, value));
        }
        fails(not_started(log, upstream), INVALID, says);
        fails(
            not_opened(|place| unsafe {
                let name = bytes("up");
                forebay_turns_new(at(log), name, Some(upstream), ptr::null(), place)
            }),
            INVALID,
            says,
        );
        free(upstream);
    }
    close(log);
}

fn not_started(log: NonNull<forebay_log>, upstream: NonNull<forebay_upstream>) -> forebay_status {
    not_opened(|place| unsafe {
        forebay_replicator_start(at(log), bytes("up"), Some(upstream), ptr::null(), place)
    })
}

#[test]
fn settings_that_go_together_start_whether_there_is_a_broker_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (log, letters) = (open_log(&dir.path().join("a")), open_log(&dir.path().join("b")));
    for protocol in ["PLAINTEXT", "SSL", "SASL_SSL"] {
        for pair in ["location", "pem"] {
            let upstream = kafka();
            ok(set(upstream, "security.protocol", protocol));
            ok(set(upstream, "create.topic.partitions", "2"));
            ok(set(upstream, "create.topic.config", "cleanup.policy=compact,delete,a=b"));
            ok(set(upstream, "client.id", "me"));
            ok(set(upstream, "partition", "key:me"));
            ok(set(upstream, "merge.bytes", "1000"));
            ok(set(upstream, "request.timeout.ms", "1000"));
            ok(unsafe { forebay_upstream_set_dead_letter(Some(upstream), at(letters)) });
            if protocol.ends_with("SSL") {
                ok(set(upstream, &format!("ssl.certificate.{pair}"), "x"));
                ok(set(upstream, &format!("ssl.key.{pair}"), "x"));
                ok(set(upstream, "ssl.ca.location", "x"));
                ok(set(upstream, "ssl.ca.pem", "x"));
                ok(set(upstream, "ssl.web.authorities", "true"));
                ok(set(upstream, "ssl.server.name", "x"));
            }
            if protocol.starts_with("SASL") {
                let mechanism = if pair == "pem" { "SCRAM-SHA-256" } else { "SCRAM-SHA-512" };
                ok(set(upstream, "sasl.mechanism", mechanism));
                ok(set(upstream, "sasl.username", "me"));
                ok(set(upstream, "sasl.password", "secret"));
            }
            stop(start(log, upstream));
        }
    }
    close(letters);
    close(log);
}

fn start(
    log: NonNull<forebay_log>,
    upstream: NonNull<forebay_upstream>,
) -> NonNull<forebay_replicator> {
    opened(|place| unsafe {
        forebay_replicator_start(at(log), bytes("up"), Some(upstream), ptr::null(), place)
    })
}

fn stop(replicator: NonNull<forebay_replicator>) {
    ok(unsafe { forebay_replicator_stop(Some(replicator)) });
}

#[test]
fn a_topic_has_servers_and_a_name() {
    let new = |bootstrap: &str, topic: &str| {
        let (bootstrap, topic) = (bytes(bootstrap), bytes(topic));
        not_opened(|place| unsafe { forebay_upstream_kafka_new(bootstrap, topic, place) })
    };
    fails(new("", "t"), INVALID, "bootstrap is empty");
    fails(new("a:1", " "), INVALID, "topic is empty");
    fails(new("h:99999", "t"), INVALID, "'h:99999' is no bootstrap server: \"host:9092\" is one");
    fails(new("h:9092,:1", "t"), INVALID, "':1' is no bootstrap server");
    fails(new("a:1", "a b/c"), INVALID, "\"a b/c\" is no topic: 1 to 249");
    for good in ["h", "h:9092, [::1]:9093", "10.0.0.1"] {
        let bootstrap = bytes(good);
        free(opened(|place| unsafe { forebay_upstream_kafka_new(bootstrap, bytes("t"), place) }));
    }
    let (a, t) = (bytes("a:1"), bytes("t"));
    fails(unsafe { forebay_upstream_kafka_new(a, t, None) }, INVALID, "upstream_out is NULL");
    let upstream = kafka();
    fails(unsafe { forebay_upstream_set(None, a, t) }, INVALID, "upstream is NULL");
    let letter = unsafe { forebay_upstream_set_dead_letter(Some(upstream), None) };
    fails(letter, INVALID, "log is NULL");
    let token = |upstream, callback| unsafe {
        forebay_upstream_set_token_callback(upstream, callback, ptr::null_mut(), None)
    };
    fails(token(Some(upstream), None), INVALID, "callback is NULL");
    fails(token(None, Some(ask)), INVALID, "upstream is NULL");
    free(upstream);
}

/// What a callback's context counts, and what it is to give.
struct Asked {
    times: AtomicUsize,
    dropped: AtomicUsize,
    replicator: AtomicPtr<forebay_replicator>,
    turns: AtomicPtr<forebay_turns>,
    answer: fn(&Asked, &mut [u8], &mut usize) -> i32,
}

impl Asked {
    fn new(answer: fn(&Asked, &mut [u8], &mut usize) -> i32) -> Asked {
        Asked {
            times: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            replicator: AtomicPtr::new(ptr::null_mut()),
            turns: AtomicPtr::new(ptr::null_mut()),
            answer,
        }
    }

    fn pointer(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    /// An upstream that logs in with its tokens.
    fn upstream(&self, broker: &str) -> NonNull<forebay_upstream> {
        let upstream = opened(|place| unsafe {
            forebay_upstream_kafka_new(bytes(broker), bytes("telemetry"), place)
        });
        ok(set(upstream, "security.protocol", "SASL_PLAINTEXT"));
        ok(self.give_to(upstream));
        upstream
    }

    fn give_to(&self, upstream: NonNull<forebay_upstream>) -> forebay_status {
        let (up, context) = (Some(upstream), self.pointer());
        unsafe { forebay_upstream_set_token_callback(up, Some(ask), context, Some(dropped)) }
    }
}

unsafe extern "C" fn ask(
    context: *mut c_void,
    buffer: *mut u8,
    capacity: usize,
    len_out: *mut usize,
) -> i32 {
    let asked = unsafe { &*context.cast::<Asked>() };
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, capacity) };
    asked.times.fetch_add(1, Ordering::SeqCst);
    (asked.answer)(asked, buffer, unsafe { &mut *len_out })
}

unsafe extern "C" fn dropped(context: *mut c_void) {
    unsafe { &*context.cast::<Asked>() }.dropped.fetch_add(1, Ordering::SeqCst);
}

fn no_token(_: &Asked, _: &mut [u8], _: &mut usize) -> i32 {
    forebay_status::FOREBAY_NOT_FOUND as i32
}

#[test]
fn a_context_is_given_back_once_whoever_had_it_last() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    let [replaced, freed, taken, refused] = [(); 4].map(|()| Asked::new(no_token));
    let upstream = replaced.upstream("127.0.0.1:9");
    assert_eq!(replaced.dropped(), 0);
    ok(freed.give_to(upstream));
    assert_eq!(replaced.dropped(), 1);
    ok(set(upstream, "sasl.username", "me"));
    fails(not_started(log, upstream), INVALID, "OAUTHBEARER has its token alone");
    ok(set(upstream, "sasl.mechanism", "PLAIN"));
    fails(not_started(log, upstream), INVALID, "a token callback is set");
    assert_eq!(freed.dropped(), 0);
    free(upstream);
    assert_eq!(freed.dropped(), 1);
    let replicator = start(log, taken.upstream("127.0.0.1:9"));
    assert_eq!(taken.dropped(), 0);
    stop(replicator);
    assert_eq!((taken.dropped(), taken.times.load(Ordering::SeqCst)), (1, 0));
    let mirror = opened(|place| unsafe {
        forebay_upstream_log_new(path(&dir.path().join("mirror")), ptr::null(), place)
    });
    fails(refused.give_to(mirror), INVALID, "token callback");
    free(mirror);
    assert_eq!(refused.dropped(), 0);
    close(log);
    assert_eq!([replaced.dropped(), freed.dropped()], [1, 1]);
}

/// A broker as far as the login: every API there is, OAUTHBEARER, and then the token is returned.
fn token_told_to(listener: &TcpListener) -> Option<String> {
    let mut link = listener.accept().unwrap().0;
    link.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    loop {
        let request = frame(&mut link)?;
        let (api, id) = (request[1], &request[4..8]);
        let mut answer = id.to_vec();
        match api {
            18 => {
                // No error, and of each API versions 0 to 20.
                answer.extend([0, 0, 101]);
                (0..100_u8).for_each(|api| answer.extend([0, api, 0, 0, 0, 20, 0]));
                answer.extend([0; 5]);
            }
            17 => {
                answer.extend([0, 0, 0, 0, 0, 1, 0, 11]);
                answer.extend(b"OAUTHBEARER");
            }
            _ => {
                let said = String::from_utf8_lossy(&request).into_owned();
                let token = said.split("auth=Bearer ").nth(1).unwrap();
                return token.split('\x01').next().map(str::to_owned);
            }
        }
        link.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
        link.write_all(&answer).unwrap();
    }
}

fn frame(link: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 4];
    link.read_exact(&mut len).ok()?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(len)).unwrap()];
    link.read_exact(&mut frame).ok()?;
    Some(frame)
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// 9000 letters: more than the first buffer has.
fn long_token(_: &Asked, buffer: &mut [u8], len: &mut usize) -> i32 {
    *len = 9000;
    match buffer.get_mut(..9000) {
        Some(place) => {
            place.fill(b'a');
            forebay_status::FOREBAY_OK as i32
        }
        None => forebay_status::FOREBAY_OUT_OF_SPACE as i32,
    }
}

#[test]
fn a_token_of_any_length_reaches_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    let (listener, address) = listen();
    let asked = Asked::new(long_token);
    let replicator = start(log, asked.upstream(&address));
    assert_eq!(token_told_to(&listener), Some("a".repeat(9000)));
    assert_eq!(asked.times.load(Ordering::SeqCst), 2);
    drop(listener);
    stop(replicator);
    assert_eq!(asked.dropped(), 1);
    close(log);
}

#[test]
fn what_a_callback_does_wrong_is_the_links_error() {
    type Answer = fn(&Asked, &mut [u8], &mut usize) -> i32;
    let wrong: [(Answer, &str); 4] = [
        (no_token, "the token callback returned FOREBAY_NOT_FOUND (-18)"),
        (|_, _, _| 12345, "the token callback returned FOREBAY_UNKNOWN (12345)"),
        (
            |_, buffer, len| {
                *len = buffer.len() + 1;
                0
            },
            "says that it wrote 4097 bytes where 4096 have room",
        ),
        (
            |_, buffer, len| {
                buffer[0] = 0xff;
                *len = 1;
                0
            },
            "gave bytes that are no text",
        ),
    ];
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    for (answer, says) in wrong {
        let (listener, address) = listen();
        let asked = Asked::new(answer);
        let replicator = start(log, asked.upstream(&address));
        assert_eq!(token_told_to(&listener), None, "{says}");
        let mut notice: forebay_notice = unsafe { std::mem::zeroed() };
        let (place, size) = (NonNull::from(&mut notice), size_of::<forebay_notice>());
        ok(unsafe { forebay_replicator_next_notice(at(replicator), -1, Some(place), size) });
        let told = text(&notice.text);
        assert_eq!(notice.kind, FOREBAY_NOTICE_FAILED);
        assert!(told.contains(says), "{told}");
        stop(replicator);
    }
    close(log);
}

/// What waits for the replicator would wait for ever on its own thread.
#[test]
fn a_token_callback_may_not_wait_for_its_own_replicator() {
    fn waits(asked: &Asked, _: &mut [u8], _: &mut usize) -> i32 {
        let replicator = loop {
            // Until the test knows it: the thread is there before the handle is.
            match NonNull::new(asked.replicator.load(Ordering::SeqCst)) {
                Some(replicator) => break replicator,
                None => std::thread::yield_now(),
            }
        };
        let mut reached = std::mem::MaybeUninit::new(false);
        let it = at(replicator);
        let wait = unsafe { forebay_replicator_wait(it, 1 << 40, -1, Some(&mut reached)) };
        fails(wait, INVALID, "own token callback");
        fails(unsafe { forebay_replicator_stop(Some(replicator)) }, INVALID, "own token callback");
        unsafe { forebay_replicator_free(Some(replicator)) };
        let mut notice: forebay_notice = unsafe { std::mem::zeroed() };
        let (place, size) = (NonNull::from(&mut notice), size_of::<forebay_notice>());
        let notice = |ms| unsafe { forebay_replicator_next_notice(it, ms, Some(place), size) };
        fails(notice(-1), INVALID, "own token callback");
        ok(notice(0));
        forebay_status::FOREBAY_WOULD_BLOCK as i32
    }
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    let (listener, address) = listen();
    let asked = Asked::new(waits);
    let replicator = start(log, asked.upstream(&address));
    asked.replicator.store(replicator.as_ptr(), Ordering::SeqCst);
    assert_eq!(token_told_to(&listener), None);
    let mut notice: forebay_notice = unsafe { std::mem::zeroed() };
    let (place, size) = (NonNull::from(&mut notice), size_of::<forebay_notice>());
    ok(unsafe { forebay_replicator_next_notice(at(replicator), -1, Some(place), size) });
    let told = text(&notice.text);
    assert!(told.contains("returned FOREBAY_WOULD_BLOCK"), "{told}");
    stop(replicator);
    assert_eq!(asked.dropped(), 1);
    close(log);
}

/// The call that takes the turn has the turns meanwhile.
#[test]
fn a_token_callback_of_turns_finds_them_in_use() {
    fn uses(asked: &Asked, _: &mut [u8], _: &mut usize) -> i32 {
        let turns = NonNull::new(asked.turns.load(Ordering::SeqCst));
        let busy = forebay_status::FOREBAY_WOULD_BLOCK;
        let mut progress: forebay_progress = unsafe { std::mem::zeroed() };
        let (place, size) = (NonNull::from(&mut progress), size_of::<forebay_progress>());
        fails(unsafe { forebay_turns_status(turns, Some(place), size) }, busy, "in use");
        let mut wait_ms = std::mem::MaybeUninit::new(0);
        fails(unsafe { forebay_turns_turn(turns, Some(&mut wait_ms)) }, busy, "in use");
        unsafe { forebay_turns_free(turns) };
        assert!(last_error().contains("in use"), "{}", last_error());
        busy as i32
    }
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    let (listener, address) = listen();
    let asked = Asked::new(uses);
    let upstream = asked.upstream(&address);
    let turns = opened(|place| unsafe {
        forebay_turns_new(at(log), bytes("up"), Some(upstream), ptr::null(), place)
    });
    asked.turns.store(turns.as_ptr(), Ordering::SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(token_told_to(&listener), None));
        let mut wait_ms = std::mem::MaybeUninit::new(0);
        ok(unsafe { forebay_turns_turn(Some(turns), Some(&mut wait_ms)) });
    });
    assert_eq!((asked.times.load(Ordering::SeqCst), asked.dropped()), (1, 0));
    unsafe { forebay_turns_free(Some(turns)) };
    assert_eq!(asked.dropped(), 1);
    close(log);
}
