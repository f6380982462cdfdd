/*
 * forebay for C++: a thin, header-only layer over forebay.h.
 *
 *   auto log = forebay::Log::open("/var/lib/sensors", forebay::Options().segment_bytes(1 << 20));
 *   if (!log) {
 *     std::fprintf(stderr, "%s\n", log.error().text().c_str());
 *     return 1;
 *   }
 *   auto appended = log->append("21.5 C");
 *   ...
 *   auto closed = log->close();
 *
 * C++17 or later; neither exceptions nor RTTI are asked for, and nothing here throws but what an
 * allocation throws. What is said in forebay.h holds: what a call blocks for, which statuses it
 * gives and which threads may make it; `const` methods may be called by many threads at once, the
 * others by one at a time.
 *
 * Handles     One class a handle, move-only. What was moved from, released or closed gives
 *             FOREBAY_INVALID_ARGUMENT in every call, and is false. A destructor ignores what
 *             failed; only Log::close() and Store::close() tell of a failed last sync.
 * Results     Result<T> is read as std::expected is. It must not be ignored, and value() without a
 *             value ends the process with the error's text.
 * Offsets     Plain functions that return an offset return a negative status for such a handle.
 * Borrowing   Record and Header point into their Batch, what NewRecord is made of is the caller's:
 *             neither copies. Clang warns where it sees that one outlives the other.
 */
#ifndef FOREBAY_HPP
#define FOREBAY_HPP

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "forebay.h"

#if defined(__clang__) && defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::lifetimebound)
#define FOREBAY_BORROWS [[clang::lifetimebound]]
#endif
#endif
#ifndef FOREBAY_BORROWS
#define FOREBAY_BORROWS
#endif

namespace forebay {

/// One of FOREBAY_OK, FOREBAY_IO, ... of forebay.h.
using Status = forebay_status;

/// What waits as long as it takes.
inline constexpr std::chrono::milliseconds forever = (std::chrono::milliseconds::max)();

namespace detail {

template <class T>
inline constexpr bool is_byte =
    std::is_same_v<T, char> || std::is_same_v<T, signed char> || std::is_same_v<T, unsigned char> ||
    std::is_same_v<T, std::byte>
#if defined(__cpp_char8_t)
    || std::is_same_v<T, char8_t>
#endif
    ;

/// What std::data(range) points to.
template <class Range>
using Element =
    std::remove_cv_t<std::remove_pointer_t<decltype(std::data(std::declval<const Range&>()))>>;

/// A literal is a C string, and its NUL none of its bytes.
template <class Range>
inline constexpr bool is_text_array =
    std::is_array_v<Range> && std::is_same_v<std::remove_cv_t<std::remove_extent_t<Range>>, char>;

[[noreturn]] inline void misuse(const char* what, const char* why) noexcept {
  std::fprintf(stderr, "forebay: %s: %s\n", what, why);
  std::abort();
}

/// Negative is for ever in C; a deadline that has passed is none.
inline std::int64_t wait_ms(std::chrono::milliseconds timeout) noexcept {
  if (timeout == forever) {
    return -1;
  }
  return timeout.count() < 0 ? 0 : static_cast<std::int64_t>(timeout.count());
}

}  // namespace detail

/// Bytes of somebody else's, read only: text, and any contiguous range of bytes.
class bytes_view {
 public:
  constexpr bytes_view() noexcept = default;

  /// `size` bytes at `data`, which may be null if there are none.
  bytes_view(const void* data FOREBAY_BORROWS, std::size_t size) noexcept
      : data_(static_cast<const std::uint8_t*>(data)), size_(size) {}

  /// A C string without its NUL; none for null.
  bytes_view(const char* text FOREBAY_BORROWS) noexcept
      : bytes_view(text, text == nullptr ? 0 : std::strlen(text)) {}

  bytes_view(std::string_view text) noexcept : bytes_view(text.data(), text.size()) {}

  /// Of what std::data and std::size know, and is bytes: std::string, std::vector<std::uint8_t>,
  /// std::array<std::byte, 4>, std::span<const char>.
  template <class Range, class = std::enable_if_t<detail::is_byte<detail::Element<Range>> &&
                                                  !detail::is_text_array<Range>>>
  bytes_view(const Range& range FOREBAY_BORROWS) noexcept
      : bytes_view(static_cast<const void*>(std::data(range)), std::size(range)) {}

  /// Bytes that the C library gave.
  explicit bytes_view(forebay_bytes bytes) noexcept : bytes_view(bytes.data, bytes.len) {}

  const std::uint8_t* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const std::uint8_t* begin() const noexcept { return data_; }
  const std::uint8_t* end() const noexcept { return data_ == nullptr ? data_ : data_ + size_; }
  std::uint8_t operator[](std::size_t index) const noexcept { return data_[index]; }

  /// The same bytes as text.
  std::string_view text() const noexcept {
    return size_ == 0 ? std::string_view()
                      : std::string_view(reinterpret_cast<const char*>(data_), size_);
  }

  /// A copy.
  std::string to_string() const { return std::string(text()); }
  /// A copy.
  std::vector<std::uint8_t> to_vector() const { return {begin(), end()}; }

  /// For C, where null means that there are none: these are there, though they may be empty.
  forebay_bytes raw() const noexcept {
    static constexpr std::uint8_t nothing = 0;
    return forebay_bytes{data_ == nullptr && size_ == 0 ? &nothing : data_, size_};
  }

  friend bool operator==(bytes_view a, bytes_view b) noexcept { return a.text() == b.text(); }
  friend bool operator!=(bytes_view a, bytes_view b) noexcept { return !(a == b); }

 private:
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Offsets from the first to one past the last.
struct OffsetRange {
  std::int64_t from;
  std::int64_t to;
};

/// A failure: its status and what the library said of it, copied at once.
class Error {
 public:
  /// What the calling thread's latest call failed with, which was this status.
  static Error latest(Status status) {
    Error error(status, forebay_last_error());
    OffsetRange range{0, 0};
    if (forebay_last_error_offsets(&range.from, &range.to) == FOREBAY_OK) {
      error.offsets_ = range;
    }
    return error;
  }

  /// An error of the application's own, for functions that return a Result.
  Error(Status status, std::string text) : status_(status), text_(std::move(text)) {}

  /// What programs go by.
  Status status() const noexcept { return status_; }
  /// Its name, such as "FOREBAY_LOCKED".
  const char* name() const noexcept { return forebay_status_name(status_); }
  /// For people: what failed, where, and what to do next.
  const std::string& text() const noexcept { return text_; }
  /// Of FOREBAY_OFFSET_OUT_OF_RANGE what can be read, of FOREBAY_CORRUPT what is lost.
  std::optional<OffsetRange> offsets() const noexcept { return offsets_; }

 private:
  Status status_;
  std::string text_;
  std::optional<OffsetRange> offsets_;
};

/// A value or an Error, read as std::expected is. A value is taken out of a temporary as itself and
/// not by reference, so that `for (const auto& record : consumer.poll(timeout).value())` is sound.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  using error_type = Error;

  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const noexcept { return value_.has_value(); }
  bool has_value() const noexcept { return value_.has_value(); }

  T& value() & { return *checked(); }
  const T& value() const& { return *checked(); }
  T value() && { return std::move(*checked()); }
  T& operator*() & { return *checked(); }
  const T& operator*() const& { return *checked(); }
  T operator*() && { return std::move(*checked()); }
  T* operator->() { return &*checked(); }
  const T* operator->() const { return &*checked(); }

  template <class U>
  T value_or(U&& other) const& {
    return value_ ? *value_ : static_cast<T>(std::forward<U>(other));
  }
  template <class U>
  T value_or(U&& other) && {
    return value_ ? std::move(*value_) : static_cast<T>(std::forward<U>(other));
  }

  const Error& error() const& {
    if (value_) {
      detail::misuse("Result::error()", "there is none");
    }
    return *error_;
  }
  Error error() && { return std::as_const(*this).error(); }

 private:
  std::optional<T>& checked() {
    if (!value_) {
      detail::misuse("Result::value()", error_->text().c_str());
    }
    return value_;
  }
  const std::optional<T>& checked() const { return const_cast<Result*>(this)->checked(); }

