#include "lesson.hpp"

#include <cstdio>
#include <map>

namespace {

TEST(Chunksize, AMessagePerItemCostsMoreThanAMessagePerThousandItems) {
  std::map<int, double> cost;
  for (const auto& line : mp::test::lesson().out) {
    int chunk = 0;
    double us = 0;
    if (std::sscanf(line.text.c_str(), "chunksize %d: %lf", &chunk, &us) == 2)
      cost[chunk] = us;
  }
  ASSERT_EQ(cost.size(), 4U);
  EXPECT_GT(cost[1], cost[1000]);
}

TEST(Chunksize, TheLoopWithALotToDoTakesItsTime) {
  int found = 0;
  for (const auto& line : mp::test::lesson().out) {
    int rounds = 0;
    double us = 0;
    if (std::sscanf(line.text.c_str(), "%d rounds per item: loop %lf", &rounds,
                    &us) == 2 &&
        rounds == 100'000) {
      // A round waits for the one before, unless the compiler makes one of
      // several; if it dropped them all, it would be nanoseconds.
      EXPECT_GT(us, 2);
      ++found;
    }
  }
  EXPECT_EQ(found, 1);
}

}  // namespace
