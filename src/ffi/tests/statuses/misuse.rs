//! What each function says of arguments that cannot work, and of handles that are in use.
//!
//! Floor 6.

use super::*;

pub(super) fn each_function_refuses_what_is_null() {
    let (text, none) = (bytes("x"), ptr::null());
    let record = new_record("x");
    says! {
        FOREBAY_INVALID_ARGUMENT:
        forebay_last_error_offsets(None, any());
        forebay_options_init(None, 184);
        forebay_options_set(None, text, text);
        forebay_log_open(text, ptr::null(), None);
        forebay_log_id(None, any());
        forebay_log_append(None, text, None);
        forebay_log_append_record(None, Some(&record), None);
        forebay_log_append_batch(None, &raw const record, 1, None);
        forebay_log_append_batch_compressed(None, 0, &raw const record, 1, None);
        forebay_log_append_batch_at(None, 0, &raw const record, 1);
        forebay_log_set_options(None, ptr::null());
        forebay_log_flush(None, None);
        forebay_log_start_offset(None);
        forebay_log_end_offset(None);
        forebay_log_durable_offset(None);
        forebay_log_wait(None, 0, 0, 0, any());
        forebay_log_delete_records(None, 0, None);
        forebay_log_apply_retention(None, None, 0);
        forebay_log_verify(None, room(), 88);
        forebay_log_stats(None, room(), 216);
        forebay_log_recovery(None, room(), 88);
        forebay_log_snapshot(None, text);
        forebay_log_export(None, text);
        forebay_log_reader(None, 0, 0, any());
    }
    of_reading(text);
    of_stores_and_shipping(text, none);
    wrong_handles();
}

fn of_reading(text: forebay_bytes) {
    says! {
        FOREBAY_INVALID_ARGUMENT:
        forebay_reader_next(None, any());
        forebay_reader_seek(None, 0, 0);
        forebay_reader_next_offset(None);
        forebay_batch_base_offset(None);
        forebay_batch_next_offset(None);
        forebay_batch_get(None, 0, any());
        forebay_batch_get_many(None, 0, ptr::null_mut(), 0, any());
        forebay_batch_header(None, 0, 0, any());
        forebay_batch_read(text, None, any());
        forebay_batch_read_within(text, 99, any(), None);
        forebay_batch_produce(None, 0, 0, 0, ptr::null_mut(), 0, any());
        forebay_consumer_options_init(None, 24);
        forebay_log_consumer(None, text, ptr::null(), any());
        forebay_log_delete_consumer(None, text);
        forebay_log_consumer_info(None, 0, room(), 296);
        forebay_log_consumers(None, any());
        forebay_consumer_list_get(None, 0, room(), 296);
        forebay_consumer_poll(None, 0, any());
        forebay_consumer_commit(None);
        forebay_consumer_commit_offset(None, 0);
        forebay_consumer_commit_with(None, 0, text);
        forebay_consumer_sync(None);
        forebay_consumer_seek(None, 0, 0);
        forebay_consumer_position(None);
        forebay_consumer_committed(None);
        forebay_consumer_lag(None, any(), any());
        forebay_follower_open(text, 0, None);
        forebay_follower_start_offset(None);
        forebay_follower_end_offset(None);
        forebay_follower_durable_offset(None);
        forebay_follower_refresh(None);
        forebay_follower_wait(None, 0, 0, 0, any());
        forebay_follower_reader(None, 0, 0, 0, any());
        forebay_follow_reader_poll(None, 0, any());
        forebay_follow_reader_seek(None, 0, 0);
        forebay_follow_reader_next_offset(None);
        forebay_follow_reader_missed(None, any(), any());
    }
}

fn of_stores_and_shipping(text: forebay_bytes, none: *const forebay_replicator_options) {
    says! {
        FOREBAY_INVALID_ARGUMENT:
        forebay_store_options_init(None, 64);
        forebay_store_options_set(None, text, text);
        forebay_store_open(text, ptr::null(), None);
        forebay_store_open_config(text, text, None);
        forebay_store_log(None, text, ptr::null(), any());
        forebay_store_partition(None, text, 1, 0, any());
        forebay_store_delete_log(None, text);
        forebay_store_flush(None);
        forebay_store_maintain(None);
        forebay_store_stats(None, room(), 112);
        forebay_store_log_info(None, 0, room(), 272);
        forebay_store_logs(None, any());
        forebay_log_list_get(None, 0, room(), 272);
        forebay_replicator_options_init(None, 48);
        forebay_replicator_options_set(None, text, text);
        forebay_upstream_log_new(text, ptr::null(), None);
        forebay_upstream_kafka_new(text, text, None);
        forebay_upstream_set(None, text, text);
        forebay_upstream_set_dead_letter(None, None);
        forebay_upstream_set_token_callback(None, None, ptr::null_mut(), None);
        forebay_replicator_start(None, text, None, none, any());
        forebay_replicator_status(None, room(), 696);
        forebay_replicator_next_notice(None, 0, room(), 544);
        forebay_replicator_wait(None, 0, 0, any());
        forebay_replicator_upstream_offset(None, 0);
        forebay_turns_new(None, text, None, none, any());
        forebay_turns_turn(None, any());
        forebay_turns_next_notice(None, room(), 544);
        forebay_turns_status(None, room(), 696);
        forebay_turns_upstream_offset(None, 0);
    }
}

