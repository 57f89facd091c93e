#include <fcntl.h>
#include <gtest/gtest.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/sink.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <mp/detail/forkserver.hpp>
#include <mp/mp.hpp>
#include <sstream>
#include <system_error>
#include <vector>

#include "children.hpp"
#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::Forked;

/// What `body` and its children write to stderr; `body` runs in a child.
template <class Body>
std::string stderr_of(Body body) {
  std::array<int, 2> ends{};
  EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  Forked program([&] {
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    body();
    return 0;
  });
  close(ends[1]);
  std::string text;
  std::array<char, 65536> part{};
  for (ssize_t size = 0; (size = read(ends[0], part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<std::size_t>(size));
  }
  close(ends[0]);
  EXPECT_EQ(program.wait(), 0);
  return text;
}

TEST(LoggingTest, NothingIsShownUnlessAskedFor) {
  EXPECT_EQ(stderr_of([] {
              mp::get_logger().info("not asked for");
              mp::get_logger().set_level(mp::logging::debug);
              mp::get_logger().info("no sink");
            }),
            "");
}

TEST(LoggingTest, WarningsAreShownInAnyCase) {
  EXPECT_EQ(stderr_of([] { mp::get_logger().warning("look at {}", 3); }), "look at 3\n");
}

TEST(LoggingTest, ARecordHasLevelProcessAndText) {
  EXPECT_EQ(stderr_of([] {
              mp::log_to_stderr(mp::logging::info);
              mp::get_logger().info("one {}", 1);
              mp::get_logger().debug("two");
              mp::get_logger().error("three");
            }),
            "[INFO/MainProcess] one 1\n[ERROR/MainProcess] three\n");
}

TEST(LoggingTest, LogToStderrTwiceWritesOnce) {
  EXPECT_EQ(stderr_of([] {
              mp::log_to_stderr(mp::logging::info);
              mp::log_to_stderr();
              mp::get_logger().info("once");
            }),
            "[INFO/MainProcess] once\n");
}

class LoggingInChildrenTest : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(LoggingInChildrenTest);

TEST_P(LoggingInChildrenTest, AChildLogsAsItsParentDoesInPythonsOrder) {
  const auto method = GetParam();
  const std::string text = stderr_of([method] {
    mp::log_to_stderr(mp::logging::info);
    mp::Process p({.name = "Child", .start_method = method}, [] {});
    p.start();
    p.join();
    mp::detail::end_forkserver();
  });
  std::istringstream lines(text);
  std::vector<std::string> child;
  for (std::string line; std::getline(lines, line);) {
    if (line.find("/Child]") != std::string::npos) child.push_back(line);
  }
  EXPECT_EQ(child, (std::vector<std::string>{"[INFO/Child] child process calling self.run()",
                                             "[INFO/Child] process exiting with exitcode 0",
                                             "[INFO/Child] process shutting down"}));
}

// One id of CPython's suite.
TEST_P(LoggingInChildrenTest, logging__level_inherited) {
  const auto method = GetParam();
  Forked program([method] {
    mp::get_logger().set_level(mp::logging::error);
    mp::Process p({.start_method = method},
                  [] { mp::exit(mp::get_logger().level() == mp::logging::error ? 0 : 1); });
    p.start();
    p.join();
    mp::detail::end_forkserver();
    return p.exitcode().value_or(9);
  });
  EXPECT_EQ(program.wait(), 0);
}

TEST(LoggingTest, logging__source_file_reported) {
  class Capture : public spdlog::sinks::sink {
   public:
    void log(const spdlog::details::log_msg& record) override {
      if (record.source.filename != nullptr) file = record.source.filename;
    }
    void flush() override {}
    void set_pattern(const std::string&) override {}
    void set_formatter(std::unique_ptr<spdlog::formatter>) override {}
    std::string file;
  };
  const auto sink = std::make_shared<Capture>();
  auto logger = mp::get_logger();
  const auto level = logger.level();
  logger.set_level(mp::logging::info);
  logger.spdlog()->sinks().push_back(sink);
  logger.info("from here");
  logger.spdlog()->sinks().pop_back();
  logger.set_level(level);
  EXPECT_TRUE(sink->file.ends_with("logging_test.cpp")) << sink->file;
}

/// A file that is there for as long as this is.
class LogFile {
 public:
  LogFile() : path_(std::filesystem::temp_directory_path() / fmt::format("mp-log-{}", getpid())) {}
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  ~LogFile() { std::filesystem::remove(path_); }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> all;
    std::ifstream file(path_);
    for (std::string line; std::getline(file, line);) all.push_back(line);
    return all;
  }

 private:
  std::filesystem::path path_;
};

