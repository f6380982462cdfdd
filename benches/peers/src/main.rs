//! forebay beside its peers: measured in one process, interleaved, in one directory.
//!
//! The README says what counts as a peer and how each statement about one was tested.

mod arguments;
mod kill;
mod measure;
mod peer;
mod peers;
mod place;
mod syncs;
mod table;

use std::process::ExitCode;

use crate::arguments::{Arguments, Task};
use crate::peer::Outcome;
use crate::peers::walrus;

fn main() -> ExitCode {
    match Arguments::parse().and_then(|arguments| run(&arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let place = place::Place::make(arguments.dir.as_deref(), arguments.task.is_child())?;
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var(walrus::DIR_VARIABLE, place.base()) };
    // SAFETY: as above.
    unsafe { std::env::set_var(walrus::QUIET_VARIABLE, "1") };
    match arguments.task {
        Task::Measure => {
            let results = measure::run(arguments, &place)?;
            table::print(&results, arguments, &place);
            Ok(ExitCode::SUCCESS)
        }
        Task::CheckKill => kill::check(arguments, &place),
        Task::CountSyncs => syncs::acknowledge(arguments, &place),
        Task::List => {
            arguments.peers.iter().for_each(|peer| println!("{}", peer.name));
            Ok(ExitCode::SUCCESS)
        }
        Task::ChildAppend => kill::child_append(arguments, &place),
        Task::ChildResume => kill::child_resume(arguments, &place),
        Task::ChildRead => kill::child_read(arguments, &place),
    }
}
