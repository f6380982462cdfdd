// A gateway: readings go to a log on its own disk, and from there to Kafka, each once, whatever fails.
//
//   gateway DIRECTORY [HOST:PORT TOPIC]
//
// Without a broker they go to a second log, DIRECTORY.upstream, which stands for one. Run it again:
// it goes on where it was. What one run could not ship the next one does.
#include <forebay.hpp>

#include <chrono>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>

using namespace std::chrono_literals;
using forebay::Log;
using forebay::Replicator;
using forebay::Result;
using forebay::Upstream;

static int failed(const char* what, const forebay::Error& error) {
  std::cerr << what << ": " << error.text() << " (" << error.name() << ")\n";
  return 1;
}

static Result<Upstream> upstream_of(const std::string& dir, int argc, char** argv) {
  if (argc == 2) {
    return Upstream::log(dir + ".upstream");
  }
  auto kafka = Upstream::kafka(argv[2], argv[3]);
  if (kafka) {
    auto set = kafka->set("client.id", "forebay gateway");
    if (!set) {
      return set.error();
    }
  }
  return kafka;
}

// What a device does all day. It waits for nobody: the link may be away for weeks.
static Result<void> take_readings(const Log& log) {
  for (int reading = 0; reading < 100; ++reading) {
    const std::string value = std::to_string(20 + reading % 7) + ".5 C";
    auto appended = log.append(forebay::NewRecord(value).key("temperature"));
    if (!appended) {
      return appended.error();
    }
  }
  return {};
}

// A program has a thread for this, or asks now and then.
static Result<void> tell(const Replicator& replicator) {
  for (;;) {
    const auto notice = replicator.next_notice(0ms);
    if (!notice) {
      return notice.error();
    }
    switch (notice->kind) {
      case FOREBAY_NOTICE_NONE:
        return {};
      case FOREBAY_NOTICE_CONNECTED:
        std::cout << "connected\n";
        break;
      case FOREBAY_NOTICE_FAILED:
      case FOREBAY_NOTICE_WARNING:
        std::cout << notice->text << '\n';
        break;
      default:
        break;
    }
  }
}

static Result<void> ship(const Log& log, Upstream upstream) {
  auto replicator = Replicator::start(log, "uplink", std::move(upstream));
  if (!replicator) {
    return replicator.error();
  }
  auto done = take_readings(log);
  if (!done) {
    return done;
  }
  // What is durable here is shipped: the flush interval sees to it, this is only sooner.
  const auto durable = log.flush();
  if (!durable) {
    return durable.error();
  }
  const auto reached = replicator->wait_until(*durable, 10s);
  done = tell(*replicator);
  if (!reached || !done) {
    return reached ? done : reached.error();
  }
  const auto status = replicator->status();
  if (!status) {
    return status.error();
  }
  std::cout << status->committed << " records are upstream, " << status->lag_records
            << " are to come\n";
  return replicator->stop();
}

int main(int argc, char** argv) {
  if (argc != 2 && argc != 4) {
    std::cerr << "usage: " << argv[0] << " DIRECTORY [HOST:PORT TOPIC]\n";
    return 2;
  }
  if (!forebay::has_feature(argc == 2 ? "replicator" : "kafka")) {
    std::cout << "this library was built without it: nothing is shipped\n";
    return 0;
  }
  const std::string dir = argv[1];
  // When the disk's share is full the oldest readings make room; what was shipped went before.
  auto options = forebay::Options().segment_bytes(1 << 20).flush_interval(200ms);
  options.retention_bytes(32 << 20).hold_everyone().budget_bytes(64 << 20).on_full_drop_oldest();
  auto log = Log::open(dir, options);
  if (!log) {
    return failed("open", log.error());
  }
  auto upstream = upstream_of(dir, argc, argv);
  if (!upstream) {
    return failed("upstream", upstream.error());
  }
  const auto done = ship(*log, *std::move(upstream));
  const auto closed = log->close();
  if (!done) {
    return failed("ship", done.error());
  }
  return closed ? 0 : failed("close", closed.error());
}
