#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <children.hpp>
#include <chrono>
#include <functional>
#include <mp/detail/owned_lock.hpp>
#include <mp/sharedctypes.hpp>
#include <mp/synchronize.hpp>
#include <probe.hpp>
#include <string>
#include <thread>
#include <vector>

namespace mp {
namespace {

using namespace std::chrono_literals;
using test::ended;
using test::patience;
using test::Shared;

using Clock = std::chrono::steady_clock;
using Round = std::function<void()>;

constexpr auto longest_allowed = 1s;

// What the survivors report.
struct Board {
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> longest{0};
  std::atomic<std::uint64_t> rounds[2]{};
};

void run_rounds(Board& board, std::size_t who, const Round& round) {
  while (!board.stop) {
    const auto begin = Clock::now();
    round();
    const std::int64_t took = (Clock::now() - begin).count();
    std::int64_t longest = board.longest;
    while (took > longest && !board.longest.compare_exchange_weak(longest, took)) {
    }
    ++board.rounds[who];
  }
}

bool advances(const std::atomic<std::uint64_t>& rounds, std::uint64_t by) {
  const std::uint64_t from = rounds;
  const detail::Deadline deadline(patience);
  while (rounds < from + by) {
    if (deadline.passed()) return false;
    std::this_thread::yield();
  }
  return true;
}

Process forked(const Round& body) {
  Process process({.daemon = true, .start_method = StartMethod::fork}, body);
  process.start();
  return process;
}

// Two go on with their rounds while a third is ended at the place.
void survive(const std::string& place, const Round& round) {
  const Shared<Board> board;
  auto first = forked([&] { run_rounds(*board, 0, round); });
  auto second = forked([&] { run_rounds(*board, 1, round); });
  ASSERT_TRUE(advances(board->rounds[0], 2) && advances(board->rounds[1], 2));
  auto victim = forked([&] {
    if (!detail::set_fault_step(place)) mp::exit(1);
    for (;;) round();
  });
  EXPECT_EQ(ended(victim), -SIGKILL) << "never came to the place";
  EXPECT_TRUE(advances(board->rounds[0], 5));
  EXPECT_TRUE(advances(board->rounds[1], 5));
  board->stop = true;
  EXPECT_EQ(ended(first), 0);
  EXPECT_EQ(ended(second), 0);
  EXPECT_LT(board->longest, std::chrono::nanoseconds(longest_allowed).count());
}

void linger() {
  for (int i = 0; i < 3000; ++i) detail::spin_pause();
}

// A process that calls `hold` and is killed: what it held is a dead one's.
void leave_dead_holder(const Round& hold) {
  auto bait = forked([&] {
    hold();
    ::kill(::getpid(), SIGKILL);
  });
  ASSERT_EQ(ended(bait), -SIGKILL);
}

std::vector<std::string> places_of(const std::string& room, const std::vector<std::string>& but) {
  std::vector<std::string> places;
  for (const auto place : detail::probe_places) {
    const std::string name(place);
    if (name.starts_with(room) && std::ranges::find(but, name) == but.end()) places.push_back(name);
  }
  return places;
}

std::string place_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::ranges::replace(name, '.', '_');
  return name;
}

// --- owned locks and locks ---------------------------------------------------

class LockFaults : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Owned, LockFaults,
                         testing::ValuesIn(places_of("owned_lock.", {"owned_lock.acquire.inherited",
                                                                     "owned_lock.try.taken"})),
                         place_name);
INSTANTIATE_TEST_SUITE_P(Lock, LockFaults, testing::ValuesIn(places_of("lock.", {})), place_name);

TEST_P(LockFaults, SurvivorsGoOn) {
  const Lock lock;
  survive(GetParam(), [&] {
    try {
      lock.acquire();
    } catch (const OwnerDied&) {
    }
    linger();
    lock.release();
  });
}

TEST(LockFaultsTest, WhoDiesWhileItTakesOverIsADeadHolderInItsTurn) {
  const Lock lock;
  leave_dead_holder([&] { lock.acquire(); });
  auto heir = forked([&] {
    detail::set_fault_step("owned_lock.acquire.inherited");
    lock.acquire();
  });
  EXPECT_EQ(ended(heir), -SIGKILL);
  EXPECT_THROW(lock.acquire(longest_allowed), OwnerDied);
  lock.release();
}

TEST(LockFaultsTest, WhoDiesRightAfterATryIsADeadHolder) {
  const Shared<detail::OwnedLock> lock;
  auto victim = forked([&] {
    detail::set_fault_step("owned_lock.try.taken");
    lock->try_acquire();
  });
  EXPECT_EQ(ended(victim), -SIGKILL);
  EXPECT_EQ(lock->acquire(detail::Deadline(longest_allowed)), detail::Taken::taken_from_dead);
}

