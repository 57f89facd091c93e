#include "match.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace mp::test {
namespace {

using Lines = std::vector<std::string>;

Verdict compare(std::string_view expected, const Lines& out, const Lines& err = {},
                std::string_view language = "cpp") {
  return match(Expectation::parse(expected, language), {.out = out, .err = err});
}

bool accepts(std::string_view expected, const Lines& out, const Lines& err = {}) {
  return compare(expected, out, err).accepted;
}

TEST(PlainLines, ComeInOrderAndComplete) {
  EXPECT_TRUE(accepts("# about\n\na\nb\n", {"a", "b"}));
  EXPECT_FALSE(accepts("a\nb\n", {"b", "a"}));
  EXPECT_TRUE(accepts("", {}));
}

TEST(PlainLines, RejectAMissingLine) {
  EXPECT_FALSE(accepts("a\nb\nc\n", {"a", "c"}));
  EXPECT_FALSE(accepts("a\nb\nc\n", {"a", "b"}));
  EXPECT_FALSE(accepts("a\n", {}));
}

TEST(PlainLines, RejectADoubledLine) {
  EXPECT_FALSE(accepts("a\nb\n", {"a", "b", "b"}));
  EXPECT_FALSE(accepts("a\nb\n", {"a", "a", "b"}));
}

TEST(PlainLines, RejectAnotherText) {
  EXPECT_FALSE(accepts("a\n", {"A"}));
  EXPECT_FALSE(accepts("a\n", {"a "}));
  EXPECT_FALSE(accepts("a\n", {""}));
}

TEST(PlainLines, ABackslashInFrontTakesAnyLineLiterally) {
  Lines odd = {"", "# x", "|a x", "---", "...", "2> x", "exit> 3", "\\x", "\\<int>", "<int>"};
  std::string text;
  for (const auto& line : odd) text += escaped(line) + "\n";
  EXPECT_TRUE(accepts(text, odd)) << text;
  EXPECT_FALSE(accepts("\\<int>\n", {"12"}));
}

constexpr std::string_view two_streams = "|a a1\n|a a2\nmain\n|b b1\n|b b2\n";

TEST(Streams, InterleaveWithOneAnotherAndWithPlainLines) {
  EXPECT_TRUE(accepts(two_streams, {"a1", "a2", "main", "b1", "b2"}));
  EXPECT_TRUE(accepts(two_streams, {"b1", "a1", "b2", "a2", "main"}));
  EXPECT_TRUE(accepts(two_streams, {"main", "b1", "b2", "a1", "a2"}));
}

TEST(Streams, KeepTheirOwnOrder) {
  EXPECT_FALSE(accepts(two_streams, {"a2", "a1", "main", "b1", "b2"}));
  EXPECT_FALSE(accepts(two_streams, {"a1", "a2", "main", "b2", "b1"}));
}

TEST(Streams, RejectLinesMissingAndDoubled) {
  EXPECT_FALSE(accepts(two_streams, {"a1", "main", "b1", "b2"}));
  EXPECT_FALSE(accepts(two_streams, {"a1", "a2", "a2", "main", "b1", "b2"}));
  EXPECT_FALSE(accepts(two_streams, {"a1", "a2", "a2", "main", "b1"}));
}

TEST(Streams, WithoutANameAreOneLineEach) {
  EXPECT_TRUE(accepts("| x\n| y\n| x\n", {"y", "x", "x"}));
  EXPECT_FALSE(accepts("| x\n| y\n| x\n", {"y", "x", "y"}));
}

TEST(Fences, NothingPassesThem) {
  constexpr std::string_view text = "|a a1\nm1\n---\n|a a2\nm2\n";
  EXPECT_TRUE(accepts(text, {"m1", "a1", "m2", "a2"}));
  EXPECT_FALSE(accepts(text, {"m1", "m2", "a1", "a2"}));
  EXPECT_FALSE(accepts(text, {"a1", "a2", "m1", "m2"}));
}

TEST(Gaps, TakeAnyLinesInTheirPlaceOnly) {
  EXPECT_TRUE(accepts("a\n...\nb\n", {"a", "b"}));
  EXPECT_TRUE(accepts("a\n...\nb\n", {"a", "x", "y", "b"}));
  EXPECT_FALSE(accepts("a\n...\nb\n", {"x", "a", "b"}));
  EXPECT_FALSE(accepts("a\n...\nb\n", {"a", "b", "x"}));
  EXPECT_FALSE(accepts("a\n...\n---\nb\n", {"a", "b", "x"}));
  EXPECT_TRUE(accepts("...\na\n...\n", {"x", "a", "y"}));
  EXPECT_FALSE(accepts("...\na\n...\n", {"x", "y"}));
}

TEST(Stderr, IsExpectedLikeStdoutAndApartFromIt) {
  constexpr std::string_view text = "out\n2> first\n2> |w warning\n2> last\n";
  EXPECT_TRUE(accepts(text, {"out"}, {"warning", "first", "last"}));
  EXPECT_FALSE(accepts(text, {"out"}, {"warning", "last", "first"}));
  EXPECT_FALSE(accepts(text, {"out", "warning"}, {"first", "last"}));
  EXPECT_FALSE(accepts("out\n", {"out"}, {"unexpected"}));
  EXPECT_TRUE(accepts("out\n2> Traceback\n2> ...\n", {"out"}, {"Traceback", "1", "2"}));
}

TEST(Languages, LinesForTheOtherOneAreLeftOut) {
  constexpr std::string_view text = "cpp> fast\npython> slow\npython> exit> 1\npython> 2> oops\n";
  EXPECT_TRUE(compare(text, {"fast"}, {}, "cpp").accepted);
  EXPECT_TRUE(compare(text, {"slow"}, {"oops"}, "python").accepted);
  EXPECT_FALSE(compare(text, {"slow"}, {"oops"}, "cpp").accepted);
  EXPECT_EQ(Expectation::parse(text, "python").exit_code, 1);
  EXPECT_EQ(Expectation::parse(text, "cpp").exit_code, 0);
}

TEST(Placeholders, WithAKeyHaveOneValue) {
  EXPECT_TRUE(accepts("I am <pid:a>\nit is <pid:a>\n", {"I am 12", "it is 12"}));
  EXPECT_FALSE(accepts("I am <pid:a>\nit is <pid:a>\n", {"I am 12", "it is 13"}));
  EXPECT_FALSE(accepts("<pid:a> <pid:a>\n", {"12 13"}));
}

TEST(Placeholders, OfTwoKeysHaveTwoValues) {
  EXPECT_TRUE(accepts("<pid:a>\n<pid:b>\n", {"12", "13"}));
  EXPECT_FALSE(accepts("<pid:a>\n<pid:b>\n", {"12", "12"}));
  EXPECT_FALSE(accepts("<pid:a> <pid:b>\n", {"12 12"}));
  EXPECT_TRUE(accepts("<pid:a> <int:b>\n", {"12 12"}));
  EXPECT_TRUE(accepts("<time:a> <time:b>\n", {"1.5 s 1.5 s"}));
}

TEST(Placeholders, ShareTheirKeysBetweenStdoutAndStderr) {
  EXPECT_TRUE(accepts("<pid:a>\n2> <pid:a> died\n", {"12"}, {"12 died"}));
  EXPECT_FALSE(accepts("<pid:a>\n2> <pid:a> died\n", {"12"}, {"13 died"}));
}

TEST(Placeholders, AcceptTheirKindOnly) {
  EXPECT_TRUE(accepts("<int> <float> <word>.\n", {"-3 2.5e-3 w-1."}));
  EXPECT_FALSE(accepts("<pid>\n", {"-3"}));
  EXPECT_FALSE(accepts("<pid>\n", {"3x"}));
  EXPECT_FALSE(accepts("<pid><any>\n", {"x3"}));
  EXPECT_FALSE(accepts("<int>\n", {"2.5"}));
  EXPECT_FALSE(accepts("<word>\n", {"two words"}));
  EXPECT_FALSE(accepts("<text>\n", {""}));
  EXPECT_TRUE(accepts("<any>\n", {""}));
  for (const char* time : {"12:34", "12:34:56", "12:34:56.789", "1.5 s", "12 ms", "3µs"}) {
    EXPECT_TRUE(accepts("<time>\n", {time})) << time;
  }
  EXPECT_FALSE(accepts("<time>\n", {"1.5"}));
  EXPECT_FALSE(accepts("<time>\n", {"1.5 seconds"}));
}

TEST(Placeholders, TakeANumberWhole) {
  EXPECT_FALSE(accepts("<int>2\n", {"12"}));
  EXPECT_FALSE(accepts("a<any><pid:x>\n<pid:x>\n", {"a 12", "2"}));
}

TEST(Placeholders, OfAnUnknownKindAreTextUnlessTheyHaveAKey) {
  EXPECT_TRUE(accepts("<Process name='a'>\n", {"<Process name='a'>"}));
  EXPECT_THROW(Expectation::parse("<pidd:a>\n", "cpp"), BadExpectation);
  EXPECT_THROW(Expectation::parse("<any:a>\n", "cpp"), BadExpectation);
  EXPECT_THROW(Expectation::parse("|a-b text\n", "cpp"), BadExpectation);
  EXPECT_THROW(Expectation::parse("exit> one\n", "cpp"), BadExpectation);
}

// The first fit is not always the right one.
TEST(Search, GoesBackWhereAChoiceWasWrong) {
  EXPECT_TRUE(accepts("|a <any>\n|b fixed\n", {"fixed", "other"}));
  EXPECT_TRUE(accepts("|a <any>\n|b fixed\n", {"other", "fixed"}));
  EXPECT_TRUE(accepts("|a x <pid:p>\n|b x <pid:q>\nfirst <pid:q>\nthen <pid:p>\n",
                      {"x 1", "x 2", "first 1", "then 2"}));
  EXPECT_TRUE(accepts("<text:a> and <text:b>\n<text:b>\n", {"x and y and z", "z"}));
  EXPECT_TRUE(accepts("<text:a> and <text:b>\n<text:b>\n", {"x and y and z", "y and z"}));
}

TEST(Search, OfTwentyWorkersNamedAfterwardsIsFast) {
  constexpr int count = 20;
  std::string text;
  Lines born, joined;
  for (int i = 0; i < count; ++i) {
    text += fmt::format("|w{0} <pid:p{0}> at work\n", i);
    born.push_back(fmt::format("{} at work", 100 + i));
    joined.push_back(fmt::format("joined {}", 100 + i));
  }
  for (int i = 0; i < count; ++i) text += fmt::format("joined <pid:p{}>\n", i);
  std::shuffle(born.begin(), born.end(), std::minstd_rand(1));
  Lines output = born;
  output.insert(output.end(), joined.begin(), joined.end());
  EXPECT_TRUE(accepts(text, output));
  output.back() = "joined 99";
  EXPECT_FALSE(accepts(text, output));
}

TEST(Search, OfAHundredEqualLinesIsFastEitherWay) {
  std::string text;
  Lines output;
  for (int i = 0; i < 100; ++i) {
    text += "| Worker <pid:p" + std::to_string(i) + ">\n";
    output.push_back(fmt::format("Worker {}", 1000 - i));
  }
  EXPECT_TRUE(accepts(text, output));
  auto good = output;
  output[57] = output[58];
  EXPECT_FALSE(accepts(text, output));
  output = good;
  output[57] = "worker 57";
  EXPECT_FALSE(accepts(text, output));
}

TEST(Search, OfEqualStreamsIsFastEitherWay) {
  std::string text;
  Lines output;
  for (int i = 0; i < 12; ++i) {
    text += fmt::format("|w{0} begin <pid:p{0}>\n|w{0} <text> <pid:p{0}>\n", i);
    output.push_back(fmt::format("begin {}", 100 + i));
  }
  for (int i = 0; i < 12; ++i) output.push_back(fmt::format("end {}", 111 - i));
  EXPECT_TRUE(accepts(text, output));
  output.back() = "end 99";
  auto verdict = compare(text, output);
  EXPECT_FALSE(verdict.accepted);
  EXPECT_EQ(verdict.report.find("Too many ways"), std::string::npos);
}

TEST(Report, NamesTheLineThatFitsNowhereAndWhatWasExpected) {
  auto verdict = compare("|m I am <pid:a>\n---\nend <pid:a>\n|x later\n", {"I am 12", "end 13"});
  EXPECT_FALSE(verdict.accepted);
  EXPECT_NE(verdict.report.find("stdout line 2 fits nowhere:\n    end 13\n"), std::string::npos)
      << verdict.report;
  EXPECT_NE(verdict.report.find("    end <pid:a>    (line 3 of the expectation, <pid:a> is 12)\n"),
            std::string::npos)
      << verdict.report;
  EXPECT_NE(verdict.report.find("    later    (line 4"), std::string::npos) << verdict.report;
  EXPECT_NE(verdict.report.find("-> stdout   2  end 13\n"), std::string::npos) << verdict.report;
  EXPECT_NE(verdict.report.find("stderr is empty"), std::string::npos) << verdict.report;
}

TEST(Report, SaysWhenTheOutputEndsTooEarly) {
  auto verdict = compare("a\nb\n|s c\n", {"a"});
  EXPECT_NE(verdict.report.find("stdout ends too early.\nExpected next:\n    b    (line 2 of"),
            std::string::npos)
      << verdict.report;
  EXPECT_NE(verdict.report.find("    c    (line 3"), std::string::npos) << verdict.report;
}

TEST(Report, SaysWhenNothingMoreWasExpected) {
  auto verdict = compare("a\n", {"a"}, {"noise"});
  EXPECT_NE(
      verdict.report.find("stderr line 1 fits nowhere:\n    noise\nExpected next:\n    the end"),
      std::string::npos)
      << verdict.report;
}

}  // namespace
}  // namespace mp::test
