#include "run.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "../leftovers.hpp"
#include "accept.hpp"

namespace mp::test {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;

Outcome shell(const std::string& script, std::chrono::milliseconds deadline = 20s,
              std::chrono::milliseconds grace = 2s) {
  return run(
      {.program = "/bin/sh", .arguments = {"-c", script}, .deadline = deadline, .grace = grace});
}

bool is_gone(const std::string& pid) { return ::kill(std::stoi(pid), 0) == -1 && errno == ESRCH; }

TEST(RunTest, GivesBothOutputsAndTheExitCode) {
  auto result = shell("echo one; echo two >&2; printf three; exit 3");
  EXPECT_EQ(result.output().out, (Lines{"one", "three"}));
  EXPECT_EQ(result.output().err, Lines{"two"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.left_over, Lines{});
  EXPECT_LE(result.out.front().at, result.out.back().at);
  EXPECT_GT(result.elapsed, 0ns);
}

TEST(RunTest, ASignalIsANegativeExitCode) { EXPECT_EQ(shell("kill -9 $$").exit_code, -SIGKILL); }

TEST(RunTest, AMergedRunHasOneOrder) {
  auto result =
      run({.program = "/bin/sh", .arguments = {"-c", "echo 1; echo 2 >&2; echo 3"}, .merge = true});
  EXPECT_EQ(result.output().out, (Lines{"1", "2", "3"}));
}

TEST(RunTest, AProgramThatCrashesLeavesNoCoreFile) {
  EXPECT_EQ(shell("ulimit -c; ulimit -H -c", 10s).output().out, (Lines{"0", "0"}));
}

TEST(RunTest, AProgramThatIsNotThereThrows) {
  EXPECT_THROW(run({.program = "/nowhere/at/all"}), std::system_error);
}

TEST(RunTest, AHangingProgramIsKilledWithAllItStarted) {
  auto result = shell(
      "setsid sh -c 'echo $$; exec tail -f /dev/null' & tail -f /dev/null & echo $!;"
      "tail -f /dev/null & echo $!; wait",
      2s);
  EXPECT_TRUE(result.timed_out);
  ASSERT_EQ(result.out.size(), 3U);
  for (const auto& line : result.out) EXPECT_TRUE(is_gone(line.text)) << line.text;
}

TEST(RunTest, AChildThatStaysIsNamedAndKilled) {
  auto result = shell("tail -f /dev/null & echo $!", 20s, 100ms);
  EXPECT_FALSE(result.timed_out);
  ASSERT_EQ(result.left_over.size(), 1U);
  auto pid = result.out.at(0).text;
  EXPECT_NE(result.left_over[0].find("process " + pid + " (tail)"), std::string::npos);
  EXPECT_TRUE(is_gone(pid));
}

TEST(RunTest, AnOrphanThatEndsWithinTheGraceIsFine) {
  auto result = shell("(read line; echo later) < /dev/null & exit 4", 20s, 5s);
  EXPECT_EQ(result.output().out, Lines{"later"});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_EQ(result.left_over, Lines{});
}

TEST(RunTest, AFileLeftInItsFolderIsNamedAndRemoved) {
  auto result = shell("pwd; test \"$PWD\" = \"$TMPDIR\" && echo same; echo x > forgotten");
  EXPECT_EQ(result.out.at(1).text, "same");
  EXPECT_EQ(result.left_over, Lines{"the file forgotten was left behind"});
  EXPECT_FALSE(std::filesystem::exists(result.out[0].text));
}

TEST(RunTest, SharedMemoryLeftIsNamedAndRemoved) {
  auto result = shell("echo x > /dev/shm/left-by-$$; echo $$");
  auto name = "left-by-" + result.out.at(0).text;
  EXPECT_EQ(result.left_over, Lines{"/dev/shm/" + name + " was left behind"});
  EXPECT_FALSE(std::filesystem::exists("/dev/shm/" + name));
}

TEST(RunTest, OnlyTheThreeStandardDescriptorsCross) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  auto result = shell("ls /proc/$$/fd");
  EXPECT_EQ(result.output().out, (Lines{"0", "1", "2"}));
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

TEST(RunTest, LeavesTheCallerAsItWas) {
  auto before = Belongings::now();
  shell("echo x");
  EXPECT_EQ(leftovers(before), Lines{});
}

TEST(AcceptTest, WritesAnExpectationThatAcceptsTheRun) {
  Outcome run{.out = {{"I am 500"}, {"child 503 of 500"}, {"42 # <int>"}, {""}},
              .err = {{"died: 503"}},
              .pid = 500,
              .exit_code = -9};
  auto text = accepted(run, 510);
  EXPECT_EQ(text,
            "exit> -9\nI am <pid:main>\nchild <pid:p1> of <pid:main>\n42 # \\<int>\n\\\n"
            "2> died: <pid:p1>\n");
  EXPECT_TRUE(match(Expectation::parse(text, "cpp"), run.output()).accepted);
}

TEST(AcceptTest, NumbersUpToTheNewestPidAreTakenForPids) {
  auto result = shell("sh -c 'echo $$'; echo 1");
  auto text = accepted(result, newest_pid());
  EXPECT_EQ(text, "<pid:p1>\n1\n");
}

}  // namespace
}  // namespace mp::test