  std::optional<T> value_;
  std::optional<Error> error_;
};

/// Done, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  using error_type = Error;

  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const noexcept { return !error_; }
  bool has_value() const noexcept { return !error_; }

  void value() const {
    if (error_) {
      detail::misuse("Result::value()", error_->text().c_str());
    }
  }
  void operator*() const { value(); }

  const Error& error() const& {
    if (!error_) {
      detail::misuse("Result::error()", "there is none");
    }
    return *error_;
  }
  Error error() && { return std::as_const(*this).error(); }

 private:
  std::optional<Error> error_;
};

namespace detail {

inline Result<void> done(Status status) {
  if (status != FOREBAY_OK) {
    return Error::latest(status);
  }
  return {};
}

/// The value that a call wrote, if it did.
template <class T>
Result<T> done(Status status, T value) {
  if (status != FOREBAY_OK) {
    return Error::latest(status);
  }
  return Result<T>(std::move(value));
}

/// Frees any handle; has no state, so that a handle is as large as its pointer.
struct Deleter {
  void operator()(forebay_log* log) const noexcept { forebay_log_free(log); }
  void operator()(forebay_store* store) const noexcept { forebay_store_free(store); }
  void operator()(forebay_reader* reader) const noexcept { forebay_reader_free(reader); }
  void operator()(forebay_batch* batch) const noexcept { forebay_batch_free(batch); }
  void operator()(forebay_consumer* consumer) const noexcept { forebay_consumer_free(consumer); }
  void operator()(forebay_linger* linger) const noexcept { forebay_linger_free(linger); }
  void operator()(forebay_ticket* ticket) const noexcept { forebay_ticket_free(ticket); }
  void operator()(forebay_follower* follower) const noexcept { forebay_follower_free(follower); }
  void operator()(forebay_follow_reader* reader) const noexcept {
    forebay_follow_reader_free(reader);
  }
  void operator()(forebay_upstream* upstream) const noexcept { forebay_upstream_free(upstream); }
  void operator()(forebay_replicator* replicator) const noexcept {
    forebay_replicator_free(replicator);
  }
  void operator()(forebay_turns* turns) const noexcept { forebay_turns_free(turns); }
  void operator()(forebay_log_list* list) const noexcept { forebay_log_list_free(list); }
  void operator()(forebay_consumer_list* list) const noexcept { forebay_consumer_list_free(list); }
};

/// All that stands in a list, which is freed; or why there is none.
template <class Info, class List>
Result<std::vector<Info>> all(Status listed, List* list, std::size_t count,
                              Status (*get)(const List*, std::size_t, Info*, std::size_t)) {
  const std::unique_ptr<List, Deleter> owned(list);
  if (listed != FOREBAY_OK) {
    return Error::latest(listed);
  }
  std::vector<Info> found(count);
  for (std::size_t index = 0; index < count; ++index) {
    const Status status = get(list, index, &found[index], sizeof(Info));
    if (status != FOREBAY_OK) {
      return Error::latest(status);
    }
  }
  return found;
}

/// What all handles have.
template <class Raw>
class Handle {
 public:
  /// Whether there is one: not moved from, released or closed.
  explicit operator bool() const noexcept { return raw_ != nullptr; }
  /// The handle of forebay.h, which stays this object's; null if there is none.
  Raw* get() const noexcept { return raw_.get(); }
  /// Gives the handle away, to be freed by the function of forebay.h.
  [[nodiscard]] Raw* release() noexcept { return raw_.release(); }

 protected:
  explicit Handle(Raw* raw) noexcept : raw_(raw) {}
  Handle(Handle&&) noexcept = default;
  Handle& operator=(Handle&&) noexcept = default;
  ~Handle() = default;

 private:
  std::unique_ptr<Raw, Deleter> raw_;
};

}  // namespace detail

/// The version of the library that is linked, such as "0.1.0".
inline std::string_view version() noexcept { return forebay_version(); }

/// Whether "replicator", "kafka" or "toml" was built in.
inline bool has_feature(const char* name) noexcept { return forebay_has_feature(name); }

/// How much something matters that the library tells unasked.
enum class LogLevel : std::int32_t {
  error = FOREBAY_LOG_ERROR,
  warning = FOREBAY_LOG_WARNING,
  info = FOREBAY_LOG_INFO,
};

/// Has the library tell `callback` what no status says, one for the process; an empty one tells
/// nobody. An exception that leaves it ends the process.
inline Result<void> set_log_callback(std::function<void(LogLevel, std::string_view)> callback) {
  using Callback = std::function<void(LogLevel, std::string_view)>;
  if (!callback) {
    return detail::done(forebay_set_log_callback(nullptr, nullptr, nullptr));
  }
  auto owned = std::make_unique<Callback>(std::move(callback));
  const auto call = [](void* context, std::int32_t level, const char* text) noexcept {
    (*static_cast<Callback*>(context))(static_cast<LogLevel>(level), text);
  };
  const auto drop = [](void* context) noexcept {
    std::unique_ptr<Callback>(static_cast<Callback*>(context)).reset();
  };
  // From here on it is the library's, whatever it returns.
  return detail::done(forebay_set_log_callback(call, owned.release(), drop));
}

/// Which records are seen.
enum class Visibility : std::uint32_t {
  /// What was appended, durable or not.
  written = FOREBAY_WRITTEN,
  /// Only what survives a power cut.
  durable = FOREBAY_DURABLE,
};

/// Where reading begins.
class OffsetSpec {
 public:
  /// The oldest record there is.
  static OffsetSpec earliest() noexcept { return OffsetSpec(FOREBAY_FROM_EARLIEST, 0); }
  /// What is appended from now on.
  static OffsetSpec latest() noexcept { return OffsetSpec(FOREBAY_FROM_LATEST, 0); }
  static OffsetSpec at(std::int64_t offset) noexcept {
    return OffsetSpec(FOREBAY_FROM_OFFSET, offset);
  }
  /// The first record whose time is this or later, in milliseconds since 1970 UTC.
  static OffsetSpec timestamp(std::int64_t timestamp_ms) noexcept {
    return OffsetSpec(FOREBAY_FROM_TIMESTAMP, timestamp_ms);
  }

  std::uint32_t from() const noexcept { return from_; }
  std::int64_t number() const noexcept { return number_; }

 private:
  OffsetSpec(std::uint32_t from, std::int64_t number) noexcept : from_(from), number_(number) {}

  std::uint32_t from_;
  std::int64_t number_;
};

/// The options of a log, at their defaults until set; forebay_options has what each of them means.
class Options {
 public:
  Options() noexcept { static_cast<void>(forebay_options_init(&raw_, sizeof raw_)); }

