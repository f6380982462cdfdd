// Upstreams, replicators and turns: to a log, and what of Kafka needs no broker.
#include "check.hpp"

#include <chrono>
#include <memory>
#include <utility>

using namespace std::chrono_literals;
using forebay::Log;
using forebay::NewRecord;
using forebay::Replicator;
using forebay::ReplicatorOptions;
using forebay::Turns;
using forebay::Upstream;

static Log log_of_three(const std::string& dir) {
  auto log = must(Log::open(dir));
  must(log.append_batch({NewRecord("a"), NewRecord("b"), NewRecord("c")}));
  CHECK(must(log.flush()) == 3);
  return log;
}

static void what_is_shipped_is_there(const std::string& dir) {
  auto log = log_of_three(dir + "/from");
  auto upstream = must(Upstream::log(dir + "/to", forebay::Options().segment_bytes(1 << 16)));
  auto options = ReplicatorOptions().backoff(10ms, 1s).acknowledge_timeout(10s);
  options.in_flight_bytes(1 << 20).bytes_per_second(1 << 24);
  must(options.set("backoff_max_ms", "2000"));
  CHECK(options.raw().backoff_max_ms == 2000);
  CHECK(fails(options.set("backoff_max", "1"), FOREBAY_NOT_FOUND));
  // What cannot be started leaves its upstream to the caller.
  CHECK(fails(Replicator::start(log, "no/name", std::move(upstream)), FOREBAY_INVALID_ARGUMENT));
  CHECK(upstream);
  auto replicator = must(Replicator::start(log, "uplink", std::move(upstream), options));
  CHECK(!upstream && fails(upstream.set("partition", "1"), FOREBAY_INVALID_ARGUMENT));
  CHECK(must(replicator.wait_until(3, 60s)) && !must(replicator.wait_until(4, 0ms)));
  const auto progress = must(replicator.status());
  CHECK(progress.committed == 3 && progress.link == FOREBAY_LINK_CONNECTED);
  const auto first = must(replicator.next_notice(60s));
  CHECK(first.kind == FOREBAY_NOTICE_CONNECTED);
  CHECK(replicator.upstream_offset(0) == FOREBAY_NOT_FOUND);
  must(replicator.stop());
  CHECK(!replicator && fails(replicator.status(), FOREBAY_INVALID_ARGUMENT));
  must(log.close());
  CHECK(second_unit(must(Log::open(dir + "/to"))) == "=a;=b;=c;");
}

static void turns_ship_without_a_thread(const std::string& dir) {
  auto log = log_of_three(dir + "/from turns");
  auto upstream = must(Upstream::log(dir + "/to turns"));
  CHECK(fails(Turns::create(log, "", std::move(upstream)), FOREBAY_INVALID_ARGUMENT) && upstream);
  auto turns = must(Turns::create(log, "uplink", std::move(upstream)));
  CHECK(!upstream);
  for (int count = 0; must(turns.status()).committed < 3; ++count) {
    CHECK(count < 1000 && must(turns.turn()) != forebay::ended);
  }
  CHECK(must(turns.next_notice()).kind == FOREBAY_NOTICE_CONNECTED);
  CHECK(turns.upstream_offset(0) == FOREBAY_NOT_FOUND);
  Turns moved = std::move(turns);
  CHECK(!turns && moved && fails(turns.turn(), FOREBAY_INVALID_ARGUMENT));
  CHECK(fails(turns.status(), FOREBAY_INVALID_ARGUMENT));
  CHECK(fails(turns.next_notice(), FOREBAY_INVALID_ARGUMENT));
  CHECK(turns.upstream_offset(0) == FOREBAY_INVALID_ARGUMENT);
  moved = Turns::adopt(moved.release());
  must(log.close());
  CHECK(must(moved.turn()) == forebay::ended);
}

static void what_is_moved_from_says_so(const std::string& dir) {
  auto log = log_of_three(dir + "/from moved");
  auto upstream = must(Upstream::log(dir + "/to moved"));
  auto replicator = must(Replicator::start(log, "uplink", std::move(upstream)));
  Replicator moved = std::move(replicator);
  const auto gone = FOREBAY_INVALID_ARGUMENT;
  CHECK(!replicator && moved && fails(replicator.next_notice(0ms), gone));
  CHECK(fails(replicator.wait_until(0, 0ms), gone) && replicator.upstream_offset(0) == gone);
  must(replicator.stop());
  moved = Replicator::adopt(moved.release());
  must(moved.stop(60s));
  CHECK(!moved);
  must(moved.stop(0ms));
  CHECK(fails(Replicator::start(log, "other", std::move(upstream)), gone));
  CHECK(fails(Turns::create(log, "other", std::move(upstream)), gone));
}

static void settings_of_kafka_are_checked(const std::string& dir) {
  if (!forebay::has_feature("kafka")) {
    CHECK(fails(Upstream::kafka("127.0.0.1:1", "telemetry"), FOREBAY_UNSUPPORTED));
    return;
  }
  CHECK(fails(Upstream::kafka("127.0.0.1:1", ""), FOREBAY_INVALID_ARGUMENT));
  auto upstream = must(Upstream::kafka("127.0.0.1:1", "telemetry"));
  must(upstream.set("client.id", "gateway"));
  CHECK(fails(upstream.set("no.such.setting", "1"), FOREBAY_NOT_FOUND));
  CHECK(fails(upstream.set("partition", "first"), FOREBAY_INVALID_ARGUMENT));
  auto log = log_of_three(dir + "/kafka");
  must(upstream.set_dead_letter(log));
  CHECK(fails(must(Upstream::log(dir + "/x")).set_dead_letter(log), FOREBAY_INVALID_ARGUMENT));
  CHECK(fails(must(Upstream::log(dir + "/x")).set("partition", "0"), FOREBAY_NOT_FOUND));

  auto held = std::make_shared<int>(0);
  const auto token = [held]() -> forebay::Result<std::string> { return std::string("token"); };
  CHECK(fails(must(Upstream::log(dir + "/x")).set_token_callback(token), FOREBAY_INVALID_ARGUMENT));
  CHECK(held.use_count() == 2);
  must(upstream.set_token_callback(token));
  CHECK(held.use_count() == 3);
  CHECK(fails(upstream.set_token_callback({}), FOREBAY_INVALID_ARGUMENT));
  must(upstream.set("security.protocol", "SASL_PLAINTEXT"));
  {
    // Nobody listens there: that is told, and no failure of the start.
    auto replicator = must(Replicator::start(log, "uplink", std::move(upstream)));
    const auto notice = must(replicator.next_notice(60s));
    CHECK(notice.kind == FOREBAY_NOTICE_FAILED && notice.status == FOREBAY_UPSTREAM);
    CHECK(notice.text[0] != '\0');
  }
  // Its destructor stopped it, and with it went the callback.
  CHECK(held.use_count() == 2);
}

void ships(const std::string& dir) {
  if (!forebay::has_feature("replicator")) {
    CHECK(fails(Upstream::log(dir + "/to"), FOREBAY_UNSUPPORTED));
    CHECK(fails(Upstream::kafka("127.0.0.1:1", "telemetry"), FOREBAY_UNSUPPORTED));
    return;
  }
  what_is_shipped_is_there(dir);
  turns_ship_without_a_thread(dir);
  what_is_moved_from_says_so(dir);
  settings_of_kafka_are_checked(dir);
}
