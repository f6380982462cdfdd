//! Readers, batches, consumers and followers.
//!
//! Floor 6.

use super::*;

const ENOENT: i32 = 2;

/// Makes a small file of text one of a later version.
pub(super) fn make_newer(disk: &Disk, path: &str) {
    let text = String::from_utf8(disk.read_file(path).unwrap()).unwrap();
    let newer = text.replace("format=1", "format=2");
    let (body, _) = newer.rsplit_once("crc32=").unwrap();
    let sum = crc32fast::hash(body.as_bytes());
    disk.write_file(path, format!("{body}crc32={sum:08x}\n").as_bytes());
}

/// Makes every slot of a checkpoint one of a later version.
fn make_slots_newer(disk: &Disk, path: &str) {
    let mut bytes = disk.read_file(path).unwrap();
    for at in (0..bytes.len().saturating_sub(24)).step_by(4) {
        let length: [u8; 4] = bytes[at + 8..at + 12].try_into().unwrap();
        let length = u32::from_be_bytes(length) as usize;
        let whole = (24..=64 << 10).contains(&length) && at + length <= bytes.len();
        if !whole {
            continue;
        }
        let (body, sum) = bytes[at..at + length].split_last_chunk::<4>().unwrap();
        if crc32fast::hash(body).to_be_bytes() == *sum {
            bytes[at + 5] += 1;
            let sum = crc32fast::hash(&bytes[at..at + length - 4]).to_be_bytes();
            bytes[at + length - 4..at + length].copy_from_slice(&sum);
        }
    }
    disk.write_file(path, &bytes);
}

/// Flips a byte of this text in one of the log's segments.
fn damage(disk: &Disk, text: &[u8]) {
    for name in disk.file_names("/log").iter().filter(|name| name.ends_with(".log")) {
        let path = format!("/log/{name}");
        let mut bytes = disk.read_file(&path).unwrap();
        if let Some(at) = bytes.windows(text.len()).position(|found| found == text) {
            bytes[at] ^= 0x41;
            disk.write_file(&path, &bytes);
        }
    }
}

pub(super) fn readers_and_consumers_do_what_they_are_told() {
    let rig = Rig::new();
    let (log, reader, none) = (rig.log, rig.reader, ptr::null());
    let mut consumer = MaybeUninit::uninit();
    says! { FOREBAY_OK: forebay_log_consumer(r(log), bytes("c"), none, Some(&mut consumer)); }
    let consumer = unsafe { consumer.assume_init() };
    let list = given(|list| unsafe { forebay_log_consumers(r(log), list) });
    let info = size_of::<forebay_consumer_info>();
    says! {
        FOREBAY_OK:
        forebay_log_reader(r(log), 0, 0, any());
        forebay_reader_next(h(reader), any());
        forebay_reader_seek(h(reader), FOREBAY_FROM_LATEST, 0);
        forebay_reader_next_offset(h(reader));
        forebay_consumer_poll(h(consumer), 0, any());
        forebay_consumer_commit(h(consumer));
        forebay_consumer_commit_offset(h(consumer), 2);
        forebay_consumer_commit_with(h(consumer), 3, bytes("note"));
        forebay_consumer_metadata(h(consumer));
        forebay_consumer_sync(h(consumer));
        forebay_consumer_seek(h(consumer), 0, 0);
        forebay_consumer_position(h(consumer));
        forebay_consumer_committed(h(consumer));
        forebay_consumer_lag(h(consumer), any(), any());
        forebay_log_consumer_info(r(log), 0, room(), info);
        forebay_log_consumers(r(log), any());
        forebay_consumer_list_count(r(list));
        forebay_consumer_list_get(r(list), 1, room(), info);
        forebay_consumer_list_free(h(list));
        forebay_consumer_free(h(consumer));
        forebay_log_delete_consumer(r(log), bytes("c"));
    }
    let another = given(|reader| unsafe { forebay_log_reader(r(log), 0, 0, reader) });
    says! { FOREBAY_OK: forebay_reader_free(h(another)); }
}

