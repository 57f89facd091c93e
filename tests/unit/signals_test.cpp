#include <gtest/gtest.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <children.hpp>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mp/synchronize.hpp>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "forked.hpp"
#include "processes.hpp"

namespace mp {
namespace {

using namespace std::chrono_literals;
using test::comes_true;
using test::crash;
using test::ended;
using test::is_asleep;
using test::patience;

class SignalsTest : public test::EachMethod {};
MP_TEST_EACH_METHOD(SignalsTest);

using Clock = std::chrono::steady_clock;

// Until `count` sleep in the condition: its own text says so.
bool sleeping(const Condition& condition, int count) {
  const detail::Deadline deadline(patience);
  const std::string end = fmt::format(", {})>", count);
  while (!condition.repr().ends_with(end)) {
    if (deadline.passed()) return false;
    std::this_thread::yield();
  }
  return true;
}

bool waiting(const Barrier& barrier, int count) {
  const detail::Deadline deadline(patience);
  while (barrier.n_waiting() != count) {
    if (deadline.passed()) return false;
    std::this_thread::yield();
  }
  return true;
}

// --- Condition ---------------------------------------------------------------

void sleep_once(Condition condition, Semaphore woken) {
  const std::scoped_lock guard(condition);
  if (!condition.wait()) mp::exit(1);
  woken.release();
}

TEST_P(SignalsTest, EachNotifyWakesOneSleeper) {
  const Condition condition;
  const Semaphore woken(0);
  auto first = start(sleep_once, condition, woken);
  auto second = start(sleep_once, condition, woken);
  ASSERT_TRUE(sleeping(condition, 2));
  for (int left = 1; left >= 0; --left) {
    {
      const std::scoped_lock guard(condition);
      condition.notify();
    }
    ASSERT_TRUE(woken.acquire(patience));
    EXPECT_TRUE(sleeping(condition, left));
    EXPECT_FALSE(woken.acquire(0ms));
  }
  EXPECT_EQ(ended(first), 0);
  EXPECT_EQ(ended(second), 0);
}

TEST_P(SignalsTest, AKilledSleeperCostsNobodyAWakeUp) {
  const Condition condition;
  const Semaphore woken(0);
  auto victim = start(sleep_once, condition, woken);
  ASSERT_TRUE(sleeping(condition, 1));
  auto other = start(sleep_once, condition, woken);
  ASSERT_TRUE(sleeping(condition, 2));
  crash(victim);
  const auto begin = Clock::now();
  {
    const std::scoped_lock guard(condition);
    condition.notify();
  }
  EXPECT_TRUE(woken.acquire(1s));
  EXPECT_LT(Clock::now() - begin, 1s);
  EXPECT_EQ(ended(other), 0);
}

TEST_P(SignalsTest, ASleeperStoppedAndKilledAfterItsNotifyHandsItOn) {
  const Condition condition;
  const Semaphore woken(0);
  auto victim = start(sleep_once, condition, woken);
  ASSERT_TRUE(sleeping(condition, 1));
  // Asleep for good, in the system call or not: it cannot act on the notify.
  ASSERT_EQ(::kill(*victim.pid(), SIGSTOP), 0);
  auto other = start(sleep_once, condition, woken);
  ASSERT_TRUE(sleeping(condition, 2));
  {
    const std::scoped_lock guard(condition);
    condition.notify();
  }
  EXPECT_FALSE(woken.acquire(0ms));
  crash(victim);
  EXPECT_TRUE(woken.acquire(1s));
  EXPECT_EQ(ended(other), 0);
}

TEST_P(SignalsTest, NotifyAllGoesPastTheKilled) {
  const Condition condition;
  const Semaphore woken(0);
  std::vector<Process> sleepers;
  for (int i = 0; i < 3; ++i) sleepers.push_back(start(sleep_once, condition, woken));
  ASSERT_TRUE(sleeping(condition, 3));
  crash(sleepers[1]);
  {
    const std::scoped_lock guard(condition);
    condition.notify_all();
  }
  EXPECT_EQ(ended(sleepers[0]), 0);
  EXPECT_EQ(ended(sleepers[2]), 0);
}

void hold_condition(Condition condition, Event held) {
  condition.acquire();
  held.set();
  for (;;) ::pause();
}

TEST_P(SignalsTest, ASleeperIsToldThatTheLocksHolderDied) {
  const Condition condition;
  const Event held;
  condition.acquire();
  auto holder = start(hold_condition, condition, held);
  std::thread killer([&] {
    held.wait(patience);
    crash(holder);
  });
  // A wait that ends before the holder is there takes the lock back: the next lets it in.
  const auto wait_for_holder = [&] {
    while (!held.is_set()) condition.wait(50ms);
  };
  EXPECT_THROW(wait_for_holder(), OwnerDied);
  killer.join();
  condition.release();
}

TEST(ConditionTest, WaitAndNotifyNeedTheLock) {
  const Condition condition;
  EXPECT_THROW(condition.wait(0ms), AssertionError);
  EXPECT_THROW(condition.notify(), AssertionError);
  EXPECT_THROW(condition.notify_all(), AssertionError);
}

TEST(ConditionTest, AnEarlyNotifyIsNotRemembered) {
  const Condition condition;
  const std::scoped_lock guard(condition);
  condition.notify();
  EXPECT_FALSE(condition.wait(20ms));
}

TEST(ConditionTest, WaitReleasesAllOfTheRecursionAndRestoresIt) {
  const RLock lock;
  const Condition condition(lock);
  for (int i = 0; i < 3; ++i) lock.acquire();
  auto other = std::async(std::launch::async, [&] {
    ASSERT_TRUE(sleeping(condition, 1));
    const std::scoped_lock guard(lock);
    condition.notify();
  });
  EXPECT_TRUE(condition.wait(patience));
  EXPECT_EQ(lock.repr(), "<RLock(MainProcess, 3)>");
  for (int i = 0; i < 3; ++i) lock.release();
  other.get();
}

TEST(ConditionTest, WorksWithAPlainLock) {
  const Lock lock;
  const Condition condition(lock);
  lock.acquire();
  EXPECT_FALSE(condition.wait(0ms));
  EXPECT_TRUE(lock.locked());
  EXPECT_EQ(condition.repr(), "<Condition(<Lock(owner=MainProcess)>, 0)>");
  condition.release();
  EXPECT_FALSE(lock.locked());
}

TEST(ConditionTest, WakesTheLongestAsleepFirst) {
  const Condition condition;
  std::mutex order_lock;
  std::vector<int> order;
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([&, i] {
      const std::scoped_lock guard(condition);
      condition.wait(patience);
      const std::lock_guard also(order_lock);
      order.push_back(i);
    });
    ASSERT_TRUE(sleeping(condition, i + 1));
  }
  for (int i = 4; i >= 0; --i) {
    {
      const std::scoped_lock guard(condition);
      condition.notify();
    }
    ASSERT_TRUE(sleeping(condition, i));
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4}));
}

