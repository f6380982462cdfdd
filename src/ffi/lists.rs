//! Lists: what there is, as it was when it was asked for, each taken by its index at no cost.
//!
//! Floor 6.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::consumer::forebay_consumer_info;
use super::fail::guard;
use super::handle::{Handle, Inside, free, handle, opened, shared};
use super::log::forebay_log;
use super::sized::{self, Grows};
use super::status::forebay_status;
use super::store::{forebay_log_info, forebay_store};
use crate::{ConsumerLag, Error, ErrorKind, Result, StoreLog};

/// The logs of a store when they were listed, sorted by name and partition.
/// Any number of threads may use it at once, for anything but forebay_log_list_free.
pub struct forebay_log_list(Inside<Vec<StoreLog>>);
handle!(forebay_log_list, Vec<StoreLog>, LogList, "log list");

/// The consumers of a log when they were listed, in the order they were created; replicators' among
/// them. Any number of threads may use it at once, for anything but forebay_consumer_list_free.
pub struct forebay_consumer_list(Inside<Vec<ConsumerLag>>);
handle!(forebay_consumer_list, Vec<ConsumerLag>, ConsumerList, "consumer list");

/// What a list has at this index.
pub(super) fn at<'a, T>(all: &'a [T], index: usize, what: &str) -> Result<&'a T> {
    all.get(index).ok_or_else(|| {
        let there = all.len();
        Error::new(ErrorKind::NotFound, format!("no {what} {index}: there are {there}"))
    })
}

fn count<T, H: Handle<Value = Vec<T>>>(list: Option<&H>) -> usize {
    let mut count = 0;
    let _ = guard(|| {
        count = shared(list)?.len();
        Ok(())
    });
    count
}

fn get<T, I: Grows, H: Handle<Value = Vec<T>>>(
    list: Option<&H>,
    index: usize,
    place: Option<NonNull<I>>,
    size: usize,
    (what, info): (&str, fn(&T) -> I),
) -> forebay_status {
    guard(|| sized::write(place, size, &info(at(&shared(list)?, index, what)?)))
}

/// Lists the logs of a store, partitions each by itself, as they are now: what comes and goes later
/// does not change the list. Free it with forebay_log_list_free, before or after the store is
/// closed. `*list_out` is NULL unless this is FOREBAY_OK. Does not block.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_logs(
    store: Option<&forebay_store>,
    list_out: Option<&mut MaybeUninit<*mut forebay_log_list>>,
) -> forebay_status {
    guard(|| opened(list_out, "list_out", || Ok(shared(store)?.logs())))
}

/// How many logs are in the list; 0 for NULL and what is no list. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_list_count(list: Option<&forebay_log_list>) -> usize {
    count(list)
}

/// Fills in the log of this index, 0 to forebay_log_list_count - 1, into the `size` bytes (sizeof)
/// at `info_out`. Does not block. FOREBAY_NOT_FOUND beyond the last; FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_list_get(
    list: Option<&forebay_log_list>,
    index: usize,
    info_out: Option<NonNull<forebay_log_info>>,
    size: usize,
) -> forebay_status {
    get(list, index, info_out, size, ("log", forebay_log_info::of))
}

/// Frees the list. NULL is nothing to do. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_list_free(list: Option<NonNull<forebay_log_list>>) {
    free(list);
}

/// Lists the consumers that a log knows, open or not, replicators' among them, as they are now.
/// Costs what forebay_log_stats does. Free it with forebay_consumer_list_free, before or after the
/// log is closed. `*list_out` is NULL unless this is FOREBAY_OK. Does not block for the device.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_consumers(
    log: Option<&forebay_log>,
    list_out: Option<&mut MaybeUninit<*mut forebay_consumer_list>>,
) -> forebay_status {
    guard(|| opened(list_out, "list_out", || Ok(shared(log)?.stats().consumers)))
}

/// How many consumers are in the list; 0 for NULL and what is no list. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_list_count(
    list: Option<&forebay_consumer_list>,
) -> usize {
    count(list)
}

/// Fills in the consumer of this index, 0 to forebay_consumer_list_count - 1, into the `size` bytes
/// (sizeof) at `info_out`. Does not block. FOREBAY_NOT_FOUND beyond the last;
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_list_get(
    list: Option<&forebay_consumer_list>,
    index: usize,
    info_out: Option<NonNull<forebay_consumer_info>>,
    size: usize,
) -> forebay_status {
    get(list, index, info_out, size, ("consumer", forebay_consumer_info::of))
}

/// Frees the list. NULL is nothing to do. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_list_free(list: Option<NonNull<forebay_consumer_list>>) {
    free(list);
}
