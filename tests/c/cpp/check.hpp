// What both halves of the test program use.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include <forebay.hpp>

// A condition that holds in every build, unlike assert.
#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
      std::exit(1);                                                           \
    }                                                                         \
  } while (false)

// The value, or the end of the test with the error's text.
template <class T>
T must(forebay::Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", result.error().name(), result.error().text().c_str());
    std::exit(1);
  }
  return std::move(result).value();
}

inline void must(const forebay::Result<void>& result) {
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", result.error().name(), result.error().text().c_str());
    std::exit(1);
  }
}

template <class T>
bool fails(const forebay::Result<T>& result, forebay::Status status) {
  return !result && result.error().status() == status && !result.error().text().empty();
}

// ship.cpp
void ships(const std::string& dir);
// other.cpp
std::string second_unit(const forebay::Log& log);
forebay::Batch last_batch(const std::string& dir);
void parts_for_themselves();

#endif
