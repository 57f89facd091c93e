// What CPython's own suite checks of executors at work, one test an id.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <mp/mp.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "channel.hpp"
#include "children.hpp"
#include "executors.hpp"
#include "forked.hpp"
#include "pools.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using namespace mp::futures;
using namespace mp::test;

// The numbers without end.
struct Endless {
  struct iterator {
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    int at = 0;
    int operator*() const { return at; }
    iterator& operator++() {
      ++at;
      return *this;
    }
    void operator++(int) { ++at; }
    bool operator==(std::default_sentinel_t) const { return false; }
  };
  [[nodiscard]] iterator begin() const { return {}; }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }
};

class ExecutorConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ExecutorConformance);

TEST_P(ExecutorConformance, executor__submit) {
  over_both([](auto& executor) { EXPECT_EQ(executor.submit(power, 2, 8).result(), 256); });
}

template <class Results>
std::vector<int> all_of(Results&& results) {
  std::vector<int> all;
  for (const int x : results) all.push_back(x);
  return all;
}

TEST_P(ExecutorConformance, executor__map) {
  over_both([](auto& executor) {
    const auto bases = numbers(10);
    const auto exponents = numbers(8);
    std::vector<int> expected;
    for (int i = 0; i < 8; ++i) expected.push_back(power(i, i));
    EXPECT_EQ(all_of(executor.map(power, bases, exponents)), expected);
    EXPECT_EQ(all_of(executor.map({.chunksize = 3}, power, bases, exponents)), expected);
  });
}

TEST_P(ExecutorConformance, executor__map_exception) {
  over_both([](auto& executor) {
    auto results = executor.map(divide, std::vector{1, 1, 1, 1}, std::vector{2, 3, 0, 5});
    EXPECT_EQ(results.next(), 0);
    EXPECT_EQ(results.next(), 0);
    EXPECT_THROW(results.next(), std::domain_error);
    EXPECT_EQ(results.next(), std::nullopt);
  });
}

