#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "run.hpp"

namespace mp::test {
namespace {

namespace fs = std::filesystem;

class LessonCheckTest : public testing::Test {
 protected:
  LessonCheckTest() {
    auto pattern = (fs::temp_directory_path() / "expected-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    ::unsetenv("LESSON_PATIENCE");  // the deadlines here are exact, whoever runs the tests
  }
  ~LessonCheckTest() override { fs::remove_all(folder_); }

  std::string file() const { return (folder_ / "expected.txt").string(); }

  void expect(const std::string& text) const { std::ofstream(file()) << text; }

  std::string content() const {
    std::ifstream stream(file());
    return (std::ostringstream() << stream.rdbuf()).str();
  }

  // Runs the checker on a shell script, and keeps what it says.
  int check(const std::string& script, std::vector<std::string> options = {}) {
    auto arguments = std::move(options);
    arguments.insert(arguments.end(), {"--", "/bin/sh", "-c", script});
    auto outcome = run({.program = std::getenv("LESSON_CHECK"), .arguments = arguments});
    said_.clear();
    for (const auto& line : outcome.out) said_ += line.text + "\n";
    for (const auto& line : outcome.err) said_ += line.text + "\n";
    return outcome.exit_code;
  }

  int check_expected(const std::string& script, const std::string& expected) {
    expect(expected);
    return check(script, {"--expect", file()});
  }

  bool said(const std::string& text) const { return said_.find(text) != std::string::npos; }

  fs::path folder_;
  std::string said_ = {};
};

TEST_F(LessonCheckTest, PassesWhatIsAsExpected) {
  EXPECT_EQ(check_expected("echo $$; echo oops >&2; echo $$; exit 2",
                           "exit> 2\n<pid:a>\n<pid:a>\n2> oops\n"),
            0);
  EXPECT_TRUE(said("3 lines as expected")) << said_;
}

TEST_F(LessonCheckTest, FailsOnAnotherOutput) {
  EXPECT_EQ(check_expected("echo a", "b\n"), 1);
  EXPECT_TRUE(said("stdout line 1 fits nowhere")) << said_;
}

TEST_F(LessonCheckTest, FailsOnAnotherExitCode) {
  EXPECT_EQ(check_expected("echo a; exit 3", "a\n"), 1);
  EXPECT_TRUE(said("exit code 3, not 0")) << said_;
  EXPECT_EQ(check_expected("echo a; kill -9 $$", "exit> 9\na\n"), 1);
  EXPECT_TRUE(said("exit code -9, not 9")) << said_;
}

TEST_F(LessonCheckTest, FailsOnAHangAndShowsWhatCameBefore) {
  expect("a\n");
  EXPECT_EQ(check("echo a; tail -f /dev/null", {"--expect", file(), "--deadline", "2"}), 1);
  EXPECT_TRUE(said("Still running after 2 s")) << said_;
  EXPECT_TRUE(said("printed:\na\n")) << said_;
}

TEST_F(LessonCheckTest, IsMorePatientWhereTheEnvironmentSaysSo) {
  expect("a\n");
  ::setenv("LESSON_PATIENCE", "4", 1);
  EXPECT_EQ(check("echo a; tail -f /dev/null", {"--expect", file(), "--deadline", "0.5"}), 1);
  ::unsetenv("LESSON_PATIENCE");
  EXPECT_TRUE(said("Still running after 2 s")) << said_;
}

TEST_F(LessonCheckTest, FailsOnAChildLeftOver) {
  EXPECT_EQ(check_expected("tail -f /dev/null & echo a", "a\n"), 1);
  EXPECT_TRUE(said("(tail) was still there")) << said_;
}

TEST_F(LessonCheckTest, FailsOnSharedMemoryLeftOver) {
  EXPECT_EQ(check_expected("echo > /dev/shm/of-$$; echo a", "a\n"), 1);
  EXPECT_TRUE(said("was left behind")) << said_;
}

TEST_F(LessonCheckTest, FailsWithoutAnExpectation) {
  EXPECT_EQ(check("echo a", {"--expect", file()}), 1);
  EXPECT_TRUE(said("cannot read")) << said_;
}

TEST_F(LessonCheckTest, AcceptRewritesTheExpectationAndIsSkipped) {
  expect("# why\nold\n");
  ::setenv("ACCEPT", "1", 1);
  EXPECT_EQ(check("echo new; exit 4", {"--expect", file()}), 77);
  EXPECT_EQ(content(), "# why\nexit> 4\nnew\n");
  EXPECT_EQ(check("echo newer", {"--expect", file(), "--language", "python"}), 77);
  EXPECT_EQ(content(), "# why\nexit> 4\nnew\n");
  EXPECT_EQ(check("echo a; tail -f /dev/null", {"--expect", file(), "--deadline", "1"}), 1);
  ::unsetenv("ACCEPT");
  EXPECT_EQ(content(), "# why\nexit> 4\nnew\n");
}

TEST_F(LessonCheckTest, CaptureKeepsTheOrderOfBothOutputs) {
  EXPECT_EQ(check("echo 1; echo 2 >&2; echo 3", {"--capture", file()}), 0);
  EXPECT_EQ(content(), "1\n2\n3\n");
}

TEST_F(LessonCheckTest, FiguresGoWhereTheProgramIsTold) {
  auto figures = folder_ / "new/figures";
  EXPECT_EQ(check("echo svg > $MP_FIGURE_DIR/a.svg",
                  {"--capture", file(), "--figures", figures.string()}),
            0);
  EXPECT_TRUE(fs::exists(figures / "a.svg"));
}

}  // namespace
}  // namespace mp::test
