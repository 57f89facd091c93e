#include "lesson.hpp"

#include <regex>
#include <string>

namespace {

using namespace std::chrono_literals;

TEST(TerminateTest, TheWorkerStartsAtMostOnceAndNeverFinishes) {
  int others = 0;
  for (const auto& line : mp::test::lesson().out) {
    bool is_mains = line.text.find(": ") != std::string::npos;
    if (is_mains) continue;
    EXPECT_EQ(line.text, "Starting worker");
    ++others;
  }
  EXPECT_LE(others, 1);
}

TEST(TerminateTest, RightAfterwardsItIsEitherStillThereOrStopped) {
  const std::regex either(
      "TERMINATED: .* (started|stopped exitcode=-SIGTERM)> (true|false)");
  int found = 0;
  for (const auto& line : mp::test::lesson().out) {
    if (std::regex_match(line.text, either)) ++found;
  }
  EXPECT_EQ(found, 1);
}

TEST(TerminateTest, NobodyWaitsForTheWorkerToSleepItsFill) {
  EXPECT_LT(mp::test::lesson().elapsed, 10s);
}

}  // namespace
