#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <mp/futures.hpp>

#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "children.hpp"
#include "forked.hpp"

using namespace std::chrono_literals;
using mp::test::patience;
using namespace mp::futures;

namespace {

int square(int x) { return x * x; }
int add(int a, int b) { return a + b; }
int die() {
  ::raise(SIGKILL);
  return 0;
}
int wait_long() {
  std::this_thread::sleep_for(600s);
  return 0;
}
int divide(int a, int b) {
  if (b == 0) throw std::domain_error("division by zero");
  return a / b;
}

class ProcessPoolExecutorTest : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ProcessPoolExecutorTest);

TEST_P(ProcessPoolExecutorTest, SubmitGivesAFuture) {
  ProcessPoolExecutor executor(2);
  auto future = executor.submit(square, 9);
  EXPECT_EQ(future.result(), 81);
  EXPECT_EQ(future.result(), 81);
  EXPECT_TRUE(future.done());
  EXPECT_FALSE(future.exception());
}

TEST_P(ProcessPoolExecutorTest, MapWithABufferTakesNothingMoreAfterShutdown) {
  ProcessPoolExecutor executor(1);
  auto results = executor.map({.buffersize = 3}, square, std::vector<int>{1, 2, 3, 4, 5});
  executor.shutdown();
  EXPECT_EQ(results.next(patience), 1);
  EXPECT_EQ(results.next(patience), 4);
  EXPECT_EQ(results.next(patience), 9);
  try {
    results.next(patience);
    FAIL();
  } catch (const mp::RuntimeError& error) {
    EXPECT_STREQ(error.what(), "cannot schedule new futures after shutdown");
  }
  EXPECT_EQ(results.next(patience), std::nullopt);
}

TEST_P(ProcessPoolExecutorTest, FuturesAreWaitedForAsAListAsWell) {
  ProcessPoolExecutor executor(1);
  const auto a = executor.submit(square, 2);
  const auto b = executor.submit(square, 3);
  EXPECT_EQ(wait({a, b}).done.size(), 2U);
  EXPECT_EQ(wait({a, b}, patience, FIRST_EXCEPTION).done.size(), 2U);
  EXPECT_EQ(wait({a, Future<int>()}, FIRST_COMPLETED).done.size(), 1U);
  EXPECT_EQ(wait(std::vector{a, Future<int>()}, FIRST_COMPLETED).not_done.size(), 1U);
  int sum = 0;
  for (const auto& future : as_completed({a, b})) sum += future.result();
  EXPECT_EQ(sum, 13);
}

TEST_P(ProcessPoolExecutorTest, MapWalksRangesSideBySideAndThrowsAtItsPlace) {
  ProcessPoolExecutor executor(2);
  std::vector<int> sums;
  for (const int sum : executor.map(add, std::vector<int>{1, 2, 3}, std::vector<int>{10, 20})) {
    sums.push_back(sum);
  }
  EXPECT_EQ(sums, (std::vector<int>{11, 22}));
  auto results = executor.map(divide, std::vector<int>{4, 4, 4, 4}, std::vector<int>{2, 4, 0, 1});
  EXPECT_EQ(results.next(), 2);
  EXPECT_EQ(results.next(), 1);
  EXPECT_THROW(results.next(), std::domain_error);
}

TEST_P(ProcessPoolExecutorTest, AFutureThatWaitsBehindAnotherIsCancelledExactly) {
  ProcessPoolExecutor executor(1);
  auto running = executor.submit(wait_long);
  auto queued = executor.submit(square, 2);
  while (!running.running()) std::this_thread::yield();
  EXPECT_FALSE(queued.running());
  EXPECT_FALSE(running.cancel());
  EXPECT_TRUE(queued.cancel());
  EXPECT_TRUE(queued.cancelled());
  EXPECT_THROW(queued.result(), CancelledError);
  executor.kill_workers();
  EXPECT_THROW(running.result(patience), BrokenProcessPool);
}

TEST_P(ProcessPoolExecutorTest, ADeathBreaksItAsInPython) {
  ProcessPoolExecutor executor(2);
  auto victim = executor.submit(die);
  EXPECT_THROW(victim.result(patience), mp::WorkerDied);
  EXPECT_THROW(executor.submit(square, 1), BrokenProcessPool);
}

TEST_P(ProcessPoolExecutorTest, WithThePolicyFailItGoesOn) {
  ProcessPoolExecutor executor({.max_workers = 2, .on_worker_death = mp::on_worker_death::fail});
  auto victim = executor.submit(die);
  auto other = executor.submit(square, 5);
  EXPECT_THROW(victim.result(patience), mp::WorkerDied);
  EXPECT_EQ(other.result(), 25);
  EXPECT_EQ(executor.submit(square, 6).result(), 36);
}