TEST(LockFaultsTest, EachHoldersDeathIsToldExactlyOnce) {
  const Lock lock;
  for (const char* place : {"owned_lock.acquire.taken", "lock.acquire.noted",
                            "lock.release.forgotten", "owned_lock.release.before"}) {
    auto victim = forked([&] {
      detail::set_fault_step(place);
      lock.acquire();
      lock.release();
    });
    EXPECT_EQ(ended(victim), -SIGKILL);
    EXPECT_THROW(lock.acquire(longest_allowed), OwnerDied) << place;
    lock.release();
    EXPECT_TRUE(lock.acquire(longest_allowed)) << place;
    lock.release();
  }
  auto victim = forked([&] {
    detail::set_fault_step("owned_lock.release.freed");
    lock.acquire();
    lock.release();
  });
  EXPECT_EQ(ended(victim), -SIGKILL);
  EXPECT_TRUE(lock.acquire(longest_allowed));
}

TEST(LockFaultsTest, AnUpdateOfAValueIsWholeOrNotThere) {
  for (const auto& place : places_of("", {})) {
    if (!place.starts_with("owned_lock.acquire.taken") && !place.starts_with("lock.")) continue;
    const Value<int> value(0);
    auto victim = forked([&] {
      detail::set_fault_step(place + ":3");
      for (;;) value.fetch_add(1);
    });
    EXPECT_EQ(ended(victim), -SIGKILL);
    EXPECT_THROW(value.fetch_add(1), OwnerDied) << place;
    const int seen = value.value;
    EXPECT_GE(seen, 2) << place;
    EXPECT_LE(seen, 3) << place;
  }
}

// --- semaphores --------------------------------------------------------------

class SemaphoreFaults : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Each, SemaphoreFaults,
                         testing::ValuesIn(places_of("semaphore.", {"semaphore.acquire.inherited",
                                                                    "semaphore.release.counted"})),
                         place_name);

TEST_P(SemaphoreFaults, SurvivorsGoOnAndNoUnitIsLost) {
  const BoundedSemaphore unit(1);
  survive(GetParam(), [&] {
    try {
      unit.acquire();
    } catch (const OwnerDied&) {
    }
    linger();
    unit.release();
  });
  EXPECT_TRUE(unit.acquire(longest_allowed));
  unit.release();
  EXPECT_THROW(unit.release(), ValueError);
}

class SignalFaults : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Each, SignalFaults,
                         testing::Values("semaphore.acquire.taken", "semaphore.release.given"),
                         place_name);

TEST_P(SignalFaults, SurvivorsGoOn) {
  // Each gives one before it takes one: whoever dies where it may, there is
  // always one for the others.
  const Semaphore signal(0);
  survive(GetParam(), [&] {
    signal.release();
    signal.acquire();
  });
}

TEST(SemaphoreFaultsTest, WhoDiesWhileItTakesOverADeadOnesUnitLosesNone) {
  const BoundedSemaphore units(2);
  leave_dead_holder([&] {
    units.acquire();
    units.acquire();
  });
  auto heir = forked([&] {
    detail::set_fault_step("semaphore.acquire.inherited");
    units.acquire();
  });
  EXPECT_EQ(ended(heir), -SIGKILL);
  int held = 0;
  for (int deaths = 0; held < 2 && deaths < 4; ++deaths) {
    try {
      EXPECT_TRUE(units.acquire(longest_allowed));
    } catch (const OwnerDied&) {
    }
    ++held;
  }
  EXPECT_EQ(held, 2);
  units.release();
  units.release();
}

TEST(SemaphoreFaultsTest, WhoDiesWhileItMakesASignalLeavesASemaphore) {
  const Semaphore signal(0);
  auto victim = forked([&] {
    detail::set_fault_step("semaphore.release.counted");
    signal.release();
  });
  EXPECT_EQ(ended(victim), -SIGKILL);
  EXPECT_FALSE(signal.acquire(0ms));
  signal.release();
  EXPECT_TRUE(signal.acquire(longest_allowed));
}

// --- conditions --------------------------------------------------------------

class ConditionFaults : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Each, ConditionFaults,
                         testing::ValuesIn(places_of("condition.", {"condition.wait.inherited"})),
                         place_name);

TEST_P(ConditionFaults, SurvivorsGoOn) {
  const Condition condition;
  const auto told = [](const auto& call) {
    try {
      call();
    } catch (const OwnerDied&) {
    }
  };
  survive(GetParam(), [&] {
    told([&] { condition.acquire(); });
    condition.notify();
    told([&] { condition.wait(20ms); });
    condition.release();
  });
}

