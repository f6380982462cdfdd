// Every method of forebay.hpp: what it gives, and how it fails.
//
//   main EMPTY_DIRECTORY            says "whole" at the end
//   main EMPTY_DIRECTORY misuse     takes a value that is not there
#include "check.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using forebay::Batch;
using forebay::Consumer;
using forebay::Follower;
using forebay::Header;
using forebay::Log;
using forebay::NewRecord;
using forebay::OffsetSpec;
using forebay::Options;
using forebay::Reader;
using forebay::Store;
using forebay::Visibility;

static std::string root;

static std::string dir(const char* name) { return root + "/" + name; }

static void what_is_appended_is_read() {
  auto log = must(Log::open(dir("read"), Options().segment_bytes(1 << 20).flush_manual()));
  CHECK(must(log.recovery()).created == 1);
  CHECK(must(log.append("plain")) == 0);
  const std::vector<Header> headers = {Header("unit", "C"), Header("valid")};
  CHECK(must(log.append(NewRecord("21.5").key("t").timestamp_ms(77).headers(headers))) == 1);
  CHECK(must(log.append(NewRecord::tombstone("t"))) == 2);
  CHECK(must(log.append_batch({NewRecord("a"), NewRecord("").key("")})) == 3);
  const std::vector<NewRecord> more = {NewRecord("c"), NewRecord("d")};
  CHECK(must(log.append_batch(more)) == 5);
  must(log.append_batch_at(7, more));
  must(log.append_batch_at(9, {NewRecord("e")}));
  CHECK(must(log.append_batch(std::vector<NewRecord>())) == 10);
  CHECK(must(log.append_batch_compressed(FOREBAY_COMPRESSION_NONE, std::vector<NewRecord>())) == 10);
  CHECK(fails(log.append_batch_compressed(5, {NewRecord("e")}), FOREBAY_INVALID_ARGUMENT));
  CHECK(fails(log.append_batch_at(3, more), FOREBAY_CONFLICT));
  CHECK(fails(log.append(std::string(2 << 20, 'x')), FOREBAY_RECORD_TOO_LARGE));
  CHECK(fails(log.append(NewRecord("bad").key(std::string(2 << 20, 'x'))),
              FOREBAY_RECORD_TOO_LARGE));
  const std::vector<Header> not_text = {Header("\xff")};
  CHECK(fails(log.append(NewRecord("").headers(not_text)), FOREBAY_INVALID_ARGUMENT));

  CHECK(log.log_start_offset() == 0 && log.log_end_offset() == 10);
  CHECK(second_unit(log) == "=plain;t=21.5;t=;=a;=;=c;=d;=c;=d;=e;");

  auto reader = must(log.reader(OffsetSpec::at(1)));
  const Batch batch = must(reader.next());
  CHECK(batch && batch.size() == 1 && !batch.empty());
  CHECK(batch.base_offset() == 1 && batch.next_offset() == 2 && reader.next_offset() == 2);
  const auto record = must(batch.record(0));
  CHECK(record.offset() == 1 && record.timestamp_ms() == 77 && record.raw().offset == 1);
  CHECK(record.has_key() && record.key() == "t" && record.value() == "21.5");
  CHECK(record.header_count() == 2 && must(record.headers()).size() == 2);
  CHECK(must(record.header(0)).name() == "unit" && must(record.header(0)).value() == "C");
  CHECK(must(record.header(1)).name() == "valid" && !must(record.header(1)).value());
  CHECK(fails(record.header(2), FOREBAY_NOT_FOUND));
  CHECK(fails(batch.record(1), FOREBAY_NOT_FOUND));
  must(batch.check());

  must(reader.seek(OffsetSpec::at(2)));
  const Batch deleted = must(reader.next());
  CHECK(deleted.begin()->is_tombstone() && deleted.begin()->value().empty());
  // A reader that begins in the middle of a batch has the records from there on.
  must(reader.seek(OffsetSpec::at(4)));
  const Batch half = must(reader.next());
  CHECK(half.base_offset() == 3 && half.size() == 1);
  CHECK(half.begin()->offset() == 4 && half.begin()->has_key() && half.begin()->key().empty());
  CHECK(std::distance(half.begin(), half.end()) == 1);
  must(reader.seek(OffsetSpec::latest()));
  CHECK(!must(reader.next()));
  must(reader.seek(OffsetSpec::timestamp(78)));
  const auto beyond = reader.seek(OffsetSpec::at(11));
  CHECK(fails(beyond, FOREBAY_OFFSET_OUT_OF_RANGE));
  CHECK(beyond.error().offsets()->from == 0 && beyond.error().offsets()->to == 10);
  CHECK(fails(log.reader(OffsetSpec::at(11)), FOREBAY_OFFSET_OUT_OF_RANGE));
  must(log.close());
}