  /// Durable at most so long after it was appended.
  Options& flush_interval(std::chrono::milliseconds interval) noexcept {
    raw_.flush_interval_ms = interval.count();
    return number(&forebay_options::flush, FOREBAY_FLUSH_INTERVAL);
  }
  /// Durable before append returns.
  Options& flush_every_append() noexcept {
    return number(&forebay_options::flush, FOREBAY_FLUSH_EVERY_APPEND);
  }
  /// Durable as soon as so many bytes wait.
  Options& flush_every_bytes(std::uint64_t bytes) noexcept {
    raw_.flush_bytes = bytes;
    return number(&forebay_options::flush, FOREBAY_FLUSH_EVERY_BYTES);
  }
  /// Durable when Log::flush says so.
  Options& flush_manual() noexcept { return number(&forebay_options::flush, FOREBAY_FLUSH_MANUAL); }
  Options& segment_bytes(std::uint64_t bytes) noexcept {
    return number(&forebay_options::segment_bytes, bytes);
  }
  Options& index_interval_bytes(std::uint64_t bytes) noexcept {
    return number(&forebay_options::index_interval_bytes, bytes);
  }
  Options& max_batch_bytes(std::uint64_t bytes) noexcept {
    return number(&forebay_options::max_batch_bytes, bytes);
  }
  Options& memory_limit_bytes(std::uint64_t bytes) noexcept {
    return number(&forebay_options::memory_limit_bytes, bytes);
  }
  Options& segment_age(std::chrono::milliseconds age) noexcept {
    return number(&forebay_options::segment_ms, age.count());
  }
  Options& retention_bytes(std::uint64_t bytes) noexcept {
    return number(&forebay_options::retention_bytes, bytes);
  }
  Options& retention(std::chrono::milliseconds age) noexcept {
    return number(&forebay_options::retention_ms, age.count());
  }
  Options& retention_records(std::uint64_t records) noexcept {
    return number(&forebay_options::retention_records, records);
  }
  /// Every consumer keeps retention from deleting what it has not committed.
  Options& hold_everyone() noexcept { return number(&forebay_options::hold, FOREBAY_HOLD_EVERYONE); }
  /// Each of these consumers does, once it exists; names with commas between them.
  Options& hold_each(std::string names) noexcept {
    names_ = std::move(names);
    return number(&forebay_options::hold, FOREBAY_HOLD_EACH);
  }
  /// What one of these consumers has committed is free to go; names with commas between them.
  Options& hold_any(std::string names) noexcept {
    names_ = std::move(names);
    return number(&forebay_options::hold, FOREBAY_HOLD_ANY);
  }
  Options& hold_limit_bytes(std::uint64_t bytes) noexcept {
    return number(&forebay_options::hold_limit_bytes, bytes);
  }
  Options& hold_lag_records(std::uint64_t records) noexcept {
    return number(&forebay_options::hold_lag_records, records);
  }
  Options& budget_bytes(std::uint64_t bytes) noexcept {
    return number(&forebay_options::budget_bytes, bytes);
  }
  Options& on_full_reject() noexcept {
    return number(&forebay_options::on_full, FOREBAY_ON_FULL_REJECT);
  }
  Options& on_full_drop_oldest() noexcept {
    return number(&forebay_options::on_full, FOREBAY_ON_FULL_DROP_OLDEST);
  }
  Options& on_full_block(std::chrono::milliseconds timeout) noexcept {
    raw_.on_full_block_ms = timeout.count();
    return number(&forebay_options::on_full, FOREBAY_ON_FULL_BLOCK);
  }
  /// One of FOREBAY_IO_...
  Options& io_mode(std::uint32_t mode) noexcept { return number(&forebay_options::io_mode, mode); }
  /// One of FOREBAY_RECOVERY_...
  Options& recovery(std::uint32_t mode) noexcept { return number(&forebay_options::recovery, mode); }
  /// One of FOREBAY_MEDIA_...; `torn_bytes` for FOREBAY_MEDIA_TORN_OVERWRITE.
  Options& media(std::uint32_t media, std::uint32_t torn_bytes = 0) noexcept {
    raw_.torn_bytes = torn_bytes;
    return number(&forebay_options::media, media);
  }
  /// A thread of the log's own keeps the flush interval and makes the next segment ready.
  Options& background(bool on) noexcept { return number(&forebay_options::background, on ? 1U : 0U); }
  Options& priority(std::uint32_t priority) noexcept {
    return number(&forebay_options::priority, priority);
  }
  Options& thin_keep_one_in(std::uint32_t segments) noexcept {
    return number(&forebay_options::thin_keep_one_in, segments);
  }
  /// What batches are compressed by, one of FOREBAY_COMPRESSION_...; `level` 0 is the codec's own.
  Options& compression(std::uint32_t by, std::int32_t level = 0) noexcept {
    raw_.compression_level = level;
    return number(&forebay_options::compression, by);
  }
  /// One of FOREBAY_CLEANUP_...
  Options& cleanup_policy(std::uint32_t policy) noexcept {
    return number(&forebay_options::cleanup_policy, policy);
  }
  /// How much may be new before the log is compacted by itself, in per cent.
  Options& min_cleanable_dirty_percent(std::uint32_t percent) noexcept {
    return number(&forebay_options::min_cleanable_dirty_percent, percent);
  }
  /// How long a tombstone stays in a compacted log.
  Options& delete_retention(std::chrono::milliseconds age) noexcept {
    return number(&forebay_options::delete_retention_ms, age.count());
  }
  /// How old a record is at least before compaction takes it.
  Options& min_compaction_lag(std::chrono::milliseconds age) noexcept {
    return number(&forebay_options::min_compaction_lag_ms, age.count());
  }
  Options& compaction_memory_bytes(std::uint64_t bytes) noexcept {
    return number(&forebay_options::compaction_memory_bytes, bytes);
  }

  /// Sets one from text, as a configuration file has it: forebay_options_set.
  Result<void> set(bytes_view name, bytes_view value) {
    const Status status = forebay_options_set(&raw_, name.raw(), value.raw());
    if (status == FOREBAY_OK && name == "hold_consumers") {
      names_ = value.to_string();
    }
    raw_.hold_consumers = forebay_bytes{nullptr, 0};
    return detail::done(status);
  }

  /// As C has them; valid as long as these options are, and not changed.
  forebay_options raw() const noexcept FOREBAY_BORROWS {
    forebay_options raw = raw_;
    raw.hold_consumers = bytes_view(names_).raw();
    return raw;
  }

 private:
  template <class Field, class Number>
  Options& number(Field forebay_options::* field, Number number) noexcept {
    raw_.*field = static_cast<Field>(number);
    return *this;
  }

  forebay_options raw_{};
  /// Copied, and pointed to only when it is used: options may be copied and moved.
  std::string names_;
};

/// How a consumer is opened, at the defaults until set.
class ConsumerOptions {
 public:
  ConsumerOptions() noexcept {
    static_cast<void>(forebay_consumer_options_init(&raw_, sizeof raw_));
  }

  /// What it is handed: `written` unless it carries records elsewhere.
  ConsumerOptions& visibility(Visibility visibility) noexcept {
    raw_.visibility = static_cast<std::uint32_t>(visibility);
    return *this;
  }
  /// Where a consumer of a name that is new begins: the log's start unless set.
  ConsumerOptions& start(OffsetSpec start) noexcept {
    raw_.from = start.from();
    raw_.number = start.number();
    return *this;
  }

  const forebay_consumer_options& raw() const noexcept FOREBAY_BORROWS { return raw_; }

 private:
  forebay_consumer_options raw_{};
};

/// When a linger appends a batch, and what its tickets wait for.
class LingerOptions {
 public:
  LingerOptions() noexcept {
    static_cast<void>(forebay_linger_options_init(&raw_, sizeof raw_));
  }

  /// How long the first record of a batch waits for others: 5 ms unless set; none at all for zero.
  LingerOptions& linger(std::chrono::milliseconds linger) noexcept {
    raw_.linger_ms = linger.count() == 0 ? -1 : linger.count();
    return *this;
  }
  /// The size at which a batch is appended: 64 KiB unless set.
  LingerOptions& batch_bytes(std::uint64_t bytes) noexcept {
    raw_.batch_bytes = bytes;
    return *this;
  }
  /// The number of records at which a batch is appended: no bound unless set.
  LingerOptions& batch_records(std::uint64_t records) noexcept {
    raw_.batch_records = records;
    return *this;
  }
  /// What tickets and flushes wait for: `written` unless set.
  LingerOptions& acknowledge(Visibility visibility) noexcept {
    raw_.acknowledge = static_cast<std::uint32_t>(visibility);
    return *this;
  }

  const forebay_linger_options& raw() const noexcept FOREBAY_BORROWS { return raw_; }

 private:
  forebay_linger_options raw_{};
};

/// A header of a record: borrows its name and its value.
class Header {
 public:
  /// Without a value.
  explicit Header(bytes_view name FOREBAY_BORROWS) noexcept : raw_{name.raw(), {nullptr, 0}} {}
  Header(bytes_view name FOREBAY_BORROWS, bytes_view value FOREBAY_BORROWS) noexcept
      : raw_{name.raw(), value.raw()} {}
  explicit Header(const forebay_header& raw) noexcept : raw_(raw) {}

  std::string_view name() const noexcept { return bytes_view(raw_.name).text(); }
  std::optional<bytes_view> value() const noexcept {
    return raw_.value.data == nullptr ? std::nullopt
                                      : std::optional<bytes_view>(bytes_view(raw_.value));
  }

 private:
  forebay_header raw_;
};

/// A record to be appended: borrows everything it is made of until it was appended.
class NewRecord {
 public:
  explicit NewRecord(bytes_view value FOREBAY_BORROWS) noexcept { raw_.value = value.raw(); }

