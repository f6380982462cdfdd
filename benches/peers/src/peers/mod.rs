//! The peers, one file each. forebay comes first; the order of the others is that of the rounds.

mod commitlog;
mod disk_ringbuffer;
mod fjall;
mod forebay;
mod lmdb;
mod logdb;
mod mrecordlog;
mod okaywal;
mod open_wal;
mod raft_engine;
mod redb;
mod sled;
mod sqlite;
mod wal_db;
pub(crate) mod walrus;
mod yaque;

use crate::peer::Peer;

/// Every row there can be.
pub(crate) static ALL: &[&Peer] = &[
    &forebay::MAPPED,
    &forebay::POSITIONED,
    &commitlog::PEER,
    &disk_ringbuffer::PEER,
    &fjall::PEER,
    &lmdb::PEER,
    &logdb::PEER,
    &mrecordlog::PEER,
    &okaywal::PEER,
    &open_wal::PEER,
    &raft_engine::PEER,
    &redb::PEER,
    &sled::PEER,
    &sqlite::OFF,
    &sqlite::NORMAL,
    &sqlite::FULL,
    &wal_db::PEER,
    &walrus::MAPPED,
    &walrus::POSITIONED,
    &yaque::PEER,
];