pub(super) fn readers_and_consumers_on_a_device_that_fails_say_so() {
    let none = ptr::null();
    device! {
        EIO, FOREBAY_IO, Rig::new(), rig:
        forebay_log_reader(r(rig.log), FOREBAY_FROM_TIMESTAMP, 5, any());
        forebay_reader_next(h(rig.reader), any());
        forebay_reader_seek(h(rig.reader), FOREBAY_FROM_TIMESTAMP, 5);
        forebay_log_consumer(r(rig.log), bytes("new"), none, any());
        forebay_consumer_poll(h(rig.consumer), 0, any());
        forebay_consumer_commit_offset(h(rig.consumer), 2);
        forebay_consumer_commit_with(h(rig.consumer), 2, bytes("note"));
        forebay_consumer_sync(h(rig.consumer));
        forebay_consumer_seek(h(rig.consumer), FOREBAY_FROM_TIMESTAMP, 5);
    }
    let known = || {
        let rig = Rig::new();
        let consumer =
            given(|place| unsafe { forebay_log_consumer(r(rig.log), bytes("gone"), none, place) });
        unsafe { forebay_consumer_free(h(consumer)) };
        rig
    };
    device! {
        EIO, FOREBAY_IO, known(), rig: forebay_log_delete_consumer(r(rig.log), bytes("gone"));
    }
    let polled = || {
        let rig = Rig::new();
        let status = unsafe { forebay_consumer_poll(h(rig.consumer), 0, any()) };
        assert_eq!(status, FOREBAY_OK, "{}", said());
        rig
    };
    device! { EIO, FOREBAY_IO, polled(), rig: forebay_consumer_commit(h(rig.consumer)); }
}

pub(super) fn what_is_damaged_gone_or_not_there_is_told() {
    let rig = Rig::new();
    let (log, reader, consumer, none) = (rig.log, rig.reader, rig.consumer, ptr::null());
    let info = size_of::<forebay_consumer_info>();
    let list = given(|list| unsafe { forebay_log_consumers(r(log), list) });
    says! {
        FOREBAY_NOT_FOUND:
        forebay_log_delete_consumer(r(log), bytes("nobody"));
        forebay_log_consumer_info(r(log), 1, room(), info);
        forebay_consumer_list_get(r(list), 1, room(), info);
    }
    says! {
        FOREBAY_CONSUMER_BUSY:
        forebay_log_consumer(r(log), bytes("display"), none, any());
        forebay_log_delete_consumer(r(log), bytes("display"));
    }
    says! {
        FOREBAY_OFFSET_OUT_OF_RANGE:
        forebay_log_reader(r(log), FOREBAY_FROM_OFFSET, 99, any());
        forebay_reader_seek(h(reader), FOREBAY_FROM_OFFSET, 99);
        forebay_consumer_seek(h(consumer), FOREBAY_FROM_OFFSET, 99);
        forebay_consumer_commit_offset(h(consumer), 99);
        forebay_consumer_commit_with(h(consumer), 99, bytes("note"));
    }
    says! { FOREBAY_OK: forebay_last_error_offsets(any(), any()); }
    let mut from = options_of_consumer();
    (from.from, from.number) = (FOREBAY_FROM_OFFSET, 99);
    says! {
        FOREBAY_OFFSET_OUT_OF_RANGE:
        forebay_log_consumer(r(log), bytes("late"), &raw const from, any());
    }
    assert_eq!(unsafe { forebay_log_delete_records(r(log), 15, None) }, FOREBAY_OK);
    says! {
        FOREBAY_OFFSET_OUT_OF_RANGE:
        forebay_consumer_commit(h(consumer));
        forebay_reader_next(h(reader), any());
    }
    damage(&rig.disk, b"last");
    unsafe {
        assert_eq!(forebay_reader_seek(h(reader), FOREBAY_FROM_OFFSET, 20), FOREBAY_OK);
        assert_eq!(forebay_consumer_seek(h(consumer), FOREBAY_FROM_OFFSET, 20), FOREBAY_OK);
    }
    says! {
        FOREBAY_CORRUPT:
        forebay_reader_next(h(reader), any());
        forebay_consumer_poll(h(consumer), 0, any());
    }
    unsafe { forebay_consumer_list_free(h(list)) };
}

