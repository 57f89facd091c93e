#include "lesson.hpp"

#include <cstdio>
#include <map>
#include <string>

namespace {

TEST(Imap, OfAnEndlessInputFiveResultsComeAndTheFirstIsNotWaitedFor) {
  int results = 0, read = 0;
  for (const auto& line : mp::test::lesson().out) {
    int number = 0;
    if (std::sscanf(line.text.c_str(), "endless: result %d", &number) == 1) {
      ++results;
      EXPECT_GT(number, 0);
    }
    std::sscanf(line.text.c_str(), "endless: %d items read", &read);
  }
  EXPECT_EQ(results, 5);
  EXPECT_GE(read, 6);
  EXPECT_LE(read, 5 + 8);
}

TEST(Imap, TaskZeroTakesAsLongAsItSaysInEveryWay) {
  std::map<std::string, double> last;
  for (const auto& line : mp::test::lesson().out) {
    char way[32] = {};
    int number = 0;
    double seconds = 0;
    if (std::sscanf(line.text.c_str(), "%31[a-z_]: result %d after %lf s", way,
                    &number, &seconds) == 3) {
      EXPECT_GE(seconds, last[way]) << "time runs backwards: " << line.text;
      last[way] = seconds;
      const bool alone = std::string(way) == "imap_unordered";
      if (number == 0 || !alone) {
        EXPECT_GE(seconds, 0.3) << line.text;
      }
    }
  }
  EXPECT_EQ(last.size(), 4U);
}

}  // namespace
