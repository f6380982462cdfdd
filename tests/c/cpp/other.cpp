// The second unit that has the header, twice: what it inlines has to be the first one's.
#include <forebay.hpp>
#include <forebay.hpp>

#include "check.hpp"

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

using forebay::bytes_view;

std::string second_unit(const forebay::Log& log) {
  auto reader = must(log.reader(forebay::OffsetSpec::earliest()));
  std::string all;
  for (;;) {
    const auto batch = must(reader.next());
    if (!batch) {
      return all;
    }
    for (const auto& record : batch) {
      all += record.key().to_string() + "=" + record.value().to_string() + ";";
    }
    must(batch.check());
  }
}

// A batch outlives its log and its reader.
forebay::Batch last_batch(const std::string& dir) {
  auto log = must(forebay::Log::open(dir));
  must(log.append_batch({forebay::NewRecord("first"), forebay::NewRecord("second")}));
  auto reader = must(log.reader(forebay::OffsetSpec::earliest()));
  return must(reader.next());
}

static void bytes_come_from_everything_that_has_them() {
  const char* none = nullptr;
  const std::string text = "abc";
  const std::vector<std::uint8_t> vector = {'a', 'b', 'c'};
  const std::array<std::byte, 3> array = {std::byte{'a'}, std::byte{'b'}, std::byte{'c'}};
  const unsigned char plain[3] = {'a', 'b', 'c'};
  CHECK(bytes_view("abc") == text);
  CHECK(bytes_view("abc").size() == 3);
  CHECK(bytes_view(std::string_view("abcd").substr(0, 3)) == text);
  CHECK(bytes_view(vector) == text);
  CHECK(bytes_view(array) == text);
  CHECK(bytes_view(plain) == text);
  CHECK(bytes_view(plain, 2) != text);
  CHECK(bytes_view(none).empty() && bytes_view().empty());
  CHECK(bytes_view(none).begin() == bytes_view(none).end());
  CHECK(bytes_view(vector)[1] == 'b' && bytes_view(vector).to_vector() == vector);
  CHECK(bytes_view(text).to_string() == text && bytes_view(std::string()).text().empty());
  // Empty bytes are some bytes to C, where a key that is NULL is none.
  CHECK(bytes_view(std::vector<char>()).raw().data != nullptr);
  static_assert(!std::is_convertible_v<std::vector<int>, bytes_view>);
  static_assert(!std::is_convertible_v<int, bytes_view>);
}

static void results_hold_a_value_or_an_error() {
  using forebay::Error;
  using forebay::Result;
  const Result<int> three = 3;
  const Result<int> none = Error(FOREBAY_LOCKED, "taken");
  CHECK(three && three.has_value() && *three == 3 && three.value() == 3);
  CHECK(!none && none.value_or(7) == 7 && three.value_or(7) == 3);
  CHECK(none.error().status() == FOREBAY_LOCKED && none.error().text() == "taken");
  CHECK(none.error().name() == std::string_view("FOREBAY_LOCKED") && !none.error().offsets());
  Result<std::string> text = std::string("abc");
  CHECK(text->size() == 3);
  text.value() += "d";
  CHECK(std::move(text).value_or("") == "abcd");
  CHECK(Result<std::string>(Error(FOREBAY_IO, "")).value_or("other") == "other");
  const Result<void> done;
  const Result<void> failed = Error(FOREBAY_IO, "no device");
  CHECK(done && done.has_value() && !failed && failed.error().text() == "no device");
  done.value();
  CHECK(Result<void>(failed).error().status() == FOREBAY_IO);
  static_assert(std::is_same_v<decltype(Result<int>(3).value()), int>, "no dangling reference");
}

static void a_handle_is_a_pointer_and_moves() {
  static_assert(sizeof(forebay::Log) == sizeof(void*) && sizeof(forebay::Batch) == sizeof(void*));
  static_assert(!std::is_copy_constructible_v<forebay::Log>);
  static_assert(!std::is_copy_assignable_v<forebay::Batch>);
  static_assert(std::is_nothrow_move_constructible_v<forebay::Reader>);
  static_assert(std::is_nothrow_move_assignable_v<forebay::Consumer>);
  static_assert(sizeof(forebay::Ticket) == sizeof(void*));
  static_assert(!std::is_copy_constructible_v<forebay::Linger>);
  static_assert(!std::is_constructible_v<forebay::Log, forebay_log*>, "adopt() says it aloud");
}

void parts_for_themselves() {
  bytes_come_from_everything_that_has_them();
  results_hold_a_value_or_an_error();
  a_handle_is_a_pointer_and_moves();
}
