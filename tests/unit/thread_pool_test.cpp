#include <gtest/gtest.h>

#include <mp/futures.hpp>
#include <mp/pool.hpp>

#include <atomic>
#include <latch>
#include <memory>
#include <numeric>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "forked.hpp"
#include "pools.hpp"

using namespace std::chrono_literals;
using mp::test::patience;

namespace {

TEST(ThreadPoolTest, AnyCallableWillDo) {
  mp::ThreadPool pool(3);
  const int offset = 10;
  const auto shifted = pool.map([&](int x) { return x + offset; }, std::vector<int>{1, 2, 3});
  EXPECT_EQ(shifted, (std::vector<int>{11, 12, 13}));
  EXPECT_EQ(pool.apply([] { return std::string("done"); }), "done");
}

TEST(ThreadPoolTest, ImapComesInOrderAndUnorderedComesWhole) {
  mp::ThreadPool pool(3);
  std::vector<int> items(500);
  std::iota(items.begin(), items.end(), 0);
  int expected = 0;
  for (const int x : pool.imap([](int y) { return y; }, items)) EXPECT_EQ(x, expected++);
  std::multiset<int> seen;
  for (const int x : pool.imap_unordered([](int y) { return y; }, items, 7)) seen.insert(x);
  EXPECT_EQ(seen, std::multiset<int>(items.begin(), items.end()));
}

TEST(ThreadPoolTest, AfterCloseImapGoesOnAndJoinReadsTheRest) {
  mp::ThreadPool pool(2);
  const auto negate = [](int x) { return -x; };
  auto first = pool.imap({.buffersize = 2}, negate, mp::test::numbers(300));
  auto second = pool.imap({.buffersize = 2}, negate, mp::test::numbers(300));
  pool.close();
  for (int i = 0; i < 300; ++i) EXPECT_EQ(first.next(patience), -i);
  EXPECT_EQ(first.next(patience), std::nullopt);
  EXPECT_TRUE(pool.join(patience));
  for (int i = 0; i < 300; ++i) EXPECT_EQ(second.next(patience), -i);
}

TEST(ThreadPoolTest, ExceptionsComeAsTheyAre) {
  mp::ThreadPool pool(2);
  EXPECT_THROW(pool.apply([]() -> int { throw std::out_of_range("x"); }), std::out_of_range);
  EXPECT_THROW(pool.map([](int) -> int { throw 42; }, std::vector<int>{1}), int);
}

TEST(ThreadPoolTest, ATimeLimitIsRefusedAsThreadsCannotBeStopped) {
  mp::ThreadPool pool(1);
  EXPECT_THROW(pool.apply_async({.timeout = 1s}, [] { return 1; }), mp::ValueError);
}

int countdown(mp::ThreadPool& pool, int n) {
  if (n == 0) return 0;
  return 1 + pool.apply_async([&pool, n] { return countdown(pool, n - 1); }).get();
}

TEST(ThreadPoolTest, ATaskMayWaitForOthersOfItsPool) {
  mp::ThreadPool pool(1);
  EXPECT_EQ(pool.apply_async([&] { return countdown(pool, 10); }).get(patience), 10);
  EXPECT_EQ(pool.apply_async([&] {
                  const auto all = pool.map([](int x) { return x; }, std::vector<int>{1, 2, 3});
                  return std::accumulate(all.begin(), all.end(), 0);
                })
                .get(patience),
            6);
  EXPECT_EQ(pool.apply_async([&] {
                  int sum = 0;
                  for (const int x : pool.imap([](int y) { return y; }, {1, 2, 3})) sum += x;
                  return sum;
                })
                .get(patience),
            6);
}

TEST(ThreadPoolTest, ATaskThatWaitsIsRunningAndSoIsWhatItRuns) {
  mp::ThreadPool pool(1);
  mp::AsyncResult<mp::Progress> outer =
      pool.apply_async([&] { return pool.apply_async([&] { return pool.progress(); }).get(); });
  const auto seen = outer.get(patience);
  EXPECT_EQ(seen.running, 2U);
  EXPECT_EQ(seen.queued, 0U);
}

TEST(ThreadPoolTest, WhatCannotBeCopiedIsMovedOut) {
  mp::ThreadPool pool(2);
  const auto all =
      pool.map([](int x) { return std::make_unique<int>(x); }, std::vector<int>{1, 2, 3});
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(*all[2], 3);
}

struct Copied {
  static inline std::atomic<int> copies{0};
  Copied() = default;
  Copied(const Copied&) { ++copies; }
  Copied(Copied&&) noexcept = default;
  Copied& operator=(const Copied&) = delete;
  Copied& operator=(Copied&&) noexcept = default;
  ~Copied() = default;
};

TEST(ThreadPoolTest, TheLastHandleGivesTheResultsAway) {
  mp::ThreadPool pool(1);
  auto all = pool.map_async([](int) { return Copied(); }, std::vector<int>{1, 2, 3});
  pool.close();
  // No thread is in the middle of telling any more.
  ASSERT_TRUE(pool.join(patience));
  Copied::copies = 0;
  EXPECT_EQ(std::move(all).get().size(), 3U);
  EXPECT_EQ(Copied::copies, 0);
}

TEST(ThreadPoolTest, AResultSaysWhatItIs) {
  mp::ThreadPool pool(1);
  const auto result = pool.apply_async([] { return 1; });
  result.wait();
  std::ostringstream out;
  out << result;
  EXPECT_EQ(out.str(), result.repr());
  EXPECT_TRUE(out.str().starts_with("<AsyncResult at 0x")) << out.str();
  EXPECT_TRUE(out.str().ends_with(" state=finished returned int>")) << out.str();
}

TEST(ThreadPoolExecutorTest, ATaskMayWaitForOthersOfItsExecutor) {
  mp::futures::ThreadPoolExecutor executor(1, [] {});
  const auto outer =
      executor.submit([&] { return executor.submit([] { return 3; }).result() + 1; });
  EXPECT_EQ(outer.result(patience), 4);
}

TEST(ThreadPoolExecutorTest, AResultGivenByHandHurtsNobody) {
  mp::futures::ThreadPoolExecutor executor(1);
  std::latch given(1);
  auto future = executor.submit([&] {
    given.wait();
    return 1;
  });
  future.set_result(2);
  given.count_down();
  EXPECT_EQ(executor.submit([] { return 3; }).result(patience), 3);
  EXPECT_EQ(future.result(), 2);
}

TEST(ThreadPoolExecutorTest, OneThreadServesCallsThatFollowEachOther) {
  mp::futures::ThreadPoolExecutor executor(5);
  std::set<std::thread::id> threads;
  for (int i = 0; i < 50; ++i) {
    threads.insert(executor.submit([] { return std::this_thread::get_id(); }).result());
  }
  EXPECT_EQ(threads.size(), 1U);
}

TEST(ThreadPoolExecutorTest, ABrokenInitializerBreaksIt) {
  mp::futures::ThreadPoolExecutor executor({.max_workers = 2},
                                           [] { throw std::runtime_error("no"); });
  EXPECT_THROW(executor.submit([] { return 1; }).result(), mp::BrokenThreadPool);
}

TEST(ThreadPoolExecutorTest, TheDestructorWaitsForAll) {
  std::atomic<int> done{0};
  {
    mp::futures::ThreadPoolExecutor executor(3);
    for (int i = 0; i < 100; ++i) executor.submit([&] { ++done; });
  }
  EXPECT_EQ(done, 100);
}

}  // namespace
