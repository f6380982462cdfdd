//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use crate::peer::{Outcome, Peer};
use crate::peers;

const USAGE: &str = "\
usage: peers [--only NAME[,NAME...]] [--dir DIR] [--seconds S] [--rounds N]
       peers --check-kill [--only NAME[,NAME...]] [--dir DIR] [--kills N]
       peers --acks N --threads T --only NAME [--dir DIR]
       peers --list

NAME is a row's name, or its beginning.";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Measure,
    CheckKill,
    CountSyncs,
    List,
    /// The process that is killed.
    ChildAppend,
    /// The process that goes on in the store of the killed one.
    ChildResume,
    /// The process that reads what is there: a peer may hang over it.
    ChildRead,
}

impl Task {
    pub(crate) fn is_child(self) -> bool {
        matches!(self, Task::ChildAppend | Task::ChildResume | Task::ChildRead)
    }
}

pub(crate) struct Arguments {
    pub(crate) task: Task,
    pub(crate) peers: Vec<&'static Peer>,
    pub(crate) dir: Option<PathBuf>,
    /// The longest time of one cell.
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
    pub(crate) kills: u64,
    pub(crate) acks: u64,
    pub(crate) threads: usize,
}

impl Arguments {
    pub(crate) fn parse() -> Outcome<Arguments> {
        let mut arguments = Arguments {
            task: Task::Measure,
            peers: peers::ALL.to_vec(),
            dir: None,
            seconds: 0.3,
            rounds: 5,
            kills: 10,
            acks: 0,
            threads: 1,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--only" => arguments.peers = named(&value()?)?,
                "--dir" => arguments.dir = Some(PathBuf::from(value()?)),
                "--seconds" => arguments.seconds = number(&value()?)?,
                "--rounds" => arguments.rounds = number(&value()?)?,
                "--kills" => arguments.kills = number(&value()?)?,
                "--threads" => arguments.threads = number(&value()?)?,
                "--acks" => {
                    arguments.task = Task::CountSyncs;
                    arguments.acks = number(&value()?)?;
                }
                "--check-kill" => arguments.task = Task::CheckKill,
                "--list" => arguments.task = Task::List,
                "--child-append" => arguments.task = Task::ChildAppend,
                "--child-resume" => arguments.task = Task::ChildResume,
                "--child-read" => arguments.task = Task::ChildRead,
                _ => return Err(format!("{word} is not known\n{USAGE}").into()),
            }
        }
        if arguments.rounds == 0 || arguments.threads == 0 || arguments.threads > 64 {
            return Err("rounds begin at 1, threads go from 1 to 64".into());
        }
        Ok(arguments)
    }

    /// The only peer, where a task is about one.
    pub(crate) fn one_peer(&self) -> Outcome<&'static Peer> {
        match self.peers.as_slice() {
            [peer] => Ok(peer),
            _ => Err("name one peer with --only".into()),
        }
    }
}

fn number<T: FromStr>(text: &str) -> Outcome<T> {
    text.parse().map_err(|_| format!("{text} is not a number that fits here").into())
}

fn named(names: &str) -> Outcome<Vec<&'static Peer>> {
    let mut chosen = Vec::new();
    for name in names.split(',') {
        let whole = peers::ALL.iter().filter(|peer| peer.name == name);
        let mut found: Vec<_> = whole.copied().collect();
        if found.is_empty() {
            found.extend(peers::ALL.iter().filter(|peer| peer.name.starts_with(name)));
        }
        if found.is_empty() {
            return Err(format!("{name} is no peer; --list names them").into());
        }
        chosen.extend(found);
    }
    Ok(chosen)
}
