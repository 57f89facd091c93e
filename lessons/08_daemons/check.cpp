#include "lesson.hpp"

#include <signal.h>

#include <cerrno>
#include <charconv>
#include <string_view>

namespace {

using namespace std::chrono_literals;

pid_t pid_of_daemon() {
  const std::string_view label = "Starting: daemon ";
  for (const auto& line : mp::test::lesson().out) {
    if (!line.text.starts_with(label)) continue;
    pid_t pid = 0;
    std::from_chars(line.text.data() + label.size(),
                    line.text.data() + line.text.size(), pid);
    return pid;
  }
  return 0;
}

TEST(DaemonsTest, TheProgramDoesNotWaitForItsDaemon) {
  EXPECT_GE(mp::test::lesson().elapsed, 500ms);
  EXPECT_LT(mp::test::lesson().elapsed, 10s);
}

TEST(DaemonsTest, TheDaemonIsGoneAfterTheProgramsEnd) {
  const auto pid = pid_of_daemon();
  ASSERT_GT(pid, 0);
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
  EXPECT_TRUE(mp::test::lesson().left_over.empty());
}

}  // namespace
