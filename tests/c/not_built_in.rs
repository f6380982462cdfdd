//! Every function is there in every build, and says what was not built in.

use forebay::ffi::*;

use super::calls::{bytes, refused as fails};

const UNSUPPORTED: forebay_status = forebay_status::FOREBAY_UNSUPPORTED;

#[test]
#[cfg(not(feature = "kafka"))]
fn kafka_that_was_not_built_in_is_named() {
    let (bootstrap, topic) = (bytes("a:1"), bytes("t"));
    let made = unsafe { forebay_upstream_kafka_new(bootstrap, topic, None) };
    fails(made, UNSUPPORTED, "the library was built without `kafka`");
    assert!(!unsafe { forebay_has_feature(c"kafka".as_ptr()) });
}

#[test]
#[cfg(not(feature = "replicator"))]
fn a_replicator_that_was_not_built_in_is_named() {
    let (text, none) = (bytes("x"), std::ptr::null());
    let statuses = [
        unsafe { forebay_upstream_log_new(text, std::ptr::null(), None) },
        unsafe { forebay_upstream_set(None, text, text) },
        unsafe { forebay_upstream_set_dead_letter(None, None) },
        unsafe { forebay_upstream_set_token_callback(None, None, std::ptr::null_mut(), None) },
        unsafe { forebay_replicator_start(None, text, None, none, None) },
        unsafe { forebay_replicator_status(None, None, 0) },
        unsafe { forebay_replicator_next_notice(None, 0, None, 0) },
        unsafe { forebay_replicator_wait(None, 0, 0, None) },
        unsafe { forebay_replicator_stop(None) },
        unsafe { forebay_replicator_stop_within(None, 0) },
        unsafe { forebay_turns_new(None, text, None, none, None) },
        unsafe { forebay_turns_turn(None, None) },
        unsafe { forebay_turns_next_notice(None, None, 0) },
        unsafe { forebay_turns_status(None, None, 0) },
    ];
    for (at, status) in statuses.into_iter().enumerate() {
        assert_eq!(status, UNSUPPORTED, "{at}");
    }
    fails(unsafe { forebay_replicator_stop(None) }, UNSUPPORTED, "without `replicator`");
    let unsupported = i64::from(UNSUPPORTED as i32);
    assert_eq!(unsafe { forebay_replicator_upstream_offset(None, 0) }, unsupported);
    assert_eq!(unsafe { forebay_turns_upstream_offset(None, 0) }, unsupported);
    unsafe { forebay_upstream_free(None) };
    unsafe { forebay_replicator_free(None) };
    unsafe { forebay_turns_free(None) };
}