  /// Deletes its key where a log is compacted.
  static NewRecord tombstone(bytes_view key FOREBAY_BORROWS) noexcept {
    NewRecord record{bytes_view()};
    record.raw_.flags = FOREBAY_TOMBSTONE;
    return record.key(key);
  }

  NewRecord& key(bytes_view key) noexcept {
    raw_.key = key.raw();
    return *this;
  }
  /// Milliseconds since 1970 UTC; the wall clock when it is appended unless set.
  NewRecord& timestamp_ms(std::int64_t timestamp_ms) noexcept {
    raw_.timestamp_ms = timestamp_ms;
    return *this;
  }
  /// Its headers, in order: a std::vector<Header>, std::array or array, which is not copied.
  template <class Headers,
            class = std::enable_if_t<std::is_same_v<detail::Element<Headers>, Header>>>
  NewRecord& headers(const Headers& headers) noexcept {
    static_assert(sizeof(Header) == sizeof(forebay_header) && std::is_standard_layout_v<Header>);
    raw_.headers = reinterpret_cast<const forebay_header*>(std::data(headers));
    raw_.header_count = std::size(headers);
    return *this;
  }
  template <class Headers>
  NewRecord& headers(const Headers&& headers) = delete;

  const forebay_new_record& raw() const noexcept FOREBAY_BORROWS { return raw_; }

 private:
  forebay_new_record raw_{};
};

/// A record that was read. It borrows from the batch it came from: copy what is to outlive that.
class Record {
 public:
  std::int64_t offset() const noexcept { return raw_.offset; }
  /// Milliseconds since 1970 UTC.
  std::int64_t timestamp_ms() const noexcept { return raw_.timestamp_ms; }
  bool has_key() const noexcept { return raw_.key.data != nullptr; }
  /// Empty if it has none: has_key.
  bytes_view key() const noexcept { return bytes_view(raw_.key); }
  bytes_view value() const noexcept { return bytes_view(raw_.value); }
  bool is_tombstone() const noexcept { return (raw_.flags & FOREBAY_TOMBSTONE) != 0; }
  std::size_t header_count() const noexcept { return raw_.header_count; }
  /// FOREBAY_NOT_FOUND beyond the last.
  Result<Header> header(std::size_t index) const {
    forebay_header header{};
    const Status status = forebay_batch_header(batch_, index_, index, &header);
    return detail::done(status, Header(header));
  }
  /// All of them, in order.
  Result<std::vector<Header>> headers() const {
    std::vector<Header> all;
    all.reserve(header_count());
    for (std::size_t index = 0; index < header_count(); ++index) {
      auto one = header(index);
      if (!one) {
        return std::move(one).error();
      }
      all.push_back(*one);
    }
    return all;
  }
  const forebay_record& raw() const noexcept FOREBAY_BORROWS { return raw_; }

 private:
  friend class Batch;
  Record(const forebay_batch* batch, std::size_t index) noexcept : batch_(batch), index_(index) {}

  forebay_record raw_{};
  const forebay_batch* batch_;
  std::size_t index_;
};

/// A batch of records, owned: it keeps its bytes whatever happens to reader, log and files. False
/// where there was none to read. `for (const auto& record : batch)` copies nothing.
class Batch : public detail::Handle<forebay_batch> {
 public:
  class iterator;

  /// Takes over a batch of forebay.h.
  static Batch adopt(forebay_batch* raw) noexcept { return Batch(raw); }

  /// How many records it has; 0 for a gap.
  std::size_t size() const noexcept { return forebay_batch_count(get()); }
  bool empty() const noexcept { return size() == 0; }
  std::int64_t base_offset() const noexcept { return forebay_batch_base_offset(get()); }
  /// What is committed once it is processed.
  std::int64_t next_offset() const noexcept { return forebay_batch_next_offset(get()); }

  Result<Record> record(std::size_t index) const& FOREBAY_BORROWS {
    Record record(get(), index);
    const Status status = forebay_batch_get(get(), index, &record.raw_);
    return detail::done(status, record);
  }
  Result<Record> record(std::size_t index) const&& = delete;

  /// From the first record on. The loop ends before a record that cannot be decoded, which only a
  /// foreign writer's can be: check() and Consumer::commit(batch) tell.
  iterator begin() const& FOREBAY_BORROWS;
  iterator end() const& FOREBAY_BORROWS;
  iterator begin() const&& = delete;
  iterator end() const&& = delete;

  /// Whether every record can be decoded; costs next to nothing behind a loop over all of them.
  Result<void> check() const {
    forebay_record none{};
    // One past the last: not there, if all before it could be decoded.
    const Status status = forebay_batch_get(get(), size(), &none);
    return status == FOREBAY_NOT_FOUND ? Result<void>() : detail::done(status);
  }

  /// As it is stored, to be carried elsewhere: forebay_batch_bytes.
  bytes_view bytes() const& noexcept FOREBAY_BORROWS { return bytes_view(forebay_batch_bytes(get())); }
  bytes_view bytes() const&& = delete;

  struct Split;
  /// The batch at the front of bytes from elsewhere; none, with 0 used, if it is cut short.
  static Result<Split> read(bytes_view bytes);
  /// The same from who is not trusted with memory: FOREBAY_RECORD_TOO_LARGE as soon as a batch says
  /// that it has more than `max_bytes`.
  static Result<Split> read(bytes_view bytes, std::size_t max_bytes);

  /// As a Kafka producer sends it; -1 each for one that is not idempotent.
  Result<std::vector<std::uint8_t>> produce(std::int64_t producer_id, std::int16_t producer_epoch,
                                            std::int32_t sequence) const {
    std::vector<std::uint8_t> buffer(bytes_view(forebay_batch_bytes(get())).size());
    std::size_t size = 0;
    const Status status = forebay_batch_produce(get(), producer_id, producer_epoch, sequence,
                                                buffer.data(), buffer.size(), &size);
    buffer.resize(size);
    return detail::done(status, std::move(buffer));
  }

 private:
  using Handle::Handle;
};

/// A batch, and how many bytes it took.
struct Batch::Split {
  Batch batch;
  std::size_t used;
};

/// Over the records of a batch, which has to outlive it. Each record is overwritten by the next.
class Batch::iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = Record;
  using difference_type = std::ptrdiff_t;
  using pointer = const Record*;
  using reference = const Record&;

  reference operator*() const noexcept { return record_; }
  pointer operator->() const noexcept { return &record_; }
  iterator& operator++() noexcept {
    ++record_.index_;
    find();
    return *this;
  }
  iterator operator++(int) noexcept {
    iterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const iterator& a, const iterator& b) noexcept {
    return a.index() == b.index();
  }
  friend bool operator!=(const iterator& a, const iterator& b) noexcept { return !(a == b); }

 private:
  friend class Batch;
  std::size_t index() const noexcept { return record_.index_; }
  iterator(const forebay_batch* batch, std::size_t index, std::size_t count) noexcept
      : record_(batch, index), count_(count) {
    find();
  }
  void find() noexcept {
    if (record_.index_ == count_) {
      return;
    }
    if (taken_ == given_) {
      taken_ = 0;
      const Status status = forebay_batch_get_many(record_.batch_, record_.index_, some_.data(),
                                                   some_.size(), &given_);
      if (status != FOREBAY_OK || given_ == 0) {
        given_ = 0;
        record_.index_ = count_;
        return;
      }
    }
    record_.raw_ = some_[taken_];
    ++taken_;
  }

  Record record_;
  std::size_t count_;
  /// Asked for together, which is cheaper: so many were given, and so many of these taken.
  std::array<forebay_record, 8> some_{};
  std::size_t given_ = 0;
  std::size_t taken_ = 0;
};

inline Batch::iterator Batch::begin() const& { return iterator(get(), 0, size()); }
inline Batch::iterator Batch::end() const& { return iterator(get(), size(), size()); }

inline Result<Batch::Split> Batch::read(bytes_view bytes) {
  forebay_batch* raw = nullptr;
  std::size_t used = 0;
  const Status status = forebay_batch_read(bytes.raw(), &raw, &used);
  return detail::done(status, Split{Batch(raw), used});
}