TEST(ConditionTest, NotifyWakesNoMoreThanAsked) {
  const Condition condition;
  const Semaphore woken(0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { sleep_once(condition, woken); });
  ASSERT_TRUE(sleeping(condition, 4));
  {
    const std::scoped_lock guard(condition);
    condition.notify(3);
  }
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(woken.acquire(patience));
  EXPECT_TRUE(sleeping(condition, 1));
  {
    const std::scoped_lock guard(condition);
    condition.notify_all();
  }
  for (auto& thread : threads) thread.join();
}

TEST(ConditionTest, WaitForReturnsThePredicatesLastWord) {
  const Condition condition;
  const std::scoped_lock guard(condition);
  EXPECT_EQ(condition.wait_for([] { return 7; }, 0ms), 7);
  int calls = 0;
  EXPECT_FALSE(condition.wait_for([&] { return ++calls > 100; }, 30ms));
  EXPECT_GE(calls, 2);
}

TEST(ConditionTest, ServesAConditionVariableAnyAsItsLock) {
  Lock lock;
  std::condition_variable_any any;
  bool ready = false;
  std::thread thread([&] {
    const std::scoped_lock guard(lock);
    ready = true;
    any.notify_one();
  });
  {
    std::unique_lock guard(lock);
    EXPECT_TRUE(any.wait_for(guard, patience, [&] { return ready; }));
  }
  thread.join();
}

TEST(ConditionTest, MoreSleepersThanThereIsRoomForIsAnError) {
  const Condition condition;
  const Semaphore woken(0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 500; ++i) threads.emplace_back([&] { sleep_once(condition, woken); });
  ASSERT_TRUE(sleeping(condition, 500));
  {
    const std::scoped_lock guard(condition);
    EXPECT_THROW(condition.wait(0ms), RuntimeError);
    condition.notify_all();
  }
  for (auto& thread : threads) thread.join();
}

// --- Event -------------------------------------------------------------------

void wait_for_event(Event event, Semaphore ready) {
  ready.release();
  mp::exit(event.wait() ? 0 : 1);
}

TEST_P(SignalsTest, AnEventSetByOneProcessWakesAllOthers) {
  const Event event;
  const Semaphore ready(0);
  auto first = start(wait_for_event, event, ready);
  auto second = start(wait_for_event, event, ready);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(ready.acquire(patience));
  event.set();
  EXPECT_EQ(ended(first), 0);
  EXPECT_EQ(ended(second), 0);
}