TEST_P(ExecutorConformance, executor__map_timeout) {
  ProcessPoolExecutor executor(workers);
  auto results = executor.map({.timeout = 2s}, sleep_for, std::vector{0, 0, 600'000});
  EXPECT_EQ(results.next(), 0);
  EXPECT_EQ(results.next(), 0);
  EXPECT_THROW(results.next(), mp::TimeoutError);
  executor.kill_workers();
}

TEST_P(ExecutorConformance, executor__shutdown_with_full_call_queue) {
  over_both([](auto& executor) {
    auto results = executor.map({.chunksize = 1}, same, numbers(workers + 1));
    executor.shutdown();
    EXPECT_EQ(all_of(results), numbers(workers + 1));
  });
}

TEST_P(ExecutorConformance, executor__max_workers_invalid) {
  for (const int bad : {0, -1}) {
    try {
      ProcessPoolExecutor executor(bad);
      FAIL();
    } catch (const mp::ValueError& error) {
      EXPECT_STREQ(error.what(), "max_workers must be greater than 0");
    }
    EXPECT_THROW(ThreadPoolExecutor{bad}, mp::ValueError);
  }
}

struct Tracked {
  static inline std::atomic<int> alive{0};
  int value = 0;
  Tracked() { ++alive; }
  Tracked(const Tracked& other) : value(other.value) { ++alive; }
  Tracked& operator=(const Tracked&) = default;
  ~Tracked() { --alive; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(value);
  }
};
Tracked track(Tracked tracked) { return tracked; }
int alive_in_worker(int) { return Tracked::alive; }

TEST_P(ExecutorConformance, executor__map_releases_results) {
  ProcessPoolExecutor executor(workers);
  auto results = executor.map({.buffersize = 1}, track, std::vector<Tracked>(10));
  while (auto one = results.next()) {
    one.reset();
    EXPECT_LE(Tracked::alive, 12);  // The ten of the input, and one that has come meanwhile.
  }
}

TEST_P(ExecutorConformance, executor__map_buffersize_value) {
  over_both([](auto& executor) {
    EXPECT_THROW(executor.map({.buffersize = 0}, same, numbers(3)), mp::ValueError);
    EXPECT_THROW(executor.map({.buffersize = -1}, same, numbers(3)), mp::ValueError);
  });
}

TEST_P(ExecutorConformance, executor__map_buffersize_results) {
  over_both([](auto& executor) {
    for (const int size : {1, 2, 5, 10}) {
      EXPECT_EQ(all_of(executor.map({.buffersize = size}, same, numbers(5))), numbers(5));
    }
  });
}

TEST_P(ExecutorConformance, executor__map_buffersize_infinite_input) {
  over_both([](auto& executor) {
    auto results = executor.map({.buffersize = 2}, same, Endless());
    for (int i = 0; i < 20; ++i) EXPECT_EQ(results.next(), i);
  });
}

TEST_P(ExecutorConformance, executor__map_buffersize_empty_input) {
  over_both([](auto& executor) {
    EXPECT_TRUE(all_of(executor.map({.buffersize = 2}, same, numbers(0))).empty());
    EXPECT_TRUE(all_of(executor.map(same, numbers(0))).empty());
  });
}

// --- threads -----------------------------------------------------------------

TEST(ThreadExecutorConformance, thread_pool__idle_reuse) {
  const auto before = threads_of_this_process();
  ThreadPoolExecutor executor(workers);
  for (int i = 0; i < 3; ++i) executor.submit(same, i).result();
  EXPECT_EQ(threads_of_this_process(), before + 1);
}

TEST(ThreadExecutorConformance, thread_pool__fork_from_pool_thread) {
  ThreadPoolExecutor executor(1);
  const int code = executor
                       .submit([] {
                         mp::Process child({.start_method = mp::StartMethod::fork}, same, 1);
                         child.start();
                         child.join(patience);
                         return child.exitcode().value_or(-99);
                       })
                       .result();
  EXPECT_EQ(code, 0);
}

TEST(ThreadExecutorConformance, executor__map_timeout_cancels_rest) {
  ThreadPoolExecutor executor(1);
  mp::test::Gate gate;
  std::atomic<int> ran{0};
  auto busy = executor.submit([&] { return gate.wait(); });
  auto results = executor.map(
      {.timeout = 0s}, [&](int) { return ++ran; }, numbers(2));
  EXPECT_THROW(results.next(), mp::TimeoutError);
  gate.open();
  EXPECT_TRUE(busy.result());
  executor.shutdown();
  EXPECT_EQ(ran, 0);
}

TEST(ThreadExecutorConformance, thread_pool__threads_end) {
  const auto before = threads_of_this_process();
  ThreadPoolExecutor executor(workers);
  mp::test::Gate gate;
  for (int i = 0; i < 3; ++i) executor.submit([&] { return gate.wait(); });
  EXPECT_EQ(threads_of_this_process(), before + 3);
  gate.open();
  executor.shutdown();
  EXPECT_TRUE(comes_true([&] { return threads_of_this_process() == before; }));
}

TEST(ThreadExecutorConformance, thread_pool__context_manager) {
  const auto before = threads_of_this_process();
  {
    ThreadPoolExecutor executor(workers);
    EXPECT_EQ(all_of(executor.map(same, numbers(10))), numbers(10));
  }
  EXPECT_EQ(threads_of_this_process(), before);
}

TEST(ThreadExecutorConformance, thread_pool__destroyed_without_shutdown) {
  auto executor = std::make_unique<ThreadPoolExecutor>(workers);
  auto results = executor->map(same, numbers(100));
  executor.reset();
  EXPECT_EQ(all_of(results), numbers(100));
}

TEST(ThreadExecutorConformance, thread_pool__shutdown_no_wait) {
  const auto before = threads_of_this_process();
  auto executor = std::make_unique<ThreadPoolExecutor>(workers);
  auto results = executor->map(same, numbers(100));
  executor->shutdown(false);
  executor.reset();
  EXPECT_EQ(all_of(results), numbers(100));
  EXPECT_TRUE(comes_true([&] { return threads_of_this_process() == before; }));
}

TEST(ThreadExecutorConformance, thread_pool__thread_names) {
  ThreadPoolExecutor executor({.max_workers = 5, .thread_name_prefix = "SpecialPool"});
  std::latch all_here(5);
  std::vector<Future<std::string>> names;
  for (int i = 0; i < 5; ++i) {
    names.push_back(executor.submit([&] {
      all_here.arrive_and_wait();
      std::array<char, 16> name{};
      ::pthread_getname_np(::pthread_self(), name.data(), name.size());
      return std::string(name.data());
    }));
  }
  std::set<std::string> seen;
  for (auto& name : names) seen.insert(name.result());
  EXPECT_EQ(seen, (std::set<std::string>{"SpecialPool_0", "SpecialPool_1", "SpecialPool_2",
                                         "SpecialPool_3", "SpecialPool_4"}));
}

TEST(ThreadExecutorConformance, thread_pool__cancel_futures_no_wait) {
  auto executor = std::make_unique<ThreadPoolExecutor>(1);
  auto future = executor->submit([] { return std::string("apple"); });
  executor->shutdown(false, true);
  executor.reset();
  EXPECT_TRUE(future.cancelled() || future.result(patience) == "apple");
}

// --- processes ---------------------------------------------------------------

TEST_P(ExecutorConformance, process_pool__sysconf_denied) {
  const rlimit no_more_files{64, 64};
  Forked child([&] {
    ::setrlimit(RLIMIT_NOFILE, &no_more_files);
    ProcessPoolExecutor executor(2);
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST_P(ExecutorConformance, process_pool__killed_worker_breaks_pool) {
  ProcessPoolExecutor executor(1);
  auto future = executor.submit(sleep_for, 600'000);
  ASSERT_TRUE(comes_true([&] { return future.running(); }));
  ::kill(executor.pids()[0], SIGTERM);
  EXPECT_THROW(future.result(patience), BrokenProcessPool);
  EXPECT_THROW(executor.submit(power, 2, 8), BrokenProcessPool);
}

TEST_P(ExecutorConformance, process_pool__remote_traceback) {
  ProcessPoolExecutor executor(1);
  const auto error = executor.submit(fail, 123).exception();
  ASSERT_TRUE(error);
  try {
    std::rethrow_exception(error);
  } catch (const std::runtime_error& known) {
    EXPECT_STREQ(known.what(), "failed");
    EXPECT_THROW(std::rethrow_if_nested(known), mp::RemoteTraceback);
  }
}

TEST_P(ExecutorConformance, process_pool__exit_code_in_message) {
  ProcessPoolExecutor executor(1);
  try {
    executor.submit(leave, 99).result(patience);
    FAIL();
  } catch (const mp::WorkerDied& error) {
    EXPECT_NE(std::string(error.what()).find("exited with code 99"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("leave"), std::string::npos);
  }
}

TEST_P(ExecutorConformance, process_pool__arguments_released_in_worker) {
  ProcessPoolExecutor executor(1);
  // Before there is one here, as a forked worker would count that too.
  EXPECT_EQ(executor.submit(alive_in_worker, 0).result(), 0);
  executor.submit(track, Tracked()).result();
  EXPECT_EQ(executor.submit(alive_in_worker, 0).result(), 0);
}

TEST_P(ExecutorConformance, process_pool__saturation) {
  Channel gate;
  ProcessPoolExecutor executor({.max_workers = 4}, Held::take, gate);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 15 * 4; ++i) futures.push_back(executor.submit(Held::wait, i));
  EXPECT_TRUE(comes_true([&] { return executor.progress().running == 4; }));
  EXPECT_EQ(executor.pids().size(), 4U);
  gate.stop_writing();
  for (int i = 0; i < 60; ++i) EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(), i);
}

TEST_P(ExecutorConformance, process_pool__idle_reuse_one) {
  if (GetParam() == mp::StartMethod::fork) GTEST_SKIP() << "all are started by the first submit";
  ProcessPoolExecutor executor(4);
  for (int i = 0; i < 3; ++i) executor.submit(same, i).result();
  EXPECT_EQ(executor.pids().size(), 1U);
}

TEST_P(ExecutorConformance, process_pool__idle_reuse_many) {
  if (GetParam() == mp::StartMethod::fork) GTEST_SKIP() << "all are started by the first submit";
  ProcessPoolExecutor executor(4);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 6; ++i) {
    futures.push_back(executor.submit(same, i));
    // After each of these one is idle for the next, so that starts none.
    if (i % 2 == 0) futures.back().result();
  }
  EXPECT_LE(executor.pids().size(), 3U);
}

TEST_P(ExecutorConformance, process_pool__max_tasks_per_child) {
  ProcessPoolExecutor executor({.max_workers = 1, .max_tasks_per_child = 3});
  std::vector<int> pids;
  for (int i = 0; i < 4; ++i) {
    pids.push_back(executor.submit(pid_of_worker, i).result(patience));
    EXPECT_LE(executor.pids().size(), 1U);
  }
  EXPECT_EQ(pids[0], pids[1]);
  EXPECT_EQ(pids[1], pids[2]);
  EXPECT_NE(pids[2], pids[3]);
}

TEST(ExecutorConformanceOnce, process_pool__max_tasks_default_context) {
  // Here workers that are forked can be replaced, too.
  ProcessPoolExecutor executor({.max_workers = 1, .max_tasks_per_child = 1});
  const int first = executor.submit(pid_of_worker, 0).result(patience);
  EXPECT_NE(executor.submit(pid_of_worker, 0).result(patience), first);
}

TEST_P(ExecutorConformance, process_pool__max_tasks_after_shutdown_nowait) {
  const auto before = threads_of_this_process();
  auto executor = std::make_unique<ProcessPoolExecutor>(
      ProcessPoolOptions{.max_workers = 1, .max_tasks_per_child = 1});
  std::vector<Future<int>> futures;
  for (int i = 0; i < 5; ++i) futures.push_back(executor->submit(same, i));
  executor->shutdown(false);
  executor.reset();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(patience), i);
  }
  // The executor's thread goes last, after the workers.
  EXPECT_TRUE(comes_true([&] { return threads_of_this_process() == before; }));
}

TEST_P(ExecutorConformance, process_pool__no_replacement_during_force_shutdown) {
  ProcessPoolExecutor executor({.max_workers = 1, .max_tasks_per_child = 1});
  executor.submit(same, 1).result(patience);
  auto running = executor.submit(sleep_for, 600'000);
  auto queued = executor.submit(same, 2);
  executor.terminate_workers();
  EXPECT_THROW(running.result(patience), mp::Error);
  EXPECT_TRUE(queued.cancelled());
  EXPECT_TRUE(comes_true([&] { return executor.pids().empty(); }));
}

TEST_P(ExecutorConformance, process_pool__thread_creation_failure) {
  // No descriptor is left: neither a worker nor its thread can be had.
  Forked child([] {
    ProcessPoolExecutor executor(1);
    const rlimit none{3, 3};
    ::setrlimit(RLIMIT_NOFILE, &none);
    try {
      executor.submit(same, 1).result();
    } catch (const std::system_error&) {
      executor.shutdown();
      return 7;
    }
    return 1;
  });
  EXPECT_EQ(child.wait(), 7);
}

TEST_P(ExecutorConformance, process_pool__force_shutdown_dead) {
  ProcessPoolExecutor executor(1);
  EXPECT_THROW(executor.submit(leave, 1).result(patience), BrokenProcessPool);
  EXPECT_NO_THROW(executor.terminate_workers());
  EXPECT_NO_THROW(executor.kill_workers());
}

TEST_P(ExecutorConformance, process_pool__force_shutdown_unstarted) {
  ProcessPoolExecutor executor(1);
  EXPECT_NO_THROW(executor.terminate_workers());
  EXPECT_NO_THROW(executor.kill_workers());
}

TEST_P(ExecutorConformance, process_pool__processes_end) {
  Channel gate;
  std::vector<int> pids;
  {
    ProcessPoolExecutor executor({.max_workers = 5}, Held::take, gate);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(executor.submit(Held::wait, i));
    pids = executor.pids();
    EXPECT_EQ(pids.size(), GetParam() == mp::StartMethod::fork ? 5U : 3U);
    gate.stop_writing();
    executor.shutdown();
  }
  for (const pid_t pid : pids) EXPECT_TRUE(is_gone(pid));
}

TEST_P(ExecutorConformance, process_pool__failing_task_nowait_2) {
  auto executor = std::make_unique<ProcessPoolExecutor>(
      ProcessPoolOptions{.max_workers = 2, .max_tasks_per_child = 1});
  auto first = executor->submit(same, 1);
  auto bad = executor->submit(fail, 1);
  auto last = executor->submit(same, 3);
  executor->shutdown(false);
  EXPECT_EQ(first.result(patience), 1);
  EXPECT_THROW(bad.result(patience), std::runtime_error);
  EXPECT_EQ(last.result(patience), 3);
  executor->shutdown();
}

}  // namespace
