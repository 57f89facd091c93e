#include "lesson.hpp"

#include <cstdio>

namespace {

TEST(PoolBenchmark, AHundredMillionCubesTakeTheirTime) {
  double serial = 0, parallel = 0, one = 0;
  for (const auto& line : mp::test::lesson().out) {
    const char* text = line.text.c_str();
    std::sscanf(text, "Sequential Processing Time Taken: %lf", &serial);
    std::sscanf(text, "Parallel Processing Time Taken: %lf", &parallel);
    std::sscanf(text, "1 workers: %lf", &one);
  }
  // No processor stores and adds more than ten of them in a nanosecond.
  EXPECT_GT(serial, 0.01);
  EXPECT_GT(one, 0.01 / 5);
  EXPECT_GT(parallel, 0.01 / 5);
}

TEST(PoolBenchmark, TheSpeedUpIsTheSerialTimeByTheTimeWithSoManyWorkers) {
  double serial = 0;
  int rows = 0;
  for (const auto& line : mp::test::lesson().out) {
    int workers = 0;
    double time = 0, speed_up = 0;
    std::sscanf(line.text.c_str(), "Sequential Processing Time Taken: %lf",
                &serial);
    if (std::sscanf(line.text.c_str(), "%d workers: %lf s, speed-up %lf",
                    &workers, &time, &speed_up) == 3) {
      EXPECT_EQ(workers, ++rows);
      EXPECT_NEAR(speed_up, serial / 5 / time, 0.01 + 0.05 * speed_up);
    }
  }
  EXPECT_EQ(rows, 5);
}

}  // namespace