TEST_P(SignalsTest, AKilledSleeperDoesNotKeepAnEventFromWakingTheOthers) {
  const Event event;
  const Semaphore ready(0);
  auto victim = start(wait_for_event, event, ready);
  auto other = start(wait_for_event, event, ready);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(ready.acquire(patience));
  crash(victim);
  event.set();
  EXPECT_EQ(ended(other), 0);
}

TEST(EventTest, TimesOutUnlessSet) {
  const Event event;
  const auto begin = Clock::now();
  EXPECT_FALSE(event.wait(0ms));
  EXPECT_FALSE(event.wait(-1s));
  EXPECT_FALSE(event.wait(60ms));
  EXPECT_GE(Clock::now() - begin, 60ms);
  event.set();
  EXPECT_TRUE(event.wait(0ms));
  event.clear();
  EXPECT_FALSE(event.wait(0ms));
}

TEST(EventTest, APulseLosesNoSleeper) {
  const Event event;
  for (int round = 0; round < 200; ++round) {
    std::promise<pid_t> tid;
    auto sleeper = std::async(std::launch::async, [&] {
      tid.set_value(::gettid());
      return event.wait(patience);
    });
    const pid_t id = tid.get_future().get();
    ASSERT_TRUE(comes_true([=] { return is_asleep(id); }));
    event.set();
    event.clear();
    EXPECT_TRUE(sleeper.get());
    EXPECT_FALSE(event.is_set());
  }
}

const Event* handled = nullptr;