inline Result<Batch::Split> Batch::read(bytes_view bytes, std::size_t max_bytes) {
  forebay_batch* raw = nullptr;
  std::size_t used = 0;
  const Status status = forebay_batch_read_within(bytes.raw(), max_bytes, &raw, &used);
  return detail::done(status, Split{Batch(raw), used});
}

/// Reads a log in order from anywhere in it.
class Reader : public detail::Handle<forebay_reader> {
 public:
  /// Takes over a reader of forebay.h.
  static Reader adopt(forebay_reader* raw) noexcept { return Reader(raw); }

  /// The next batch; one that is false at the log's end. After FOREBAY_CORRUPT the next call goes
  /// on behind the damage.
  Result<Batch> next() {
    forebay_batch* raw = nullptr;
    const Status status = forebay_reader_next(get(), &raw);
    return detail::done(status, Batch::adopt(raw));
  }
  Result<void> seek(OffsetSpec to) {
    return detail::done(forebay_reader_seek(get(), to.from(), to.number()));
  }
  std::int64_t next_offset() noexcept { return forebay_reader_next_offset(get()); }

 private:
  using Handle::Handle;
};

/// A named reader whose progress is stored in the log.
class Consumer : public detail::Handle<forebay_consumer> {
 public:
  /// Takes over a consumer of forebay.h.
  static Consumer adopt(forebay_consumer* raw) noexcept { return Consumer(raw); }

  /// The next batch; one that is false if none came in time. Commits nothing.
  Result<Batch> poll(std::chrono::milliseconds timeout) {
    forebay_batch* raw = nullptr;
    const Status status = forebay_consumer_poll(get(), detail::wait_ms(timeout), &raw);
    return detail::done(status, Batch::adopt(raw));
  }
  /// Everything it was handed is processed.
  Result<void> commit() { return detail::done(forebay_consumer_commit(get())); }
  /// Everything up to this batch's end is processed, unless the batch has a record that could not
  /// be decoded: then nothing is committed, and commit_offset passes over it.
  Result<void> commit(const Batch& batch) {
    auto whole = batch.check();
    return whole ? commit_offset(batch.next_offset()) : whole;
  }
  /// Everything below the offset is processed.
  Result<void> commit_offset(std::int64_t offset) {
    return detail::done(forebay_consumer_commit_offset(get(), offset));
  }
  /// The same, with up to 255 bytes of the caller's.
  Result<void> commit_with(std::int64_t offset, bytes_view metadata) {
    return detail::done(forebay_consumer_commit_with(get(), offset, metadata.raw()));
  }
  /// What was stored with the last commit; valid until the consumer's next call.
  bytes_view metadata() noexcept FOREBAY_BORROWS {
    return bytes_view(forebay_consumer_metadata(get()));
  }
  /// Makes what was committed survive a power cut.
  Result<void> sync() { return detail::done(forebay_consumer_sync(get())); }
  Result<void> seek(OffsetSpec to) {
    return detail::done(forebay_consumer_seek(get(), to.from(), to.number()));
  }
  std::int64_t position() noexcept { return forebay_consumer_position(get()); }
  std::int64_t committed() noexcept { return forebay_consumer_committed(get()); }
  /// How many records lie between what was committed and the log's end.
  Result<std::uint64_t> lag() {
    std::uint64_t lag = 0;
    const Status status = forebay_consumer_lag(get(), &lag, nullptr);
    return detail::done(status, lag);
  }
  /// How many records could not be read: damaged, or taken by retention.
  Result<std::uint64_t> missed() {
    std::uint64_t missed = 0;
    const Status status = forebay_consumer_lag(get(), nullptr, &missed);
    return detail::done(status, missed);
  }

 private:
  using Handle::Handle;
};

/// Tells the offset of a record that was handed to a linger. Any number of threads may use it at
/// once.
class Ticket : public detail::Handle<forebay_ticket> {
 public:
  /// Takes over a ticket of forebay.h.
  static Ticket adopt(forebay_ticket* raw) noexcept { return Ticket(raw); }

  /// Waits until the record is in the log, or durable where the linger's options ask for it.
  Result<std::int64_t> wait() const {
    std::int64_t offset = 0;
    const Status status = forebay_ticket_wait(get(), &offset);
    return detail::done(status, offset);
  }
  /// Waits until the record survives a power cut.
  Result<std::int64_t> wait_durable() const {
    std::int64_t offset = 0;
    const Status status = forebay_ticket_wait_durable(get(), &offset);
    return detail::done(status, offset);
  }
  /// What wait() would say, if it would at once; else FOREBAY_WOULD_BLOCK.
  Result<std::int64_t> try_wait() const {
    std::int64_t offset = 0;
    const Status status = forebay_ticket_try_wait(get(), &offset);
    return detail::done(status, offset);
  }

 private:
  using Handle::Handle;
};

/// Makes batches of single records that any number of threads append. Its end appends what waits;
/// what fails then only tickets tell: flush() before it.
class Linger : public detail::Handle<forebay_linger> {
 public:
  /// Takes over a linger of forebay.h.
  static Linger adopt(forebay_linger* raw) noexcept { return Linger(raw); }

  /// Hands in a record; the ticket tells its offset, and may be dropped.
  Result<Ticket> append(bytes_view value) const {
    forebay_ticket* raw = nullptr;
    const Status status = forebay_linger_append(get(), value.raw(), &raw);
    return detail::done(status, Ticket::adopt(raw));
  }
  Result<Ticket> append(const NewRecord& record) const {
    forebay_ticket* raw = nullptr;
    const Status status = forebay_linger_append_record(get(), &record.raw(), &raw);
    return detail::done(status, Ticket::adopt(raw));
  }
  /// Appends what waits; what stood in the way of a batch since the last flush.
  Result<void> flush() const { return detail::done(forebay_linger_flush(get())); }

 private:
  using Handle::Handle;
};

using LogStats = forebay_stats;
using RecoveryReport = forebay_recovery;
using RetentionReport = forebay_retention;
using VerifyReport = forebay_verification;
using ConsumerInfo = forebay_consumer_info;
using LogId = std::array<std::uint8_t, 16>;

/// An open log. Any number of threads may use it at once, for anything but what moves or closes it.
class Log : public detail::Handle<forebay_log> {
 public:
  /// Opens the log in a directory, or creates it.
  static Result<Log> open(bytes_view dir, const Options& options = Options()) {
    const forebay_options given = options.raw();
    forebay_log* raw = nullptr;
    const Status status = forebay_log_open(dir.raw(), &given, &raw);
    return detail::done(status, Log(raw));
  }
  /// Takes over a log of forebay.h.
  static Log adopt(forebay_log* raw) noexcept { return Log(raw); }

  /// Stores everything durably and closes it for everybody, whatever this returns: an error says
  /// that the last records may not be durable. A destructor closes what nobody else uses any more,
  /// readers and batches included, and tells nobody; a log of a store stays open there.
  Result<void> close() { return detail::done(forebay_log_close(release())); }

  /// Changes the options that an open log can change, all or none of them.
  Result<void> set_options(const Options& options) const {
    const forebay_options given = options.raw();
    return detail::done(forebay_log_set_options(get(), &given));
  }

  Result<LogId> id() const {
    std::uint8_t id[16] = {};
    const Status status = forebay_log_id(get(), &id);
    LogId copied{};
    std::memcpy(copied.data(), id, sizeof id);
    return detail::done(status, copied);
  }

