// What CPython's own suite checks of futures and executors, one test an id.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <latch>
#include <memory>
#include <mp/detail/exit_work.hpp>
#include <mp/mp.hpp>
#include <set>
#include <thread>

#include "channel.hpp"
#include "children.hpp"
#include "forked.hpp"
#include "pools.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using namespace mp::futures;
using mp::test::Channel;
using mp::test::comes_true;
using mp::test::Forked;
using mp::test::is_gone;
using mp::test::numbers;
using mp::test::patience;
using mp::test::threads_of_this_process;

constexpr int workers = 5;

int power(int base, int exponent) { return exponent == 0 ? 1 : base * power(base, exponent - 1); }
int divide(int a, int b) {
  if (b == 0) throw std::domain_error("division by zero");
  return a / b;
}
int same(int x) { return x; }
int sleep_for(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return milliseconds;
}
int pid_of_worker(int) { return ::getpid(); }
int fail(int) { throw std::runtime_error("failed"); }
int crash(int) {
  ::prctl(PR_SET_DUMPABLE, 0);
  std::abort();
}
int leave(int code) { ::_exit(code); }

// What a worker waits for: a gate that crosses by every start method.
struct Held {
  static inline std::unique_ptr<Channel> gate;
  static void take(const Channel& channel) {
    gate = std::make_unique<Channel>(channel);
    gate->stop_writing();
  }
  // Until the test stops writing.
  static int wait(int x) {
    gate->ended();
    return x;
  }
};

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

// Goes wrong where it is told to, on its way.
struct Mined {
  enum class Where { nowhere, decoding_task, encoding_result, decoding_result };
  enum class How { error, exit, crash };
  Where where = Where::nowhere;
  How how = How::error;
  bool in_result = false;

  void explode() const {
    if (how == How::crash) crash(0);
    if (how == How::exit) mp::exit(1);
    throw std::runtime_error("mined");
  }
  void pickle(mp::Encoder& out) const {
    if (in_result && where == Where::encoding_result) explode();
    mp::encode(out, where);
    mp::encode(out, how);
    mp::encode(out, in_result);
  }
  static Mined unpickle(mp::Decoder& in) {
    Mined mined;
    mined.where = mp::decode<Where>(in);
    mined.how = mp::decode<How>(in);
    mined.in_result = mp::decode<bool>(in);
    if (!mined.in_result && mined.where == Where::decoding_task) mined.explode();
    if (mined.in_result && mined.where == Where::decoding_result) mined.explode();
    return mined;
  }
};
Mined carry(Mined mined) {
  mined.in_result = true;
  return mined;
}

class ExecutorConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ExecutorConformance);

// Each check over processes and, in the same test, over threads.
template <class Check>
void over_both(Check check) {
  {
    ProcessPoolExecutor processes(workers);
    check(processes);
  }
  ThreadPoolExecutor threads(workers);
  check(threads);
}

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

