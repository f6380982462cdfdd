//! What stands behind the replicator's C functions in a library that was built without it.
//!
//! Floor 6. They ask what is built in before anything else, so nothing here is ever made or called.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::bytes::forebay_bytes;
use super::callback::Context;
use super::shipping::{forebay_notice, forebay_progress, forebay_replicator_options};
use super::token::{Callback, Token};
use super::version::without;
use crate::{Log, LogOptions, Offset, Result};

fn missing<T>() -> Result<T> {
    Err(without("replicator"))
}

pub(super) struct Setup;

impl Setup {
    pub(super) fn log(_: &Path, _: LogOptions) -> Setup {
        Setup
    }

    pub(super) fn kafka(_: &str, _: &str) -> Result<Setup> {
        missing()
    }

    pub(super) fn set(&mut self, _: &str, _: forebay_bytes) -> Result<()> {
        missing()
    }

    pub(super) fn dead_letter(&mut self, _: &Log) -> Result<()> {
        missing()
    }

    pub(super) fn token(
        &mut self,
        _: Callback,
        _: impl FnOnce() -> Context,
    ) -> Result<Option<Arc<Token>>> {
        missing()
    }
}

pub(super) struct Running;

impl Running {
    pub(super) fn start(
        _: &Log,
        _: &str,
        _: &Setup,
        _: &forebay_replicator_options,
    ) -> Result<Running> {
        missing()
    }

    pub(super) fn not_from_inside(&self, _: &str) -> Result<()> {
        missing()
    }

    pub(super) fn status(&self) -> Result<forebay_progress> {
        missing()
    }

    pub(super) fn upstream_offset(&self, _: Offset) -> Result<Offset> {
        missing()
    }

    pub(super) fn next_notice(&self, _: Duration) -> Result<Option<forebay_notice>> {
        missing()
    }

    pub(super) fn wait(&self, _: Offset, _: Duration) -> Result<bool> {
        missing()
    }

    pub(super) fn stop_within(&self, _: Duration) -> Result<bool> {
        missing()
    }

    pub(super) fn stop(self) -> Result<()> {
        missing()
    }
}

pub(super) struct Turning;

impl Turning {
    pub(super) fn new(
        _: &Log,
        _: &str,
        _: &Setup,
        _: &forebay_replicator_options,
    ) -> Result<Turning> {
        missing()
    }

    pub(super) fn turn(&mut self) -> Result<i64> {
        missing()
    }

    pub(super) fn status(&self) -> Result<forebay_progress> {
        missing()
    }

    pub(super) fn upstream_offset(&self, _: Offset) -> Result<Offset> {
        missing()
    }

    pub(super) fn next_notice(&mut self) -> Result<Option<forebay_notice>> {
        missing()
    }
}