static void a_batch_travels_as_bytes() {
  auto log = must(Log::open(dir("travel")));
  must(log.append_batch({NewRecord("a"), NewRecord("b"), NewRecord("c")}));
  auto reader = must(log.reader(OffsetSpec::earliest()));
  const Batch batch = must(reader.next());
  auto bytes = batch.bytes().to_vector();
  const std::size_t size = bytes.size();
  CHECK(size > 60);
  bytes.push_back(0);
  const auto split = must(Batch::read(bytes));
  CHECK(split.used == size && split.batch.size() == 3 && split.batch.bytes() == batch.bytes());
  const auto cut = must(Batch::read(forebay::bytes_view(bytes.data(), size - 1)));
  CHECK(!cut.batch && cut.used == 0);
  CHECK(must(Batch::read(bytes, size)).used == size);
  CHECK(fails(Batch::read(forebay::bytes_view(bytes.data(), 61), size - 1),
              FOREBAY_RECORD_TOO_LARGE));
  bytes[size - 1] = static_cast<std::uint8_t>(bytes[size - 1] ^ 1);
  CHECK(fails(Batch::read(bytes), FOREBAY_CORRUPT));
  CHECK(must(batch.produce(7, 1, 0)).size() == size);
  const Batch none = must(reader.next());
  CHECK(fails(none.produce(-1, -1, -1), FOREBAY_INVALID_ARGUMENT));
}

// CRC-32C, bit by bit.
static std::uint32_t crc_of(const std::uint8_t* bytes, std::size_t size) {
  std::uint32_t crc = ~0U;
  for (std::size_t at = 0; at < size; ++at) {
    crc ^= bytes[at];
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82f63b78U : crc >> 1;
    }
  }
  return ~crc;
}

// A foreign writer's batch: its checksum is right, the length of its second record is not.
static void a_record_that_cannot_be_decoded_is_not_committed() {
  auto log = must(Log::open(dir("foreign")));
  must(log.append_batch({NewRecord("a"), NewRecord("b"), NewRecord("c")}));
  auto consumer = must(log.consumer("c"));
  const Batch batch = must(consumer.poll(1s));
  auto bytes = batch.bytes().to_vector();
  // A batch's records begin at 61, one of a letter takes 8 bytes; its checksum is at 17 of what
  // follows that.
  bytes[61 + 8] = 0x7e;
  const std::uint32_t crc = crc_of(&bytes[21], bytes.size() - 21);
  for (std::size_t at = 0; at < 4; ++at) {
    bytes[17 + at] = static_cast<std::uint8_t>(crc >> (24 - 8 * at));
  }
  const Batch bad = std::move(must(Batch::read(bytes)).batch);
  std::string seen;
  for (const auto& record : bad) {
    seen += record.value().text();
  }
  CHECK(seen == "a" && bad.size() == 3 && fails(bad.check(), FOREBAY_CORRUPT));
  CHECK(fails(consumer.commit(bad), FOREBAY_CORRUPT) && consumer.committed() == 0);
  CHECK(fails(bad.record(1), FOREBAY_CORRUPT) && must(bad.record(0)).value() == "a");
  must(consumer.commit_offset(bad.next_offset()));
  CHECK(consumer.committed() == 3);
}

