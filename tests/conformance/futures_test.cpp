// What CPython's own suite checks of futures and of waiting for several, one test an id.

#include <gtest/gtest.h>

#include <chrono>
#include <mp/mp.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "children.hpp"
#include "executors.hpp"
#include "pools.hpp"

namespace {

using namespace std::chrono_literals;
using namespace mp::futures;
using namespace mp::test;

class FuturesOfWorkersConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(FuturesOfWorkersConformance);

// --- wait and as_completed -----------------------------------------------------

Future<int> finished_future(int value = 42) {
  Future<int> future;
  future.set_result(value);
  return future;
}
Future<int> failed_future() {
  Future<int> future;
  future.set_exception(std::make_exception_ptr(std::runtime_error("failed")));
  return future;
}
Future<int> cancelled_future(bool notified = true) {
  Future<int> future;
  future.cancel();
  if (notified) {
    EXPECT_FALSE(future.set_running_or_notify_cancel());
  }
  return future;
}

TEST(FuturesWaitConformance, futures_wait__first_completed_already_done) {
  const Future<int> slow;
  const auto done = finished_future();
  const auto cancelled = cancelled_future();
  const auto result = wait(std::vector{done, cancelled, slow}, patience, FIRST_COMPLETED);
  EXPECT_EQ(result.done, (std::set{done, cancelled}));
  EXPECT_EQ(result.not_done, std::set{slow});
}

TEST_P(FuturesOfWorkersConformance, futures_wait__first_exception) {
  ProcessPoolExecutor executor(workers);
  auto quick = executor.submit(power, 2, 3);
  quick.result();
  auto bad = executor.submit(fail, 1);
  auto slow = executor.submit(sleep_for, 600'000);
  const auto result = wait(std::vector{quick, bad, slow}, patience, FIRST_EXCEPTION);
  EXPECT_EQ(result.done, (std::set{quick, bad}));
  EXPECT_EQ(result.not_done, std::set{slow});
  executor.kill_workers();
}

TEST(FuturesWaitConformance, futures_wait__first_exception_already_failed) {
  const Future<int> slow;
  const auto bad = failed_future();
  const auto result = wait(std::vector{bad, slow}, patience, FIRST_EXCEPTION);
  EXPECT_EQ(result.done, std::set{bad});
  EXPECT_EQ(result.not_done, std::set{slow});
}

TEST_P(FuturesOfWorkersConformance, futures_wait__all_completed) {
  ProcessPoolExecutor executor(workers);
  const std::vector all{finished_future(), cancelled_future(), failed_future(),
                        executor.submit(fail, 1), executor.submit(power, 2, 3)};
  const auto result = wait(all, patience, ALL_COMPLETED);
  EXPECT_EQ(result.done.size(), 5U);
  EXPECT_TRUE(result.not_done.empty());
}

TEST(FuturesWaitConformance, futures_wait__timeout) {
  const Future<int> slow;
  const std::vector all{finished_future(), cancelled_future(), failed_future(), slow};
  const auto result = wait(all, 50ms);
  EXPECT_EQ(result.done.size(), 3U);
  EXPECT_EQ(result.not_done, std::set{slow});
}

TEST_P(FuturesOfWorkersConformance, as_completed__all) {
  ProcessPoolExecutor executor(workers);
  const std::vector all{finished_future(), cancelled_future(), failed_future(),
                        executor.submit(power, 2, 3), executor.submit(sleep_for, 10)};
  std::set<Future<int>> seen;
  for (auto& future : as_completed(all, patience)) EXPECT_TRUE(seen.insert(future).second);
  EXPECT_EQ(seen, std::set(all.begin(), all.end()));
}

TEST(AsCompletedConformance, as_completed__timeout) {
  for (const auto timeout : {0ms, 100ms}) {
    const Future<int> slow;
    const std::vector all{finished_future(), slow};
    auto results = as_completed(all, timeout);
    EXPECT_EQ(results.next(), all[0]);
    try {
      results.next();
      FAIL();
    } catch (const mp::TimeoutError& error) {
      EXPECT_STREQ(error.what(), "1 (of 2) futures unfinished");
    }
  }
}

TEST(AsCompletedConformance, as_completed__duplicates) {
  const auto one = finished_future();
  auto results = as_completed(std::vector{one, one, one}, patience);
  EXPECT_EQ(results.next(), one);
  EXPECT_EQ(results.next(), std::nullopt);
}

TEST(AsCompletedConformance, as_completed__releases_futures) {
  std::vector<Future<int>> all;
  for (int i = 0; i < 3; ++i) all.push_back(finished_future(i));
  auto results = as_completed(std::move(all), patience);
  while (const auto future = results.next()) EXPECT_EQ(future->use_count(), 1);
}

// --- futures -----------------------------------------------------------------

TEST(FutureConformance, future__callback_result) {
  Future<int> future;
  int seen = 0;
  future.add_done_callback([&](const Future<int>& done) { seen = done.result(); });
  future.set_result(5);
  EXPECT_EQ(seen, 5);
}

TEST(FutureConformance, future__callback_exception) {
  Future<int> future;
  std::exception_ptr seen;
  future.add_done_callback([&](const Future<int>& done) { seen = done.exception(); });
  const auto error = std::make_exception_ptr(std::runtime_error("x"));
  future.set_exception(error);
  EXPECT_EQ(seen, error);
}

TEST(FutureConformance, future__callback_cancel) {
  Future<int> future;
  bool seen = false;
  future.add_done_callback([&](const Future<int>& done) { seen = done.cancelled(); });
  EXPECT_TRUE(future.cancel());
  EXPECT_TRUE(seen);
}

TEST(FutureConformance, future__callback_raises) {
  Future<int> future;
  bool second = false;
  future.add_done_callback([](const Future<int>&) { throw std::runtime_error("doh!"); });
  future.add_done_callback([&](const Future<int>&) { second = true; });
  testing::internal::CaptureStderr();
  future.set_result(5);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("doh!"), std::string::npos);
  EXPECT_TRUE(second);
}

TEST(FutureConformance, future__callback_already_done) {
  bool called = false;
  finished_future().add_done_callback([&](const Future<int>&) { called = true; });
  EXPECT_TRUE(called);
}

TEST(FutureConformance, future__callback_already_failed) {
  bool called = false;
  failed_future().add_done_callback([&](const Future<int>&) { called = true; });
  EXPECT_TRUE(called);
}

TEST(FutureConformance, future__callback_already_cancelled) {
  bool called = false;
  cancelled_future().add_done_callback([&](const Future<int>&) { called = true; });
  EXPECT_TRUE(called);
}

TEST(FutureConformance, future__callback_raises_already_done) {
  testing::internal::CaptureStderr();
  EXPECT_NO_THROW(finished_future().add_done_callback(
      [](const Future<int>&) { throw std::runtime_error("doh!"); }));
  EXPECT_NE(testing::internal::GetCapturedStderr().find("exception calling callback for"),
            std::string::npos);
}

TEST(FutureConformance, future__repr) {
  const auto says = [](const Future<int>& future, std::string_view text) {
    return future.repr().find(text) != std::string::npos &&
           future.repr().starts_with("<Future at 0x");
  };
  Future<int> future;
  EXPECT_TRUE(says(future, "state=pending>"));
  future.set_running_or_notify_cancel();
  EXPECT_TRUE(says(future, "state=running>"));
  EXPECT_TRUE(says(cancelled_future(false), "state=cancelled>"));
  EXPECT_TRUE(says(cancelled_future(), "state=cancelled>"));
  EXPECT_TRUE(says(failed_future(), "state=finished raised std::runtime_error>"));
  EXPECT_TRUE(says(finished_future(), "state=finished returned int>"));
}

struct InEachState {
  Future<int> pending = {};
  Future<int> running = [] {
    Future<int> future;
    future.set_running_or_notify_cancel();
    return future;
  }();
  Future<int> cancelled = cancelled_future(false);
  Future<int> notified = cancelled_future();
  Future<int> failed = failed_future();
  Future<int> finished = finished_future();
};

TEST(FutureConformance, future__cancel_by_state) {
  InEachState in;
  EXPECT_TRUE(in.pending.cancel());
  EXPECT_TRUE(in.pending.cancelled());
  EXPECT_FALSE(in.running.cancel());
  EXPECT_TRUE(in.running.running());
  EXPECT_TRUE(in.cancelled.cancel());
  EXPECT_TRUE(in.notified.cancel());
  EXPECT_FALSE(in.failed.cancel());
  EXPECT_FALSE(in.finished.cancel());
}

TEST(FutureConformance, future__cancelled_by_state) {
  const InEachState in;
  EXPECT_FALSE(in.pending.cancelled() || in.running.cancelled() || in.failed.cancelled() ||
               in.finished.cancelled());
  EXPECT_TRUE(in.cancelled.cancelled() && in.notified.cancelled());
}

TEST(FutureConformance, future__done_by_state) {
  const InEachState in;
  EXPECT_FALSE(in.pending.done() || in.running.done());
  EXPECT_TRUE(in.cancelled.done() && in.notified.done() && in.failed.done() && in.finished.done());
}

TEST(FutureConformance, future__running_by_state) {
  const InEachState in;
  EXPECT_TRUE(in.running.running());
  EXPECT_FALSE(in.pending.running() || in.cancelled.running() || in.notified.running() ||
               in.failed.running() || in.finished.running());
}

TEST(FutureConformance, future__result_waits) {
  Future<int> future;
  std::jthread setter([future]() mutable { future.set_result(42); });
  EXPECT_EQ(future.result(patience), 42);
}

TEST(FutureConformance, future__result_cancelled_while_waiting) {
  Future<int> future;
  std::jthread canceller([future]() mutable { future.cancel(); });
  EXPECT_THROW(future.result(patience), CancelledError);
}

TEST(FutureConformance, future__exception_timeout_zero) {
  const InEachState in;
  EXPECT_THROW((void)in.pending.exception(0s), mp::TimeoutError);
  EXPECT_THROW((void)in.running.exception(0s), mp::TimeoutError);
  EXPECT_THROW((void)in.cancelled.exception(0s), CancelledError);
  EXPECT_THROW((void)in.notified.exception(0s), CancelledError);
  EXPECT_TRUE(in.failed.exception(0s));
  EXPECT_FALSE(in.finished.exception(0s));
}

TEST(FutureConformance, future__set_result_twice) {
  auto future = finished_future(1);
  EXPECT_THROW(future.set_result(2), InvalidStateError);
  EXPECT_EQ(future.result(), 1);
}

TEST(FutureConformance, future__set_exception_twice) {
  auto future = failed_future();
  const auto first = future.exception();
  EXPECT_THROW(future.set_exception(std::make_exception_ptr(1)), InvalidStateError);
  EXPECT_EQ(future.exception(), first);
}

}  // namespace
