//! What stands in files, and what is said of it.
//!
//! Floor 6.

use super::*;

#[test]
fn no_key_is_shown() {
    let secret = "-----BEGIN PRIVATE KEY-----\nSECRET=\n-----END PRIVATE KEY-----\n";
    let tls = Tls::new().client_pem(secret, secret);
    let kafka = crate::KafkaUpstream::new("b:1", "t").tls(tls.clone());
    for text in [format!("{tls:?}"), format!("{kafka:?}"), format!("{:?}", tls.config(now()))] {
        assert!(!text.contains("SECRET"), "{text}");
    }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600))
}

#[test]
fn what_a_file_has_and_should_have_is_told_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some.pem");
    let begin = "-----BEGIN CERTIFICATE-----\n";
    let end = "-----END CERTIFICATE-----\n";
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
    for (text, of_authorities, of_key) in [
        ("", "has no certificate", "has no key"),
        ("\u{30}\u{82}", "has no certificate", "has no key"),
        (begin, "is cut short", "is cut short"),
        (&format!("{begin}SECRET!\n{end}"), "no base64", "no base64"),
        (&format!("{begin}AAAA\n{end}"), "authority's certificate", "has no key"),
        (encrypted, "has no certificate", "encrypted"),
    ] {
        std::fs::write(&path, text).unwrap();
        let of = |tls: Tls| tls.config(now()).unwrap_err();
        let authorities = of(Tls::new().authorities_file(&path));
        let pem = Pem::File(path.clone());
        for (error, what) in [(authorities, of_authorities), (pem.key().unwrap_err(), of_key)] {
            let shown = error.to_string();
            assert!(shown.contains("some.pem") && shown.contains(what), "{text}: {shown}");
            assert!(!shown.contains("SECRET"), "{shown}");
            assert_eq!(error.kind(), ErrorKind::UpstreamRejected);
        }
    }
    for (path, what) in [
        (dir.path().join("absent"), "absent: cannot be read"),
        (dir.path().to_owned(), "is no file"),
        (PathBuf::from("/dev/zero"), "is no file"),
    ] {
        let error = Tls::new().authorities_file(path).config(now()).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    std::fs::write(&path, vec![b'\n'; 1 << 21]).unwrap();
    let error = Tls::new().authorities_file(&path).config(now()).unwrap_err().to_string();
    assert!(error.contains("larger than 1 MiB"), "{error}");
}

/// Opened, a pipe waits for who writes to it.
#[cfg(unix)]
#[test]
fn a_pipe_is_told_as_none_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe.pem");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (told, error) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let error = Tls::new().authorities_file(path).config(now()).unwrap_err();
        told.send(error.to_string())
    });
    let error = error.recv_timeout(Duration::from_secs(60)).expect("it is waited for");
    assert!(error.contains("pipe.pem: is no file"), "{error}");
}