// Of ten tasks the first ends its worker; how many of the others fail.
int failures_beside_a_death(mp::OnWorkerDeath policy) {
  ProcessPoolExecutor executor({.max_workers = 1, .on_worker_death = policy});
  auto victim = executor.submit(die);
  std::vector<Future<int>> others;
  for (int i = 0; i < 9; ++i) {
    try {
      others.push_back(executor.submit(square, i));
    } catch (const BrokenProcessPool&) {
      break;  // So soon.
    }
  }
  EXPECT_THROW(victim.result(patience), mp::WorkerDied);
  int failures = 9 - static_cast<int>(others.size());
  for (const auto& other : others) {
    if (other.exception(patience)) ++failures;
  }
  return failures;
}

TEST_P(ProcessPoolExecutorTest, ADeathFailsAllOrOneAsIsAskedFor) {
  EXPECT_EQ(failures_beside_a_death(mp::on_worker_death::break_pool), 9);
  EXPECT_EQ(failures_beside_a_death(mp::on_worker_death::fail), 0);
}

TEST_P(ProcessPoolExecutorTest, ATimeLimitIsOfOneCallOrOfAll) {
  const auto expect_that_it_works = [](ProcessPoolExecutor& executor, auto... options) {
    const auto slow = executor.submit(options..., wait_long);
    // The task's end, not that of the patience.
    ASSERT_EQ(wait(std::vector{slow}, patience).done.size(), 1U);
    EXPECT_THROW(slow.result(), mp::TimeoutError);
    EXPECT_EQ(executor.submit(square, 3).result(patience), 9);
  };
  ProcessPoolExecutor of_one(1);
  expect_that_it_works(of_one, SubmitOptions{.timeout = 50ms});
  ProcessPoolExecutor of_all({.max_workers = 1, .timeout = 200ms});
  expect_that_it_works(of_all);
  // It is no death that breaks the executor, and a limit of its own goes first.
  EXPECT_EQ(of_all.submit({.timeout = patience}, square, 4).result(), 16);
}

TEST_P(ProcessPoolExecutorTest, AShutdownMayCancelWhatHasNotBegun) {
  ProcessPoolExecutor executor(1);
  auto running = executor.submit([] {
    std::this_thread::sleep_for(100ms);
    return 1;
  });
  while (!running.running() && !running.done()) std::this_thread::yield();
  std::vector<Future<int>> queued;
  for (int i = 0; i < 5; ++i) queued.push_back(executor.submit(wait_long));
  executor.shutdown(true, true);
  EXPECT_EQ(running.result(0s), 1);
  for (const auto& future : queued) EXPECT_TRUE(future.cancelled());
}

TEST_P(ProcessPoolExecutorTest, TheInitializerMayFollowTheNumberOfWorkers) {
  static int given = 0;
  ProcessPoolExecutor executor(
      1, [](int value) { given = value; }, 7);
  EXPECT_EQ(executor.submit([] { return given; }).result(patience), 7);
}

TEST_P(ProcessPoolExecutorTest, ShutdownWaitsForAll) {
  ProcessPoolExecutor executor(2);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 500; ++i) futures.push_back(executor.submit(square, i));
  executor.shutdown();
  for (int i = 0; i < 500; ++i) {
    EXPECT_TRUE(futures[static_cast<std::size_t>(i)].done());
    EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(), i * i);
  }
  EXPECT_THROW(executor.submit(square, 1), mp::RuntimeError);
}

TEST(FutureTest, StatesAndTheirTexts) {
  Future<int> future;
  EXPECT_NE(future.repr().find("state=pending>"), std::string::npos);
  EXPECT_TRUE(future.set_running_or_notify_cancel());
  EXPECT_TRUE(future.running());
  EXPECT_FALSE(future.cancel());
  future.set_result(5);
  EXPECT_NE(future.repr().find("state=finished returned int>"), std::string::npos);
  EXPECT_THROW(future.set_result(6), InvalidStateError);
  EXPECT_EQ(future.result(), 5);
}

TEST(FutureTest, CallbacksRunInOrderAndAtOnceWhenDone) {
  Future<int> future;
  std::string order;
  future.add_done_callback([&](const Future<int>& done) { order += done.done() ? "a" : "?"; });
  future.add_done_callback([&](const Future<int>&) { order += "b"; });
  future.set_result(1);
  future.add_done_callback([&](const Future<int>&) { order += "c"; });
  EXPECT_EQ(order, "abc");
}

TEST(FutureTest, WaitAndAsCompletedTellWhoIsDone) {
  Future<int> first;
  Future<int> second;
  first.set_result(1);
  const auto some = wait(std::vector{first, second, first}, 0s);
  EXPECT_EQ(some.done.size(), 1U);
  EXPECT_EQ(some.not_done.size(), 1U);
  std::thread later([second]() mutable { second.set_result(2); });
  std::vector<int> order;
  for (auto& future : as_completed(std::vector{second, first}, patience)) {
    order.push_back(future.result());
  }
  later.join();
  EXPECT_EQ(order.size(), 2U);
}

}  // namespace
