//! Each fault does what it says, and is over when it is over.

use super::*;

/// A server that gives back what it gets, behind a link; and a client.
fn echo() -> (Link, SocketAddr) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    thread::spawn(move || {
        for client in server.incoming().map(Result::unwrap) {
            thread::spawn(move || {
                let (mut from, mut to) = (client.try_clone().unwrap(), client);
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    // A port that was free a moment ago.
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (Link::listen(at, to).unwrap(), at)
}

fn client(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream
}

/// What comes back for a byte: itself, or how it failed.
fn ask(stream: &mut TcpStream, byte: u8) -> Result<u8, io::ErrorKind> {
    let mut answer = [0];
    stream.write_all(&[byte]).map_err(|error| error.kind())?;
    stream.read_exact(&mut answer).map_err(|error| error.kind())?;
    Ok(answer[0])
}

#[test]
fn a_whole_link_carries_both_ways_and_its_end() {
    let (link, at) = echo();
    let mut one = client(at);
    let sent: Vec<u8> = (0..1 << 20).map(|at: u32| (at / 3) as u8).collect();
    let (mut writing, bytes) = (one.try_clone().unwrap(), sent.clone());
    let writer = thread::spawn(move || {
        writing.write_all(&bytes).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    one.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == sent);
    assert_eq!(link.carried().bytes, 2 << 20);
    assert_eq!(link.carried().bytes_lost, 0);
}

#[test]
fn a_reset_is_told_and_refuses_until_it_is_over() {
    let (link, at) = echo();
    let mut old = client(at);
    assert_eq!(ask(&mut old, 1), Ok(1));
    link.set(Some(Fault::Reset));
    let told = ask(&mut old, 2).unwrap_err();
    assert!(matches!(told, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{told}");
    let new = ask(&mut client(at), 3).unwrap_err();
    assert!(matches!(new, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{new}");
    link.set(None);
    assert_eq!(ask(&mut client(at), 4), Ok(4));
}

#[test]
fn what_is_cut_silently_stays_dead_and_nobody_is_told() {
    let (link, at) = echo();
    let mut old = client(at);
    assert_eq!(ask(&mut old, 1), Ok(1));
    link.set(Some(Fault::Silent));
    assert_eq!(ask(&mut old, 2), Err(io::ErrorKind::WouldBlock));
    let mut new = client(at);
    assert_eq!(ask(&mut new, 3), Err(io::ErrorKind::WouldBlock));
    link.set(None);
    assert_eq!(ask(&mut old, 4), Err(io::ErrorKind::WouldBlock));
    assert_eq!(ask(&mut new, 4), Err(io::ErrorKind::WouldBlock));
    assert_eq!(ask(&mut client(at), 5), Ok(5));
}

#[test]
fn what_is_held_arrives_when_it_is_over() {
    let (link, at) = echo();
    let mut stream = client(at);
    assert_eq!(ask(&mut stream, 1), Ok(1));
    link.set(Some(Fault::Hold));
    assert_eq!(ask(&mut stream, 2), Err(io::ErrorKind::WouldBlock));
    link.set(None);
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [2]);
}

#[test]
fn one_direction_is_lost_and_the_other_is_not() {
    for way in [Way::Up, Way::Down] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let link = Link::listen(at, server.local_addr().unwrap()).unwrap();
        let mut near = client(at);
        let (mut far, _) = server.accept().unwrap();
        far.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        link.set(Some(Fault::Lose(way)));
        near.write_all(b"a").unwrap();
        far.write_all(b"b").unwrap();
        let mut buffer = [0];
        assert_eq!(far.read_exact(&mut buffer).is_ok(), way == Way::Down, "{way:?}");
        assert_eq!(near.read_exact(&mut buffer).is_ok(), way == Way::Up, "{way:?}");
    }
}

/// Timing at its coarsest: a lower bound, which no busy machine can break.
#[test]
fn a_delay_and_a_bound_take_at_least_their_time() {
    let (link, at) = echo();
    let mut stream = client(at);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    link.set(Some(Fault::Delay(Duration::from_millis(40))));
    let from = Instant::now();
    assert_eq!(ask(&mut stream, 1), Ok(1));
    assert!(from.elapsed() >= Duration::from_millis(80));
    link.set(Some(Fault::Slow(100)));
    let from = Instant::now();
    for byte in 0..20 {
        assert_eq!(ask(&mut stream, byte), Ok(byte));
    }
    assert!(from.elapsed() >= Duration::from_millis(190));
}

#[test]
fn faults_are_read_as_they_are_written() {
    let mut random = Random::new(1);
    let mut kinds = [false; KINDS];
    for _ in 0..200 {
        let (fault, _) = Fault::draw(&mut random);
        kinds[fault.kind()] = true;
        assert_eq!(fault.to_string().parse(), Ok(fault));
    }
    assert_eq!(kinds, [true; KINDS]);
    assert!("lose".parse::<Fault>().is_err());
}
