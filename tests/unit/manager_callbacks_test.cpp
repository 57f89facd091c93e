// Callbacks of a manager's pool: where they run, when, and what they may do.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <mp/mp.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "forked.hpp"
#include "pools.hpp"

namespace {

using namespace std::chrono_literals;
using mp::by_name;
using mp::test::comes_true;
using mp::test::numbers;
using mp::test::patience;
using mp::test::squares;

int square(int x) { return x * x; }
int multiply(int a, int b) { return a * b; }
void nothing(int) {}
int refuse(int x) { throw mp::ValueError("not " + std::to_string(x)); }
int wait_for_ever(int) {
  for (;;) ::pause();
}

class ManagerCallbacks : public testing::Test {
 protected:
  mp::SyncManager manager = mp::Manager();
  mp::PoolProxy pool = manager.Pool(2);
};

TEST_F(ManagerCallbacks, TheyHaveRunWhenTheResultIsReady) {
  int value = 0;
  std::vector<int> values;
  int calls = 0;
  const auto one = pool.apply_async({.callback = [&](int x) { value = x; }}, by_name<square>, 7);
  EXPECT_EQ(one.get(patience), 49);
  EXPECT_EQ(value, 49);
  EXPECT_TRUE(one.ready());
  EXPECT_TRUE(one.successful());
  const auto all = pool.map_async({.chunksize = 3, .callback = [&](const auto& v) { values = v; }},
                                  by_name<square>, numbers(10));
  EXPECT_TRUE(all.wait(patience));
  EXPECT_EQ(values, squares(10));
  const std::vector<std::pair<int, int>> pairs{{2, 3}, {4, 5}};
  (void)pool
      .starmap_async({.callback = [&](const auto& v) { values = v; }}, by_name<multiply>, pairs)
      .get(patience);
  EXPECT_EQ(values, (std::vector{6, 20}));
  pool.map_async({.callback = [&] { ++calls; }}, by_name<nothing>, numbers(3)).get(patience);
  pool.apply_async({.callback = [&] { ++calls; }}, by_name<nothing>, 3).get(patience);
  pool.map_async({.callback = [&](const auto& v) { values = v; }}, by_name<square>, numbers(0))
      .get(patience);
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(values.empty());
}

TEST_F(ManagerCallbacks, AResultWhoseCallbackStillRunsIsNotReady) {
  mp::test::Gate begun;
  mp::test::Gate open;
  const auto result = pool.apply_async({.callback =
                                            [&](int) {
                                              begun.open();
                                              open.wait();
                                            }},
                                       by_name<square>, 7);
  EXPECT_TRUE(begun.wait());
  EXPECT_FALSE(result.ready());
  EXPECT_FALSE(result.wait(1ms));
  EXPECT_THROW((void)result.get(1ms), mp::TimeoutError);
  EXPECT_THROW((void)result.successful(), mp::ValueError);
  open.open();
  EXPECT_EQ(result.get(patience), 49);
}

TEST_F(ManagerCallbacks, AnErrorIsForTheErrorCallback) {
  int values = 0;
  std::exception_ptr told;
  const auto failed = pool.apply_async({.callback = [&](int) { ++values; },
                                        .error_callback = [&](const auto& error) { told = error; }},
                                       by_name<refuse>, 3);
  EXPECT_THROW((void)failed.get(patience), mp::ValueError);
  EXPECT_EQ(values, 0);
  ASSERT_TRUE(told);
  EXPECT_THROW(std::rethrow_exception(told), mp::ValueError);
  told = nullptr;
  const auto stuck = pool.apply_async(
      {.error_callback = [&](const auto& error) { told = error; }, .timeout = 50ms},
      by_name<wait_for_ever>, 1);
  EXPECT_TRUE(stuck.wait(patience));
  ASSERT_TRUE(told);
  EXPECT_THROW(std::rethrow_exception(told), mp::TimeoutError);
  // Nobody asked for this one.
  EXPECT_THROW((void)pool.apply_async({.callback = [&](int) { ++values; }}, by_name<refuse>, 3)
                   .get(patience),
               mp::ValueError);
  EXPECT_EQ(values, 0);
}

TEST_F(ManagerCallbacks, WhatACallbackThrowsIsLoggedAndHurtsNobody) {
  int value = 0;
  testing::internal::CaptureStderr();
  const auto bad = pool.apply_async(
      {.callback = [](int) { throw std::runtime_error("clumsy callback"); }}, by_name<square>, 2);
  EXPECT_EQ(bad.get(patience), 4);
  const auto good = pool.apply_async({.callback = [&](int x) { value = x; }}, by_name<square>, 3);
  EXPECT_EQ(good.get(patience), 9);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("clumsy callback"), std::string::npos);
  EXPECT_EQ(value, 9);
}

