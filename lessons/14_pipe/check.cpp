#include <gtest/gtest.h>

#include <string>

#include "lesson.hpp"

TEST(Pipe, TheAnswerHasAsManyPartsAsWereAskedFor) {
  const auto& out = mp::test::lesson().out;
  ASSERT_EQ(out.size(), 2U);
  int num = 0;
  ASSERT_EQ(
      std::sscanf(out[0].text.c_str(), "make_tuple asks for 'Hi ' %d", &num),
      1);
  EXPECT_GE(num, 1);
  EXPECT_LE(num, 9);
  std::string answer;
  for (int i = 0; i < num; ++i) answer += "Hi ";
  EXPECT_EQ(out[1].text, answer);
}
