//! Logins by tokens, and logins that do not last.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::{Error, ErrorKind, Log, Sasl};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Fault, When};
use crate::ships::{HOUR, assert_once, disk, fill, options};
use crate::world::World;

fn log() -> Log {
    options().open_on(&disk(), "/log").unwrap()
}

fn asked(world: &World, api: ApiKey) -> u64 {
    world.state().cluster.requests.get(&(api as i16)).copied().unwrap_or(0)
}

/// A token that is refused is told with the broker's reason, and a new one is asked for at each
/// connect, so that a good one ships without a restart.
#[test]
fn a_token_is_asked_for_at_each_connect_and_its_refusal_is_told() {
    let (world, log) = (World::with_topic(1, 1), log());
    world.state().cluster.settings.tokens = vec!["first.token".to_owned()];
    fill(&log, 50);
    let token = Arc::new(Mutex::new(Err("no network yet".to_owned())));
    let (now, asked) = (Arc::clone(&token), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let sasl = Sasl::oauth_bearer(move || {
        count.fetch_add(1, Ordering::Relaxed);
        now.lock().unwrap().clone().map_err(|what| Error::upstream(format!("no token: {what}")))
    });
    let upstream = world.upstream("t").sasl(sasl.extension("logicalCluster", "lkc-1"));
    let mut turns = world.ship(&log, upstream);
    let minute = Duration::from_secs(60);
    let rejected = ErrorKind::UpstreamRejected;
    for (given, kind, told) in [
        (Err("no network yet"), ErrorKind::Upstream, "no token: no network yet"),
        (Ok("another.token"), rejected, "{\"status\":\"invalid_token\"}"),
        (Ok("a b"), rejected, "characters that no token has"),
        (Ok("a\x01b"), rejected, "characters that no token has"),
        (Ok(" \n"), rejected, "the token is empty"),
    ] {
        *token.lock().unwrap() = given.map(str::to_owned).map_err(str::to_owned);
        let before = asked.load(Ordering::Relaxed);
        let status = world.drain(&mut turns, minute);
        let error = status.last_error.unwrap();
        assert!(error.contains(told), "{error}");
        assert_eq!((status.lag_records, status.last_error_kind), (50, Some(kind)), "{error}");
        assert!(asked.load(Ordering::Relaxed) > before + 1, "it is asked again");
    }
    // From a file it has an end of line.
    *token.lock().unwrap() = Ok("first.token\n".to_owned());
    assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
    assert_once(&world, 50);
}

/// An extension is no way to say something else.
#[test]
fn an_extension_that_is_none_is_refused_before_it_is_sent() {
    for (name, value) in [("auth", "x"), ("", "x"), ("a b", "x"), ("a", "x\x01auth=y"), ("a", "\0")]
    {
        let (world, log) = (World::with_topic(1, 1), log());
        world.state().cluster.settings.tokens = vec!["token".to_owned()];
        fill(&log, 5);
        let sasl = Sasl::oauth_bearer(|| Ok("token".to_owned())).extension(name, value);
        let mut turns = world.ship(&log, world.upstream("t").sasl(sasl));
        let status = world.drain(&mut turns, Duration::from_secs(60));
        assert_eq!(status.lag_records, 5);
        assert!(status.last_error.unwrap().contains("an extension has another name"));
        assert_eq!(asked(&world, ApiKey::SaslAuthenticate), 0);
    }
}

/// A login that lasts a minute is renewed on the open connection, with a new token, before it is
/// over and with nothing on its way; so the broker has nothing to refuse, for as long as it ships.
#[test]
fn a_login_that_does_not_last_is_renewed_before_it_is_over() {
    for latency in [Duration::from_millis(1), Duration::from_millis(700)] {
        let (world, log) = (World::with_topic(1, 1), log());
        {
            let settings = &mut world.state().cluster.settings;
            settings.tokens = (0..1000).map(|number| format!("token-{number}")).collect();
            settings.session_lifetime = Some(Duration::from_secs(60));
            settings.latency = latency;
        }
        let mut number = 0;
        let sasl = Sasl::oauth_bearer(move || {
            number += 1;
            Ok(format!("token-{number}"))
        });
        let mut turns = world.ship(&log, world.upstream("t").sasl(sasl));
        for step in 1..=60 {
            fill(&log, step * 40);
            let status = world.drain(&mut turns, HOUR);
            assert_eq!((status.lag_records, status.failures), (0, 0), "{status:?}");
            assert_eq!(status.connects, 1);
            // Beyond a whole lifetime, too: then the login comes before the next batch.
            let pause = if step % 10 == 0 { 200 } else { 7 };
            let mut state = world.state();
            let until = state.now + Duration::from_secs(pause);
            state.pass(until);
        }
        assert_once(&world, 2400);
        assert!(world.state().cluster.refusals.is_empty(), "{:?}", world.state().cluster.refusals);
        let logins = asked(&world, ApiKey::SaslAuthenticate);
        assert!((12..30).contains(&logins), "{logins} logins in about 30 minutes");
    }
}

/// In the middle of a backlog: what is on its way is answered first.
#[test]
fn a_login_is_renewed_between_the_requests_of_a_backlog() {
    let (world, log) = (World::with_topic(1, 1), log());
    {
        let settings = &mut world.state().cluster.settings;
        settings.sasl = Some(("device".to_owned(), "secret".to_owned()));
        settings.session_lifetime = Some(Duration::from_secs(10));
        settings.latency = Duration::from_millis(700);
    }
    fill(&log, 3000);
    let upstream = world.upstream("t").sasl(Sasl::plain("device", "secret")).merge_bytes(2000);
    let mut turns = world.ship(&log, upstream);
    let status = world.drain(&mut turns, HOUR);
    assert_eq!((status.lag_records, status.failures), (0, 0), "{status:?}");
    assert_once(&world, 3000);
    let logins = asked(&world, ApiKey::SaslAuthenticate);
    assert!(logins > 3, "{logins} logins in {:?}", world.now());
}

/// What goes wrong with a renewal ends the connection, and no more.
#[test]
fn a_login_that_cannot_be_renewed_is_made_anew() {
    let (world, log) = (World::with_topic(1, 1), log());
    {
        let cluster = &mut world.state().cluster;
        cluster.settings.sasl = Some(("device".to_owned(), "secret".to_owned()));
        cluster.settings.session_lifetime = Some(Duration::from_secs(30));
        cluster.fault(ApiKey::SaslAuthenticate, When::PerMille(300), Fault::Error(58));
        cluster.fault(ApiKey::SaslHandshake, When::PerMille(200), Fault::DropAfter { close: true });
    }
    let mut turns = world.ship(&log, world.upstream("t").sasl(Sasl::plain("device", "secret")));
    for step in 1..=40 {
        fill(&log, step * 40);
        world.drain(&mut turns, Duration::from_secs(20));
    }
    let status = world.drain(&mut turns, HOUR);
    assert_eq!(status.lag_records, 0, "{status:?}");
    assert!(status.failures > 0, "{status:?}");
    assert_once(&world, 1600);
}