  /// Appends a record that is a value alone, and says its offset.
  Result<std::int64_t> append(bytes_view value) const {
    std::int64_t offset = 0;
    const Status status = forebay_log_append(get(), value.raw(), &offset);
    return detail::done(status, offset);
  }
  Result<std::int64_t> append(const NewRecord& record) const {
    std::int64_t offset = 0;
    const Status status = forebay_log_append_record(get(), &record.raw(), &offset);
    return detail::done(status, offset);
  }
  /// Appends records as one batch, all or none, and says the first one's offset: a
  /// std::vector<NewRecord>, std::array or array.
  template <class Records,
            class = std::enable_if_t<std::is_same_v<detail::Element<Records>, NewRecord>>>
  Result<std::int64_t> append_batch(const Records& records) const {
    std::int64_t offset = 0;
    const Status status =
        forebay_log_append_batch(get(), raws(std::data(records)), std::size(records), &offset);
    return detail::done(status, offset);
  }
  Result<std::int64_t> append_batch(std::initializer_list<NewRecord> records) const {
    return append_batch<std::initializer_list<NewRecord>>(records);
  }
  /// The same, with a compression of its own for this batch, one of FOREBAY_COMPRESSION_...
  template <class Records,
            class = std::enable_if_t<std::is_same_v<detail::Element<Records>, NewRecord>>>
  Result<std::int64_t> append_batch_compressed(std::uint32_t by, const Records& records) const {
    std::int64_t offset = 0;
    const Status status = forebay_log_append_batch_compressed(get(), by, raws(std::data(records)),
                                                              std::size(records), &offset);
    return detail::done(status, offset);
  }
  Result<std::int64_t> append_batch_compressed(std::uint32_t by,
                                               std::initializer_list<NewRecord> records) const {
    return append_batch_compressed<std::initializer_list<NewRecord>>(by, records);
  }
  /// The same, if the first record gets the offset `expected`; else FOREBAY_CONFLICT.
  template <class Records,
            class = std::enable_if_t<std::is_same_v<detail::Element<Records>, NewRecord>>>
  Result<void> append_batch_at(std::int64_t expected, const Records& records) const {
    return detail::done(forebay_log_append_batch_at(get(), expected, raws(std::data(records)),
                                                    std::size(records)));
  }
  Result<void> append_batch_at(std::int64_t expected,
                               std::initializer_list<NewRecord> records) const {
    return append_batch_at<std::initializer_list<NewRecord>>(expected, records);
  }

  /// Makes everything that was appended durable, and says up to where that is.
  Result<std::int64_t> flush() const {
    std::int64_t durable = 0;
    const Status status = forebay_log_flush(get(), &durable);
    return detail::done(status, durable);
  }

  std::int64_t log_start_offset() const noexcept { return forebay_log_start_offset(get()); }
  std::int64_t log_end_offset() const noexcept { return forebay_log_end_offset(get()); }
  std::int64_t durable_offset() const noexcept { return forebay_log_durable_offset(get()); }

  /// Waits until the record at `offset` is there, and says whether it is.
  Result<bool> wait_for(std::int64_t offset, Visibility visibility,
                        std::chrono::milliseconds timeout) const {
    bool reached = false;
    const Status status =
        forebay_log_wait(get(), offset, static_cast<std::uint32_t>(visibility),
                         detail::wait_ms(timeout), &reached);
    return detail::done(status, reached);
  }

  /// Sees records as soon as they are appended.
  Result<Reader> reader(OffsetSpec from) const {
    forebay_reader* raw = nullptr;
    const Status status = forebay_log_reader(get(), from.from(), from.number(), &raw);
    return detail::done(status, Reader::adopt(raw));
  }
  /// A way to append that makes batches of single records.
  Result<Linger> linger(const LingerOptions& options = LingerOptions()) const {
    forebay_linger* raw = nullptr;
    const Status status = forebay_log_linger(get(), &options.raw(), &raw);
    return detail::done(status, Linger::adopt(raw));
  }
  /// Opens the consumer of this name, or creates it.
  Result<Consumer> consumer(bytes_view name,
                            const ConsumerOptions& options = ConsumerOptions()) const {
    forebay_consumer* raw = nullptr;
    const Status status = forebay_log_consumer(get(), name.raw(), &options.raw(), &raw);
    return detail::done(status, Consumer::adopt(raw));
  }
  /// Forgets the consumer of this name and its progress.
  Result<void> delete_consumer(bytes_view name) const {
    return detail::done(forebay_log_delete_consumer(get(), name.raw()));
  }
  /// All consumers that the log knows, replicators' among them.
  Result<std::vector<ConsumerInfo>> consumers() const {
    forebay_consumer_list* list = nullptr;
    const Status listed = forebay_log_consumers(get(), &list);
    const std::size_t count = listed == FOREBAY_OK ? forebay_consumer_list_count(list) : 0;
    return detail::all<ConsumerInfo>(listed, list, count, &forebay_consumer_list_get);
  }

  /// Deletes the records below `before` for good, and says the log's new start.
  Result<std::int64_t> delete_records(std::int64_t before) const {
    std::int64_t start = 0;
    const Status status = forebay_log_delete_records(get(), before, &start);
    return detail::done(status, start);
  }
  Result<RetentionReport> apply_retention() const {
    return report<RetentionReport>(&forebay_log_apply_retention);
  }
  /// Reads the whole log and checks everything; damage is in the report, and no error.
  Result<VerifyReport> verify() const { return report<VerifyReport>(&forebay_log_verify); }
  Result<LogStats> stats() const { return report<LogStats>(&forebay_log_stats); }
  /// What opening it found.
  Result<RecoveryReport> recovery() const { return report<RecoveryReport>(&forebay_log_recovery); }

  /// Copies the durable part of the log into a new directory.
  Result<void> snapshot(bytes_view dir) const {
    return detail::done(forebay_log_snapshot(get(), dir.raw()));
  }
  /// Writes the durable part into a new directory as a Kafka broker has it on its disk.
  Result<void> export_to(bytes_view dir) const {
    return detail::done(forebay_log_export(get(), dir.raw()));
  }

 private:
  using Handle::Handle;

  static const forebay_new_record* raws(const NewRecord* records) noexcept {
    static_assert(sizeof(NewRecord) == sizeof(forebay_new_record) &&
                  std::is_standard_layout_v<NewRecord>);
    return reinterpret_cast<const forebay_new_record*>(records);
  }

  template <class Report>
  Result<Report> report(Status (*fill)(const forebay_log*, Report*, std::size_t)) const {
    Report report{};
    const Status status = fill(get(), &report, sizeof report);
    return detail::done(status, report);
  }
};

/// Reads a followed log in order from anywhere in it.
class FollowReader : public detail::Handle<forebay_follow_reader> {
 public:
  /// Takes over a reader of forebay.h.
  static FollowReader adopt(forebay_follow_reader* raw) noexcept { return FollowReader(raw); }

  /// The next batch; one that is false if none came in time. After FOREBAY_CORRUPT the next call
  /// goes on behind the damage.
  Result<Batch> poll(std::chrono::milliseconds timeout) {
    forebay_batch* raw = nullptr;
    const Status status = forebay_follow_reader_poll(get(), detail::wait_ms(timeout), &raw);
    return detail::done(status, Batch::adopt(raw));
  }
  Result<void> seek(OffsetSpec to) {
    return detail::done(forebay_follow_reader_seek(get(), to.from(), to.number()));
  }
  /// Falls where a recovery cut the log below it.
  std::int64_t next_offset() noexcept { return forebay_follow_reader_next_offset(get()); }
  /// How many offsets were deleted before this reader came to them.
  Result<std::uint64_t> missed() {
    std::uint64_t missed = 0;
    const Status status = forebay_follow_reader_missed(get(), &missed, nullptr);
    return detail::done(status, missed);
  }
  /// How many offsets it gave that a recovery took again: they come again with other records.
  Result<std::uint64_t> retracted() {
    std::uint64_t retracted = 0;
    const Status status = forebay_follow_reader_missed(get(), nullptr, &retracted);
    return detail::done(status, retracted);
  }

 private:
  using Handle::Handle;
};

/// A log that another process writes, opened for reading only. It knows what the last look at the
/// files found. Any number of threads may use it at once, for anything but what moves it.
class Follower : public detail::Handle<forebay_follower> {
 public:
  /// Opens the log in a directory, where there has to be one. While something waits it is looked at
  /// every `poll_interval`, 1 to 50 ms; 0 for the default of 5 ms.
  static Result<Follower> open(bytes_view dir, std::chrono::milliseconds poll_interval =
                                                   std::chrono::milliseconds(0)) {
    forebay_follower* raw = nullptr;
    const Status status = forebay_follower_open(dir.raw(), poll_interval.count(), &raw);
    return detail::done(status, Follower(raw));
  }
  /// Takes over a follower of forebay.h.
  static Follower adopt(forebay_follower* raw) noexcept { return Follower(raw); }

  /// Looks at the files now.
  Result<void> refresh() const { return detail::done(forebay_follower_refresh(get())); }

