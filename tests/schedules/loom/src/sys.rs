//! Files of the crate's `sys`, as they are, on the checker's locks and atomics.

pub(crate) mod sync;

#[path = "../../../../src/sys/event.rs"]
mod event;
#[path = "../../../../src/sys/published.rs"]
mod published;

pub(crate) use event::Event;
pub(crate) use published::Published;
