//! TLS over real sockets: handshakes that end, and failures that are told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use forebay::{KafkaUpstream, Replicator, ReplicatorOptions, Tls};
use rustls::ServerConnection;

use super::certificates::{Authority, Pair, named};
use super::server::{self, Secured};
use crate::ships::{disk, fill, options};
use crate::world::World;

/// What is told of a port that does this with a connection.
fn told_of(port: impl Fn(TcpStream) + Send + 'static, tls: Tls, told: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let served = thread::spawn(move || {
        for stream in listener.incoming() {
            if stopped.try_recv() == Err(mpsc::TryRecvError::Disconnected) {
                return;
            }
            port(stream.unwrap());
        }
    });
    let log = options().open_on(&disk(), "/log").unwrap();
    fill(&log, 5);
    let wait = Duration::from_millis(100);
    let kafka = KafkaUpstream::new(address.to_string(), "t").timeouts(wait, wait).tls(tls);
    let pace = ReplicatorOptions::new().backoff(Duration::from_millis(1), Duration::from_millis(5));
    let replicator = Replicator::start(&log, "uplink", kafka, pace).unwrap();
    while replicator.status().failures < 3 {
        thread::sleep(Duration::from_millis(1));
    }
    let status = replicator.status();
    replicator.stop().unwrap();
    drop(stop);
    drop(TcpStream::connect(address).unwrap());
    served.join().unwrap();
    let error = status.last_error.unwrap();
    assert!(error.contains(told), "{error}");
    assert_eq!(status.lag_records, 5);
}

/// Serves a handshake, and what follows it, until the client closes.
fn serve(mut stream: TcpStream, pair: &Pair) {
    let world = World::new(1, 1);
    let port = Secured::new(&world, pair.clone()).port().clone();
    let mut tls = ServerConnection::new(Arc::new(server::config(&port))).unwrap();
    let mut ignored = Vec::new();
    let _ = rustls::Stream::new(&mut tls, &mut stream).read_to_end(&mut ignored);
}

#[test]
fn a_handshake_over_sockets_ends_whatever_the_port_does() {
    let ours = Authority::new("ours");
    let tls = || Tls::new().authorities_pem(ours.pem.clone());
    let silent = |stream: TcpStream| {
        // Whoever waits for an answer closes in the end.
        let _ = (&stream).read_to_end(&mut Vec::new());
    };
    told_of(silent, tls(), "s: the broker says nothing");
    let trickle = |mut stream: TcpStream| {
        // A record that claims 16,000 bytes, and never ends.
        let begun = stream.write_all(&[0x16, 3, 3, 0x3e, 0x80]);
        while begun.is_ok() && stream.write_all(&[0]).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    };
    told_of(trickle, tls(), " ms: the broker or the link is slow");
    told_of(drop, tls(), "the TLS handshake");
    let other = ours.issue(named("b", &["kafka.example"]));
    told_of(
        move |stream| serve(stream, &other),
        tls(),
        "is for kafka.example, and not for 127.0.0.1",
    );
    let others = Authority::new("others").broker();
    told_of(move |stream| serve(stream, &others), tls(), "none of the authorities");
    let others = Authority::new("others").broker();
    told_of(move |stream| serve(stream, &others), Tls::new(), "none of the authorities");
}

/// What goes through after the handshake: the first request comes, and its answer is waited for.
#[test]
fn requests_go_out_over_tls_and_sockets() {
    let ours = Authority::new("ours");
    let pair = ours.issue(named("b", &["127.0.0.1"]));
    let tls = Tls::new().authorities_pem(ours.pem.clone());
    told_of(move |stream| serve(stream, &pair), tls, "no answer came in time");
}
