#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mp/mp.hpp>
#include <string>
#include <thread>
#include <vector>

#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::patience;

class ManagerQueuesTest : public testing::Test {
 protected:
  mp::SyncManager manager = mp::Manager();
};

TEST_F(ManagerQueuesTest, AQueueIsBoundedAndWaitsForTimeOuts) {
  auto queue = manager.Queue<std::string>(2);
  queue.put("a");
  queue.put("b");
  EXPECT_TRUE(queue.full());
  EXPECT_THROW(queue.put_nowait("c"), mp::Full);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(queue.put("c", 50ms), mp::Full);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 50ms);
  EXPECT_THROW(queue.put("c", false), mp::Full);
  EXPECT_THROW(queue.put("c", true, 1ms), mp::Full);
  EXPECT_EQ(queue.get(true, patience), "a");
  EXPECT_EQ(queue.get_nowait(), "b");
  EXPECT_THROW(queue.get(false), mp::Empty);
  EXPECT_THROW(queue.get(20ms), mp::Empty);
  EXPECT_THROW(queue.put_many(std::vector<std::string>(3)), mp::Full);
  queue.put_many(std::vector<std::string>{"x", "y"});
  EXPECT_EQ(queue.get_many(9), (std::vector<std::string>{"x", "y"}));
  for (int i = 0; i < 4; ++i) queue.task_done();
  EXPECT_TRUE(queue.join(0ms));
  EXPECT_THROW(queue.task_done(), mp::ValueError);
  queue.put("z");
  EXPECT_FALSE(queue.join(10ms));
  queue.shutdown();
  EXPECT_THROW(queue.put("no"), mp::ShutDown);
  EXPECT_EQ(queue.get(), "z");
  EXPECT_THROW(queue.get(), mp::ShutDown);
}

TEST_F(ManagerQueuesTest, WaitersOfABoundedQueueTakeTurns) {
  auto queue = manager.Queue<int>(1);
  constexpr int items = 300;
  std::vector<std::thread> putters;
  for (int p = 0; p < 4; ++p) {
    putters.emplace_back([&, p] {
      for (int i = 0; i < items; ++i) queue.put(p * items + i);
    });
  }
  std::vector<int> seen(4 * items, 0);
  for (int i = 0; i < 4 * items; ++i) ++seen.at(static_cast<std::size_t>(queue.get(patience)));
  for (auto& putter : putters) putter.join();
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 4 * items);
  EXPECT_TRUE(queue.empty());
}

TEST_F(ManagerQueuesTest, LocksSayWhatIsWrong) {
  auto lock = manager.Lock();
  EXPECT_THROW(lock.release(), mp::RuntimeError);
  lock.acquire();
  EXPECT_FALSE(lock.acquire(false));
  std::thread([&] { lock.release(); }).join();  // Anybody may.
  auto rlock = manager.RLock();
  rlock.acquire();
  rlock.acquire();
  std::thread([&] {
    EXPECT_FALSE(rlock.acquire(0ms));
    EXPECT_THROW(rlock.release(), mp::RuntimeError);
  }).join();
  rlock.release();
  rlock.release();
  EXPECT_THROW(rlock.release(), mp::RuntimeError);
  auto bounded = manager.BoundedSemaphore(1);
  EXPECT_THROW(bounded.release(), mp::ValueError);
  EXPECT_THROW((void)manager.Semaphore(-1), mp::ValueError);
  EXPECT_THROW((void)manager.Barrier(0), mp::ValueError);
  EXPECT_THROW(manager.Condition().notify(), mp::RuntimeError);
  EXPECT_THROW(manager.Condition().wait(0ms), mp::RuntimeError);
}

TEST_F(ManagerQueuesTest, AThreadThatEndsGivesItsLockBack) {
  auto lock = manager.Lock();
  std::thread([&] { lock.acquire(); }).join();
  EXPECT_THROW(lock.acquire(patience), mp::OwnerDied);
  lock.release();
}

TEST_F(ManagerQueuesTest, AConditionWakesInOrderAndTimesOut) {
  auto condition = manager.Condition();
  auto woken = manager.list<int>();
  auto waiting = manager.Value(0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      const std::scoped_lock guard(condition);
      while (waiting.get() != i) condition.wait(5ms);
      waiting.set(i + 1);
      if (condition.wait(patience)) woken.append(i);
    });
  }
  for (int notified = 0; notified < 3;) {
    const std::scoped_lock guard(condition);
    if (waiting.get() < 3) continue;
    condition.notify();
    ++notified;
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(woken.getvalue(), (std::vector<int>{0, 1, 2}));
  const std::scoped_lock guard(condition);
  EXPECT_FALSE(condition.wait(10ms));
}

TEST_F(ManagerQueuesTest, AnEventPulseWakesWhoWaits) {
  auto event = manager.Event();
  auto ready = manager.Barrier(2);
  std::atomic<bool> woken{false};
  std::thread waiter([&] {
    ready.wait(patience);
    woken = event.wait(patience);
  });
  ready.wait(patience);
  // The waiter's request may not have come yet: pulse until it has.
  while (!woken) {
    event.set();
    event.clear();
  }
  waiter.join();
  EXPECT_FALSE(event.wait(0ms));
}

TEST_F(ManagerQueuesTest, ABarrierBreaksByTimeAndByDeathAndIsReset) {
  auto barrier = manager.Barrier(2);
  EXPECT_THROW(barrier.wait(20ms), mp::BrokenBarrierError);
  EXPECT_TRUE(barrier.broken());
  barrier.reset();
  mp::Process child(
      {.daemon = true}, [](const mp::BarrierProxy& b) { b.wait(); }, barrier);
  child.start();
  while (barrier.n_waiting() == 0) std::this_thread::yield();
  child.kill();
  child.join();
  while (!barrier.broken()) std::this_thread::yield();
  barrier.reset();
  std::thread other([&] { barrier.wait(patience); });
  EXPECT_LT(barrier.wait(patience), 2U);
  other.join();
}

}  // namespace
