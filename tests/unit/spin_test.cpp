#include "spin.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace {

using mp::detail::AdaptiveSpin;
using mp::detail::has_several_cores;
using mp::detail::HeadStart;

// How many of `waits` waits look at all for what never comes.
int waits_that_look(AdaptiveSpin& spin, int waits) {
  int looking = 0;
  for (int i = 0; i < waits; ++i) {
    bool looked = false;
    EXPECT_FALSE(spin([&] {
      looked = true;
      return false;
    }));
    looking += looked ? 1 : 0;
  }
  return looking;
}

// How many of `waits` waits give the writer a head start, after which there are `records`.
int head_starts(HeadStart& head_start, int waits, std::uint64_t records) {
  int given = 0;
  for (int i = 0; i < waits; ++i) {
    head_start([&] {
      ++given;
      return records;
    });
  }
  return given;
}

TEST(AdaptiveSpinTest, WhereLookingNeverPaysOnlyATryNowAndThenIsLeft) {
  AdaptiveSpin spin;
  waits_that_look(spin, 8);  // These teach it.
  const int tries = has_several_cores() ? 10 : 0;
  EXPECT_EQ(waits_that_look(spin, 640), tries);
}

TEST(AdaptiveSpinTest, ALookThatPaysMakesTheNextWaitsLook) {
  if (!has_several_cores()) GTEST_SKIP() << "nobody spins on one core";
  AdaptiveSpin spin;
  waits_that_look(spin, 8);
  while (!spin([] { return true; })) {
  }
  EXPECT_EQ(waits_that_look(spin, 1), 1);
}

TEST(HeadStartTest, ThatBringsABatchIsGivenAtEachWait) {
  HeadStart head_start;
  head_starts(head_start, 65, 8);  // The first try is one of these.
  EXPECT_EQ(head_starts(head_start, 100, 8), has_several_cores() ? 100 : 0);
}

// As in a round trip, where a moment for nothing is time lost.
TEST(HeadStartTest, ThatBringsNothingIsTriedEverMoreRarely) {
  HeadStart head_start;
  head_starts(head_start, 10'000, 1);
  EXPECT_LE(head_starts(head_start, 100'000, 1), 25);
}

TEST(HeadStartTest, IsGivenUpWhenItNoLongerBringsABatch) {
  HeadStart head_start;
  head_starts(head_start, 100, 8);
  EXPECT_LE(head_starts(head_start, 64, 1), 1);
}

TEST(HeadStartTest, IsTriedAgainWhereItOnceBroughtNothing) {
  if (!has_several_cores()) GTEST_SKIP() << "nobody gets a head start on one core";
  HeadStart head_start;
  head_starts(head_start, 100'000, 1);
  head_starts(head_start, 5'000, 8);
  EXPECT_EQ(head_starts(head_start, 10, 8), 10);
}

}  // namespace