TEST_P(ExecutorConformance, futures_wait__first_exception) {
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

TEST_P(ExecutorConformance, futures_wait__all_completed) {
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

TEST_P(ExecutorConformance, as_completed__all) {
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

// --- initializers and ends -------------------------------------------------------

TEST_P(ExecutorConformance, executor__initializer_failure) {
  const auto breaks = [](auto& executor) {
    EXPECT_THROW(executor.submit(same, 1).result(patience), BrokenExecutor);
    EXPECT_THROW(executor.submit(same, 1), BrokenExecutor);
  };
  const auto throwing = [] { throw mp::ValueError("error in initializer"); };
  ProcessPoolExecutor processes({.max_workers = 2}, throwing);
  breaks(processes);
  testing::internal::CaptureStderr();
  ThreadPoolExecutor threads({.max_workers = 2}, throwing);
  breaks(threads);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("mp::ValueError: error in initializer"),
            std::string::npos);
}

TEST_P(ExecutorConformance, executor__submit_after_shutdown) {
  over_both([](auto& executor) {
    executor.shutdown();
    EXPECT_THROW(executor.submit(power, 2, 5), mp::RuntimeError);
  });
}

// A child process as the program that ends.
template <class Body>
std::optional<int> code_of_program(mp::StartMethod method, Body body, const Channel& report) {
  mp::Process program({.start_method = method}, body, report);
  program.start();
  program.join(patience);
  const auto code = program.exitcode();
  if (!code) program.kill();
  program.join();
  return code;
}

struct Apple {
  static inline std::unique_ptr<Channel> report;
  static void take(const Channel& channel) { report = std::make_unique<Channel>(channel); }
  static int say(int milliseconds) {
    sleep_for(milliseconds);
    report->say("apple");
    return 1;
  }
};

TEST_P(ExecutorConformance, executor__drained_at_program_exit) {
  Channel report;
  const auto code = code_of_program(
      GetParam(),
      [](const Channel& out) {
        static auto* executor =
            new ProcessPoolExecutor(ProcessPoolOptions{.max_workers = 2}, Apple::take, out);
        executor->submit(Apple::say, 200);
      },
      report);
  EXPECT_EQ(code, 0);
  EXPECT_EQ(report.hear(), "apple");
}

TEST_P(ExecutorConformance, executor__submit_during_exit) {
  Channel report;
  const auto code = code_of_program(
      GetParam(),
      [](const Channel& out) {
        static auto* executor = new ThreadPoolExecutor(2);
        executor->submit(same, 1).result();
        static const Channel kept = out;
        // Older than the executor's own exit work, and so after it.
        mp::detail::add_exit_work(0, [] {
          try {
            executor->submit(same, 1);
          } catch (const mp::RuntimeError& error) {
            kept.say(error.what());
          }
        });
      },
      report);
  EXPECT_EQ(code, 0);
  const auto said = report.hear();
  ASSERT_TRUE(said);
  EXPECT_TRUE(said->starts_with("cannot schedule new futures"));
}

TEST_P(ExecutorConformance, executor__shutdown_waits_for_50) {
  over_both([](auto& executor) {
    std::vector<Future<int>> futures;
    for (int i = 0; i < 50; ++i) futures.push_back(executor.submit(sleep_for, 5));
    executor.shutdown();
    for (auto& future : futures) EXPECT_EQ(future.result(0s), 5);
  });
}

TEST_P(ExecutorConformance, executor__shutdown_nowait_at_exit) {
  Channel report;
  const auto code = code_of_program(
      GetParam(),
      [](const Channel& out) {
        ProcessPoolExecutor executor({.max_workers = 2}, Apple::take, out);
        executor.submit(Apple::say, 200);
        executor.shutdown(false);
      },
      report);
  EXPECT_EQ(code, 0);
  EXPECT_EQ(report.hear(), "apple");
}

TEST_P(ExecutorConformance, survive__executor_shutdown_nowait_exit) {
  Channel report;
  const auto code = code_of_program(
      GetParam(),
      [](const Channel& out) {
        static auto* executor =
            new ProcessPoolExecutor(ProcessPoolOptions{.max_workers = 1}, Apple::take, out);
        for (int i = 0; i < 5; ++i) executor->submit(Apple::say, 20);
        executor->shutdown(false);
      },
      report);
  EXPECT_EQ(code, 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(report.hear(), "apple");
}

TEST_P(ExecutorConformance, executor__cancel_then_shutdown) {
  over_both([](auto& executor) {
    executor.submit(same, 1).cancel();
    executor.shutdown();
  });
}

// --- what must not hang --------------------------------------------------------

// Of two workers, with the policy that a death costs its own task only.
ProcessPoolOptions two_workers() {
  return {.max_workers = 2, .on_worker_death = mp::on_worker_death::fail};
}
void carry_on(ProcessPoolExecutor& executor) {
  EXPECT_EQ(executor.submit(power, 2, 8).result(patience), 256);
}

TEST_P(ExecutorConformance, deadlock__error_deserialising_task) {
  ProcessPoolExecutor executor(2);
  auto future = executor.submit(carry, Mined{Mined::Where::decoding_task, Mined::How::error});
  EXPECT_THROW(future.result(patience), std::runtime_error);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__crash_deserialising_task) {
  ProcessPoolExecutor executor(two_workers());
  auto future = executor.submit(carry, Mined{Mined::Where::decoding_task, Mined::How::crash});
  EXPECT_THROW(future.result(patience), BrokenProcessPool);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__exit_in_task) {
  ProcessPoolExecutor executor(two_workers());
  EXPECT_THROW(executor.submit([](int code) { mp::exit(code); }, 1).result(patience),
               mp::SystemExit);
  EXPECT_THROW(executor.submit(leave, 1).result(patience), BrokenProcessPool);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__error_in_task) {
  ProcessPoolExecutor executor(2);
  EXPECT_THROW(executor.submit(fail, 1).result(patience), std::runtime_error);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__crash_serialising_result) {
  ProcessPoolExecutor executor(two_workers());
  auto future = executor.submit(carry, Mined{Mined::Where::encoding_result, Mined::How::crash});
  EXPECT_THROW(future.result(patience), BrokenProcessPool);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__exit_serialising_result) {
  ProcessPoolExecutor executor(2);
  auto future = executor.submit(carry, Mined{Mined::Where::encoding_result, Mined::How::exit});
  EXPECT_THROW(future.result(patience), mp::SystemExit);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__error_serialising_result) {
  ProcessPoolExecutor executor(2);
  auto future = executor.submit(carry, Mined{Mined::Where::encoding_result, Mined::How::error});
  EXPECT_THROW(future.result(patience), mp::PicklingError);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__error_deserialising_result) {
  ProcessPoolExecutor executor(2);
  auto future = executor.submit(carry, Mined{Mined::Where::decoding_result, Mined::How::error});
  EXPECT_THROW(future.result(patience), std::runtime_error);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__worker_dies_after_shutdown) {
  Channel gate;
  ProcessPoolExecutor executor({.max_workers = 2}, Held::take, gate);
  auto future = executor.submit(
      [](int x) {
        Held::wait(x);
        return crash(x);
      },
      1);
  ASSERT_TRUE(comes_true([&] { return future.running(); }));
  executor.shutdown(false);
  gate.stop_writing();
  executor.shutdown();
  EXPECT_THROW(future.result(0s), BrokenProcessPool);
}

TEST_P(ExecutorConformance, deadlock__serialise_error_after_shutdown_nowait) {
  const auto before = threads_of_this_process();
  {
    ProcessPoolExecutor executor(2);
    auto future = executor.submit(carry, Mined{Mined::Where::encoding_result, Mined::How::error});
    executor.shutdown(false);
    EXPECT_THROW(future.result(patience), mp::PicklingError);
  }
  EXPECT_TRUE(comes_true([&] { return threads_of_this_process() == before; }));
}

int crash_with(const std::vector<std::byte>&) { return crash(0); }

TEST_P(ExecutorConformance, deadlock__crash_with_big_arguments) {
  ProcessPoolExecutor executor(two_workers());
  std::vector<Future<int>> futures;
  for (int i = 0; i < 10; ++i) {
    futures.push_back(executor.submit(crash_with, std::vector<std::byte>(10U << 20U)));
  }
  for (auto& future : futures) EXPECT_THROW(future.result(patience), BrokenProcessPool);
  executor.shutdown();
}

TEST_P(ExecutorConformance, deadlock__wakeup_channel_full) {
  // The thread that would read results is held up in a callback, while many
  // are submitted.
  ProcessPoolExecutor executor(2);
  mp::test::Gate gate;
  auto first = executor.submit(same, 0);
  first.add_done_callback([&](const Future<int>&) { gate.wait(); });
  std::vector<Future<int>> futures;
  for (int i = 0; i < 1000; ++i) futures.push_back(executor.submit(same, i));
  gate.open();
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(patience), i);
  }
}

TEST(ExecutorConformanceOnce, survive__executor_nested_submit) {
  // A worker that was forked has a copy of its own executor; it says so.
  static ProcessPoolExecutor* own = nullptr;
  ProcessPoolExecutor executor({.max_workers = 1, .start_method = mp::StartMethod::fork});
  own = &executor;
  auto future = executor.submit([](int x) { return own->submit(same, x).result(); }, 1);
  EXPECT_THROW(future.result(patience), mp::AssertionError);
}

}  // namespace
