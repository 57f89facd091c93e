#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <forked.hpp>
#include <mp/detail/owned_lock.hpp>
#include <thread>
#include <vector>

namespace mp::detail {
namespace {

using namespace std::chrono_literals;
using test::Forked;
using test::Gate;
using test::Shared;

// A child that holds the lock until it is killed.
Forked holder_of(OwnedLock& lock, Gate& held) {
  return Forked([&] {
    lock.acquire();
    held.open();
    for (;;) ::pause();
    return 0;
  });
}

TEST(OwnedLockTest, ZeroedMemoryIsAFreeLock) {
  alignas(OwnedLock) std::array<std::byte, sizeof(OwnedLock)> memory{};
  auto* lock = reinterpret_cast<OwnedLock*>(memory.data());
  EXPECT_FALSE(lock->locked());
  EXPECT_TRUE(lock->try_acquire());
  EXPECT_TRUE(lock->locked());
}

TEST(OwnedLockTest, NamesItsOwnerAndForgetsItOnRelease) {
  OwnedLock lock;
  EXPECT_EQ(lock.acquire(), Taken::taken);
  EXPECT_EQ(lock.owner(), this_process());
  EXPECT_TRUE(lock.owned_by_this_process());
  EXPECT_TRUE(lock.release());
  EXPECT_EQ(lock.owner().pid, 0);
  EXPECT_FALSE(lock.owned_by_this_process());
}

TEST(OwnedLockTest, ReleaseOfAFreeLockSaysSo) {
  OwnedLock lock;
  EXPECT_FALSE(lock.release());
}

TEST(OwnedLockTest, ATakenLockIsNotTakenTwice) {
  OwnedLock lock;
  lock.acquire();
  EXPECT_FALSE(lock.try_acquire());
  EXPECT_EQ(lock.acquire(Deadline(0ms)), Taken::timed_out);
}

TEST(OwnedLockTest, TimesOutNoEarlierThanAsked) {
  OwnedLock lock;
  lock.acquire();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(lock.acquire(Deadline(150ms)), Taken::timed_out);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 150ms);
}

TEST(OwnedLockTest, AnotherProcessMayRelease) {
  Shared<OwnedLock> lock;
  lock->acquire();
  Forked child([&] { return lock->release() ? 0 : 1; });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(lock->acquire(Deadline(test::patience)), Taken::taken);
}

TEST(OwnedLockTest, AForkedChildIsNotTheOwner) {
  Shared<OwnedLock> lock;
  lock->acquire();
  Forked child([&] {
    return lock->owned_by_this_process() || lock->acquire(Deadline(0ms)) != Taken::timed_out;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(OwnedLockTest, ADeadOwnersLockIsHandedOnAndSaidSoOnce) {
  Shared<OwnedLock> lock;
  Shared<Gate> held;
  Forked child = holder_of(*lock, *held);
  ASSERT_TRUE(held->wait());
  child.kill();
  EXPECT_TRUE(lock->locked());
  EXPECT_FALSE(lock->try_acquire());
  EXPECT_EQ(lock->acquire(Deadline(test::patience)), Taken::taken_from_dead);
  EXPECT_TRUE(lock->owned_by_this_process());
  lock->release();
  EXPECT_EQ(lock->acquire(Deadline(test::patience)), Taken::taken);
}

TEST(OwnedLockTest, ALookWithoutWaitingFindsTheDeadOwnerToo) {
  Shared<OwnedLock> lock;
  Shared<Gate> held;
  Forked child = holder_of(*lock, *held);
  ASSERT_TRUE(held->wait());
  EXPECT_EQ(lock->acquire(Deadline(0ms)), Taken::timed_out);
  child.kill();
  EXPECT_EQ(lock->acquire(Deadline(0ms)), Taken::taken_from_dead);
}

TEST(OwnedLockTest, AZombieOwnerIsADeadOwner) {
  Shared<OwnedLock> lock;
  Shared<Gate> held;
  Forked child([&] {
    lock->acquire();
    held->open();
    return 0;
  });
  ASSERT_TRUE(held->wait());
  // Nobody has reaped it yet.
  EXPECT_EQ(lock->acquire(Deadline(test::patience)), Taken::taken_from_dead);
  EXPECT_EQ(child.wait(), 0);
}

TEST(OwnedLockTest, AZombieOwnerIsADeadOwnerToWhoHasNoDescriptorLeft) {
  Shared<OwnedLock> lock;
  Shared<Gate> held;
  Forked owner = holder_of(*lock, *held);
  ASSERT_TRUE(held->wait());
  const auto take_without_descriptors = [&] {
    const rlimit none{3, 3};
    if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return 9;
    return static_cast<int>(lock->acquire(Deadline(0ms)));
  };
  EXPECT_EQ(Forked(take_without_descriptors).wait(), static_cast<int>(Taken::timed_out));
  ::kill(owner.pid(), SIGKILL);
  const UniqueFd pidfd = open_pidfd(owner.pid());
  ASSERT_TRUE(wait_fd(pidfd.get(), POLLIN, Deadline(test::patience)));
  EXPECT_EQ(Forked(take_without_descriptors).wait(), static_cast<int>(Taken::taken_from_dead));
}

TEST(OwnedLockTest, NobodyHasEnded) {
  EXPECT_TRUE(has_ended({}));
  EXPECT_FALSE(has_ended(this_process()));
}

TEST(OwnedLockTest, WaitersOfADeadOwnerGoOnWithinASecondAndOneIsTold) {
  Shared<OwnedLock> lock;
  Shared<Gate> held;
  Shared<std::atomic<int>> told;
  Forked owner = holder_of(*lock, *held);
  ASSERT_TRUE(held->wait());
  std::vector<Forked> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] {
      if (lock->acquire(Deadline(test::patience)) == Taken::taken_from_dead) ++*told;
      lock->release();
      return 0;
    });
  }
  const auto killed = std::chrono::steady_clock::now();
  owner.kill();
  for (auto& waiter : waiters) EXPECT_EQ(waiter.wait(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - killed, 1s);
  EXPECT_EQ(*told, 1);
}

TEST(OwnedLockTest, KeepsProcessesAndThreadsApart) {
  constexpr int rounds = 20'000;
  struct Counted {
    OwnedLock lock;
    std::int64_t count = 0;
  };
  Shared<Counted> shared;
  const auto work = [&] {
    for (int i = 0; i < rounds; ++i) {
      if (shared->lock.acquire() != Taken::taken) return 1;
      // Two steps on purpose: without the lock updates would be lost.
      const volatile std::int64_t seen = shared->count;
      shared->count = seen + 1;
      shared->lock.release();
    }
    return 0;
  };
  Forked first(work);
  Forked second(work);
  std::thread thread(work);
  work();
  thread.join();
  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_EQ(shared->count, 4 * rounds);
}

TEST(OwnedLockTest, KillingTakersAtRandomNeverStopsTheOthers) {
  Shared<OwnedLock> lock;
  Shared<std::atomic<std::uint64_t>> passes;
  const auto work = [&] {
    for (;;) {
      lock->acquire();
      passes->fetch_add(1, std::memory_order_relaxed);
      lock->release();
    }
    return 0;
  };
  Forked survivor(work);
  for (int i = 0; i < 100; ++i) {
    Forked victim(work);
    const auto before = passes->load();
    const Deadline deadline(1s);
    while (passes->load() < before + 50 && !deadline.passed()) std::this_thread::yield();
    victim.kill();
    EXPECT_FALSE(deadline.passed()) << "nobody passed for a second";
  }
  EXPECT_NE(lock->acquire(Deadline(1s)), Taken::timed_out);
}

}  // namespace
}  // namespace mp::detail
