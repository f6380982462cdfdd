//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What is printed where a command line is not understood.
pub(crate) const USAGE: &str = "\
usage: store_and_forward [OPTION]...
  --dir DIR      where the two logs are: DIR/edge and DIR/upstream (./store-and-forward)
  --seconds N    take samples for N seconds (10); 0: until killed
  --rate N       records per second (200; with --stdin 0); 0: as fast as possible
  --stdin        take lines from standard input, until its end, instead of telemetry
  --outages      break the link to the upstream again and again
  --verify       only check what DIR holds; nothing is appended or shipped

  --kafka HOST:PORT[,HOST:PORT]  ship to a real Kafka instead of DIR/upstream, and read it back from
                 there; needs a build with --features kafka
  --topic NAME   where to ship to (with --kafka)
  --partition N  of that topic (0)
  --create-topic make the topic if there is none
  --tls          speak TLS with the brokers
  --ca FILE      the authorities to trust, in PEM (those that browsers trust); TLS
  --cert FILE --key FILE  the certificate to show, and its key, in PEM; TLS
  --sasl MECHANISM  log in: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER
  --user NAME    who logs in
  --password-file FILE  its password, or the token; else KAFKA_PASSWORD in the environment
exit status: 0 if the proof holds, 1 if not or if something failed, 2 for a wrong command line";

/// What to do, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    dir: PathBuf,
    /// How long samples are taken; `None` until killed, or until the input ends.
    pub(crate) length: Option<Duration>,
    /// 0: as fast as possible.
    pub(crate) records_per_second: u32,
    pub(crate) stdin: bool,
    pub(crate) outages: bool,
    pub(crate) verify: bool,
    /// The real one to ship to, if that was asked for.
    pub(crate) kafka: Option<KafkaArgs>,
}

/// How to reach a Kafka, and its topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KafkaArgs {
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) create_topic: bool,
    pub(crate) tls: Option<TlsArgs>,
    pub(crate) sasl: Option<SaslArgs>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsArgs {
    pub(crate) ca: Option<PathBuf>,
    /// Certificate and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SaslArgs {
    pub(crate) mechanism: Mechanism,
    pub(crate) user: String,
    /// `None`: in the environment.
    secret_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OauthBearer,
}

const MECHANISMS: [Mechanism; 4] =
    [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512, Mechanism::OauthBearer];
const PASSWORD: &str = "KAFKA_PASSWORD";
/// Options that say nothing without `--kafka`, and whether a value follows.
const OF_KAFKA: [(&str, bool); 10] = [
    ("--topic", true),
    ("--partition", true),
    ("--create-topic", false),
    ("--tls", false),
    ("--ca", true),
    ("--cert", true),
    ("--key", true),
    ("--sasl", true),
    ("--user", true),
    ("--password-file", true),
];

impl Args {
    /// `None` if help is asked for. The error is one line for whoever typed it.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Option<Args>, String> {
        let mut args = Args {
            dir: PathBuf::from("store-and-forward"),
            length: None,
            records_per_second: 0,
            stdin: false,
            outages: false,
            verify: false,
            kafka: None,
        };
        let (mut seconds, mut rate) = (None, None);
        let (mut kafka, mut of_kafka) = (None, Vec::new());
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.to_str().unwrap_or_default() {
                "--dir" => args.dir = following("--dir", words.next())?.into(),
                "--seconds" => seconds = Some(number("--seconds", words.next())?),
                "--rate" => rate = Some(number("--rate", words.next())?),
                "--stdin" => args.stdin = true,
                "--outages" => args.outages = true,
                "--verify" => args.verify = true,
                "--help" => return Ok(None),
                "--kafka" => kafka = Some(text("--kafka", words.next())?),
                other => {
                    let of = OF_KAFKA.iter().find(|of| of.0 == other);
                    let (name, valued) = of.ok_or_else(|| format!("unknown argument {word:?}"))?;
                    let value = if *valued { following(name, words.next())? } else { "".into() };
                    of_kafka.push((*name, value));
                }
            }
        }
        if args.stdin && seconds.is_some() {
            return Err("--stdin goes on to the end of the input: --seconds has no place".into());
        }
        if args.verify && (args.stdin || args.outages || seconds.is_some() || rate.is_some()) {
            return Err("--verify goes with --dir and --kafka alone".into());
        }
        match (kafka, of_kafka.first()) {
            (Some(bootstrap), _) => args.kafka = Some(KafkaArgs::parse(bootstrap, of_kafka)?),
            (None, Some((name, _))) => return Err(format!("{name} goes with --kafka HOST:PORT")),
            (None, None) => {}
        }
        let until_killed = args.stdin || seconds == Some(0);
        args.length = (!until_killed).then(|| Duration::from_secs(seconds.unwrap_or(10).into()));
        args.records_per_second = rate.unwrap_or(if args.stdin { 0 } else { 200 });
        Ok(Some(args))
    }

    /// The directory of the log that is written here.
    pub(crate) fn edge(&self) -> PathBuf {
        self.dir.join("edge")
    }

    /// The directory of the log that plays the other side of the link.
    pub(crate) fn upstream(&self) -> PathBuf {
        self.dir.join("upstream")
    }
}