  std::int64_t log_start_offset() const noexcept { return forebay_follower_start_offset(get()); }
  std::int64_t log_end_offset() const noexcept { return forebay_follower_end_offset(get()); }
  std::int64_t durable_offset() const noexcept { return forebay_follower_durable_offset(get()); }

  /// Waits until the record at `offset` is there, and says whether it is.
  Result<bool> wait_for(std::int64_t offset, Visibility visibility,
                        std::chrono::milliseconds timeout) const {
    bool reached = false;
    const Status status =
        forebay_follower_wait(get(), offset, static_cast<std::uint32_t>(visibility),
                              detail::wait_ms(timeout), &reached);
    return detail::done(status, reached);
  }

  /// Its readers stay usable when it is gone.
  Result<FollowReader> reader(OffsetSpec from, Visibility visibility = Visibility::written) const {
    forebay_follow_reader* raw = nullptr;
    const Status status = forebay_follower_reader(get(), from.from(), from.number(),
                                                  static_cast<std::uint32_t>(visibility), &raw);
    return detail::done(status, FollowReader::adopt(raw));
  }

 private:
  using Handle::Handle;
};

/// The options of a store, at their defaults until set; forebay_store_options has what each means.
class StoreOptions {
 public:
  StoreOptions() noexcept { static_cast<void>(forebay_store_options_init(&raw_, sizeof raw_)); }

  /// A thread does what is due for all logs; else Store::maintain() does.
  StoreOptions& background(bool on) noexcept {
    raw_.background = on ? 1 : 0;
    return *this;
  }
  StoreOptions& budget_bytes(std::uint64_t bytes) noexcept {
    raw_.budget_bytes = bytes;
    return *this;
  }
  StoreOptions& reserve_bytes(std::uint64_t bytes) noexcept {
    raw_.reserve_bytes = bytes;
    return *this;
  }
  StoreOptions& max_mapped_bytes(std::uint64_t bytes) noexcept {
    raw_.max_mapped_bytes = bytes;
    return *this;
  }
  StoreOptions& memory_limit_bytes(std::uint64_t bytes) noexcept {
    raw_.memory_limit_bytes = bytes;
    return *this;
  }
  StoreOptions& rated_endurance_bytes(std::uint64_t bytes) noexcept {
    raw_.rated_endurance_bytes = bytes;
    return *this;
  }
  StoreOptions& max_open_logs(std::uint32_t logs) noexcept {
    raw_.max_open_logs = logs;
    return *this;
  }
  StoreOptions& max_open_files(std::uint32_t files) noexcept {
    raw_.max_open_files = files;
    return *this;
  }
  /// Those of logs that are given none of their own.
  StoreOptions& logs(Options options) noexcept {
    logs_ = std::move(options);
    return *this;
  }
  /// Sets one from text, as a configuration file has it: forebay_store_options_set.
  Result<void> set(bytes_view name, bytes_view value) {
    return detail::done(forebay_store_options_set(&raw_, name.raw(), value.raw()));
  }

 private:
  friend class Store;
  forebay_store_options raw_{};
  Options logs_;
};

using StoreStats = forebay_store_totals;
using LogInfo = forebay_log_info;

/// Many named logs in one directory, under one budget. Any number of threads may use it at once.
class Store : public detail::Handle<forebay_store> {
 public:
  /// Opens the store in a directory, or creates it.
  static Result<Store> open(bytes_view dir, const StoreOptions& options = StoreOptions()) {
    const forebay_options logs = options.logs_.raw();
    forebay_store_options given = options.raw_;
    given.logs = &logs;
    forebay_store* raw = nullptr;
    const Status status = forebay_store_open(dir.raw(), &given, &raw);
    return detail::done(status, Store(raw));
  }
  /// With the options of a configuration file. FOREBAY_UNSUPPORTED without "toml".
  static Result<Store> open_config(bytes_view dir, bytes_view config_file) {
    forebay_store* raw = nullptr;
    const Status status = forebay_store_open_config(dir.raw(), config_file.raw(), &raw);
    return detail::done(status, Store(raw));
  }
  /// Takes over a store of forebay.h.
  static Store adopt(forebay_store* raw) noexcept { return Store(raw); }

  /// Stores everything durably and closes all logs, whatever this returns. The destructor does the
  /// same and tells the log callback alone.
  Result<void> close() { return detail::done(forebay_store_close(release())); }

  /// The log of this name, opened or created if need be, with the store's options for logs.
  Result<Log> log(bytes_view name) const { return opened(name, nullptr); }
  /// The same with options of its own.
  Result<Log> log(bytes_view name, const Options& options) const {
    const forebay_options given = options.raw();
    return opened(name, &given);
  }
  /// The log of a partition, 0 to `partitions` - 1, of this name.
  Result<Log> partition(bytes_view name, std::uint32_t partitions, std::uint32_t partition) const {
    forebay_log* raw = nullptr;
    const Status status = forebay_store_partition(get(), name.raw(), partitions, partition, &raw);
    return detail::done(status, Log::adopt(raw));
  }
  /// Deletes the log of this name, all of its partitions, and its consumers, for good.
  Result<void> delete_log(bytes_view name) const {
    return detail::done(forebay_store_delete_log(get(), name.raw()));
  }
  /// Makes everything durable that was appended to any of its logs.
  Result<void> flush() const { return detail::done(forebay_store_flush(get())); }
  /// Does what is due in all logs; to be called every few seconds without background().
  Result<void> maintain() const { return detail::done(forebay_store_maintain(get())); }
  Result<StoreStats> stats() const {
    StoreStats stats{};
    const Status status = forebay_store_stats(get(), &stats, sizeof stats);
    return detail::done(status, stats);
  }
  /// All logs, partitions each by itself.
  Result<std::vector<LogInfo>> logs() const {
    forebay_log_list* list = nullptr;
    const Status listed = forebay_store_logs(get(), &list);
    const std::size_t count = listed == FOREBAY_OK ? forebay_log_list_count(list) : 0;
    return detail::all<LogInfo>(listed, list, count, &forebay_log_list_get);
  }

 private:
  using Handle::Handle;

  Result<Log> opened(bytes_view name, const forebay_options* options) const {
    forebay_log* raw = nullptr;
    const Status status = forebay_store_log(get(), name.raw(), options, &raw);
    return detail::done(status, Log::adopt(raw));
  }
};

/// The partition that Kafka's own producers choose for this key.
inline std::uint32_t partition_for_key(bytes_view key, std::uint32_t partitions) noexcept {
  return forebay_partition_for_key(key.raw(), partitions);
}

/// How a replicator ships, at the defaults until set; forebay_replicator_options has what each means.
class ReplicatorOptions {
 public:
  ReplicatorOptions() noexcept {
    static_cast<void>(forebay_replicator_options_init(&raw_, sizeof raw_));
  }

  ReplicatorOptions& backoff(std::chrono::milliseconds min, std::chrono::milliseconds max) noexcept {
    raw_.backoff_min_ms = static_cast<std::int64_t>(min.count());
    raw_.backoff_max_ms = static_cast<std::int64_t>(max.count());
    return *this;
  }
  ReplicatorOptions& in_flight_bytes(std::uint64_t bytes) noexcept {
    raw_.in_flight_bytes = bytes;
    return *this;
  }
  ReplicatorOptions& acknowledge_timeout(std::chrono::milliseconds timeout) noexcept {
    raw_.acknowledge_timeout_ms = static_cast<std::int64_t>(timeout.count());
    return *this;
  }
  ReplicatorOptions& bytes_per_second(std::uint64_t bytes) noexcept {
    raw_.bytes_per_second = bytes;
    return *this;
  }

  /// Sets one from text, as a configuration file has it: forebay_replicator_options_set.
  Result<void> set(bytes_view name, bytes_view value) {
    return detail::done(forebay_replicator_options_set(&raw_, name.raw(), value.raw()));
  }

  const forebay_replicator_options& raw() const noexcept FOREBAY_BORROWS { return raw_; }

 private:
  forebay_replicator_options raw_{};
};