TEST(ConditionFaultsTest, AnInheritedWakeUpIsHandedOnAgain) {
  const Condition condition;
  const Semaphore woken(0);
  const auto sleep = [&](const char* place) {
    return forked([&, place] {
      detail::set_fault_step(place);
      try {
        condition.acquire();
        condition.wait();
      } catch (const OwnerDied&) {
      }
      condition.release();
      woken.release();
    });
  };
  const auto asleep = [&](int count) {
    const detail::Deadline deadline(patience);
    for (;;) {
      // Who is in the list while this one has the lock has let go of it.
      const std::scoped_lock guard(condition);
      if (condition.repr().ends_with(fmt::format(" {})>", count)) || deadline.passed()) return;
    }
  };
  auto first = sleep("condition.wait.woken");
  asleep(1);
  auto heir = sleep("condition.wait.inherited");
  asleep(2);
  auto last = sleep("");
  asleep(3);
  ::kill(*last.pid(), SIGSTOP);  // It does not come first.
  {
    const std::scoped_lock guard(condition);
    condition.notify();
  }
  EXPECT_EQ(ended(first), -SIGKILL);
  EXPECT_EQ(ended(heir), -SIGKILL);
  ::kill(*last.pid(), SIGCONT);
  EXPECT_TRUE(woken.acquire(longest_allowed));
  EXPECT_EQ(ended(last), 0);
}

// --- events ------------------------------------------------------------------

class EventFaults : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Each, EventFaults, testing::ValuesIn(places_of("event.", {})), place_name);

TEST_P(EventFaults, SurvivorsGoOn) {
  const Event event;
  survive(GetParam(), [&] {
    event.clear();
    event.wait(5ms);
    event.set();
    event.wait();
  });
}

TEST(EventFaultsTest, SleepersWakeThoughTheSetterDiedBeforeItWokeThem) {
  const Event event;
  const Event awake;
  const Semaphore ready(0);
  auto sleeper = forked([&] {
    ready.release();
    event.wait();
    awake.set();
  });
  ASSERT_TRUE(ready.acquire(patience));
  auto setter = forked([&] {
    detail::set_fault_step("event.set.set");
    event.set();
  });
  EXPECT_EQ(ended(setter), -SIGKILL);
  EXPECT_TRUE(awake.wait(longest_allowed));
  EXPECT_EQ(ended(sleeper), 0);
}

// --- barriers ----------------------------------------------------------------

class BarrierFaults : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Each, BarrierFaults, testing::ValuesIn(places_of("barrier.", {})),
                         place_name);

TEST(BarrierFaultsTest, APartyThatDiesBeforeItEverCameIsMissedUntilTheTimeOut) {
  const Barrier barrier(2);
  auto never_there = forked([] { ::kill(::getpid(), SIGKILL); });
  EXPECT_EQ(ended(never_there), -SIGKILL);
  const auto begin = Clock::now();
  EXPECT_THROW(barrier.wait(200ms), BrokenBarrierError);
  EXPECT_GE(Clock::now() - begin, 200ms);
}

TEST_P(BarrierFaults, TheOthersAreToldWithinASecond) {
  const Barrier barrier(3, [] {});
  const Shared<Board> board;
  const auto survivor = [&] {
    for (;;) {
      const auto begin = Clock::now();
      try {
        barrier.wait();
      } catch (const BrokenBarrierError&) {
        if (Clock::now() - begin > longest_allowed) mp::exit(1);
        return;
      }
    }
  };
  auto first = forked(survivor);
  auto second = forked(survivor);
  auto victim = forked([&] {
    // Known to the others by a pass that it came through.
    barrier.wait();
    detail::set_fault_step(GetParam());
    if (GetParam().starts_with("barrier.break")) barrier.abort();
    // In turns as the last one, who acts for all, and as it comes.
    for (bool last = true;; last = !last) {
      while (last && barrier.n_waiting() < 2) std::this_thread::yield();
      barrier.wait();
    }
  });
  EXPECT_EQ(ended(victim), -SIGKILL);
  EXPECT_EQ(ended(first), 0);
  EXPECT_EQ(ended(second), 0);
  barrier.reset();
  EXPECT_FALSE(barrier.broken());
  auto again = forked([&] { barrier.wait(); });
  auto and_again = forked([&] { barrier.wait(); });
  barrier.wait(patience);
  EXPECT_EQ(ended(again), 0);
  EXPECT_EQ(ended(and_again), 0);
}

}  // namespace
}  // namespace mp
