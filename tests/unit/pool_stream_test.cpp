// imap and imap_unordered: how far ahead they read, what they keep, and what
// they can read from.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <latch>
#include <optional>
#include <ranges>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <mp/futures.hpp>
#include <mp/pool.hpp>
#include <mp/synchronize.hpp>

#include "children.hpp"
#include "forked.hpp"
#include "gate.hpp"
#include "pools.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::endless;
using mp::test::Forked;
using mp::test::input_that_joins;
using mp::test::numbers;
using mp::test::patience;
using mp::test::squares;

int square(int x) { return x * x; }
int negate(bool x) { return x ? 0 : 1; }
[[maybe_unused]] std::size_t length(const std::string& text) { return text.size(); }

int itself(int x) { return x; }

class PoolStreamTest : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(PoolStreamTest);

// --- how far ahead ---------------------------------------------------------------

constexpr std::size_t large = 1U << 20U;
std::size_t take_a_while(const std::vector<std::byte>& bytes) {
  std::this_thread::sleep_for(5ms);
  return bytes.size();
}

TEST_P(PoolStreamTest, FewLargeItemsAreReadAhead) {
  int pulled = 0;
  mp::Pool pool(2);
  auto items = endless([](int) { return std::vector<std::byte>(large); }, pulled);
  auto results = pool.imap(take_a_while, items);
  for (int taken = 0; taken < 20; ++taken) {
    EXPECT_EQ(results.next(patience), large);
    EXPECT_LE(pulled, taken + 16);
  }
}

int square_slowly(int x) {
  std::this_thread::sleep_for(5ms);
  return x * x;
}

TEST_P(PoolStreamTest, AsFewItemsAreReadAheadAsKeepTheWorkersBusy) {
  constexpr int workers = 2;
  int pulled = 0;
  mp::Pool pool(workers);
  auto items = endless(itself, pulled);
  auto results = pool.imap(square_slowly, items);
  for (int taken = 0; taken < 20; ++taken) {
    EXPECT_EQ(results.next(patience), taken * taken);
    EXPECT_LE(pulled, taken + 1 + 4 * workers);
  }
}

TEST_P(PoolStreamTest, QuickAnswersAreReadFurtherAhead) {
  int pulled = 0;
  int furthest = 0;
  mp::Pool pool(2);
  auto items = endless(itself, pulled);
  auto results = pool.imap(square, items);
  for (int taken = 0; taken < 20'000; ++taken) {
    ASSERT_EQ(*results.next(patience), taken * taken);
    furthest = std::max(furthest, pulled - taken);
  }
  EXPECT_GT(furthest, 8);
  EXPECT_LE(furthest, 1025);
}

// --- what is kept ------------------------------------------------------------------

std::size_t wait_for_gate(const std::vector<std::byte>& bytes) {
  if (bytes.size() == 1) mp::test::wait_at_gate();
  return bytes.size();
}

struct Counted {
  static inline std::atomic<int> alive{0};
  int value;
  explicit Counted(int x) : value(x) { ++alive; }
  Counted(const Counted& other) : value(other.value) { ++alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --alive; }
};

TEST(ThreadStreamTest, ResultsThatOvertakeALongTaskLeaveNothingBehind) {
  constexpr int items = 20'000;
  std::latch open(1);
  int pulled = 0;
  mp::ThreadPool pool(2);
  auto input = endless([](int i) { return Counted(i); }, pulled);
  auto results = pool.imap_unordered(
      [&](const Counted& item) {
        if (item.value == 0) open.wait();
        return item.value;
      },
      input);
  for (int i = 0; i < items; ++i) ASSERT_NE(results.next(patience), 0);
  EXPECT_LT(Counted::alive, items / 4);
  open.count_down();
}

