// Appends readings to a log, reads them as a consumer that goes on where it left off, and closes it.
//
//   quickstart DIRECTORY
//
// Run it twice: the second run reads only what it appended itself.
#include <forebay.hpp>

#include <chrono>
#include <iostream>

using namespace std::chrono_literals;

// What failed, in the library's words.
static int failed(const char* what, const forebay::Error& error) {
  std::cerr << what << ": " << error.text() << " (" << error.name() << ")\n";
  return 1;
}

static forebay::Result<void> append(const forebay::Log& log) {
  auto appended = log.append_batch({forebay::NewRecord("21.5 C").key("temperature"),
                                    forebay::NewRecord("1013 hPa").key("pressure")});
  if (!appended) {
    return appended.error();
  }
  // From here on a power cut takes nothing of it.
  auto durable = log.flush();
  return durable ? forebay::Result<void>() : durable.error();
}

static forebay::Result<void> read_new(const forebay::Log& log) {
  auto consumer = log.consumer("display");
  if (!consumer) {
    return consumer.error();
  }
  for (;;) {
    const auto batch = consumer->poll(0ms);
    if (!batch) {
      return batch.error();
    }
    if (!*batch) {
      return {};
    }
    // The bytes lie in the log's own file and are not copied.
    for (const auto& record : *batch) {
      std::cout << record.offset() << ' ' << record.key().text() << ": " << record.value().text()
                << '\n';
    }
    auto committed = consumer->commit(*batch);
    if (!committed) {
      return committed;
    }
  }
}

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " DIRECTORY\n";
    return 2;
  }
  auto options = forebay::Options().segment_bytes(1 << 20).retention_bytes(64 << 20);
  auto log = forebay::Log::open(argv[1], options);
  if (!log) {
    return failed("open", log.error());
  }
  auto done = append(*log);
  if (done) {
    done = read_new(*log);
  }
  // A destructor would close it too, and have nobody to tell what failed.
  const auto closed = log->close();
  if (!done) {
    return failed("log", done.error());
  }
  return closed ? 0 : failed("close", closed.error());
}
