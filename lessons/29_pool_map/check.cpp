#include <unistd.h>

#include <regex>
#include <set>
#include <string>

#include "lesson.hpp"

namespace {

std::multiset<std::string> first_groups(const std::string& pattern) {
  const std::regex form(pattern);
  std::multiset<std::string> found;
  std::smatch match;
  for (const auto& line : mp::test::lesson().out) {
    if (std::regex_match(line.text, match, form)) found.insert(match[1]);
  }
  return found;
}

TEST(PoolMap, EachWorkerIsInitialisedOnceAndThereIsOnePerProcessor) {
  const auto names = first_groups("Starting (\\S+)");
  const std::set<std::string> different(names.begin(), names.end());
  EXPECT_EQ(names.size(), different.size());
  EXPECT_EQ(static_cast<long>(names.size()), ::sysconf(_SC_NPROCESSORS_ONLN));
}

TEST(PoolMap, TwelveTasksAreDoneByAtMostFourProcessesNoneOfThemMain) {
  const auto pids = first_groups("Process (\\d+) calculating .*");
  const std::set<std::string> different(pids.begin(), pids.end());
  EXPECT_EQ(pids.size(), 12U);
  EXPECT_LE(different.size(), 4U);
  EXPECT_FALSE(different.contains(std::to_string(mp::test::lesson().pid)));
}

}  // namespace