TEST_P(PoolStreamTest, AssigningOverResultsDropsWhatTheyWaitFor) {
  const mp::Event open;
  int pulled = 0;
  mp::Pool pool(1, mp::test::bring_gate, open);
  auto items = endless([](int) { return std::vector<std::byte>(1); }, pulled);
  auto results = pool.imap(wait_for_gate, items);
  const auto running = [&] { return pool.progress().running; };
  const mp::detail::Deadline deadline(patience);
  while (running() == 0 && !deadline.passed()) std::this_thread::yield();
  ASSERT_EQ(running(), 1U);
  EXPECT_GT(pool.progress().queued, 0U);
  results = pool.imap(wait_for_gate, std::vector<std::vector<std::byte>>());
  EXPECT_EQ(pool.progress().queued, 0U);
  open.set();
  EXPECT_EQ(results.next(patience), std::nullopt);
}

// --- what can be read ----------------------------------------------------------------

TEST_P(PoolStreamTest, AnyRangeWillDo) {
  mp::Pool pool(2);
  mp::futures::ProcessPoolExecutor executor(2);
  const auto read = [](auto results) {
    std::vector<int> all;
    for (const auto value : results) all.push_back(static_cast<int>(value));
    return all;
  };
#ifndef __clang__  // Version 14 does not understand the views of its C++ library.
  const std::vector<int> squares{0, 4, 16, 36};
  auto even = std::views::iota(0, 7) | std::views::filter([](int x) { return x % 2 == 0; });
  EXPECT_EQ(pool.map(square, even), squares);
  EXPECT_EQ(read(pool.imap(square, even)), squares);
  EXPECT_EQ(read(executor.map(square, even)), squares);

  std::istringstream words("one three");
  EXPECT_EQ(read(pool.imap(length, std::views::istream<std::string>(words))),
            (std::vector<int>{3, 5}));
  std::istringstream digits("2 3");
  EXPECT_EQ(pool.map(square, std::views::istream<int>(digits)), (std::vector<int>{4, 9}));
#endif

  const std::vector<bool> bits{true, false};
  EXPECT_EQ(pool.map(negate, bits), (std::vector<int>{0, 1}));
  EXPECT_EQ(read(pool.imap(negate, bits)), (std::vector<int>{0, 1}));

  EXPECT_EQ(read(pool.imap(square, {2, 3})), (std::vector<int>{4, 9}));
  auto unordered = read(pool.imap_unordered(square, {2, 3}, 2));
  EXPECT_EQ(unordered, (std::vector<int>{4, 9}));
  EXPECT_EQ(pool.map_async(square, {2, 3}, 1).get(), (std::vector<int>{4, 9}));
  EXPECT_EQ(pool.starmap_async([](int x, int y) { return x * y; }, {std::pair(2, 3)}).get(),
            (std::vector<int>{6}));
}

// --- after close() -----------------------------------------------------------------------

template <class Results>
std::vector<int> all_of(Results results) {
  std::vector<int> all;
  while (const auto value = results.next(patience)) all.push_back(*value);
  return all;
}

TEST_P(PoolStreamTest, AClosedPoolGoesOnWithTheItemsOfWhatIsUnderWay) {
  mp::Pool pool(2);
  auto results = pool.imap(square, numbers(1000));
  pool.close();
  EXPECT_EQ(all_of(std::move(results)), squares(1000));
  EXPECT_TRUE(pool.join(patience));
}

TEST_P(PoolStreamTest, JoinReadsTheRestOfTheInput) {
  mp::Pool pool(2);
  auto results = pool.imap(square, numbers(1000));
  auto unordered = pool.imap_unordered({.chunksize = 3, .buffersize = 3}, itself, numbers(100));
  pool.close();
  EXPECT_TRUE(pool.join(patience));
  EXPECT_EQ(all_of(std::move(results)), squares(1000));
  auto all = all_of(std::move(unordered));
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, numbers(100));
}

TEST_P(PoolStreamTest, WhileOneThreadReadsAnotherMayJoin) {
  mp::Pool pool(2);
  auto results = pool.imap({.buffersize = 2}, square, numbers(2000));
  pool.close();
  std::jthread joiner([&] { EXPECT_TRUE(pool.join(patience)); });
  EXPECT_EQ(all_of(std::move(results)), squares(2000));
}