fn options_of_consumer() -> forebay_consumer_options {
    let mut place = MaybeUninit::<forebay_consumer_options>::uninit();
    let size = size_of_val(&place);
    says! { FOREBAY_OK: forebay_consumer_options_init(h(place.as_mut_ptr()), size); }
    unsafe { place.assume_init() }
}

fn with_checksum(mut batch: Vec<u8>) -> *mut forebay_batch {
    let sum = crc32c::crc32c(&batch[21..]).to_be_bytes();
    batch[17..21].copy_from_slice(&sum);
    let (mut read, mut used) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    let given = forebay_bytes::of(&batch);
    says! { FOREBAY_OK: forebay_batch_read(given, Some(&mut read), Some(&mut used)); }
    unsafe { read.assume_init() }
}

pub(super) fn batches_say_what_they_cannot_give() {
    let rig = Rig::new();
    let header = forebay_header { name: bytes("unit"), value: bytes("C") };
    let mut record = new_record("21.5");
    (record.headers, record.header_count) = (&raw const header, 1);
    let status = unsafe { forebay_log_append_record(r(rig.log), Some(&record), None) };
    assert_eq!(status, FOREBAY_OK);
    let seek = unsafe { forebay_reader_seek(h(rig.reader), FOREBAY_FROM_OFFSET, 21) };
    assert_eq!(seek, FOREBAY_OK);
    let batch = given(|batch| unsafe { forebay_reader_next(h(rig.reader), batch) });
    let whole = unsafe { forebay_batch_bytes(r(batch)) };
    let stored = unsafe { std::slice::from_raw_parts(whole.data, whole.len) }.to_vec();
    let mut records = [MaybeUninit::<forebay_record>::uninit(); 1];
    let to = records.as_mut_ptr().cast();
    let mut buffer = vec![0; stored.len()];
    let (out, room_for) = (buffer.as_mut_ptr(), buffer.len());
    says! {
        FOREBAY_OK:
        forebay_batch_count(r(batch));
        forebay_batch_base_offset(r(batch));
        forebay_batch_next_offset(r(batch));
        forebay_batch_get(r(batch), 0, any());
        forebay_batch_get_many(r(batch), 0, to, 1, any());
        forebay_batch_header(r(batch), 0, 0, any());
        forebay_batch_bytes(r(batch));
        forebay_batch_read_within(whole, stored.len(), any(), any());
        forebay_batch_produce(r(batch), 1, 0, 0, out, room_for, any());
    }
    says! {
        FOREBAY_NOT_FOUND:
        forebay_batch_get(r(batch), 1, any());
        forebay_batch_header(r(batch), 0, 1, any());
        forebay_last_error_offsets(any(), any());
    }
    says! {
        FOREBAY_OUT_OF_SPACE:
        forebay_batch_produce(r(batch), 1, 0, 0, out, room_for - 1, any());
    }
    says! {
        FOREBAY_RECORD_TOO_LARGE:
        forebay_batch_read_within(whole, stored.len() - 1, any(), any());
    }
    batches_from_elsewhere(&stored, out, room_for);
    says! { FOREBAY_OK: forebay_batch_free(h(batch)); }
}