// As many as an iterator asks for at once, one less, one more, and several times as many.
static void a_loop_has_every_record_of_a_batch() {
  auto log = must(Log::open(dir("loop")));
  std::int64_t next = 0;
  for (const int count : {1, 7, 8, 9, 16, 100}) {
    std::vector<std::string> values;
    for (int index = 0; index < count; ++index) {
      values.push_back(std::to_string(next + index));
    }
    const std::vector<NewRecord> records(values.begin(), values.end());
    CHECK(must(log.append_batch(records)) == next);
    auto reader = must(log.reader(OffsetSpec::at(next)));
    const Batch batch = must(reader.next());
    std::int64_t offset = next;
    for (const auto& record : batch) {
      CHECK(record.offset() == offset && record.value() == std::to_string(offset));
      ++offset;
    }
    CHECK(offset == next + count && batch.size() == values.size());
    auto two = batch.begin();
    const auto one = two++;
    CHECK(one->offset() == next && (count == 1 ? two == batch.end() : two->offset() == next + 1));
    CHECK(std::distance(batch.begin(), batch.end()) == count);
    must(batch.check());
    next += count;
  }
}

static void a_consumer_goes_on_where_it_committed() {
  auto log = must(Log::open(dir("consume")));
  {
    auto consumer = must(log.consumer("first"));
    CHECK(fails(log.consumer("first"), FOREBAY_CONSUMER_BUSY));
    CHECK(fails(log.consumer("no/name"), FOREBAY_INVALID_ARGUMENT));
    CHECK(!must(consumer.poll(0ms)) && !must(consumer.poll(-5ms)));
    must(log.append_batch({NewRecord("a"), NewRecord("b")}));
    must(log.append("c"));
    int seen = 0;
    // The batch is the loop's own: value() of a temporary is no reference into it.
    for (const auto& record : consumer.poll(1s).value()) {
      CHECK(record.offset() == seen);
      ++seen;
    }
    CHECK(seen == 2 && consumer.position() == 2 && consumer.committed() == 0);
    CHECK(must(consumer.lag()) == 3 && must(consumer.missed()) == 0);
    must(consumer.commit());
    CHECK(consumer.committed() == 2);
    const Batch last = must(consumer.poll(forebay::forever));
    CHECK(last.size() == 1);
    must(consumer.commit(last));
    CHECK(consumer.committed() == 3 && must(consumer.lag()) == 0);
    must(consumer.commit_with(1, "a note"));
    CHECK(consumer.metadata() == "a note" && consumer.committed() == 1);
    must(consumer.sync());
    must(consumer.seek(OffsetSpec::earliest()));
    CHECK(consumer.position() == 0);
    CHECK(fails(consumer.commit_offset(99), FOREBAY_OFFSET_OUT_OF_RANGE));
    CHECK(fails(consumer.commit_with(0, std::string(256, 'x')), FOREBAY_INVALID_ARGUMENT));
    CHECK(fails(consumer.seek(OffsetSpec::at(-1)), FOREBAY_INVALID_ARGUMENT));
    CHECK(fails(log.delete_consumer("first"), FOREBAY_CONSUMER_BUSY));
  }
  auto consumer = must(log.consumer("first"));
  CHECK(consumer.position() == 1 && consumer.metadata() == "a note");
  auto late = must(log.consumer("late", forebay::ConsumerOptions()
                                            .visibility(Visibility::durable)
                                            .start(OffsetSpec::latest())));
  CHECK(late.position() == log.durable_offset());
  const auto all = must(log.consumers());
  CHECK(all.size() == 2);
  const auto one = std::find_if(all.begin(), all.end(), [](const forebay::ConsumerInfo& info) {
    return info.name == std::string_view("first");
  });
  CHECK(one != all.end() && one->committed == 1 && one->open == 1);
  late = std::move(consumer);
  must(log.delete_consumer("late"));
  CHECK(fails(log.delete_consumer("late"), FOREBAY_NOT_FOUND));
  must(log.close());
  CHECK(fails(late.poll(0ms), FOREBAY_CLOSED) && fails(late.commit(), FOREBAY_CLOSED));
}