TEST(LogFileTest, ARecordGoesToEachSink) {
  const LogFile file;
  std::ofstream(file.path()) << "from before\n";
  EXPECT_EQ(stderr_of([&] {
              mp::log_to_stderr();
              mp::log_to_file(file.path(), mp::logging::info);
              mp::log_to_file(file.path());
              mp::get_logger().critical("once in {}", "each");
              mp::get_logger().debug("not asked for");
            }),
            "[CRITICAL/MainProcess] once in each\n");
  EXPECT_EQ(file.lines(),
            (std::vector<std::string>{"from before", "[CRITICAL/MainProcess] once in each"}));
}

TEST(LogFileTest, AFileThatCannotBeOpenedIsASystemError) {
  try {
    mp::log_to_file("/nonexistent/log");
    ADD_FAILURE() << "opened";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOENT);
    EXPECT_NE(std::string(error.what()).find("/nonexistent/log"), std::string::npos);
  }
}

TEST_P(LoggingInChildrenTest, ChildrenWriteWholeLinesToTheFileOfTheirParent) {
  constexpr int children = 4;
  constexpr int records = 200;
  const LogFile file;
  Forked program([&, method = GetParam()] {
    mp::log_to_file(file.path(), mp::logging::warning);
    std::vector<mp::Process> all;
    for (int i = 0; i < children; ++i) {
      all.emplace_back(mp::ProcessOptions{.name = "P" + std::to_string(i), .start_method = method},
                       [] {
                         for (int n = 0; n < records; ++n) {
                           mp::get_logger().warning("{:04} {}", n, std::string(10'000, 'x'));
                         }
                       })
          .start();
    }
    for (auto& p : all) p.join();
    mp::detail::end_forkserver();
    return 0;
  });
  EXPECT_EQ(program.wait(), 0);
  std::array<int, children> next{};
  for (const std::string& line : file.lines()) {
    ASSERT_TRUE(line.starts_with("[WARNING/P")) << line.substr(0, 80);
    const int child = line.at(10) - '0';
    ASSERT_EQ(line,
              fmt::format("[WARNING/P{}] {:04} {}", child,
                          next.at(static_cast<std::size_t>(child))++, std::string(10'000, 'x')));
  }
  EXPECT_EQ(next, (std::array{records, records, records, records}));
}

TEST(LogFileTest, WhatAnotherSinkHasBufferedIsWrittenOnceByParentAndChild) {
  const LogFile file;
  Forked program([&] {
    const auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file.path().string());
    sink->set_pattern("%v");
    mp::get_logger().spdlog()->sinks().push_back(sink);
    mp::get_logger().warning("the parent's");
    mp::Process p({.start_method = mp::StartMethod::fork},
                  [] { mp::get_logger().warning("the child's"); });
    p.start();
    p.join();
    sink->flush();
    return p.exitcode().value_or(9);
  });
  EXPECT_EQ(program.wait(), 0);
  EXPECT_EQ(file.lines(), (std::vector<std::string>{"the parent's", "the child's"}));
}

TEST(LoggingTest, RecordsOfManyProcessesAreWholeLines) {
  const std::string text = stderr_of([] {
    mp::log_to_stderr(mp::logging::info);
    std::vector<mp::Process> all;
    for (int i = 0; i < 4; ++i) {
      all.emplace_back(mp::ProcessOptions{.name = "P" + std::to_string(i)},
                       [] {
                         for (int n = 0; n < 500; ++n) {
                           mp::get_logger().info("record {:04} {}", n, std::string(200, 'x'));
                         }
                       })
          .start();
    }
    for (auto& p : all) p.join();
  });
  std::istringstream lines(text);
  int records = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.find("record") == std::string::npos) continue;
    ++records;
    ASSERT_TRUE(line.starts_with("[INFO/P")) << line;
    ASSERT_EQ(line.size(), std::string("[INFO/P0] record 0000 ").size() + 200) << line;
  }
  EXPECT_EQ(records, 2000);
}

TEST(LoggingTest, TheEnvironmentAsksForALog) {
  for (const char* level : {"info", "INFO"}) {
    const std::string said = stderr_of([level] {
      setenv("MP_LOG_LEVEL", level, 1);
      execl("/proc/self/exe", "test", "--gtest_filter=LoggingTest.SaysHelloWhenItIsListenedTo",
            "--gtest_brief=1", nullptr);
    });
    EXPECT_NE(said.find("[INFO/MainProcess] hello\n"), std::string::npos) << level << ": " << said;
  }
}

// Silent here; the test above runs it in a process that has asked for a log.
TEST(LoggingTest, SaysHelloWhenItIsListenedTo) { mp::get_logger().info("hello"); }

}  // namespace
