#include <gtest/gtest.h>
#include <unistd.h>

#include <regex>
#include <set>
#include <string>

#include "lesson.hpp"

namespace {

int number_created() {
  int count = 0;
  const auto& out = mp::test::lesson().out;
  if (!out.empty())
    std::sscanf(out[0].text.c_str(), "Creating %d consumers", &count);
  return count;
}

TEST(ProducerConsumer, TwoConsumersPerProcessor) {
  EXPECT_EQ(number_created(), 2 * ::sysconf(_SC_NPROCESSORS_ONLN));
}

TEST(ProducerConsumer, EachConsumerExitsOnceAndTakesNoTaskAfterwards) {
  const std::regex form("Consumer-(\\d+): (.*)");
  std::set<int> exited;
  std::smatch found;
  for (const auto& line : mp::test::lesson().out) {
    if (!std::regex_match(line.text, found, form)) continue;
    const int consumer = std::stoi(found[1]);
    EXPECT_GE(consumer, 1);
    EXPECT_LE(consumer, number_created());
    EXPECT_FALSE(exited.contains(consumer)) << line.text;
    if (found[2] == "Exiting") exited.insert(consumer);
  }
  EXPECT_EQ(exited.size(), static_cast<std::size_t>(number_created()));
}

}  // namespace