TEST_F(ManagerCallbacks, ACallbackMayHandOutMoreAndAskForIts) {
  mp::test::Gate over;
  int sum = 0;
  const auto first = pool.apply_async(
      {.callback =
           [&](int x) {
             sum += x;
             // Of a result with a callback, which is this thread's own to run.
             sum += pool.apply_async({.callback = [&](int) { over.open(); }}, by_name<square>, 4)
                        .get(patience);
           }},
      by_name<square>, 3);
  EXPECT_EQ(first.get(patience), 9);
  EXPECT_TRUE(over.wait());
  EXPECT_EQ(sum, 25);
}

TEST_F(ManagerCallbacks, EachOfManyRunsOnceAndOneAtATime) {
  constexpr int count = 2000;
  std::atomic<int> running{0};
  std::atomic<bool> together{false};
  std::atomic<int> sum{0};
  std::atomic<int> calls{0};
  std::vector<std::thread> askers;
  for (int t = 0; t < 4; ++t) {
    askers.emplace_back([&] {
      for (int i = 0; i < count / 4; ++i) {
        (void)pool.apply_async({.callback =
                                    [&](int x) {
                                      if (++running != 1) together = true;
                                      sum += x;
                                      --running;
                                      ++calls;
                                    }},
                               by_name<square>, 2);
      }
    });
  }
  for (auto& asker : askers) asker.join();
  // Nobody has the results but who is to tell of them.
  EXPECT_TRUE(comes_true([&] { return calls == count; }));
  EXPECT_EQ(sum, 4 * count);
  EXPECT_FALSE(together);
}

TEST_F(ManagerCallbacks, NothingIsLeftOfThemInTheServer) {
  EXPECT_EQ(manager.number_of_objects(), 1U);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(pool.apply_async({.callback = [](int) {}}, by_name<square>, i).get(patience), i * i);
  }
  EXPECT_TRUE(comes_true([&] { return manager.number_of_objects() == 1; }));
  pool.close();
  EXPECT_THROW((void)pool.apply_async({.callback = [](int) {}}, by_name<square>, 1),
               mp::ValueError);
  EXPECT_TRUE(comes_true([&] { return manager.number_of_objects() == 1; }));
}

TEST_F(ManagerCallbacks, AServerThatIsKilledIsAnErrorForEachThatWaits) {
  constexpr int count = 10;
  std::atomic<int> failures{0};
  std::vector<mp::AsyncResultProxy<int>> results;
  for (int i = 0; i < count; ++i) {
    results.push_back(
        pool.apply_async({.callback = [&](int) { failures = 1000; },
                          .error_callback = [&](const std::exception_ptr&) { ++failures; }},
                         by_name<wait_for_ever>, i));
  }
  ::kill(*manager.pid(), SIGKILL);
  const auto begin = std::chrono::steady_clock::now();
  for (const auto& result : results) EXPECT_ANY_THROW((void)result.get(patience));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  EXPECT_EQ(failures, count);
}

}  // namespace