/// What a replicator is to ship to; nothing is opened before it is started.
class Upstream : public detail::Handle<forebay_upstream> {
 public:
  /// A log in another directory, which gets the same offsets and the same bytes.
  static Result<Upstream> log(bytes_view dir, const Options& options = Options()) {
    const forebay_options given = options.raw();
    forebay_upstream* raw = nullptr;
    const Status status = forebay_upstream_log_new(dir.raw(), &given, &raw);
    return detail::done(status, Upstream(raw));
  }
  /// A topic of a Kafka cluster; `bootstrap` is "host:port,host:port".
  static Result<Upstream> kafka(bytes_view bootstrap, bytes_view topic) {
    forebay_upstream* raw = nullptr;
    const Status status = forebay_upstream_kafka_new(bootstrap.raw(), topic.raw(), &raw);
    return detail::done(status, Upstream(raw));
  }
  /// Takes over an upstream of forebay.h.
  static Upstream adopt(forebay_upstream* raw) noexcept { return Upstream(raw); }

  /// Sets one setting of a Kafka upstream from text: forebay_upstream_set has their names.
  Result<void> set(bytes_view name, bytes_view value) {
    return detail::done(forebay_upstream_set(get(), name.raw(), value.raw()));
  }
  /// Where records go that the broker will never take.
  Result<void> set_dead_letter(const Log& log) {
    return detail::done(forebay_upstream_set_dead_letter(get(), log.get()));
  }
  /// Logs in with OAUTHBEARER, with tokens of `callback`, which is called at each login, on the
  /// replicator's thread; an Error ends that try to log in. An exception that leaves it ends the
  /// process.
  Result<void> set_token_callback(std::function<Result<std::string>()> callback) {
    if (!callback) {
      return detail::done(forebay_upstream_set_token_callback(get(), nullptr, nullptr, nullptr));
    }
    auto owned = std::make_unique<Tokens>(Tokens{std::move(callback), std::string()});
    const auto ask = [](void* context, std::uint8_t* buffer, std::size_t capacity,
                        std::size_t* len_out) noexcept -> std::int32_t {
      auto& tokens = *static_cast<Tokens*>(context);
      Result<std::string> token = std::exchange(tokens.longer, std::string());
      if (token->empty()) {
        token = tokens.ask();
      }
      if (!token) {
        return token.error().status();
      }
      *len_out = token->size();
      if (token->size() > capacity) {
        tokens.longer = std::move(*token);
        return FOREBAY_OUT_OF_SPACE;
      }
      if (!token->empty()) {
        std::memcpy(buffer, token->data(), token->size());
      }
      return FOREBAY_OK;
    };
    const auto drop = [](void* context) noexcept {
      std::unique_ptr<Tokens>(static_cast<Tokens*>(context)).reset();
    };
    const Status status = forebay_upstream_set_token_callback(get(), ask, owned.get(), drop);
    if (status == FOREBAY_OK) {
      static_cast<void>(owned.release());
    }
    return detail::done(status);
  }

 private:
  using Handle::Handle;

  struct Tokens {
    std::function<Result<std::string>()> ask;
    /// One that did not fit, for the call that comes with more room.
    std::string longer;
  };
};

using ReplicatorStatus = forebay_progress;
using ReplicatorNotice = forebay_notice;

/// Ships the durable records of a log to an upstream, on one thread of its own. Any number of
/// threads may use it at once, for anything but what moves or stops it. The destructor stops it,
/// and blocks as stop() does.
class Replicator : public detail::Handle<forebay_replicator> {
 public:
  /// Starts it, and takes the upstream unless this fails; progress is kept as the log's consumer
  /// `name`. That the link cannot be opened is told by next_notice() and status().
  static Result<Replicator> start(const Log& log, bytes_view name, Upstream&& upstream,
                                  const ReplicatorOptions& options = ReplicatorOptions()) {
    forebay_replicator* raw = nullptr;
    const Status status =
        forebay_replicator_start(log.get(), name.raw(), upstream.get(), &options.raw(), &raw);
    if (status == FOREBAY_OK) {
      static_cast<void>(upstream.release());
    }
    return detail::done(status, Replicator(raw));
  }
  /// Takes over a replicator of forebay.h.
  static Replicator adopt(forebay_replicator* raw) noexcept { return Replicator(raw); }

  /// How far it has come and what it is doing.
  Result<ReplicatorStatus> status() const {
    ReplicatorStatus progress{};
    const Status status = forebay_replicator_status(get(), &progress, sizeof progress);
    return detail::done(status, progress);
  }
  /// The next thing that happened; of the kind FOREBAY_NOTICE_NONE if nothing did in time.
  Result<ReplicatorNotice> next_notice(std::chrono::milliseconds timeout) const {
    ReplicatorNotice notice{};
    const Status status = forebay_replicator_next_notice(get(), detail::wait_ms(timeout), &notice,
                                                         sizeof notice);
    return detail::done(status, notice);
  }
  /// Waits until every record below `offset` is durable upstream, and says whether it is.
  Result<bool> wait_until(std::int64_t offset, std::chrono::milliseconds timeout) const {
    bool reached = false;
    const Status status =
        forebay_replicator_wait(get(), offset, detail::wait_ms(timeout), &reached);
    return detail::done(status, reached);
  }
  /// Where upstream the record of this offset stands, or a negative status.
  std::int64_t upstream_offset(std::int64_t offset) const noexcept {
    return forebay_replicator_upstream_offset(get(), offset);
  }
  /// Stops shipping and closes the link, whatever this returns but FOREBAY_INVALID_ARGUMENT: that
  /// was asked for by its own token callback.
  Result<void> stop() {
    const Status status = forebay_replicator_stop(get());
    if (status != FOREBAY_INVALID_ARGUMENT) {
      static_cast<void>(release());
    }
    return detail::done(status);
  }
  /// The same, but waits no longer than `timeout`: with FOREBAY_WOULD_BLOCK it is still there, has
  /// not stopped yet, and is to be asked again.
  Result<void> stop(std::chrono::milliseconds timeout) {
    const Status status = forebay_replicator_stop_within(get(), detail::wait_ms(timeout));
    if (status != FOREBAY_INVALID_ARGUMENT && status != FOREBAY_WOULD_BLOCK) {
      static_cast<void>(release());
    }
    return detail::done(status);
  }

 private:
  using Handle::Handle;
};

/// What Turns::turn() says when nothing is shipped any more.
inline constexpr std::chrono::milliseconds ended = std::chrono::milliseconds(-1);

/// A replicator that the application's own loop drives, without a thread.
class Turns : public detail::Handle<forebay_turns> {
 public:
  /// As Replicator::start; nothing is done but by turn().
  static Result<Turns> create(const Log& log, bytes_view name, Upstream&& upstream,
                              const ReplicatorOptions& options = ReplicatorOptions()) {
    forebay_turns* raw = nullptr;
    const Status status =
        forebay_turns_new(log.get(), name.raw(), upstream.get(), &options.raw(), &raw);
    if (status == FOREBAY_OK) {
      static_cast<void>(upstream.release());
    }
    return detail::done(status, Turns(raw));
  }
  /// Takes over turns of forebay.h.
  static Turns adopt(forebay_turns* raw) noexcept { return Turns(raw); }

  /// Does the next step, and says how long nothing is due: zero if there is more to do at once,
  /// `ended` if the log was closed.
  Result<std::chrono::milliseconds> turn() {
    std::int64_t wait_ms = 0;
    const Status status = forebay_turns_turn(get(), &wait_ms);
    return detail::done(status, std::chrono::milliseconds(wait_ms));
  }
  /// As Replicator::next_notice, but never waits for one.
  Result<ReplicatorNotice> next_notice() {
    ReplicatorNotice notice{};
    const Status status = forebay_turns_next_notice(get(), &notice, sizeof notice);
    return detail::done(status, notice);
  }
  /// How far it has come and what it is doing.
  Result<ReplicatorStatus> status() {
    ReplicatorStatus progress{};
    const Status status = forebay_turns_status(get(), &progress, sizeof progress);
    return detail::done(status, progress);
  }
  /// Where upstream the record of this offset stands, or a negative status.
  std::int64_t upstream_offset(std::int64_t offset) noexcept {
    return forebay_turns_upstream_offset(get(), offset);
  }

 private:
  using Handle::Handle;
};

}  // namespace forebay

#endif /* FOREBAY_HPP */