TEST_P(PoolStreamTest, AnEndlessInputIsReadOnUntilTheDeadlineOrTheEndOfThePool) {
  int pulled = 0;
  mp::Pool pool(1);
  auto items = endless([](int x) { return x; }, pulled);
  auto results = pool.imap({.buffersize = 4}, itself, items);
  pool.close();
  EXPECT_FALSE(pool.join(20ms));
  EXPECT_EQ(results.next(patience), 0);
  std::jthread joiner([&] { EXPECT_TRUE(pool.join(patience)); });
  pool.terminate();
}

TEST_P(PoolStreamTest, AClosedPoolWaitsForNoResultsThatWereDropped) {
  int pulled = 0;
  mp::Pool pool(1);
  auto items = endless([](int x) { return x; }, pulled);
  {
    const auto results = pool.imap({.buffersize = 4}, itself, items);
    pool.close();
  }
  EXPECT_TRUE(pool.join(patience));
  EXPECT_LE(pulled, 4);
}

TEST_P(PoolStreamTest, AnInputThatThrowsDoesNotKeepAClosedPool) {
  mp::Pool pool(1);
  auto results = pool.imap({.buffersize = 2}, itself, mp::test::ThrowingRange{100, 7});
  pool.close();
  EXPECT_TRUE(pool.join(patience));
  for (int i = 0; i < 7; ++i) EXPECT_EQ(results.next(patience), i);
  EXPECT_THROW(results.next(patience), mp::KeyError);
  EXPECT_EQ(results.next(patience), std::nullopt);
}

TEST_P(PoolStreamTest, AnInputCannotWaitForItsOwnPool) {
  mp::Pool pool(1);
  int pulled = 0;
  auto input = input_that_joins(pool, pulled);
  auto results = pool.imap(itself, input);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(results.next(patience), i);
  EXPECT_THROW(results.next(patience), mp::AssertionError);
  EXPECT_TRUE(pool.join(patience));
}

TEST_P(PoolStreamTest, AnInputMayDropItsOwnResults) {
  mp::Pool pool(1);
  int pulled = 0;
  std::optional<mp::Results<int>> results;
  auto input = endless(
      [&](int x) {
        if (x == 20) results.reset();
        return x;
      },
      pulled);
  results.emplace(pool.imap({.buffersize = 4}, itself, input));
  pool.close();
  EXPECT_TRUE(pool.join(patience));
  // What is read at a time is read to its end, and no more.
  EXPECT_LE(pulled, 4 + static_cast<int>(mp::detail::InputLock::read_on_items));
}

TEST_P(PoolStreamTest, AClosedPoolReplacesTheWorkersThatItStillNeeds) {
  mp::Pool pool({.processes = 1, .maxtasksperchild = 5});
  auto results = pool.imap({.buffersize = 2}, itself, numbers(30));
  pool.close();
  EXPECT_EQ(all_of(std::move(results)), numbers(30));
  EXPECT_TRUE(pool.join(patience));
}

// --- elsewhere -------------------------------------------------------------------------

TEST_P(PoolStreamTest, AForkedChildIsToldThatResultsAreItsParents) {
  const auto wait_long = [] { std::this_thread::sleep_for(10min); };
  mp::Pool pool(1);
  mp::futures::ProcessPoolExecutor executor(1);
  const auto one = pool.apply_async(wait_long);
  const auto all = pool.map_async(square, {1, 2, 3});
  auto stream = pool.imap(square, {1, 2, 3});
  const auto done = executor.submit(square, 3);
  EXPECT_EQ(done.result(patience), 9);
  const auto slow = executor.submit(wait_long);
  Forked child([&] {
    int refusals = 0;
    const auto expect_refusal = [&](auto wait) {
      try {
        wait();
      } catch (const mp::AssertionError&) {
        ++refusals;
      }
    };
    expect_refusal([&] { one.get(); });
    expect_refusal([&] { (void)all.wait(10s); });
    expect_refusal([&] { stream.next(); });
    expect_refusal([&] { slow.result(); });
    return refusals == 4 && done.result() == 9 ? 7 : refusals;
  });
  EXPECT_EQ(child.wait(), 7);
  // And nothing of it has hurt the parent.
  pool.terminate();
  EXPECT_THROW(one.get(patience), mp::PoolTerminated);
  executor.terminate_workers();
  EXPECT_THROW(slow.result(patience), mp::Error);
}

}  // namespace
