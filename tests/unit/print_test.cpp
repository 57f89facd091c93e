#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include <mp/print.hpp>

#include "forked.hpp"

namespace {

using mp::test::Forked;

// What `body` and its children write to stdout; `body` runs in a child.
std::string stdout_of(const std::function<void()>& body) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  Forked program([&] {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[1]);
    body();
    return 0;
  });
  ::close(ends[1]);
  std::string text;
  std::array<char, 65536> part{};
  for (ssize_t size = 0; (size = ::read(ends[0], part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<std::size_t>(size));
  }
  ::close(ends[0]);
  EXPECT_EQ(program.wait(), 0);
  return text;
}

TEST(PrintTest, LinesOfManyProcessesNeverTear) {
  constexpr int lines = 500;
  const std::string text = stdout_of([] {
    std::vector<Forked> writers;
    for (char name = 'a'; name < 'e'; ++name) {
      writers.emplace_back([name] {
        for (int i = 0; i < lines; ++i) mp::println("{} {}", i, std::string(3000, name));
        return 0;
      });
    }
    for (auto& writer : writers) writer.wait();
  });
  std::istringstream in(text);
  std::array<int, 4> next{};
  for (std::string line; std::getline(in, line);) {
    const auto writer = static_cast<std::size_t>(line.back() - 'a');
    ASSERT_LT(writer, next.size());
    ASSERT_EQ(line, std::to_string(next.at(writer)++) + ' ' + std::string(3000, line.back()));
  }
  EXPECT_EQ(next, (std::array{lines, lines, lines, lines}));
}

TEST(PrintTest, ComesAfterWhatStdioHasBuffered) {
  EXPECT_EQ(stdout_of([] {
              std::fputs("first, ", stdout);
              mp::println("then {}", 2);
              mp::println();
            }),
            "first, then 2\n\n");
}

TEST(PrintTest, WithoutAStdoutItIsASystemError) {
  Forked program([] {
    ::close(STDOUT_FILENO);
    try {
      mp::println("nobody reads this");
      return 1;
    } catch (const std::system_error& error) {
      return error.code().value() == EBADF ? 0 : 2;
    }
  });
  EXPECT_EQ(program.wait(), 0);
}

}  // namespace