/// What was received may be anything.
fn batches_from_elsewhere(stored: &[u8], out: *mut u8, room_for: usize) {
    let mut records = [MaybeUninit::<forebay_record>::uninit(); 1];
    let to = records.as_mut_ptr().cast();
    let mut wrong = stored.to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    says! {
        FOREBAY_CORRUPT:
        forebay_batch_read(forebay_bytes::of(&wrong), any(), any());
        forebay_batch_read_within(forebay_bytes::of(&wrong), usize::MAX, any(), any());
    }
    // The length of its only record.
    let mut wrong = stored.to_vec();
    wrong[61] ^= 0x40;
    let wrong = with_checksum(wrong);
    says! {
        FOREBAY_CORRUPT:
        forebay_batch_get(r(wrong), 0, any());
        forebay_batch_get_many(r(wrong), 0, to, 1, any());
        forebay_batch_header(r(wrong), 0, 0, any());
    }
    // Kafka's numbers of the codecs.
    let codecs = [
        (1, cfg!(feature = "gzip")),
        (2, cfg!(feature = "snappy")),
        (3, cfg!(feature = "lz4")),
        (4, cfg!(feature = "zstd")),
    ];
    for (codec, _) in codecs.into_iter().filter(|(_, is_built_in)| !is_built_in) {
        let mut compressed = stored.to_vec();
        compressed[22] |= codec;
        let compressed = with_checksum(compressed);
        says! {
            FOREBAY_UNSUPPORTED:
            forebay_batch_get(r(compressed), 0, any());
            forebay_batch_get_many(r(compressed), 0, to, 1, any());
            forebay_batch_header(r(compressed), 0, 0, any());
        }
        unsafe { forebay_batch_free(h(compressed)) };
    }
    // Its header alone: a batch of which no record is left.
    let mut gap = stored[..61].to_vec();
    gap[8..12].copy_from_slice(&49_u32.to_be_bytes());
    gap[57..61].copy_from_slice(&[0; 4]);
    let gap = with_checksum(gap);
    says! { FOREBAY_UNSUPPORTED: forebay_batch_produce(r(gap), 1, 0, 0, out, room_for, any()); }
    for batch in [wrong, gap] {
        unsafe { forebay_batch_free(h(batch)) };
    }
}

/// A followed log, and its reader at the start.
struct Followed {
    rig: Rig,
    follower: *mut forebay_follower,
    reader: *mut forebay_follow_reader,
}

impl AsRef<Disk> for Followed {
    fn as_ref(&self) -> &Disk {
        &self.rig.disk
    }
}

impl Followed {
    fn new() -> Followed {
        let rig = Rig::new();
        let follower = given(|place| unsafe { forebay_follower_open(bytes("/log"), 1, place) });
        let reader = given(|place| unsafe {
            forebay_follower_reader(r(follower), 0, 0, FOREBAY_WRITTEN, place)
        });
        Followed { rig, follower, reader }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        unsafe {
            forebay_follow_reader_free(h(self.reader));
            forebay_follower_free(h(self.follower));
        }
    }
}

pub(super) fn followers_do_what_they_are_told() {
    let rig = Rig::new();
    let (mut follower, mut reader) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    says! { FOREBAY_OK: forebay_follower_open(bytes("/log"), 0, Some(&mut follower)); }
    let follower = unsafe { follower.assume_init() };
    says! { FOREBAY_OK: forebay_follower_reader(r(follower), 0, 0, 0, Some(&mut reader)); }
    let reader = unsafe { reader.assume_init() };
    says! {
        FOREBAY_OK:
        forebay_follower_start_offset(r(follower));
        forebay_follower_end_offset(r(follower));
        forebay_follower_durable_offset(r(follower));
        forebay_follower_refresh(r(follower));
        forebay_follower_wait(r(follower), 1, FOREBAY_WRITTEN, 0, any());
        forebay_follow_reader_poll(h(reader), 0, any());
        forebay_follow_reader_seek(h(reader), 0, 0);
        forebay_follow_reader_next_offset(h(reader));
        forebay_follow_reader_missed(h(reader), any(), any());
    }
    says! {
        FOREBAY_OFFSET_OUT_OF_RANGE:
        forebay_follower_reader(r(follower), FOREBAY_FROM_OFFSET, 99, 0, any());
        forebay_follow_reader_seek(h(reader), FOREBAY_FROM_OFFSET, 99);
    }
    says! {
        FOREBAY_OK:
        forebay_follow_reader_free(h(reader));
        forebay_follower_free(h(follower));
    }
    damage(&rig.disk, &[b'x'; 100]);
    let follower = given(|place| unsafe { forebay_follower_open(bytes("/log"), 1, place) });
    let reader = given(|place| unsafe {
        forebay_follower_reader(r(follower), 0, 0, FOREBAY_DURABLE, place)
    });
    says! { FOREBAY_CORRUPT: forebay_follow_reader_poll(h(reader), 0, any()); }
    unsafe {
        forebay_follow_reader_free(h(reader));
        forebay_follower_free(h(follower));
    }
}

