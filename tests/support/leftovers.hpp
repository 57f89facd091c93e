#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace mp::test {

/// What a test must leave as it found it.
struct Belongings {
  std::map<pid_t, std::string> children = {};   ///< Own children: "name, state".
  std::map<int, std::string> descriptors = {};  ///< Own open descriptors: what is behind them.
  std::set<std::string> shared_memory = {};     ///< The names in /dev/shm, everybody's.

  static Belongings now();
};

/// One sentence for each child, descriptor and name in /dev/shm that is there now and was not
/// `before`, and for each descriptor that has gone. A name that a process outside this one's
/// family has open is left out: it belongs to a test that runs at the same time.
std::vector<std::string> leftovers(const Belongings& before);

/// Registers what ends the program's own long-lived helpers, such as the fork server. Run after
/// each test, before anything is counted.
void before_counting_leftovers(std::function<void()> tidy);

/// Fails each test that leaves something over. Children left over are killed and reaped, so that
/// the next test is not blamed for them.
class LeftoversListener : public testing::EmptyTestEventListener {
 public:
  void OnTestStart(const testing::TestInfo& test) override;
  void OnTestEnd(const testing::TestInfo& test) override;

 private:
  Belongings before_ = {};
};

}  // namespace mp::test
