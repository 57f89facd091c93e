#include <dlfcn.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <latch>
#include <memory>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <mp/futures.hpp>
#include <mp/pool.hpp>
#include <mp/process.hpp>
#include <mp/sharedctypes.hpp>
#include <mp/synchronize.hpp>

#include "channel.hpp"
#include "children.hpp"
#include "forked.hpp"
#include "gate.hpp"
#include "pools.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::Channel;
using mp::test::comes_true;
using mp::test::Forked;
using mp::test::is_gone;
using mp::test::numbers;
using mp::test::patience;
using mp::test::process_table;
using mp::test::squares;
using mp::test::threads_of_this_process;

int square(int x) { return x * x; }
void wait_long() { std::this_thread::sleep_for(10min); }

// A pool's thread that nobody waits for ends by itself, after its workers.
class PoolEndTest : public mp::test::EachMethod {
 protected:
  void TearDown() override {
    EXPECT_TRUE(comes_true([&] { return threads_of_this_process() == before_; }));
    EachMethod::TearDown();
  }

 private:
  std::size_t before_ = threads_of_this_process();
};
MP_TEST_EACH_METHOD(PoolEndTest);

TEST_P(PoolEndTest, ThePoolMayEndInEveryState) {
  const std::vector<std::function<void(mp::Pool&)>> states{
      [](mp::Pool&) {},
      [](mp::Pool& pool) { pool.apply(square, 1); },
      [](mp::Pool& pool) { pool.apply_async(wait_long); },
      [](mp::Pool& pool) { pool.map_async(square, numbers(10'000), 1); },
      [](mp::Pool& pool) { pool.close(); },
      [](mp::Pool& pool) {
        pool.apply_async(wait_long);
        pool.close();
      },
      [](mp::Pool& pool) { pool.terminate(); },
      [](mp::Pool& pool) {
        pool.terminate();
        pool.join();
      },
      [](mp::Pool& pool) {
        for (const int pid : pool.pids()) ::kill(pid, SIGKILL);
      },
      [](mp::Pool& pool) {
        for (const int pid : pool.pids()) ::kill(pid, SIGSTOP);
      },
      [](mp::Pool& pool) {
        auto results = pool.imap(square, numbers(10'000));
        results.next();
      },
  };
  for (const auto& state : states) {
    std::vector<int> pids;
    {
      mp::Pool pool({.processes = 2, .grace = 100ms});
      pids = pool.pids();
      state(pool);
    }
    for (const int pid : pids) EXPECT_TRUE(is_gone(pid));
  }
}

TEST_P(PoolEndTest, ThePoolMayEndWhileItsWorkersAreReplaced) {
  for (int i = 0; i < 10; ++i) {
    mp::Pool pool({.processes = 2, .maxtasksperchild = 1});
    auto result = pool.map_async(square, numbers(1000), 1);
    (void)result.wait(std::chrono::milliseconds(i));
  }
}

TEST_P(PoolEndTest, ThePoolMayEndWhileItsInitializerRuns) {
  const mp::Pool pool({.processes = 2, .grace = 100ms}, wait_long);
}

TEST_P(PoolEndTest, ThePoolMayEndWhenItIsBroken) {
  mp::Pool pool({.processes = 2}, [] { throw std::runtime_error("no"); });
  EXPECT_THROW(pool.apply(square, 1), mp::BrokenProcessPool);
}

TEST_P(PoolEndTest, ACallbackMayEndThePool) {
  auto pool = std::make_unique<mp::Pool>(2);
  std::latch handed_out(1);
  auto result = pool->apply_async({.callback =
                                       [&](int) {
                                         handed_out.wait();
                                         pool.reset();
                                       }},
                                  square, 3);
  handed_out.count_down();
  EXPECT_EQ(result.get(patience), 9);
  EXPECT_FALSE(pool);
}

TEST_P(PoolEndTest, AnotherThreadMayEndThePoolUnderOneThatWaits) {
  auto pool = std::make_unique<mp::Pool>(1);
  auto result = pool->apply_async(wait_long);
  EXPECT_TRUE(comes_true([&] { return result.progress().running == 1; }));
  std::thread other([&] { pool.reset(); });
  EXPECT_THROW(result.get(patience), mp::PoolTerminated);
  other.join();
}

TEST_P(PoolEndTest, ThePoolMayEndAfterMain) {
  const auto method = GetParam();
  Forked program([&] {
    static std::unique_ptr<mp::Pool> pool;
    pool = std::make_unique<mp::Pool>(mp::PoolOptions{.processes = 2, .start_method = method});
    static auto pending = pool->apply_async(wait_long);
    std::exit(pool->apply(square, 3));
    return 1;
  });
  EXPECT_EQ(program.wait(), 9);
}

TEST(PoolEndInATaskTest, AWorkerThatDropsItsCopyOfThePoolHurtsNobody) {
  static std::unique_ptr<mp::Pool> pool;
  pool = std::make_unique<mp::Pool>(mp::PoolOptions{
      .processes = 1, .maxtasksperchild = 1, .start_method = mp::StartMethod::fork});
  // The first worker was there before the pool: those that follow have a copy.
  EXPECT_FALSE(pool->apply([] { return pool != nullptr; }));
  EXPECT_TRUE(pool->apply([] { return pool != nullptr; }));
  EXPECT_TRUE(pool->apply([] {
    pool.reset();
    return true;
  }));
  EXPECT_EQ(pool->apply(square, 3), 9);
  pool.reset();
}

TEST(PoolEndInATaskTest, ATaskMayEndItsThreadPool) {
  const auto before = threads_of_this_process();
  auto pool = std::make_unique<mp::ThreadPool>(2);
  std::latch handed_out(1);
  auto result = pool->apply_async([&] {
    handed_out.wait();
    pool.reset();
  });
  auto other = pool->apply_async([] { return 3; });
  handed_out.count_down();
  // A thread cannot be stopped: it finishes what it is at.
  EXPECT_NO_THROW(result.get(patience));
  EXPECT_TRUE(other.wait(patience));
  EXPECT_TRUE(comes_true([&] { return threads_of_this_process() == before; }));
  EXPECT_FALSE(pool);
}

// --- workers that are not ready ----------------------------------------------------

// Blocks all workers but the first that comes here.
void let_one_pass(const mp::Value<int>& passed) {
  if (passed.fetch_add(1) != 0) wait_long();
}

TEST_P(PoolEndTest, TasksDoNotWaitForAWorkerThatNeverIsReady) {
  const mp::Value<int> passed(0);
  mp::Pool pool(3, let_one_pass, passed);
  const auto one_by_one = pool.map_async(square, numbers(30), 1);
  ASSERT_TRUE(one_by_one.wait(patience));
  EXPECT_EQ(one_by_one.get(), squares(30));
  EXPECT_EQ(pool.map(square, numbers(1000)), squares(1000));
}

// --- replaced workers ------------------------------------------------------------

std::vector<int> blocked_signals() {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  std::vector<int> all;
  for (int signal = 1; signal < NSIG; ++signal) {
    if (::sigismember(&blocked, signal) == 1) all.push_back(signal);
  }
  return all;
}

TEST_P(PoolEndTest, AReplacedWorkerBlocksTheSignalsThatItsPoolsMakerDoes) {
  sigset_t one;
  sigset_t before;
  ::sigemptyset(&one);
  ::sigaddset(&one, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &one, &before);
  const auto here = blocked_signals();
  mp::Pool pool({.processes = 1, .maxtasksperchild = 1, .grace = patience});
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(pool.apply(blocked_signals), here);
  // So it need not be killed, either.
  auto slow = pool.apply_async(wait_long);
  EXPECT_TRUE(comes_true([&] { return slow.progress().running == 1; }));
  const auto begun = std::chrono::steady_clock::now();
  pool.terminate();
  EXPECT_TRUE(pool.join(patience));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, patience / 2);
}

// --- tasks that are taken over ----------------------------------------------------

int wait_at_the_gate() {
  mp::test::wait_at_gate();
  return ::getpid();
}

bool falls_asleep(pid_t worker) {
  return comes_true([&] { return process_table().at(worker).state == 'S'; });
}

// Takes less time than to wake a worker: it waits where one is awake.
int a_few_microseconds() {
  const auto begun = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begun < 14us) {
  }
  return ::getpid();
}

TEST_P(PoolEndTest, AShortTaskDoesNotWaitForALongOneWhileAWorkerSleeps) {
  const mp::Event open;
  mp::Pool pool({.processes = 2}, mp::test::bring_gate, open);
  auto held = pool.apply_async(wait_at_the_gate);
  ASSERT_TRUE(comes_true([&] { return held.progress().running == 1; }));
  for (int i = 0; i < 10; ++i) {
    int other = 0;
    for (int task = 0; task < 5; ++task) other = pool.apply(a_few_microseconds);
    EXPECT_TRUE(falls_asleep(other));
    auto next = pool.apply_async(a_few_microseconds);
    ASSERT_TRUE(next.wait(patience));
  }
  open.set();
  held.get();
}

TEST_P(PoolEndTest, AWorkerTakesOverNoMoreTasksThanItMayHave) {
  constexpr int most = 40;
  const mp::Event open;
  mp::Pool pool({.processes = 2, .maxtasksperchild = most}, mp::test::bring_gate, open);
  auto held = pool.apply_async(wait_at_the_gate);
  ASSERT_TRUE(comes_true([&] { return held.progress().running == 1; }));
  // All of these are the other worker's, and leave it one.
  int other = 0;
  for (int i = 0; i < most - 1; ++i) other = pool.apply(::getpid);
  // While it sleeps, a few short tasks wait where somebody is awake, until they are taken over.
  EXPECT_TRUE(falls_asleep(other));
  const auto pids = pool.map([](int) { return ::getpid(); }, numbers(10), 1);
  EXPECT_EQ(std::count(pids.begin(), pids.end(), other), 1);
  open.set();
  EXPECT_EQ(std::count(pids.begin(), pids.end(), held.get()), 0);
}

// --- elsewhere -----------------------------------------------------------------

class PoolElsewhereTest : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(PoolElsewhereTest);

TEST_P(PoolElsewhereTest, AForkedChildMayHaveAPoolOfItsOwn) {
  mp::Pool outside(2);
  EXPECT_EQ(outside.map(square, numbers(100)), squares(100));
  Forked child([] {
    mp::Pool pool(2);
    return pool.map(square, numbers(1000), 1) == squares(1000) ? 7 : 1;
  });
  EXPECT_EQ(child.wait(), 7);
  EXPECT_EQ(outside.map(square, numbers(100)), squares(100));
}

int size_of_a_nested_pool() {
  mp::Pool pool;
  return pool.processes() * pool.apply([] { return mp::Pool().processes(); });
}

TEST_P(PoolElsewhereTest, NestedPoolsShareTheProcessors) {
  const int processors = mp::process_cpu_count();
  for (const int outer : {1, 2}) {
    mp::Pool pool(outer);
    const int share = std::max(1, processors / outer);
    EXPECT_EQ(pool.apply([] { return mp::Pool().processes(); }), share);
    EXPECT_EQ(pool.apply(size_of_a_nested_pool), share);
    // A number is taken at its word.
    EXPECT_EQ(pool.apply([] { return mp::Pool(3).pids().size(); }), 3U);
  }
}

int sum_of_squares(int n) {
  mp::Pool pool(2);
  const auto all = pool.map(square, numbers(n));
  return std::accumulate(all.begin(), all.end(), 0);
}

TEST_P(PoolElsewhereTest, ATaskMayHaveAPool) {
  mp::Pool pool(2);
  EXPECT_EQ(pool.map(sum_of_squares, {3, 4, 5}, 1), (std::vector<int>{5, 14, 30}));
}

std::unique_ptr<Channel> report;
int hold_a_pool() {
  mp::Pool pool(2);
  for (const int pid : pool.pids()) report->say(std::to_string(pid));
  wait_long();
  return 0;
}

TEST_P(PoolElsewhereTest, TheWorkersOfATaskGoWithItsWorker) {
  Channel channel;
  mp::Pool pool(
      {.processes = 1}, [](const Channel& given) { report = std::make_unique<Channel>(given); },
      channel);
  auto result = pool.apply_async(hold_a_pool);
  std::array<pid_t, 2> inner{};
  for (pid_t& pid : inner) {
    const auto line = channel.hear();
    ASSERT_TRUE(line);
    pid = std::stoi(*line);
  }
  ::kill(pool.pids()[0], SIGKILL);
  EXPECT_THROW(result.get(patience), mp::WorkerDied);
  for (const pid_t pid : inner) EXPECT_TRUE(comes_true([&] { return is_gone(pid); }));
}

// --- memory --------------------------------------------------------------------

constexpr std::size_t leak = 8U << 20U;
std::vector<std::unique_ptr<std::vector<std::byte>>> leaked;
// Grows its worker, and takes longer than libmp takes to look again.
int leak_memory(int) {
  const auto until = std::chrono::steady_clock::now() + 6ms;
  leaked.push_back(std::make_unique<std::vector<std::byte>>(leak, std::byte{1}));
  while (std::chrono::steady_clock::now() < until) {
  }
  return ::getpid();
}

TEST_P(PoolElsewhereTest, AWorkerThatHasGrownIsReplacedAndNoTaskLost) {
  constexpr int tasks = 60;
  mp::Pool pool({.processes = 2, .max_rss = 10 * leak});
  std::set<int> pids;
  int results = 0;
  for (const int pid : pool.imap(leak_memory, numbers(tasks))) {
    pids.insert(pid);
    ++results;
  }
  EXPECT_EQ(results, tasks);
  EXPECT_GE(pids.size(), 3U);
  EXPECT_EQ(pool.map(square, numbers(100), 1), squares(100));
}

int allocate_and_free(int) {
  const auto until = std::chrono::steady_clock::now() + 6ms;
  std::vector<std::vector<std::byte>> pieces;
  for (int i = 0; i < 40; ++i) pieces.emplace_back(1U << 20U, std::byte{1});
  while (std::chrono::steady_clock::now() < until) {
  }
  return ::getpid();
}

bool has_sanitizer() {
  return ::dlsym(RTLD_DEFAULT, "__asan_init") != nullptr ||
         ::dlsym(RTLD_DEFAULT, "__tsan_init") != nullptr;
}

TEST_P(PoolElsewhereTest, WhatAWorkerHasOfItsParentAndWhatItHasFreedIsNoGrowth) {
  if (has_sanitizer()) GTEST_SKIP() << "a sanitizer's allocator keeps what was freed";
  const std::vector<std::byte> parents(64U << 20U, std::byte{1});
  mp::futures::ProcessPoolExecutor executor({.max_workers = 1, .max_rss = 20U << 20U});
  std::set<int> pids;
  for (const int pid : executor.map({.chunksize = 1}, allocate_and_free, numbers(10))) {
    pids.insert(pid);
  }
  EXPECT_EQ(pids.size(), 1U);
}

struct Counted {
  static inline std::atomic<int> alive{0};
  static inline std::atomic<int> most{0};
  int value = 0;
  explicit Counted(int x = 0) : value(x) { born(); }
  Counted(const Counted& other) : value(other.value) { born(); }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --alive; }
  static void born() {
    const int now = ++alive;
    if (now > most) most = now;
  }
  void pickle(mp::Encoder& out) const { mp::encode(out, value); }
  static Counted unpickle(mp::Decoder& in) { return Counted(mp::decode<int>(in)); }
};
struct EndlessCounted {
  struct iterator {
    using value_type = Counted;
    using difference_type = std::ptrdiff_t;
    int at = 0;
    Counted operator*() const { return Counted(at); }
    iterator& operator++() {
      ++at;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return false; }
  };
  [[nodiscard]] iterator begin() const { return {}; }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }
};
Counted pass_on(Counted counted) { return counted; }

TEST_P(PoolElsewhereTest, AnEndlessInputIsReadInFlatMemory) {
  constexpr int items = 50'000;
  mp::Pool pool(2);
  mp::futures::ProcessPoolExecutor executor(2);
  executor.submit(square, 1).result();
  const EndlessCounted endless;
  const auto read = [&](auto results) {
    Counted::most = 0;
    for (int i = 0; i < items; ++i) ASSERT_EQ(results.next()->value, i);
    EXPECT_LT(Counted::most, 5'000);
    EXPECT_GT(Counted::most, 0);
  };
  read(pool.imap(pass_on, endless));
  read(executor.map({.buffersize = 1000}, pass_on, endless));
  // Those that the workers had in hand go when they come back.
  EXPECT_TRUE(comes_true([] { return Counted::alive == 0; }));
}

}  // namespace