pub(super) fn followers_say_what_became_of_the_log() {
    device! {
        EIO, FOREBAY_IO, Followed::new(), it:
        forebay_follower_open(bytes("/log"), 0, any());
        forebay_follower_refresh(r(it.follower));
        forebay_follower_wait(r(it.follower), 99, FOREBAY_WRITTEN, 0, any());
        forebay_follower_reader(r(it.follower), 0, 0, 0, any());
        forebay_follow_reader_poll(h(it.reader), 0, any());
        forebay_follow_reader_seek(h(it.reader), 0, 0);
    }
    device! {
        EACCES, FOREBAY_READ_ONLY, Followed::new(), it:
        forebay_follower_open(bytes("/log"), 0, any());
        forebay_follower_refresh(r(it.follower));
        forebay_follower_wait(r(it.follower), 99, FOREBAY_WRITTEN, 0, any());
        forebay_follower_reader(r(it.follower), 0, 0, 0, any());
        forebay_follow_reader_poll(h(it.reader), 0, any());
        forebay_follow_reader_seek(h(it.reader), 0, 0);
    }
    let at_end = || {
        let it = Followed::new();
        let seek = unsafe { forebay_follow_reader_seek(h(it.reader), FOREBAY_FROM_LATEST, 0) };
        assert_eq!(seek, FOREBAY_OK);
        it
    };
    device! {
        ENOENT, FOREBAY_NOT_FOUND, at_end(), it:
        forebay_follower_open(bytes("/log"), 0, any());
        forebay_follower_refresh(r(it.follower));
        forebay_follower_wait(r(it.follower), 99, FOREBAY_WRITTEN, 0, any());
        forebay_follower_reader(r(it.follower), 0, 0, 0, any());
        forebay_follow_reader_poll(h(it.reader), 0, any());
        forebay_follow_reader_seek(h(it.reader), 0, 0);
    }
    let it = at_end();
    make_slots_newer(&it.rig.disk, "/log/checkpoint");
    says! {
        FOREBAY_UNSUPPORTED_FORMAT:
        forebay_follower_open(bytes("/log"), 0, any());
        forebay_follower_refresh(r(it.follower));
        forebay_follower_wait(r(it.follower), 99, FOREBAY_WRITTEN, 0, any());
        forebay_follower_reader(r(it.follower), 0, 0, 0, any());
        forebay_follow_reader_poll(h(it.reader), 0, any());
        forebay_follow_reader_seek(h(it.reader), 0, 0);
    }
    drop(it);

    let it = at_end();
    let other = Disk::new(Profile { seed: 7, ..Profile::default() });
    DISK.set(Some(other.clone()));
    let options = options();
    let log = given(|log| unsafe { forebay_log_open(bytes("/log"), &raw const options, log) });
    append(log, "another");
    assert_eq!(unsafe { forebay_log_close(h(log)) }, FOREBAY_OK);
    let path = |name: &String| format!("/log/{name}");
    for name in it.rig.disk.file_names("/log") {
        it.rig.disk.remove_file(path(&name));
    }
    for name in other.file_names("/log") {
        it.rig.disk.write_file(path(&name), &other.read_file(path(&name)).unwrap());
    }
    says! {
        FOREBAY_CONFLICT:
        forebay_follower_refresh(r(it.follower));
        forebay_follower_wait(r(it.follower), 99, FOREBAY_WRITTEN, 0, any());
        forebay_follower_reader(r(it.follower), 0, 0, 0, any());
        forebay_follow_reader_poll(h(it.reader), 0, any());
        forebay_follow_reader_seek(h(it.reader), 0, 0);
    }
}
