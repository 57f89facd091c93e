#include "lesson.hpp"

#include <cstdlib>
#include <string>

namespace {

using namespace std::chrono_literals;

TEST(JoinTimeoutTest, JoinReturnsAfterOneSecondAndNotMuchLater) {
  const std::string label = "d.join(1s) took ";
  double seconds = 0;
  for (const auto& line : mp::test::lesson().out) {
    if (line.text.starts_with(label)) {
      seconds = std::strtod(line.text.c_str() + label.size(), nullptr);
    }
  }
  EXPECT_GE(seconds, 1.0);
  EXPECT_LT(seconds, 5.0);
}

TEST(JoinTimeoutTest, TheProgramDoesNotWaitForTheDaemonToSleepItsFill) {
  EXPECT_GE(mp::test::lesson().elapsed, 1s);
  EXPECT_LT(mp::test::lesson().elapsed, 10s);
}

}  // namespace
