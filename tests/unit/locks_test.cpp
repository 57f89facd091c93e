#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>

#include <children.hpp>
#include <chrono>
#include <cstring>
#include <future>
#include <mp/synchronize.hpp>
#include <mutex>
#include <sstream>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace mp {
namespace {

using namespace std::chrono_literals;
using test::crash;
using test::ended;
using test::Forked;
using test::patience;

class LocksTest : public test::EachMethod {};
MP_TEST_EACH_METHOD(LocksTest);

template <class Acquire>
std::chrono::steady_clock::duration timed(Acquire acquire) {
  const auto start = std::chrono::steady_clock::now();
  acquire();
  return std::chrono::steady_clock::now() - start;
}

// Children tell by a lock they free, or a unit they give, where they are.
template <class L>
void hold(L lock, Semaphore held, int times) {
  for (int i = 0; i < times; ++i) lock.acquire();
  held.release();
  for (;;) ::pause();
}

template <class L>
void acquire_and_exit(L lock) {
  lock.acquire();
}

template <class L>
void try_from_child(L lock) {
  mp::exit(lock.try_lock() ? 1 : 0);
}

TEST_P(LocksTest, ALockExcludesOtherProcesses) {
  const Lock lock;
  lock.acquire();
  auto child = start(try_from_child<Lock>, lock);
  EXPECT_EQ(ended(child), 0);
}

void release_from_child(Lock lock) { lock.release(); }

TEST_P(LocksTest, AnotherProcessMayReleaseALock) {
  const Lock lock;
  lock.acquire();
  auto child = start(release_from_child, lock);
  EXPECT_EQ(ended(child), 0);
  EXPECT_FALSE(lock.locked());
}

TEST_P(LocksTest, TheDeadHoldersLockIsHandedOnOnce) {
  const Lock lock;
  const Semaphore held(0);
  auto child = start(hold<Lock>, lock, held, 1);
  ASSERT_TRUE(held.acquire(patience));
  crash(child);
  EXPECT_TRUE(lock.locked());
  EXPECT_THROW(lock.acquire(patience), OwnerDied);
  EXPECT_EQ(lock.repr(), "<Lock(owner=MainProcess)>");
  lock.release();
  EXPECT_TRUE(lock.acquire(patience));
}

TEST_P(LocksTest, ADeadHoldersRecursionIsHandedOnOnceAndHeldOnce) {
  const RLock lock;
  const Semaphore held(0);
  auto child = start(hold<RLock>, lock, held, 3);
  ASSERT_TRUE(held.acquire(patience));
  EXPECT_EQ(lock.repr(), "<RLock(SomeOtherProcess, nonzero)>");
  crash(child);
  EXPECT_THROW(lock.acquire(patience), OwnerDied);
  EXPECT_EQ(lock.repr(), "<RLock(MainProcess, 1)>");
  lock.release();
  EXPECT_FALSE(lock.locked());
}

TEST_P(LocksTest, AProcessThatEndsInOrderHoldingALockIsADeadHolderToo) {
  const Lock lock;
  auto child = start(acquire_and_exit<Lock>, lock);
  EXPECT_EQ(ended(child), 0);
  EXPECT_THROW(lock.acquire(0ms), OwnerDied);
}

TEST_P(LocksTest, OnlyTheHoldingThreadReleasesAnRLock) {
  const RLock lock;
  lock.acquire();
  std::async(std::launch::async, [&] { EXPECT_THROW(lock.release(), AssertionError); }).get();
  auto child = start(
      +[](RLock inherited) {
        try {
          inherited.release();
        } catch (const AssertionError&) {
          return;
        }
        mp::exit(1);
      },
      lock);
  EXPECT_EQ(ended(child), 0);
  lock.release();
  EXPECT_THROW(lock.release(), AssertionError);
}

TEST_P(LocksTest, AChildOfTheHolderDoesNotHoldTheRLock) {
  const RLock lock;
  lock.acquire();
  auto child = start(try_from_child<RLock>, lock);
  EXPECT_EQ(ended(child), 0);
}

TEST_P(LocksTest, UnitsOfADeadProcessAreHandedOnOneDeathEach) {
  const BoundedSemaphore units(3);
  const Semaphore held(0);
  auto child = start(hold<BoundedSemaphore>, units, held, 2);
  ASSERT_TRUE(held.acquire(patience));
  crash(child);
  EXPECT_EQ(units.get_value(), 1);
  EXPECT_TRUE(units.acquire(patience));
  EXPECT_THROW(units.acquire(patience), OwnerDied);
  EXPECT_THROW(units.acquire(0ms), OwnerDied);
  EXPECT_FALSE(units.acquire(0ms));
  for (int i = 0; i < 3; ++i) units.release();
  EXPECT_THROW(units.release(), ValueError);
}

TEST_P(LocksTest, ASemaphoreOnceUsedAsASignalKeepsADeadProcessesUnits) {
  const Semaphore signal(0);
  const Semaphore held(0);
  signal.release();
  auto child = start(hold<Semaphore>, signal, held, 1);
  ASSERT_TRUE(held.acquire(patience));
  crash(child);
  EXPECT_FALSE(signal.acquire(0ms));
  signal.release();
  EXPECT_TRUE(signal.acquire(0ms));
}

TEST_P(LocksTest, WaitersOfADeadHolderGoOnWithinASecond) {
  const Semaphore units(1);
  const Semaphore held(0);
  auto child = start(hold<Semaphore>, units, held, 1);
  ASSERT_TRUE(held.acquire(patience));
  auto waiter =
      std::async(std::launch::async, [&] { EXPECT_THROW(units.acquire(patience), OwnerDied); });
  const auto took = timed([&] {
    crash(child);
    waiter.get();
  });
  EXPECT_LT(took, 1s);
}

TEST(LockTest, ReleaseOfAFreeLockIsAnError) {
  const Lock lock;
  EXPECT_THROW(lock.release(), ValueError);
  lock.acquire();
  lock.release();
  EXPECT_THROW(lock.release(), ValueError);
}

TEST(LockTest, TimeOutsAreKeptAndNegativeIsZero) {
  const Lock lock;
  lock.acquire();
  EXPECT_FALSE(lock.acquire(false));
  EXPECT_FALSE(lock.acquire(-5s));
  EXPECT_FALSE(lock.acquire(true, 0ms));
  EXPECT_GE(timed([&] { EXPECT_FALSE(lock.try_lock_for(120ms)); }), 120ms);
}

TEST(LockTest, IsAStandardLockable) {
  const Lock first;
  const RLock second;
  const Semaphore third(1);
  {
    const std::scoped_lock guard(first, second, third);
    EXPECT_TRUE(first.locked());
    EXPECT_TRUE(second.locked());
    EXPECT_EQ(third.get_value(), 0);
  }
  Lock lock;
  std::unique_lock guard(lock, std::try_to_lock);
  EXPECT_TRUE(guard.owns_lock());
  guard.unlock();
  EXPECT_FALSE(lock.locked());
}

TEST(LockTest, CopiesAreTheSameLock) {
  const Lock lock;
  const Lock copy = lock;
  copy.acquire();
  EXPECT_TRUE(lock.locked());
  EXPECT_EQ(lock, copy);
  EXPECT_NE(lock, Lock());
}

TEST(LockTest, WhatWasMovedFromIsTheSameStill) {
  Lock lock;
  const Lock other = std::move(lock);
  other.acquire();
  EXPECT_TRUE(lock.locked());  // NOLINT: that is the test.
  Event event;
  Semaphore units(0);
  Condition condition{Lock()};
  Barrier barrier(1);
  const std::tuple moved(std::move(event), std::move(units), std::move(condition),
                         std::move(barrier));
  event.set();
  units.release();
  EXPECT_TRUE(std::get<0>(moved).is_set());
  EXPECT_EQ(std::get<1>(moved).get_value(), 1);
  EXPECT_TRUE(condition.acquire({}));
  EXPECT_FALSE(std::get<2>(moved).acquire(false));
  EXPECT_EQ(barrier.wait(), 0);
}

TEST(LockTest, TextNamesTheHolder) {
  const Lock lock;
  EXPECT_EQ(lock.repr(), "<Lock(owner=None)>");
  lock.acquire();
  EXPECT_EQ(fmt::format("{}", lock), "<Lock(owner=MainProcess)>");
  std::async(std::launch::async, [&] {
    EXPECT_EQ(lock.repr(), "<Lock(owner=SomeOtherThread)>");
    lock.release();
    ::pthread_setname_np(::pthread_self(), "T1");
    lock.acquire();
    EXPECT_EQ(lock.repr(), "<Lock(owner=MainProcess|T1)>");
  }).get();
  std::ostringstream text;
  text << lock;
  EXPECT_EQ(text.str(), "<Lock(owner=SomeOtherThread)>");
}

TEST(RLockTest, CountsItsRecursion) {
  const RLock lock;
  EXPECT_EQ(lock.repr(), "<RLock(None, 0)>");
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(lock.acquire());
  EXPECT_EQ(lock.repr(), "<RLock(MainProcess, 3)>");
  for (int i = 0; i < 3; ++i) lock.release();
  EXPECT_FALSE(lock.locked());
}

TEST(SemaphoreTest, ANegativeValueIsAnError) { EXPECT_THROW(Semaphore(-1), ValueError); }

TEST(SemaphoreTest, TheLargestValueIsTheEnd) {
  const Semaphore full(std::numeric_limits<std::int32_t>::max());
  EXPECT_THROW(full.release(), ValueError);
  EXPECT_EQ(full.get_value(), std::numeric_limits<std::int32_t>::max());
}

TEST(SemaphoreTest, TextShowsTheValue) {
  EXPECT_EQ(Semaphore(3).repr(), "<Semaphore(value=3)>");
  EXPECT_EQ(BoundedSemaphore(2).repr(), "<BoundedSemaphore(value=2, maxvalue=2)>");
}

TEST(SemaphoreTest, EachReleaseWakesOneOfManySleepers) {
  const Semaphore units(0);
  std::vector<std::future<bool>> sleepers;
  for (int i = 0; i < 4; ++i) {
    sleepers.push_back(std::async(std::launch::async, [&] { return units.acquire(patience); }));
  }
  for (int i = 0; i < 4; ++i) units.release();
  for (auto& sleeper : sleepers) EXPECT_TRUE(sleeper.get());
  EXPECT_EQ(units.get_value(), 0);
}

TEST(SemaphoreTest, NeverGivesMoreUnitsThanItHas) {
  const BoundedSemaphore units(2);
  std::atomic<int> inside{0};
  const auto work = [&] {
    for (int i = 0; i < 3000; ++i) {
      units.acquire();
      EXPECT_LE(++inside, 2);
      --inside;
      units.release();
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(work);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(units.get_value(), 2);
}

TEST(SemaphoreTest, ThreadsThatReleaseAtOnceNeverGetPastTheBound) {
  constexpr int bound = 3;
  const BoundedSemaphore units(bound);
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < bound; ++i) ASSERT_TRUE(units.acquire(false));
    std::atomic<int> given{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2 * bound; ++i) {
      threads.emplace_back([&] {
        try {
          units.release();
          ++given;
        } catch (const ValueError&) {
        }
      });
    }
    for (auto& thread : threads) thread.join();
    ASSERT_EQ(given, bound);
    ASSERT_EQ(units.get_value(), bound);
  }
}

TEST(SemaphoreTest, MoreHoldersThanAreKeptStillCount) {
  const Semaphore units(80);
  const Semaphore held(0);
  std::vector<Process> holders;
  for (int i = 0; i < 70; ++i) {
    holders.emplace_back(ProcessOptions{.daemon = true, .start_method = StartMethod::fork},
                         hold<Semaphore>, units, held, 1);
    holders.back().start();
  }
  for (int i = 0; i < 70; ++i) ASSERT_TRUE(held.acquire(patience));
  EXPECT_EQ(units.get_value(), 10);
  for (auto& holder : holders) crash(holder);
}

// --- conditions --------------------------------------------------------------

// A process that sleeps at the condition, as seen with the lock held.
Process sleeper_at(const Condition& condition, int sleeping) {
  Process sleeper({.daemon = true, .start_method = StartMethod::fork}, [&] {
    condition.acquire();
    condition.wait();
    condition.release();
  });
  sleeper.start();
  const detail::Deadline deadline(patience);
  for (;;) {
    const std::scoped_lock guard(condition);
    if (condition.repr().ends_with(fmt::format(" {})>", sleeping)) || deadline.passed()) break;
  }
  return sleeper;
}

void notify_one(const Condition& condition) {
  const std::scoped_lock guard(condition);
  condition.notify();
}

TEST(ConditionTest, HasTheCallsOfItsLock) {
  const Condition condition{Lock()};
  EXPECT_TRUE(condition.acquire(false));
  EXPECT_FALSE(condition.acquire(false));
  EXPECT_FALSE(condition.acquire(true, 1ms));
  EXPECT_FALSE(condition.try_lock_for(1ms));
  condition.release();
}

TEST(ConditionTest, CopiesAreTheSameConditionAsOfBarriers) {
  const Condition condition;
  const Condition same = condition;
  EXPECT_EQ(condition, same);
  EXPECT_NE(condition, Condition());
  const Barrier barrier(2);
  const Barrier again = barrier;
  EXPECT_EQ(barrier, again);
  EXPECT_NE(barrier, Barrier(2));
}

TEST(ConditionTest, WhatADeadSleeperWasToldWakesNobodyWhoCameLater) {
  const Condition condition;
  auto sleeper = sleeper_at(condition, 1);
  crash(sleeper);
  notify_one(condition);
  const std::scoped_lock guard(condition);
  EXPECT_FALSE(condition.wait(300ms));
}

TEST(ConditionTest, WhatADeadSleeperWasToldWakesOneWhoSleptAlready) {
  const Condition condition;
  auto first = sleeper_at(condition, 1);
  auto second = sleeper_at(condition, 2);
  auto third = sleeper_at(condition, 3);
  crash(first);
  notify_one(condition);
  // One of them, and not both.
  const auto gone = [](Process& child, Duration within) {
    child.join(within);
    return child.exitcode().has_value();
  };
  const detail::Deadline deadline(patience);
  while (!gone(second, 10ms) && !gone(third, 10ms)) ASSERT_FALSE(deadline.passed());
  EXPECT_FALSE(gone(second, 300ms) && gone(third, 300ms));
  crash(second);
  crash(third);
}

TEST(ConditionTest, DeadSleepersThatWereNotifiedMakeRoomForOthers) {
  const Condition condition;
  for (int i = 0; i < 500; ++i) {
    auto sleeper = sleeper_at(condition, i + 1);
    crash(sleeper);
    notify_one(condition);
  }
  const std::scoped_lock guard(condition);
  EXPECT_FALSE(condition.wait(1ms));
}

// --- limits ------------------------------------------------------------------

TEST(RLockTest, IsReleasedByWhoTookItWithoutADescriptorLeft) {
  const RLock lock;
  const auto ticket = detail::heap_child_born();
  Forked child([&] {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const rlimit none{3, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return 1;
    lock.acquire();
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 2;
    lock.release();
    return lock.locked() ? 3 : 0;
  });
  EXPECT_EQ(child.wait(), 0);
  detail::heap_child_gone(ticket);
}

TEST(LockTest, BytesOfAnotherKindAreRefused) {
  Encoder out;
  out.keep_until_receiver_ends();
  Lock().pickle(out);
  std::vector<detail::UniqueFd> fds;
  for (const auto& fd : out.descriptors()) fds.push_back(fd.duplicate());
  Decoder in(out.view(), fds);
  EXPECT_THROW(Semaphore::unpickle(in), PicklingError);
}

}  // namespace
}  // namespace mp