static void single_records_become_batches() {
  const Log log = must(Log::open(dir("lingers")));
  std::vector<forebay::Ticket> tickets;
  {
    const auto linger = must(log.linger(forebay::LingerOptions()
                                            .linger(std::chrono::hours(1000))
                                            .batch_bytes(4096)
                                            .batch_records(2)
                                            .acknowledge(Visibility::durable)));
    for (const char* value : {"21.5 C", "21.6 C", "21.7 C"}) {
      tickets.push_back(must(linger.append(value)));
    }
    CHECK(log.log_end_offset() == 2);
    CHECK(must(tickets[1].wait()) == 1 && log.durable_offset() == 2);
    CHECK(fails(tickets[2].try_wait(), FOREBAY_WOULD_BLOCK));
    must(linger.flush());
    CHECK(must(tickets[2].try_wait()) == 2);
    tickets.push_back(must(linger.append(forebay::NewRecord("21.8 C").key("sensor-7"))));
  }
  CHECK(must(tickets[3].wait_durable()) == 3);
  const auto at_once = must(log.linger(
      forebay::LingerOptions().linger(std::chrono::milliseconds::zero())));
  CHECK(must(must(at_once.append("now")).try_wait()) == 4);
  CHECK(fails(log.linger(forebay::LingerOptions().batch_records(1ULL << 40)),
              FOREBAY_INVALID_ARGUMENT));
}

static void a_log_is_flushed_waited_for_and_kept_small() {
  auto log = must(Log::open(dir("keep"), Options().segment_bytes(4096).flush_manual()));
  const auto id = must(log.id());
  CHECK(id != forebay::LogId{});
  for (int count = 0; count < 100; ++count) {
    must(log.append(std::string(100, 'x')));
  }
  CHECK(must(log.wait_for(99, Visibility::written, 0ms)));
  CHECK(!must(log.wait_for(99, Visibility::durable, 1ms)));
  CHECK(must(log.flush()) == 100 && log.durable_offset() == 100);
  CHECK(must(log.wait_for(99, Visibility::durable, forebay::forever)));
  CHECK(fails(log.wait_for(-1, Visibility::written, 0ms), FOREBAY_INVALID_ARGUMENT));
  CHECK(!must(log.wait_for(100, Visibility::written, 0ms)));
  std::thread writer([&log] { must(log.append("later")); });
  CHECK(must(log.wait_for(100, Visibility::written, 20s)));
  writer.join();

  CHECK(must(log.delete_records(50)) == 50 && log.log_start_offset() == 50);
  CHECK(fails(log.delete_records(999), FOREBAY_OFFSET_OUT_OF_RANGE));
  CHECK(must(log.apply_retention()).log_start_offset == 50);
  const auto found = must(log.verify());
  CHECK(found.whole == 1 && found.log_end_offset == 101);
  const auto stats = must(log.stats());
  CHECK(stats.records_appended == 101 && stats.log_start_offset == 50 && stats.poisoned == 0);
  must(log.set_options(Options().segment_bytes(4096).flush_manual().retention_records(20)));
  CHECK(must(log.apply_retention()).log_start_offset > 50);
  CHECK(fails(log.set_options(Options().segment_bytes(8192).flush_manual()),
              FOREBAY_INVALID_ARGUMENT));
  CHECK(must(log.flush()) == 101);
  must(log.snapshot(dir("copy")));
  CHECK(fails(log.snapshot(dir("copy")), FOREBAY_INVALID_ARGUMENT));
  must(log.export_to(dir("kafka-0")));
  CHECK(fails(log.export_to(dir("kafka-0")), FOREBAY_INVALID_ARGUMENT));
  must(log.close());
  auto copy = must(Log::open(dir("copy")));
  CHECK(copy.log_end_offset() == 101 && must(copy.recovery()).created == 0);
}