TEST(EventTest, ASignalHandlerMaySetItWhateverItInterrupts) {
  const Event event;
  handled = &event;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { handled->set(); };
  ::sigaction(SIGALRM, &action, &before);
  const itimerval often{{0, 200}, {0, 200}};
  const itimerval never{};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  for (int i = 0; i < 300; ++i) {
    EXPECT_TRUE(event.wait(patience));
    event.clear();
    (void)event.is_set();
    event.set();
    event.clear();
  }
  ::setitimer(ITIMER_REAL, &never, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
}

TEST(EventTest, TextSaysWhetherItIsSet) {
  const Event event;
  EXPECT_NE(event.repr().find(" unset>"), std::string::npos);
  EXPECT_TRUE(event.repr().starts_with("<Event at 0x"));
  event.set();
  EXPECT_NE(event.repr().find(" set>"), std::string::npos);
}

// --- Barrier -----------------------------------------------------------------

void pass_barrier(Barrier barrier, int times) {
  for (int i = 0; i < times; ++i) barrier.wait();
}

void expect_break(Barrier barrier) {
  try {
    barrier.wait();
  } catch (const BrokenBarrierError&) {
    return;
  }
  mp::exit(1);
}

TEST_P(SignalsTest, ABarrierHoldsEachPartyBackUntilAllHaveCome) {
  const Barrier barrier(3);
  auto first = start(pass_barrier, barrier, 20);
  auto second = start(pass_barrier, barrier, 20);
  std::set<int> indices;
  for (int i = 0; i < 20; ++i) indices.insert(barrier.wait(patience));
  EXPECT_GE(*indices.begin(), 0);
  EXPECT_LE(*indices.rbegin(), 2);
  EXPECT_EQ(ended(first), 0);
  EXPECT_EQ(ended(second), 0);
  EXPECT_EQ(barrier.n_waiting(), 0);
  EXPECT_FALSE(barrier.broken());
}

TEST_P(SignalsTest, ADeadWaiterBreaksTheBarrierWithinASecond) {
  const Barrier barrier(3);
  auto victim = start(pass_barrier, barrier, 1);
  auto other = start(expect_break, barrier);
  ASSERT_TRUE(waiting(barrier, 2));
  const auto begin = Clock::now();
  crash(victim);
  EXPECT_EQ(ended(other), 0);
  EXPECT_LT(Clock::now() - begin, 1s);
  EXPECT_TRUE(barrier.broken());
}

void pass_and_hang(Barrier barrier) {
  barrier.wait();
  for (;;) ::pause();
}

TEST_P(SignalsTest, APartyThatDiesBetweenPassesBreaksTheNext) {
  const Barrier barrier(2);
  auto victim = start(pass_and_hang, barrier);
  barrier.wait(patience);
  crash(victim);
  const auto begin = Clock::now();
  EXPECT_THROW(barrier.wait(patience), BrokenBarrierError);
  EXPECT_LT(Clock::now() - begin, 1s);
}

TEST_P(SignalsTest, APartyThatEndsInOrderMayBeReplaced) {
  const Barrier barrier(2);
  for (int round = 0; round < 2; ++round) {
    auto child = start(pass_barrier, barrier, 1);
    barrier.wait(patience);
    EXPECT_EQ(ended(child), 0);
  }
  // Longer than a look at who lives takes: the wait runs out, nobody is missed.
  EXPECT_FALSE(barrier.broken());
  auto late = std::async(std::launch::async, [&] { return barrier.wait(patience); });
  EXPECT_FALSE(late.wait_for(300ms) == std::future_status::ready);
  barrier.wait(patience);
  late.get();
}

void exit_after_pass(Barrier barrier) {
  barrier.wait();
  mp::exit(3);
}

TEST_P(SignalsTest, APartyThatFailsAfterAPassBreaksTheNext) {
  const Barrier barrier(2);
  auto child = start(exit_after_pass, barrier);
  barrier.wait(patience);
  EXPECT_EQ(ended(child), 3);
  EXPECT_THROW(barrier.wait(patience), BrokenBarrierError);
}

void count_up() { ::setenv("MP_TEST_ACTIONS", "ran", 1); }

TEST_P(SignalsTest, TheLastPartyRunsTheAction) {
  const Barrier barrier(2, count_up);
  auto child = start(
      +[](Barrier inherited) {
        const bool last = inherited.wait() == 1;
        mp::exit(last == (std::getenv("MP_TEST_ACTIONS") != nullptr) ? 0 : 1);
      },
      barrier);
  ::unsetenv("MP_TEST_ACTIONS");
  const bool last = barrier.wait(patience) == 1;
  EXPECT_EQ(std::getenv("MP_TEST_ACTIONS") != nullptr, last);
  EXPECT_EQ(ended(child), 0);
  ::unsetenv("MP_TEST_ACTIONS");
}

TEST(BarrierTest, AnActionThatCannotCrossIsRefusedWhenItIsSent) {
  int runs = 0;
  const Barrier barrier(1, [&runs] { ++runs; });
  EXPECT_EQ(barrier.wait(), 0);
  EXPECT_EQ(runs, 1);
  Encoder out;
  out.keep_until_receiver_ends();
  EXPECT_THROW(barrier.pickle(out), PicklingError);
}

TEST(BarrierTest, NeedsAParty) {
  EXPECT_THROW(Barrier(0), ValueError);
  EXPECT_THROW(Barrier(-1), ValueError);
  EXPECT_EQ(Barrier(3).parties(), 3);
}

TEST(BarrierTest, ATimeOutBreaksItForAll) {
  const Barrier barrier(3);
  auto other = std::async(std::launch::async,
                          [&] { EXPECT_THROW(barrier.wait(patience), BrokenBarrierError); });
  ASSERT_TRUE(waiting(barrier, 1));
  EXPECT_THROW(barrier.wait(30ms), BrokenBarrierError);
  other.get();
  EXPECT_THROW(barrier.wait(), BrokenBarrierError);
  EXPECT_NE(barrier.repr().find(": broken>"), std::string::npos);
}

TEST(BarrierTest, ItsOwnTimeOutIsTheDefault) {
  const Barrier barrier(2, 30ms);
  EXPECT_THROW(barrier.wait(), BrokenBarrierError);
}

TEST(BarrierTest, ResetSendsTheWaitersAwayAndMakesItAsNew) {
  const Barrier barrier(2);
  auto other = std::async(std::launch::async,
                          [&] { EXPECT_THROW(barrier.wait(patience), BrokenBarrierError); });
  ASSERT_TRUE(waiting(barrier, 1));
  barrier.reset();
  other.get();
  EXPECT_FALSE(barrier.broken());
  barrier.abort();
  EXPECT_TRUE(barrier.broken());
  barrier.reset();
  auto again = std::async(std::launch::async, [&] { barrier.wait(patience); });
  barrier.wait(patience);
  again.get();
}

TEST(BarrierTest, AnActionThatThrowsBreaksItForTheOthers) {
  const Barrier barrier(2, [] { throw std::runtime_error("no"); });
  auto other = std::async(std::launch::async,
                          [&] { EXPECT_THROW(barrier.wait(patience), BrokenBarrierError); });
  ASSERT_TRUE(waiting(barrier, 1));
  EXPECT_THROW(barrier.wait(patience), std::runtime_error);
  other.get();
  EXPECT_TRUE(barrier.broken());
}

TEST(BarrierTest, AnActionMayAskTheBarrier) {
  int seen = -1;
  std::optional<Barrier> barrier;
  barrier.emplace(1, [&] { seen = barrier->parties() + barrier->n_waiting(); });
  EXPECT_EQ(barrier->wait(), 0);
  EXPECT_EQ(seen, 1);
}

TEST(BarrierTest, MoreThreadsThanPartiesPassInTurns) {
  const Barrier barrier(2);
  std::atomic<int> passed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      barrier.wait(patience);
      ++passed;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(passed, 6);
}

TEST(BarrierTest, TextCountsTheWaiters) {
  const Barrier barrier(2);
  EXPECT_NE(barrier.repr().find(": waiters=0/2>"), std::string::npos);
}

}  // namespace
}  // namespace mp
