// What CPython's own suite checks of pools, one test an id.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mp/mp.hpp>
#include <set>
#include <thread>

#include "channel.hpp"
#include "children.hpp"
#include "forked.hpp"
#include "pool_checks.hpp"
#include "pools.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::comes_true;
using mp::test::Counted;
using mp::test::expect_some_results_and_an_error;
using mp::test::expect_squares_up_to_an_item_that_throws;
using mp::test::Forked;
using mp::test::goes_away;
using mp::test::is_gone;
using mp::test::numbers;
using mp::test::patience;
using mp::test::squares;
using mp::test::ThrowingRange;

int square(int x) { return x * x; }
int multiply(int a, int b) { return a * b; }
int square_slowly(int x, int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return x * x;
}
int sleep_long(int) { return square_slowly(0, 600'000); }
int raise_value_error(int) { throw mp::ValueError("bad value"); }
int raise_key_error(int) { throw mp::KeyError("no such key"); }

// Pickles, or not, as the run time has it.
struct Stubborn {
  bool refuses = true;
  void pickle(mp::Encoder& out) const {
    if (refuses) throw std::runtime_error("pickling refused");
    mp::encode(out, refuses);
  }
  static Stubborn unpickle(mp::Decoder& in) { return {mp::decode<bool>(in)}; }
};
int take_stubborn(const Stubborn&) { return 1; }
Stubborn give_stubborn(int) { return {}; }

// Decodes in a worker, but not in the test.
struct OneWay {
  static inline bool inside = false;
  void pickle(mp::Encoder& out) const { mp::encode(out, 1); }
  static OneWay unpickle(mp::Decoder& in) {
    if (!inside) throw std::runtime_error("decoding refused");
    mp::decode<int>(in);
    return {};
  }
};
OneWay give_one_way(int) { return {}; }

Counted pass_on(Counted counted) { return counted; }
int counted_in_worker(int) { return Counted::alive; }

// --- the three flavours of the same interface: here processes and threads ---

template <class PoolType>
void check_pool_interface(PoolType& pool) {
  EXPECT_EQ(pool.apply(square, 5), 25);
  EXPECT_EQ(pool.map(square, numbers(10)), squares(10));
  EXPECT_EQ(pool.map(square, numbers(100), 20), squares(100));
  std::vector<std::pair<int, int>> pairs;
  std::vector<int> products;
  for (int i = 0; i < 100; ++i) {
    pairs.emplace_back(i, i + 1);
    products.push_back(i * (i + 1));
  }
  EXPECT_EQ(pool.starmap(multiply, pairs), products);
  EXPECT_EQ(pool.starmap(multiply, pairs, 20), products);
}

class PoolConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(PoolConformance);

TEST_P(PoolConformance, pool__apply) {
  mp::Pool pool(4);
  EXPECT_EQ(pool.apply(square, 5), 25);
  mp::ThreadPool threads(4);
  EXPECT_EQ(threads.apply(square, 5), 25);
}

TEST_P(PoolConformance, pool__map) {
  mp::Pool pool(4);
  check_pool_interface(pool);
}

TEST(PoolConformanceOnce, pool__starmap) {
  mp::ThreadPool threads(4);
  check_pool_interface(threads);
}

TEST_P(PoolConformance, pool__starmap_async) {
  mp::Pool pool(4);
  EXPECT_EQ(pool.starmap_async(multiply, std::vector<std::pair<int, int>>{{2, 3}, {4, 5}}).get(),
            (std::vector<int>{6, 20}));
}

TEST_P(PoolConformance, pool__map_async) {
  mp::Pool pool(4);
  EXPECT_EQ(pool.map_async(square, numbers(10)).get(), squares(10));
}

TEST_P(PoolConformance, pool__map_async_callbacks) {
  mp::Pool pool(4);
  std::vector<std::vector<int>> values;
  pool.map_async({.callback = [&](const std::vector<int>& all) { values.push_back(all); }}, square,
                 std::vector<int>{1})
      .wait();
  EXPECT_EQ(values, (std::vector<std::vector<int>>{{1}}));
  int failures = 0;
  pool.map_async({.error_callback =
                      [&](const std::exception_ptr& error) {
                        ++failures;
                        EXPECT_THROW(std::rethrow_exception(error), mp::ValueError);
                      }},
                 raise_value_error, std::vector<int>{1})
      .wait();
  EXPECT_EQ(failures, 1);
}

TEST_P(PoolConformance, pool__unserialisable_argument_raises) {
  mp::Pool pool(2);
  EXPECT_THROW(pool.map(take_stubborn, std::vector<Stubborn>(10)), std::runtime_error);
  EXPECT_THROW(pool.apply_async(take_stubborn, Stubborn()).get(patience), std::runtime_error);
  EXPECT_EQ(pool.apply(take_stubborn, Stubborn{false}), 1);
}

TEST_P(PoolConformance, pool__map_empty_with_chunksize) {
  mp::Pool pool(2);
  EXPECT_TRUE(pool.map_async(square, std::vector<int>(), 1).get(patience).empty());
}

TEST_P(PoolConformance, pool__map_iterable_throws) {
  mp::Pool pool(2);
  for (const int fatal : {0, 3}) {
    for (const std::optional<int> chunk : {std::optional<int>(), std::optional<int>(1)}) {
      EXPECT_THROW(pool.map(square, ThrowingRange{10, fatal}, chunk), mp::KeyError);
    }
  }
  EXPECT_EQ(pool.map(square, ThrowingRange{10, -1}), squares(10));
}

TEST_P(PoolConformance, pool__apply_async_result) {
  mp::Pool pool(4);
  EXPECT_EQ(pool.apply_async(square_slowly, 7, 100).get(), 49);
}

TEST_P(PoolConformance, pool__get_timeout) {
  mp::Pool pool(4);
  auto result = pool.apply_async(sleep_long, 1);
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_THROW(result.get(100ms), mp::TimeoutError);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 100ms);
  EXPECT_FALSE(result.wait(0s));
  pool.terminate();
  EXPECT_TRUE(pool.join(patience));
}

TEST_P(PoolConformance, pool__imap) {
  mp::Pool pool(4);
  auto results = pool.imap(square, numbers(10));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(results.next(), i * i);
  EXPECT_EQ(results.next(), std::nullopt);
  std::vector<int> all;
  for (const int x : pool.imap(square, numbers(1000), 100)) all.push_back(x);
  EXPECT_EQ(all, squares(1000));
}

TEST_P(PoolConformance, pool__imap_iterable_throws) {
  mp::Pool pool(4);
  expect_squares_up_to_an_item_that_throws(
      [&](ThrowingRange items, int chunk) { return pool.imap(square, items, chunk); });
}

TEST_P(PoolConformance, pool__imap_unordered) {
  mp::Pool pool(4);
  for (const int chunk : {1, 100}) {
    std::vector<int> all;
    for (const int x : pool.imap_unordered(square, numbers(1000), chunk)) all.push_back(x);
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, squares(1000));
  }
}