static void a_log_is_followed_while_it_is_written() {
  CHECK(fails(Follower::open(dir("followed")), FOREBAY_NOT_FOUND));
  auto log = must(Log::open(dir("followed"), Options().flush_manual()));
  CHECK(fails(Follower::open(dir("followed"), 51ms), FOREBAY_INVALID_ARGUMENT));
  auto follower = must(Follower::open(dir("followed"), 1ms));
  auto reader = must(follower.reader(OffsetSpec::earliest()));
  auto durable = must(follower.reader(OffsetSpec::earliest(), Visibility::durable));
  must(log.append("a"));
  CHECK(follower.log_end_offset() == 0);
  must(follower.refresh());
  CHECK(follower.log_start_offset() == 0 && follower.log_end_offset() == 1);
  CHECK(must(follower.wait_for(0, Visibility::written, forebay::forever)));
  CHECK(!must(follower.wait_for(0, Visibility::durable, 1ms)) && follower.durable_offset() == 0);
  const Batch batch = must(reader.poll(forebay::forever));
  CHECK(batch && must(batch.record(0)).value().text() == "a" && reader.next_offset() == 1);
  CHECK(!must(reader.poll(1ms)) && !must(durable.poll(0ms)));
  must(log.flush());
  CHECK(must(durable.poll(0ms)) && follower.durable_offset() == 1);
  must(reader.seek(OffsetSpec::at(0)));
  CHECK(fails(reader.seek(OffsetSpec::at(2)), FOREBAY_OFFSET_OUT_OF_RANGE));
  CHECK(fails(follower.reader(OffsetSpec::at(2)), FOREBAY_OFFSET_OUT_OF_RANGE));
  CHECK(must(log.delete_records(1)) == 1);
  must(follower.refresh());
  CHECK(!must(reader.poll(0ms)));
  CHECK(must(reader.missed()) == 1 && must(reader.retracted()) == 0);

  const Follower moved = std::move(follower);
  CHECK(moved && !follower && fails(follower.refresh(), FOREBAY_INVALID_ARGUMENT));
  auto again = forebay::FollowReader::adopt(durable.release());
  CHECK(!durable && fails(durable.poll(0ms), FOREBAY_INVALID_ARGUMENT));
  CHECK(again.next_offset() == 1);
  CHECK(Follower::adopt(must(Follower::open(dir("followed"))).release()));
}

