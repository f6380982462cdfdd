//! The command line.

use std::ffi::OsString;
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
}

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
        };
        let (mut seconds, mut rate) = (None, None);
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
                _ => return Err(format!("unknown argument {word:?}")),
            }
        }
        if args.stdin && seconds.is_some() {
            return Err("--stdin goes on to the end of the input: --seconds has no place".into());
        }
        if args.verify && (args.stdin || args.outages || seconds.is_some() || rate.is_some()) {
            return Err("--verify goes with --dir alone".into());
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

fn following(name: &str, word: Option<OsString>) -> Result<OsString, String> {
    word.filter(|word| !word.is_empty()).ok_or_else(|| format!("{name} needs a value"))
}

fn number(name: &str, word: Option<OsString>) -> Result<u32, String> {
    let word = following(name, word)?;
    let number = word.to_str().and_then(|text| u32::from_str(text).ok());
    number.ok_or_else(|| format!("{name} {word:?} is not a number from 0 to {}", u32::MAX))
}