TEST_P(PoolConformance, pool__imap_unordered_iterable_throws) {
  mp::Pool pool(4);
  expect_some_results_and_an_error(pool.imap_unordered(square, ThrowingRange{100, 7}, 2));
}

TEST_P(PoolConformance, pool__invalid_sizes) {
  EXPECT_THROW(mp::Pool(-1), mp::ValueError);
  EXPECT_THROW(mp::Pool(0), mp::ValueError);
  EXPECT_THROW(mp::ThreadPool(0), mp::ValueError);
  mp::Pool pool(3);
  EXPECT_EQ(pool.pids().size(), 3U);
}

TEST_P(PoolConformance, pool__terminate_drops_10000_tasks) {
  mp::Pool pool(3);
  auto result = pool.map_async(sleep_long, numbers(10'000), 1);
  pool.terminate();
  EXPECT_TRUE(pool.join(patience));
  EXPECT_THROW(result.get(0s), mp::PoolTerminated);
}

TEST_P(PoolConformance, pool__context_exit_terminates) {
  std::vector<int> pids;
  {
    mp::Pool pool(2);
    pids = pool.pids();
    EXPECT_EQ(pool.map_async(square, numbers(10)).get(), squares(10));
  }
  for (const pid_t pid : pids) EXPECT_TRUE(is_gone(pid));
}

TEST_P(PoolConformance, pool__remote_traceback) {
  mp::Pool pool(1);
  try {
    pool.apply(raise_value_error, 1);
    FAIL();
  } catch (const mp::ValueError& error) {
    EXPECT_STREQ(error.what(), "bad value");
    try {
      std::rethrow_if_nested(error);
      FAIL();
    } catch (const mp::RemoteTraceback& remote) {
      EXPECT_EQ(remote.origin().type, "mp::ValueError");
      EXPECT_EQ(remote.origin().pid, pool.pids()[0]);
      EXPECT_NE(std::string(remote.what()).find("raise_value_error"), std::string::npos);
    }
  }
  // What is thrown on this side has no such cause.
  try {
    pool.map(square, ThrowingRange{3, 1});
    FAIL();
  } catch (const mp::KeyError& error) {
    EXPECT_NO_THROW(std::rethrow_if_nested(error));
  }
}

TEST_P(PoolConformance, pool__task_objects_released) {
  mp::Pool pool(1);
  {
    const auto results = pool.map(pass_on, std::vector<Counted>(10));
    EXPECT_EQ(results.size(), 10U);
  }
  // The thread that read the results may have them in its hand a moment longer.
  EXPECT_TRUE(comes_true([] { return Counted::alive == 0; }));
  EXPECT_EQ(pool.apply(counted_in_worker, 0), 0);
}

TEST_P(PoolConformance, pool__reenter_raises) {
  mp::Pool pool(1);
  pool.terminate();
  EXPECT_THROW(pool.apply(square, 1), mp::ValueError);
  EXPECT_THROW(pool.imap(square, numbers(3)), mp::ValueError);
  EXPECT_TRUE(pool.join(patience));
}

TEST_P(PoolConformance, pool__unclosed_warning) {
  const auto stderr_of = [](bool with_work) {
    testing::internal::CaptureStderr();
    {
      mp::Pool pool(1);
      auto result = pool.apply_async(sleep_long, 1);
      if (!with_work) {
        pool.terminate();
        result.wait();
      }
    }
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_NE(stderr_of(true).find("unclosed running multiprocessing pool"), std::string::npos);
  EXPECT_EQ(stderr_of(false).find("unclosed"), std::string::npos);
}

TEST_P(PoolConformance, pool__error_callback) {
  mp::Pool pool(2);
  std::exception_ptr told;
  auto result =
      pool.apply_async({.error_callback = [&](const std::exception_ptr& error) { told = error; }},
                       raise_key_error, 1);
  EXPECT_THROW(result.get(), mp::KeyError);
  ASSERT_TRUE(told);
  EXPECT_THROW(std::rethrow_exception(told), mp::KeyError);
}

TEST_P(PoolConformance, pool__unserialisable_result) {
  mp::Pool pool(2);
  const auto pids = pool.pids();
  for (int i = 0; i < 20; ++i) {
    bool told = false;
    auto result = pool.apply_async(
        {.error_callback = [&](const std::exception_ptr&) { told = true; }}, give_stubborn, 1);
    try {
      result.get();
      FAIL();
    } catch (const mp::MaybeEncodingError& error) {
      EXPECT_NE(error.exc().find("pickling refused"), std::string::npos);
      EXPECT_NE(error.value().find("Stubborn"), std::string::npos);
    }
    EXPECT_TRUE(told);
  }
  EXPECT_EQ(pool.pids(), pids);
  pool.close();
  EXPECT_TRUE(pool.join(patience));
}

TEST_P(PoolConformance, pool__maxtasks_replaces_workers) {
  mp::Pool pool({.processes = 3, .maxtasksperchild = 10});
  const auto before = pool.pids();
  const auto who = pool.map([](int) { return ::getpid(); }, numbers(100), 1);
  for (const int pid : who) EXPECT_LE(std::count(who.begin(), who.end(), pid), 10);
  // Not all need be others: one that the system hardly let run has had fewer tasks.
  EXPECT_TRUE(comes_true([&] {
    const auto after = pool.pids();
    return after.size() == 3 && after != before;
  }));
}

TEST_P(PoolConformance, pool__maxtasks_invalid) {
  EXPECT_THROW(mp::Pool({.processes = 1, .maxtasksperchild = 0}), mp::ValueError);
  EXPECT_THROW(mp::Pool({.processes = 1, .maxtasksperchild = -1}), mp::ValueError);
}

TEST_P(PoolConformance, pool__global_pool_at_exit) {
  mp::Process program({.start_method = GetParam()}, [] {
    static mp::Pool* pool = nullptr;
    pool = new mp::Pool(2);
    pool->apply(square, 2);
    pool->apply_async(sleep_long, 1);
  });
  program.start();
  program.join(patience);
  EXPECT_EQ(program.exitcode(), 0);
}

// --- promised, but not checked there ---

TEST_P(PoolConformance, extra__pool_join_before_close) {
  mp::Pool pool(1);
  try {
    pool.join();
    FAIL();
  } catch (const mp::ValueError& error) {
    EXPECT_STREQ(error.what(), "Pool is still running");
  }
}

TEST_P(PoolConformance, extra__pool_submit_after_close) {
  mp::Pool pool(1);
  pool.close();
  try {
    pool.apply_async(square, 1);
    FAIL();
  } catch (const mp::ValueError& error) {
    EXPECT_STREQ(error.what(), "Pool not running");
  }
}

TEST_P(PoolConformance, extra__async_result_successful_early) {
  mp::Pool pool(1);
  auto result = pool.apply_async(sleep_long, 1);
  EXPECT_THROW((void)result.successful(), mp::ValueError);
  pool.terminate();
  result.wait();
  EXPECT_FALSE(result.successful());
}

TEST_P(PoolConformance, extra__imap_chunksize_zero) {
  mp::Pool pool(1);
  EXPECT_THROW(pool.imap(square, numbers(3), 0), mp::ValueError);
  EXPECT_THROW(pool.imap_unordered(square, numbers(3), -1), mp::ValueError);
}

void count_up(const mp::Value<int>& calls) { calls.fetch_add(1); }

TEST_P(PoolConformance, pool__initializer) {
  const mp::Value<int> calls(0);
  mp::Pool pool(2, count_up, calls);
  const auto pids = pool.map(
      [](int milliseconds) {
        square_slowly(0, milliseconds);
        return ::getpid();
      },
      std::vector<int>(20, 5), 1);
  pool.close();
  EXPECT_TRUE(pool.join(patience));
  // Once in each worker, before its first task.
  EXPECT_EQ(calls.value.get(), 2);
  EXPECT_LE(std::set<int>(pids.begin(), pids.end()).size(), 2U);
}

TEST_P(PoolConformance, extra__pool_default_chunksize) {
  // Few messages for many cheap items, yet both workers take part, and a long
  // item has a message of its own.
  mp::Pool pool(2);
  EXPECT_EQ(pool.map(square, numbers(10'000)), squares(10'000));
  const auto pids = pool.map(
      [](int i) {
        std::this_thread::sleep_for(1ms);
        return i < 0 ? 0 : ::getpid();
      },
      numbers(100));
  EXPECT_EQ(std::set<int>(pids.begin(), pids.end()).size(), 2U);
}

TEST(PoolConformanceOnce, extra__pool_not_copyable) {
  EXPECT_FALSE(std::is_copy_constructible_v<mp::Pool>);
  EXPECT_FALSE(mp::Picklable<mp::Pool>);
  // In a forked child it is a dead copy.
  mp::Pool pool(1);
  Forked child([&] {
    try {
      pool.apply(square, 1);
    } catch (const mp::AssertionError&) {
      return 7;
    }
    return 1;
  });
  EXPECT_EQ(child.wait(), 7);
  EXPECT_EQ(pool.apply(square, 3), 9);
}

// --- where CPython hangs or loses data ---

TEST_P(PoolConformance, survive__pool_worker_killed_busy) {
  mp::Pool pool(2);
  auto victim = pool.apply_async(sleep_long, 1);
  while (victim.progress().running == 0) std::this_thread::yield();
  int busy = 0;
  for (const auto& worker : pool.progress().workers) {
    if (worker.task != 0) busy = worker.pid;
  }
  ASSERT_GT(busy, 0);
  ::kill(busy, SIGKILL);
  EXPECT_THROW(victim.get(patience), mp::WorkerDied);
  EXPECT_EQ(pool.map(square, numbers(100), 1), squares(100));
  const mp::detail::Deadline deadline(patience);
  while (pool.pids().size() != 2 && !deadline.passed()) std::this_thread::yield();
  EXPECT_EQ(pool.pids().size(), 2U);
}

TEST_P(PoolConformance, survive__pool_worker_killed_idle) {
  mp::Pool pool(2);
  pool.map(square, numbers(10));
  for (const int pid : pool.pids()) ::kill(pid, SIGKILL);
  EXPECT_EQ(pool.apply_async(square, 7).get(patience), 49);
}

TEST_P(PoolConformance, survive__pool_initializer_throws) {
  mp::Pool pool({.processes = 2}, [] { throw std::runtime_error("not today"); });
  EXPECT_THROW(pool.apply(square, 1), mp::BrokenProcessPool);
  // One that dies: a bounded number of tries, then the same.
  mp::test::Shared<std::atomic<int>> started;
  mp::Pool dying({.processes = 2, .start_method = mp::StartMethod::fork}, [&] {
    ++*started;
    ::_exit(5);
  });
  EXPECT_THROW(dying.apply(square, 1), mp::BrokenProcessPool);
  EXPECT_LE(*started, 20);
}

TEST_P(PoolConformance, survive__pool_result_undecodable) {
  mp::Pool pool({.processes = 2}, [] { OneWay::inside = true; });
  EXPECT_THROW(pool.apply_async(give_one_way, 1).get(patience), std::runtime_error);
  EXPECT_EQ(pool.apply(square, 2), 4);
}

TEST_P(PoolConformance, survive__pool_task_exits) {
  mp::Pool pool(2);
  EXPECT_THROW(pool.apply([](int) { mp::exit(3); }, 1), mp::SystemExit);
  EXPECT_THROW(pool.apply([](int) { throw 42; }, 1), mp::RemoteError);
  try {
    pool.apply([](int) { ::_exit(3); }, 1);
    FAIL();
  } catch (const mp::WorkerDied& error) {
    EXPECT_EQ(error.death().exitcode, 3);
  }
  EXPECT_EQ(pool.apply(square, 2), 4);
}

TEST_P(PoolConformance, survive__pool_terminate_pending_results) {
  mp::Pool pool(1);
  auto running = pool.apply_async(sleep_long, 1);
  auto queued = pool.apply_async(square, 1);
  pool.terminate();
  EXPECT_THROW(running.get(patience), mp::PoolTerminated);
  EXPECT_THROW(queued.get(patience), mp::PoolTerminated);
  EXPECT_TRUE(pool.join(patience));
}

TEST_P(PoolConformance, survive__pool_terminate_ignoring_sigterm) {
  mp::Pool pool({.processes = 1, .grace = 50ms}, [] { ::signal(SIGTERM, SIG_IGN); });
  auto result = pool.apply_async(sleep_long, 1);
  while (result.progress().running == 0) std::this_thread::yield();
  pool.terminate();
  EXPECT_TRUE(pool.join(patience));
}

TEST_P(PoolConformance, survive__map_chunksize_zero) {
  mp::Pool pool(1);
  EXPECT_THROW(pool.map(square, numbers(3), 0), mp::ValueError);
  EXPECT_THROW(pool.map_async({.chunksize = -1}, square, numbers(3)), mp::ValueError);
}

TEST_P(PoolConformance, survive__imap_backpressure) {
  mp::Pool pool(2);
  int pulled = 0;
  struct Counting {
    int* pulled;
    struct iterator {
      using value_type = int;
      using difference_type = std::ptrdiff_t;
      int* pulled = nullptr;
      int operator*() const { return 1; }
      iterator& operator++() {
        ++*pulled;
        return *this;
      }
      void operator++(int) { ++*this; }
      bool operator==(std::default_sentinel_t) const { return false; }
    };
    [[nodiscard]] iterator begin() const { return {pulled}; }
    [[nodiscard]] std::default_sentinel_t end() const { return {}; }
  };
  auto results = pool.imap(square, Counting{&pulled});
  EXPECT_EQ(results.next(), 1);
  EXPECT_LE(pulled, 1100);
}

TEST_P(PoolConformance, survive__parent_sigkilled) {
  mp::test::Shared<std::array<std::atomic<int>, 2>> pids;
  mp::test::Shared<mp::test::Gate> ready;
  const auto method = GetParam();
  Forked parent([&] {
    mp::Pool pool({.processes = 2, .start_method = method});
    ::kill(pool.pids()[0], SIGKILL);  // One of them died before.
    while (pool.map([](int) { return ::getpid(); }, numbers(4)).empty()) {
    }
    const mp::detail::Deadline deadline(patience);
    while (pool.pids().size() != 2 && !deadline.passed()) std::this_thread::yield();
    const auto all = pool.pids();
    (*pids)[0] = all[0];
    (*pids)[1] = all[1];
    ready->open();
    pool.apply(sleep_long, 1);
    return 0;
  });
  ASSERT_TRUE(ready->wait());
  parent.kill();
  for (const auto& pid : *pids) EXPECT_TRUE(goes_away(pid));
}

}  // namespace