impl KafkaArgs {
    fn parse(bootstrap: String, words: Vec<(&str, OsString)>) -> Result<KafkaArgs, String> {
        let mut args = KafkaArgs { bootstrap, ..KafkaArgs::default() };
        let (mut cert, mut key, mut mechanism) = (None, None, None);
        let (mut user, mut secret_file) = (None, None);
        for (name, value) in words {
            let tls = args.tls.clone();
            match name {
                "--topic" => args.topic = topic(text(name, Some(value))?)?,
                "--partition" => {
                    let number = number(name, Some(value))?;
                    args.partition = number.try_into().map_err(|_| "--partition is too large")?;
                }
                "--create-topic" => args.create_topic = true,
                "--tls" => args.tls = Some(tls.unwrap_or_default()),
                "--ca" => {
                    let ca = Some(file(name, value)?);
                    args.tls = Some(TlsArgs { ca, ..tls.unwrap_or_default() });
                }
                "--cert" => cert = Some(file(name, value)?),
                "--key" => key = Some(file(name, value)?),
                "--sasl" => mechanism = Some(Mechanism::parse(&text(name, Some(value))?)?),
                "--user" => user = Some(text(name, Some(value))?),
                _ => secret_file = Some(file(name, value)?),
            }
        }
        match (cert, key) {
            (Some(cert), Some(key)) => {
                args.tls.get_or_insert_default().client = Some((cert, key));
            }
            (None, None) => {}
            _ => return Err("--cert and --key go together".into()),
        }
        if args.topic.is_empty() {
            return Err("--kafka needs --topic NAME".into());
        }
        let Some(mechanism) = mechanism else {
            return match (user, secret_file) {
                (None, None) => Ok(args),
                _ => Err("--user and --password-file go with --sasl MECHANISM".into()),
            };
        };
        if user.is_none() && mechanism != Mechanism::OauthBearer {
            return Err(format!("--sasl {} needs --user NAME", mechanism.name()));
        }
        let sasl = SaslArgs { mechanism, user: user.unwrap_or_default(), secret_file };
        sasl.secret()?;
        args.sasl = Some(sasl);
        Ok(args)
    }
}

impl SaslArgs {
    /// The password or token, read anew each time. The error is one line.
    pub(crate) fn secret(&self) -> Result<String, String> {
        let found = match &self.secret_file {
            Some(path) => fs::read_to_string(path)
                .map_err(|error| format!("--password-file {}: {error}", path.display()))?,
            None => std::env::var(PASSWORD).map_err(|_| {
                format!("--sasl needs --password-file FILE, or {PASSWORD} in the environment")
            })?,
        };
        match found.trim_end_matches(['\r', '\n']) {
            "" => Err("the password is empty".to_owned()),
            secret => Ok(secret.to_owned()),
        }
    }
}

impl fmt::Debug for SaslArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as '{}'", self.mechanism.name(), self.user)
    }
}

impl Mechanism {
    fn parse(word: &str) -> Result<Mechanism, String> {
        let mut all = MECHANISMS.into_iter();
        all.find(|one| one.name().eq_ignore_ascii_case(word)).ok_or_else(|| {
            let names = MECHANISMS.map(Mechanism::name).join(", ");
            format!("--sasl '{word}' is none of {names}")
        })
    }

    /// As brokers name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }
}

/// A name that a topic can have.
fn topic(name: String) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match name.bytes().all(plain) && name.len() < 240 && name != "." && name != ".." {
        true => Ok(name),
        false => Err(format!("--topic '{name}': letters, digits, '.', '_' and '-' make a topic")),
    }
}

/// A file that can be read now: whoever mistypes it is told at once.
fn file(name: &str, path: OsString) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    match fs::metadata(&path) {
        Ok(found) if found.is_file() => Ok(path),
        Ok(_) => Err(format!("{name} {}: it is no file", path.display())),
        Err(error) => Err(format!("{name} {}: {error}", path.display())),
    }
}

fn text(name: &str, word: Option<OsString>) -> Result<String, String> {
    let word = following(name, word)?;
    word.into_string().map_err(|word| format!("{name} {word:?} is no text"))
}

fn following(name: &str, word: Option<OsString>) -> Result<OsString, String> {
    word.filter(|word| !word.is_empty()).ok_or_else(|| format!("{name} needs a value"))
}

fn number(name: &str, word: Option<OsString>) -> Result<u32, String> {
    let word = following(name, word)?;
    let number = word.to_str().and_then(|text| u32::from_str(text).ok());
    number.ok_or_else(|| format!("{name} {word:?} is not a number from 0 to {}", u32::MAX))
}