static void options_are_what_was_set() {
  Options options;
  options.flush_interval(250ms).index_interval_bytes(8192).max_batch_bytes(65536);
  options.memory_limit_bytes(1 << 20).segment_age(1h).retention_bytes(5).retention(2min);
  options.retention_records(6).hold_limit_bytes(7).hold_lag_records(8).budget_bytes(9);
  options.on_full_block(3s).io_mode(FOREBAY_IO_POSITIONED).recovery(FOREBAY_RECOVERY_FULL);
  options.media(FOREBAY_MEDIA_TORN_OVERWRITE, 8192).background(true).priority(4);
  options.cleanup_policy(FOREBAY_CLEANUP_COMPACT).min_cleanable_dirty_percent(20);
  options.delete_retention(1h).min_compaction_lag(5ms).compaction_memory_bytes(1 << 20);
  CHECK(options.raw().cleanup_policy == 1 && options.raw().min_cleanable_dirty_percent == 20);
  CHECK(options.raw().delete_retention_ms == 3600000 && options.raw().min_compaction_lag_ms == 5);
  CHECK(options.raw().compaction_memory_bytes == 1 << 20);
  options.thin_keep_one_in(10).hold_each("a,b").segment_bytes(1 << 16);
  options.compression(FOREBAY_COMPRESSION_ZSTD, -5);
  const Options copy = options;
  options.hold_everyone().on_full_reject().flush_every_append();
  const auto raw = copy.raw();
  CHECK(raw.struct_size == sizeof raw && raw.flush == FOREBAY_FLUSH_INTERVAL);
  CHECK(raw.flush_interval_ms == 250 && raw.index_interval_bytes == 8192);
  CHECK(raw.max_batch_bytes == 65536 && raw.memory_limit_bytes == 1 << 20);
  CHECK(raw.segment_ms == 3'600'000 && raw.retention_bytes == 5 && raw.retention_ms == 120'000);
  CHECK(raw.retention_records == 6 && raw.hold_limit_bytes == 7 && raw.hold_lag_records == 8);
  CHECK(raw.budget_bytes == 9 && raw.on_full == FOREBAY_ON_FULL_BLOCK);
  CHECK(raw.on_full_block_ms == 3000 && raw.io_mode == FOREBAY_IO_POSITIONED);
  CHECK(raw.recovery == FOREBAY_RECOVERY_FULL && raw.media == FOREBAY_MEDIA_TORN_OVERWRITE);
  CHECK(raw.torn_bytes == 8192 && raw.background == 1 && raw.priority == 4);
  CHECK(raw.thin_keep_one_in == 10 && raw.segment_bytes == 1 << 16);
  CHECK(raw.compression == FOREBAY_COMPRESSION_ZSTD && raw.compression_level == -5);
  CHECK(Options().compression(FOREBAY_COMPRESSION_GZIP).raw().compression_level == 0);
  CHECK(raw.hold == FOREBAY_HOLD_EACH && forebay::bytes_view(raw.hold_consumers) == "a,b");
  CHECK(options.raw().hold == FOREBAY_HOLD_EVERYONE);
  CHECK(options.raw().on_full == FOREBAY_ON_FULL_REJECT);
  CHECK(options.raw().flush == FOREBAY_FLUSH_EVERY_APPEND);
  CHECK(Options().on_full_drop_oldest().raw().on_full == FOREBAY_ON_FULL_DROP_OLDEST);
  CHECK(Options().flush_every_bytes(5).raw().flush_bytes == 5);
  CHECK(Options().hold_any("c").raw().hold == FOREBAY_HOLD_ANY);

  Options text;
  must(text.set("segment_bytes", "65536"));
  must(text.set("hold", "any"));
  must(text.set("hold_consumers", std::string("x") + ",y"));
  must(text.set("flush", "manual"));
  CHECK(text.raw().segment_bytes == 65536 && text.raw().flush == FOREBAY_FLUSH_MANUAL);
  CHECK(forebay::bytes_view(text.raw().hold_consumers) == "x,y");
  CHECK(fails(text.set("segment_bites", "1"), FOREBAY_NOT_FOUND));
  CHECK(fails(text.set("segment_bytes", "many"), FOREBAY_INVALID_ARGUMENT));
  CHECK(must(Log::open(dir("text"), text)).log_end_offset() == 0);
  CHECK(fails(Log::open(dir("text"), Options().segment_bytes(1)), FOREBAY_INVALID_ARGUMENT));
}

static void what_was_moved_from_or_closed_says_so() {
  auto log = must(Log::open(dir("moved")));
  must(log.append("a"));
  auto consumer = must(log.consumer("c"));
  auto reader = must(log.reader(OffsetSpec::earliest()));
  auto batch = must(reader.next());
  CHECK(fails(Log::open(dir("moved")), FOREBAY_LOCKED) && fails(Log::open(""), FOREBAY_INVALID_ARGUMENT));

  Log log2 = std::move(log);
  Consumer consumer2 = std::move(consumer);
  Reader reader2 = std::move(reader);
  Batch batch2 = std::move(batch);
  CHECK(!log && log2 && !consumer && consumer2 && !reader && reader2 && !batch && batch2);
  CHECK(log.get() == nullptr && log2.get() != nullptr);

  const auto gone = FOREBAY_INVALID_ARGUMENT;
  CHECK(fails(log.append("x"), gone) && fails(log.append(NewRecord("x")), gone));
  CHECK(fails(log.append_batch({NewRecord("x")}), gone) && fails(log.flush(), gone));
  CHECK(fails(log.append_batch_at(0, {NewRecord("x")}), gone) && fails(log.id(), gone));
  CHECK(fails(log.append_batch_compressed(0, {NewRecord("x")}), gone));
  CHECK(fails(log.reader(OffsetSpec::latest()), gone) && fails(log.consumer("d"), gone));
  CHECK(fails(log.delete_consumer("c"), gone) && fails(log.consumers(), gone));
  CHECK(fails(log.wait_for(0, Visibility::written, 0ms), gone) && fails(log.stats(), gone));
  CHECK(fails(log.set_options(Options()), gone));
  CHECK(fails(log.delete_records(0), gone) && fails(log.apply_retention(), gone));
  CHECK(fails(log.verify(), gone) && fails(log.recovery(), gone));
  CHECK(fails(log.snapshot(dir("s")), gone) && fails(log.export_to(dir("s")), gone));
  CHECK(log.log_start_offset() == gone && log.log_end_offset() == gone);
  CHECK(log.durable_offset() == gone);
  must(log.close());
  CHECK(fails(reader.next(), gone) && fails(reader.seek(OffsetSpec::latest()), gone));
  CHECK(reader.next_offset() == gone);
  CHECK(fails(consumer.poll(0ms), gone) && fails(consumer.commit(), gone));
  CHECK(fails(consumer.commit(batch2), gone) && fails(consumer.sync(), gone));
  CHECK(fails(consumer.lag(), gone) && fails(consumer.missed(), gone));
  CHECK(fails(consumer.seek(OffsetSpec::latest()), gone) && consumer.metadata().empty());
  CHECK(consumer.position() == gone && consumer.committed() == gone);
  CHECK(batch.size() == 0 && batch.empty() && batch.begin() == batch.end());
  CHECK(fails(batch.record(0), gone) && batch.bytes().empty() && batch.base_offset() == gone);
  CHECK(batch.next_offset() == gone);

  // What is moved to frees what it had.
  reader2 = must(log2.reader(OffsetSpec::latest()));
  log = std::move(log2);
  must(log.close());
  CHECK(!log && fails(log.append("x"), gone));
  CHECK(fails(reader2.next(), FOREBAY_CLOSED) && batch2.begin()->value() == "a");

  // A handle goes to C and comes back.
  Log again = must(Log::open(dir("moved")));
  forebay_log* raw = again.release();
  CHECK(!again && raw != nullptr);
  again = Log::adopt(raw);
  CHECK(again.log_end_offset() == 1);
  const Batch back = Batch::adopt(batch2.release());
  CHECK(back.begin()->value() == "a");
}

static void a_store_has_many_logs() {
  const auto small = Options().segment_bytes(1 << 16);
  auto options = forebay::StoreOptions().budget_bytes(64 << 20).max_open_logs(8).logs(small);
  options.background(true).reserve_bytes(1 << 18).max_mapped_bytes(1 << 30);
  options.memory_limit_bytes(32 << 20).rated_endurance_bytes(1 << 30).max_open_files(64);
  must(options.set("background", "false"));
  CHECK(fails(options.set("logs", "many"), FOREBAY_NOT_FOUND));
  auto store = must(Store::open(dir("store"), options));
  CHECK(fails(Store::open(dir("store")), FOREBAY_LOCKED));
  CHECK(fails(Store::open(""), FOREBAY_INVALID_ARGUMENT));
  CHECK(!Store::open_config(dir("other"), dir("no such file")));
  {
    auto first = must(store.log("first"));
    must(first.append("a"));
  }
  // The handle is gone, the log is open, and what it has is there.
  const auto again = must(store.log("first"));
  CHECK(again.log_end_offset() == 1 && must(again.recovery()).created == 1);
  auto own = must(store.log("own", Options().segment_bytes(1 << 17)));
  CHECK(fails(store.log("no/name"), FOREBAY_INVALID_ARGUMENT));
  CHECK(fails(store.log("bad", Options().segment_bytes(1)), FOREBAY_INVALID_ARGUMENT));
  const auto partition = forebay::partition_for_key("device 7", 3);
  CHECK(partition < 3 && forebay::partition_for_key("device 7", 1) == 0);
  must(must(store.partition("parts", 3, partition)).append("p"));
  CHECK(fails(store.partition("parts", 3, 3), FOREBAY_INVALID_ARGUMENT));
  const auto logs = must(store.logs());
  CHECK(std::count_if(logs.begin(), logs.end(), [partition](const forebay::LogInfo& info) {
          return info.name == std::string_view("parts") && info.partition == partition;
        }) == 1);
  must(store.flush());
  must(store.maintain());
  CHECK(must(store.stats()).budget_bytes == 64 << 20 && must(store.stats()).open_logs >= 3);
  must(store.delete_log("own"));
  CHECK(fails(own.append("x"), FOREBAY_CLOSED));
  CHECK(fails(store.delete_log("own"), FOREBAY_NOT_FOUND));

  Store moved = std::move(store);
  const auto gone = FOREBAY_INVALID_ARGUMENT;
  CHECK(!store && moved && fails(store.log("x"), gone) && fails(store.flush(), gone));
  CHECK(fails(store.log("x", small), gone) && fails(store.partition("x", 1, 0), gone));
  CHECK(fails(store.delete_log("x"), gone) && fails(store.maintain(), gone));
  CHECK(fails(store.stats(), gone) && fails(store.logs(), gone));
  must(store.close());
  store = Store::adopt(moved.release());
  must(store.close());
  CHECK(fails(again.append("x"), FOREBAY_CLOSED));
}

static void the_library_tells_what_no_status_says() {
  // A process that ends without closing its log.
  const pid_t child = fork();
  if (child == 0) {
    auto log = must(Log::open(dir("told")));
    must(log.append("a"));
    _exit(0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  int told = 0;
  auto telling = std::make_shared<int>(1);
  must(forebay::set_log_callback(
      [&told, telling](forebay::LogLevel level, std::string_view text) {
        CHECK(level == forebay::LogLevel::info);
        told += text.find("unclean stop") == std::string_view::npos ? 0 : *telling;
      }));
  CHECK(telling.use_count() == 2);
  auto log = must(Log::open(dir("told")));
  CHECK(told == 1 && must(log.recovery()).clean == 0 && log.log_end_offset() == 1);
  must(forebay::set_log_callback({}));
  CHECK(telling.use_count() == 1);

  CHECK(forebay::version() == std::to_string(FOREBAY_VERSION_MAJOR) + "." +
                                  std::to_string(FOREBAY_VERSION_MINOR) + "." +
                                  std::to_string(FOREBAY_VERSION_PATCH));
  CHECK(!forebay::has_feature("nothing"));
}

int main(int argc, char** argv) {
  CHECK(argc == 2 || argc == 3);
  root = argv[1];
  if (argc == 3) {
    must(Log::open(dir("misuse"), Options().segment_bytes(1)).value().close());
  }
  parts_for_themselves();
  what_is_appended_is_read();
  a_batch_travels_as_bytes();
  a_loop_has_every_record_of_a_batch();
  a_record_that_cannot_be_decoded_is_not_committed();
  a_consumer_goes_on_where_it_committed();
  single_records_become_batches();
  a_log_is_flushed_waited_for_and_kept_small();
  a_log_is_followed_while_it_is_written();
  options_are_what_was_set();
  what_was_moved_from_or_closed_says_so();
  a_store_has_many_logs();
  ships(root);
  the_library_tells_what_no_status_says();
  const Batch batch = last_batch(dir("outlived"));
  std::string values;
  for (const auto& record : batch) {
    values += record.value().to_string();
  }
  CHECK(values == "firstsecond");
  std::puts("whole");
  return 0;
}
