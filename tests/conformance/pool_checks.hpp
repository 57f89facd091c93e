#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <set>

#include <mp/errors.hpp>

#include "pools.hpp"

/// What is checked alike of a pool and of a manager's.
namespace mp::test {

/// How many there are in this process.
struct Counted {
  static inline std::atomic<int> alive{0};
  int value = 0;
  Counted() { ++alive; }
  Counted(const Counted& other) : value(other.value) { ++alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --alive; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(value);
  }
};

/// `imap(range, chunk)` squares what the range has: what whole chunks have before the item that
/// throws comes, then its error, then the end.
template <class Imap>
void expect_squares_up_to_an_item_that_throws(Imap imap) {
  struct Case {
    int fatal;
    int chunk;
    int results;
  };
  for (const Case& c : {Case{3, 1, 3}, Case{7, 2, 6}, Case{7, 4, 4}}) {
    auto results = imap(ThrowingRange{100, c.fatal}, c.chunk);
    for (int i = 0; i < c.results; ++i) EXPECT_EQ(results.next(), i * i);
    EXPECT_THROW(results.next(), mp::KeyError);
    EXPECT_EQ(results.next(), std::nullopt);
  }
}

/// The same without an order, of ThrowingRange{100, 7}: each result once, and the error.
template <class Results>
void expect_some_results_and_an_error(Results results) {
  std::set<int> seen;
  try {
    while (const auto result = results.next(patience)) {
      EXPECT_TRUE(seen.insert(*result).second);
    }
    FAIL();
  } catch (const mp::KeyError&) {
  }
  EXPECT_LE(seen.size(), 7U);
}

}  // namespace mp::test
