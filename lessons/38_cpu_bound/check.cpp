#include "lesson.hpp"

#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

namespace {

double after_last_colon(const std::string& text) {
  return std::stod(text.substr(text.rfind(':') + 1));
}

TEST(CpuBound, TheAveragesAreThoseOfTheSamplesAboveThem) {
  std::vector<double> samples;
  int averages = 0;
  for (const auto& line : mp::test::lesson().out) {
    if (line.text.starts_with("Elapsed: ")) {
      samples.push_back(after_last_colon(line.text));
      // 24 million multiplications, at most ten in a nanosecond and worker.
      EXPECT_GT(samples.back(), 0.0002);
    }
    if (!line.text.starts_with("Average ")) continue;
    ++averages;
    ASSERT_EQ(samples.size(), 3U);
    EXPECT_NEAR(after_last_colon(line.text),
                std::accumulate(samples.begin(), samples.end(), 0.0) / 3,
                0.0002);
    samples.clear();
  }
  EXPECT_EQ(averages, 2);
}

TEST(CpuBound, CyclesAreDrawnAnewForEachTask) {
  std::vector<int> cycles;
  for (const auto& line : mp::test::lesson().out) {
    int value = 0;
    if (std::sscanf(line.text.c_str(), "Cycles: %d", &value) != 1) continue;
    EXPECT_GE(value, 1);
    EXPECT_LE(value, 100);
    cycles.push_back(value);
  }
  ASSERT_EQ(cycles.size(), 72U);
  // By chance alone the second half never repeats the first.
  EXPECT_NE(std::vector(cycles.begin(), cycles.begin() + 36),
            std::vector(cycles.begin() + 36, cycles.end()));
}

}  // namespace
