// What happens to a pool between two of its own steps: a task that ends as its
// limit is over, a pool that ends as a worker is buried or born.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <latch>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <mp/mp.hpp>

#include "../support/channel.hpp"
#include "children.hpp"
#include "forked.hpp"
#include "gate.hpp"
#include "lane.hpp"

namespace {

using namespace std::chrono_literals;

using mp::test::Forked;
using mp::test::patience;

int same(int x) { return x; }
std::vector<int> numbers(int n) {
  std::vector<int> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}
void take(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

class PoolRaces : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(PoolRaces);

// --- a task that ends as its limit is over -------------------------------------

TEST_P(PoolRaces, ATimeLimitEndsNoTaskBehindTheOneItIsOf) {
  constexpr auto limit = 5ms;
  mp::Pool pool(1);
  std::mt19937 random(3);
  int over = 0;
  constexpr int rounds = 300;
  for (int round = 0; round < rounds; ++round) {
    // Every other one ends as the limit is looked at.
    const std::chrono::microseconds time(round % 2 == 0 ? random() % 5000 : 5000 + random() % 300);
    auto limited = pool.apply_async({.timeout = limit}, take, time);
    std::vector<mp::AsyncResult<int>> others;
    for (int i = 0; i < 20; ++i) others.push_back(pool.apply_async(same, i));
    try {
      limited.get(patience);
    } catch (const mp::TimeoutError& error) {
      EXPECT_NE(std::string(error.what()).find("its time limit of 0.005 s"), std::string::npos)
          << error.what();
      ++over;
    }
    for (int i = 0; i < 20; ++i) ASSERT_EQ(others[static_cast<std::size_t>(i)].get(patience), i);
  }
  // Both ends of the race were seen.
  EXPECT_GT(over, 0);
  EXPECT_LT(over, rounds);
}

// --- a pool that ends as a worker is buried or born ----------------------------

TEST_P(PoolRaces, APoolThatEndsAsAWorkerIsBuriedLosesNoTask) {
  std::mt19937 random(5);
  const int rounds = GetParam() == mp::StartMethod::fork ? 200 : 20;
  for (int round = 0; round < rounds; ++round) {
    mp::Pool pool(2);
    std::vector<mp::AsyncResult<int>> results;
    for (int i = 0; i < 40; ++i) results.push_back(pool.apply_async(same, i));
    for (const int pid : pool.pids()) ::kill(pid, SIGKILL);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 1500));
    pool.terminate();
    for (const auto& result : results) ASSERT_TRUE(result.wait(patience));
  }
}

void block_after(const mp::Value<int>& started, int most) {
  if (started.fetch_add(1) < most) return;
  for (;;) ::pause();
}

TEST_P(PoolRaces, APoolThatEndsAsAWorkerIsBornEndsThatWorkerToo) {
  std::mt19937 random(7);
  for (int round = 0; round < 40; ++round) {
    const mp::Value<int> started(0);
    mp::Pool pool({.processes = 2, .maxtasksperchild = 1}, block_after, started, 2);
    EXPECT_EQ(pool.map(same, numbers(2), 1), numbers(2));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
    pool.terminate();
    ASSERT_TRUE(pool.join(patience));
  }
}

std::unique_ptr<mp::test::Channel> report;
std::atomic<bool> told_to_end{false};
void heed_sigterm(const mp::test::Channel& channel) {
  report = std::make_unique<mp::test::Channel>(channel);
  ::signal(SIGTERM, [](int) { told_to_end = true; });
}
int end_in_order(int item) {
  if (item == 0) {
    report->say("begun");
    while (!told_to_end) std::this_thread::yield();
    throw std::runtime_error("a result that nobody waits for");
  }
  // For long enough that the pool has found the result.
  std::this_thread::sleep_for(100ms);
  report->say("ended");
  return item;
}

TEST_P(PoolRaces, AWorkerThatEndsInOrderHasTheWholeGrace) {
  mp::test::Channel channel;
  mp::Pool pool({.processes = 1, .grace = patience}, heed_sigterm, channel);
  auto results = pool.map_async(end_in_order, numbers(2), 2);
  ASSERT_EQ(channel.hear(), "begun");
  pool.terminate();
  EXPECT_EQ(channel.hear(), "ended");
  EXPECT_TRUE(pool.join(patience));
}

// --- who tells of an end ---------------------------------------------------------

TEST_P(PoolRaces, AnExecutorNeedsNoExitCodeOfWorkersThatLeave) {
  const auto method = GetParam();
  Forked program([&] {
    ::signal(SIGCHLD, SIG_IGN);
    mp::futures::ProcessPoolExecutor executor(
        {.max_workers = 2, .start_method = method, .max_tasks_per_child = 1});
    for (int i = 0; i < 20; ++i) {
      if (executor.submit(same, i).result(patience) != i) return 1;
    }
    return 7;
  });
  EXPECT_EQ(program.wait(), 7);
}

// --- bytes that make no sense ------------------------------------------------------

// Writes over the sizes of its worker's results, from now on.
int scribble(int) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("mp-lane") == std::string::npos) continue;
    auto* lane = reinterpret_cast<mp::detail::LaneHeader*>(std::stoul(line, nullptr, 16));
    std::thread([lane] {
      for (;;) {
        for (auto& entry : lane->results) {
          reinterpret_cast<volatile std::uint64_t&>(entry.size) = 0;
        }
      }
    }).detach();
    return 1;
  }
  return 0;
}

TEST(PoolRacesOnce, AResultThatCannotBeReadIsAnErrorAndNoHang) {
  mp::Pool pool({.processes = 1, .start_method = mp::StartMethod::spawn});
  ASSERT_TRUE(pool.apply_async(scribble, 0).wait(patience));
  // Until it has written over one that was on its way.
  bool hit = false;
  const mp::detail::Deadline deadline(patience);
  while (!hit && !deadline.passed()) {
    const auto all = pool.map_async(same, numbers(100), 1);
    ASSERT_TRUE(all.wait(patience));
    hit = !all.successful();
  }
  EXPECT_TRUE(hit);
}

// --- cancelling ------------------------------------------------------------------

TEST_P(PoolRaces, WhatHasNotBegunCanBeCancelledWhateverElseIsHandedOut) {
  const mp::Event open;
  mp::futures::ProcessPoolExecutor executor(1, mp::test::bring_gate, open);
  auto blocks = executor.submit(mp::test::wait_at_gate);
  while (!blocks.running()) std::this_thread::yield();
  std::latch both(2);
  std::jthread other([&](const std::stop_token& stop) {
    both.arrive_and_wait();
    while (!stop.stop_requested()) executor.submit(same, 1).cancel();
  });
  both.arrive_and_wait();
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(executor.submit(same, i).cancel()) << i;
  other.request_stop();
  other.join();
  open.set();
  EXPECT_NO_THROW(blocks.result(patience));
}

}  // namespace