/// NULL is nothing to do for what closes: another kind of handle is no answer to that.
fn wrong_handles() {
    let rig = Rig::new();
    says! {
        FOREBAY_INVALID_ARGUMENT:
        forebay_log_close(h(rig.reader.cast()));
        forebay_store_close(h(rig.log.cast()));
        forebay_replicator_stop(h(rig.log.cast()));
        forebay_replicator_stop_within(h(rig.log.cast()), 0);
    }
}

/// As if another thread were in a call.
pub(super) fn a_handle_that_one_thread_has_is_nobody_elses() {
    let rig = Rig::new();
    let (text, none) = (bytes("x"), ptr::null());
    let follower = given(|place| unsafe { forebay_follower_open(bytes("/log"), 0, place) });
    let following = given(|place| unsafe { forebay_follower_reader(r(follower), 0, 0, 0, place) });
    let up = given(|up| unsafe { forebay_upstream_kafka_new(bytes("127.0.0.1:9"), text, up) });
    let other = given(|up| unsafe { forebay_upstream_kafka_new(bytes("127.0.0.1:9"), text, up) });
    let turns =
        given(|place| unsafe { forebay_turns_new(r(rig.log), text, h(other), none, place) });
    let held = (exclusive(h(rig.reader)), exclusive(h(rig.consumer)), exclusive(h(following)));
    let also = (exclusive::<forebay_upstream>(h(up)), exclusive::<forebay_turns>(h(turns)));
    assert!(held.0.is_ok() && held.1.is_ok() && held.2.is_ok() && also.0.is_ok() && also.1.is_ok());
    says! {
        FOREBAY_WOULD_BLOCK:
        forebay_reader_next(h(rig.reader), any());
        forebay_reader_seek(h(rig.reader), 0, 0);
        forebay_reader_next_offset(h(rig.reader));
        forebay_consumer_poll(h(rig.consumer), 0, any());
        forebay_consumer_commit(h(rig.consumer));
        forebay_consumer_commit_offset(h(rig.consumer), 0);
        forebay_consumer_commit_with(h(rig.consumer), 0, text);
        forebay_consumer_sync(h(rig.consumer));
        forebay_consumer_seek(h(rig.consumer), 0, 0);
        forebay_consumer_position(h(rig.consumer));
        forebay_consumer_committed(h(rig.consumer));
        forebay_consumer_lag(h(rig.consumer), any(), any());
        forebay_follow_reader_poll(h(following), 0, any());
        forebay_follow_reader_seek(h(following), 0, 0);
        forebay_follow_reader_next_offset(h(following));
        forebay_follow_reader_missed(h(following), any(), any());
        forebay_upstream_set(h(up), text, text);
        forebay_upstream_set_dead_letter(h(up), r(rig.log));
        forebay_upstream_set_token_callback(h(up), Some(no_token), ptr::null_mut(), None);
        forebay_turns_turn(h(turns), any());
        forebay_turns_next_notice(h(turns), room(), 544);
        forebay_turns_status(h(turns), room(), 696);
        forebay_turns_upstream_offset(h(turns), 0);
    }
    drop((held, also));
    unsafe {
        forebay_turns_free(h(turns));
        forebay_upstream_free(h(up));
        forebay_follow_reader_free(h(following));
        forebay_follower_free(h(follower));
    }
}

unsafe extern "C" fn no_token(
    _: *mut std::ffi::c_void,
    _: *mut u8,
    _: usize,
    _: *mut usize,
) -> i32 {
    FOREBAY_UPSTREAM as i32
}

pub(super) fn what_needs_no_handle_answers() {
    let mut log = MaybeUninit::<forebay_options>::uninit();
    let (log, size) = (h(log.as_mut_ptr()), size_of::<forebay_options>());
    let mut shipping = MaybeUninit::<forebay_replicator_options>::uninit();
    let shipping_size = size_of_val(&shipping);
    let shipping = h(shipping.as_mut_ptr());
    let mut store = MaybeUninit::<forebay_store_options>::uninit();
    let store_size = size_of_val(&store);
    let store = h(store.as_mut_ptr());
    says! {
        FOREBAY_OK:
        forebay_status_name(-7);
        forebay_last_error();
        forebay_version();
        forebay_version_number();
        forebay_has_feature(c"toml".as_ptr());
        forebay_notice_name(1);
        forebay_link_name(1);
        forebay_set_log_callback(None, ptr::null_mut(), None);
        forebay_options_init(log, size);
        forebay_options_set(log, bytes("hold"), bytes("any"));
        forebay_replicator_options_init(shipping, shipping_size);
        forebay_replicator_options_set(shipping, bytes("backoff_min_ms"), bytes("5"));
        forebay_store_options_init(store, store_size);
    }
    says! {
        FOREBAY_NOT_FOUND:
        forebay_options_set(log, bytes("no"), bytes("any"));
        forebay_replicator_options_set(shipping, bytes("no"), bytes("5"));
        forebay_store_options_set(store, bytes("no"), bytes("5"));
    }
}
