// What CPython's own suite checks of Lock, RLock, Semaphore, Condition, Event
// and Barrier, and what it does not check but promises; one test an id.

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <array>
#include <chrono>
#include <future>
#include <mp/connection.hpp>
#include <mp/sharedctypes.hpp>
#include <mp/synchronize.hpp>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "children.hpp"

namespace {

using namespace std::chrono_literals;
using mp::Barrier;
using mp::BoundedSemaphore;
using mp::Condition;
using mp::Event;
using mp::Lock;
using mp::Process;
using mp::RawArray;
using mp::RLock;
using mp::Semaphore;
using mp::Value;
using mp::test::crash;
using mp::test::ended;
using mp::test::patience;

using Clock = std::chrono::steady_clock;

class SyncConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(SyncConformance);

template <class Call>
Clock::duration timed(Call call) {
  const auto begin = Clock::now();
  call();
  return Clock::now() - begin;
}

template <class Ready>
bool becomes(Ready ready) {
  const mp::detail::Deadline deadline(patience);
  while (!ready()) {
    if (deadline.passed()) return false;
    std::this_thread::yield();
  }
  return true;
}

bool sleepers(const Condition& condition, int count) {
  return becomes([&] { return condition.repr().ends_with(fmt::format(", {})>", count)); });
}

// --- 4: Lock, RLock ----------------------------------------------------------

template <class L>
void hold_until_told(L lock, Event held, Event done) {
  lock.acquire();
  held.set();
  done.wait();
  lock.release();
}

template <class L>
void hold_for_ever(L lock, Event held, int times) {
  for (int i = 0; i < times; ++i) lock.acquire();
  held.set();
  for (;;) ::pause();
}

void expect_text(std::string expected, Lock lock) {
  lock.acquire();
  const bool right = lock.repr() == "<Lock(owner=" + expected + ")>";
  lock.release();
  mp::exit(right ? 0 : 1);
}

TEST_P(SyncConformance, lock__repr_owner) {
  const Lock lock;
  EXPECT_EQ(lock.repr(), "<Lock(owner=None)>");
  lock.acquire();
  EXPECT_EQ(lock.repr(), "<Lock(owner=MainProcess)>");
  lock.release();
  std::async(std::launch::async, [&] {
    ::pthread_setname_np(::pthread_self(), "T1");
    lock.acquire();
    EXPECT_EQ(lock.repr(), "<Lock(owner=MainProcess|T1)>");
  }).get();
  EXPECT_EQ(lock.repr(), "<Lock(owner=SomeOtherThread)>");
  lock.release();
  Process named({.name = "P1", .daemon = true, .start_method = GetParam()}, expect_text,
                std::string("P1"), lock);
  named.start();
  EXPECT_EQ(ended(named), 0);
  const Event held;
  const Event done;
  auto child = start(hold_until_told<Lock>, lock, held, done);
  ASSERT_TRUE(held.wait(patience));
  EXPECT_EQ(lock.repr(), "<Lock(owner=SomeOtherProcess)>");
  done.set();
  EXPECT_EQ(ended(child), 0);
}

TEST(SyncConformanceOnce, lock__basic) {
  const Lock lock;
  EXPECT_TRUE(lock.acquire());
  EXPECT_TRUE(lock.locked());
  EXPECT_FALSE(lock.acquire(false));
  lock.release();
  EXPECT_FALSE(lock.locked());
  EXPECT_THROW(lock.release(), mp::ValueError);
}

void acquire_and_tell(Lock lock, Event held, Event done) {
  lock.acquire();
  if (!lock.locked()) mp::exit(1);
  held.set();
  done.wait();
  lock.release();
}

TEST_P(SyncConformance, lock__locked_seen_by_other_process) {
  const Lock lock;
  const Event held;
  const Event done;
  auto child = start(acquire_and_tell, lock, held, done);
  ASSERT_TRUE(held.wait(patience));
  EXPECT_TRUE(lock.locked());
  done.set();
  EXPECT_EQ(ended(child), 0);
  EXPECT_FALSE(lock.locked());
}

void expect_rlock_text(RLock lock) {
  lock.acquire();
  mp::exit(lock.repr() == "<RLock(P1, 1)>" ? (lock.release(), 0) : 1);
}

TEST_P(SyncConformance, rlock__repr_owner_and_depth) {
  const RLock lock;
  EXPECT_EQ(lock.repr(), "<RLock(None, 0)>");
  for (int i = 0; i < 3; ++i) lock.acquire();
  EXPECT_EQ(lock.repr(), "<RLock(MainProcess, 3)>");
  std::async(std::launch::async, [&] {
    EXPECT_EQ(lock.repr(), "<RLock(SomeOtherThread, nonzero)>");
  }).get();
  for (int i = 0; i < 3; ++i) lock.release();
  std::async(std::launch::async, [&] {
    ::pthread_setname_np(::pthread_self(), "T2");
    const std::scoped_lock once(lock);
    const std::scoped_lock twice(lock);
    EXPECT_EQ(lock.repr(), "<RLock(MainProcess|T2, 2)>");
  }).get();
  Process named({.name = "P1", .daemon = true, .start_method = GetParam()}, expect_rlock_text,
                lock);
  named.start();
  EXPECT_EQ(ended(named), 0);
  const Event held;
  const Event done;
  auto child = start(hold_until_told<RLock>, lock, held, done);
  ASSERT_TRUE(held.wait(patience));
  EXPECT_EQ(lock.repr(), "<RLock(SomeOtherProcess, nonzero)>");
  done.set();
  EXPECT_EQ(ended(child), 0);
}

TEST(SyncConformanceOnce, rlock__basic) {
  const RLock lock;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(lock.acquire());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(lock.locked());
    lock.release();
  }
  EXPECT_FALSE(lock.locked());
  EXPECT_THROW(lock.release(), mp::AssertionError);
}

TEST_P(SyncConformance, rlock__locked_seen_by_other_process) {
  const RLock lock;
  const Event held;
  const Event done;
  auto child = start(hold_until_told<RLock>, lock, held, done);
  ASSERT_TRUE(held.wait(patience));
  EXPECT_TRUE(lock.locked());
  EXPECT_FALSE(lock.acquire(false));
  done.set();
  EXPECT_EQ(ended(child), 0);
  EXPECT_FALSE(lock.locked());
}

TEST(SyncConformanceOnce, lock__context_manager) {
  const Lock lock;
  {
    const std::scoped_lock guard(lock);
    EXPECT_TRUE(lock.locked());
  }
  EXPECT_FALSE(lock.locked());
}

TEST(SyncConformanceOnce, rlock__context_manager) {
  const RLock lock;
  {
    const std::scoped_lock guard(lock);
    EXPECT_TRUE(lock.locked());
  }
  EXPECT_FALSE(lock.locked());
}

// --- 5: Semaphore ------------------------------------------------------------

template <class S>
void count_down_and_up(const S& units) {
  EXPECT_EQ(units.get_value(), 2);
  EXPECT_TRUE(units.acquire());
  EXPECT_EQ(units.get_value(), 1);
  EXPECT_TRUE(units.acquire());
  EXPECT_EQ(units.get_value(), 0);
  EXPECT_FALSE(units.acquire(false));
  units.release();
  EXPECT_EQ(units.get_value(), 1);
  units.release();
  EXPECT_EQ(units.get_value(), 2);
}

TEST(SyncConformanceOnce, semaphore__counting) {
  const Semaphore units(2);
  count_down_and_up(units);
  units.release();
  EXPECT_EQ(units.get_value(), 3);
  units.release();
  EXPECT_EQ(units.get_value(), 4);
}

TEST(SyncConformanceOnce, bounded_semaphore__counting) {
  const BoundedSemaphore units(2);
  count_down_and_up(units);
  EXPECT_THROW(units.release(), mp::ValueError);
  EXPECT_EQ(units.get_value(), 2);
}

TEST(SyncConformanceOnce, semaphore__acquire_timeouts) {
  const Semaphore none(0);
  EXPECT_LT(timed([&] {
              EXPECT_FALSE(none.acquire(false));
              EXPECT_FALSE(none.acquire(false, std::nullopt));
              EXPECT_FALSE(none.acquire(false, 10s));
            }),
            5s);
  EXPECT_GE(timed([&] { EXPECT_FALSE(none.acquire(true, 100ms)); }), 100ms);
  EXPECT_GE(timed([&] { EXPECT_FALSE(none.acquire(100ms)); }), 100ms);
}

// --- 6: Condition ------------------------------------------------------------

void sleep_and_tell(Condition condition, Semaphore woken, mp::Timeout timeout) {
  const std::scoped_lock guard(condition);
  condition.wait(timeout);
  woken.release();
}

TEST_P(SyncConformance, condition__notify_wakes_one) {
  const Condition condition;
  const Semaphore woken(0);
  auto child = start(sleep_and_tell, condition, woken, mp::Timeout());
  std::thread thread(sleep_and_tell, condition, woken, mp::Timeout());
  ASSERT_TRUE(sleepers(condition, 2));
  EXPECT_EQ(woken.get_value(), 0);
  for (int left = 1; left >= 0; --left) {
    {
      const std::scoped_lock guard(condition);
      condition.notify();
    }
    EXPECT_TRUE(woken.acquire(patience));
    EXPECT_TRUE(sleepers(condition, left));
    EXPECT_EQ(woken.get_value(), 0);
  }
  thread.join();
  EXPECT_EQ(ended(child), 0);
}

TEST_P(SyncConformance, condition__notify_all) {
  const Condition condition;
  const Semaphore woken(0);
  for (const mp::Timeout timeout : {mp::Timeout(100ms), mp::Timeout()}) {
    std::vector<Process> children;
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      children.push_back(start(sleep_and_tell, condition, woken, timeout));
      threads.emplace_back(sleep_and_tell, condition, woken, timeout);
    }
    if (!timeout) {
      ASSERT_TRUE(sleepers(condition, 6));
      EXPECT_EQ(woken.get_value(), 0);
      const std::scoped_lock guard(condition);
      condition.notify_all();
    }
    for (int i = 0; i < 6; ++i) EXPECT_TRUE(woken.acquire(patience));
    for (auto& thread : threads) thread.join();
    for (auto& child : children) EXPECT_EQ(ended(child), 0);
    EXPECT_TRUE(sleepers(condition, 0));
  }
}

TEST(SyncConformanceOnce, condition__wait_timeout) {
  const Condition condition;
  const std::scoped_lock guard(condition);
  EXPECT_GE(timed([&] { EXPECT_FALSE(condition.wait(100ms)); }), 100ms);
}

void wait_for_four(Condition condition, Value<int> state) {
  const std::scoped_lock guard(condition);
  state.value = 0;
  condition.notify();
  if (!condition.wait_for([&] { return state.value == 4; })) mp::exit(1);
}

TEST_P(SyncConformance, condition__wait_for) {
  const Condition condition;
  const Value<int> state(-1);
  auto child = start(wait_for_four, condition, state);
  {
    const std::scoped_lock guard(condition);
    EXPECT_TRUE(condition.wait_for([&] { return state.value == 0; }, patience));
  }
  for (int i = 0; i < 4; ++i) {
    const std::scoped_lock guard(condition);
    state.value += 1;
    condition.notify();
  }
  EXPECT_EQ(ended(child), 0);
}

std::atomic<int> interrupts{0};

void notify_then_interrupt(Condition condition, pid_t parent) {
  {
    const std::scoped_lock guard(condition);
    condition.notify();
  }
  if (!sleepers(condition, 1)) mp::exit(1);
  ::kill(parent, SIGUSR1);
  const std::scoped_lock guard(condition);
}

TEST_P(SyncConformance, condition__wait_result_and_sigint) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { ++interrupts; };
  ::sigaction(SIGUSR1, &action, &before);
  interrupts = 0;
  const Condition condition;
  condition.acquire();
  EXPECT_FALSE(condition.wait(0ms));
  EXPECT_FALSE(condition.wait(100ms));
  auto child = start(notify_then_interrupt, condition, ::getpid());
  EXPECT_TRUE(condition.wait(patience));
  // The handler runs, the wait goes on, and its time counts from its beginning.
  EXPECT_GE(timed([&] { EXPECT_FALSE(condition.wait(500ms)); }), 500ms);
  condition.release();
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(interrupts, 1);
  ::sigaction(SIGUSR1, &before, nullptr);
}

// --- 7: Event ----------------------------------------------------------------

void set_event(Event event, Event ready) {
  ready.wait();
  event.set();
}

TEST_P(SyncConformance, event__basic) {
  const Event event;
  EXPECT_FALSE(event.is_set());
  EXPECT_FALSE(event.wait(0ms));
  EXPECT_GE(timed([&] { EXPECT_FALSE(event.wait(100ms)); }), 100ms);
  event.set();
  EXPECT_TRUE(event.is_set());
  EXPECT_TRUE(event.wait());
  EXPECT_TRUE(event.wait(100ms));
  event.clear();
  EXPECT_FALSE(event.is_set());
  const Event ready;
  auto child = start(set_event, event, ready);
  ready.set();
  EXPECT_TRUE(event.wait(patience));
  EXPECT_EQ(ended(child), 0);
}

TEST(SyncConformanceOnce, event__repr) {
  const Event event;
  EXPECT_NE(event.repr().find(" unset>"), std::string::npos);
  event.set();
  EXPECT_NE(event.repr().find(" set>"), std::string::npos);
  event.clear();
  EXPECT_NE(event.repr().find(" unset>"), std::string::npos);
}

// --- 8: Barrier --------------------------------------------------------------

constexpr int parties = 5;

// Arrivals in phase 0 and phase 1: nobody is ahead of anybody.
void two_phases(Barrier barrier, Value<int> first, Value<int> second, int passes) {
  for (int i = 0; i < passes; ++i) {
    first.fetch_add(1);
    if (second.value != i * parties) mp::exit(1);
    barrier.wait();
    second.fetch_add(1);
    if (first.value != (i + 1) * parties) mp::exit(2);
    barrier.wait();
  }
}

void expect_lockstep(mp::test::EachMethod&, std::vector<Process> children, const Barrier& barrier,
                     const Value<int>& first, const Value<int>& second, int passes) {
  two_phases(barrier, first, second, passes);
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(barrier.n_waiting(), 0);
  EXPECT_FALSE(barrier.broken());
}

TEST_P(SyncConformance, barrier__lockstep) {
  const Barrier barrier(parties, patience);
  const Value<int> first(0);
  const Value<int> second(0);
  std::vector<Process> children;
  for (int i = 1; i < parties; ++i) {
    children.push_back(start(two_phases, barrier, first, second, 1));
  }
  expect_lockstep(*this, std::move(children), barrier, first, second, 1);
}

TEST_P(SyncConformance, barrier__ten_passes) {
  const Barrier barrier(parties, patience);
  const Value<int> first(0);
  const Value<int> second(0);
  std::vector<Process> children;
  for (int i = 1; i < parties; ++i) {
    children.push_back(start(two_phases, barrier, first, second, 10));
  }
  expect_lockstep(*this, std::move(children), barrier, first, second, 10);
}

void note_index(Barrier barrier, RawArray<int> seen) { seen[barrier.wait()].operator++(); }

TEST_P(SyncConformance, barrier__wait_index) {
  const Barrier barrier(parties, patience);
  const RawArray<int> seen(parties);
  std::vector<Process> children;
  for (int i = 1; i < parties; ++i) children.push_back(start(note_index, barrier, seen));
  note_index(barrier, seen);
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(seen.to_vector(), std::vector<int>(parties, 1));
}

// The action of a barrier that crosses knows only what a function knows: it
// leaves word in its process, and the last party passes that on.
bool acted = false;
void note_action() { acted = true; }

void pass_and_count(Barrier barrier, Value<int> actions, Value<int> wrong) {
  const int index = barrier.wait();
  if (acted != (index == parties - 1)) wrong.fetch_add(1);
  if (acted) actions.fetch_add(1);
}

TEST_P(SyncConformance, barrier__action_once) {
  acted = false;
  const Barrier barrier(parties, note_action, patience);
  const Value<int> actions(0);
  const Value<int> wrong(0);
  std::vector<Process> children;
  for (int i = 1; i < parties; ++i) {
    children.push_back(start(pass_and_count, barrier, actions, wrong));
  }
  pass_and_count(barrier, actions, wrong);
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(actions.value, 1);
  EXPECT_EQ(wrong.value, 0);
}

void abort_then_reset(Barrier barrier, Barrier guard, Value<int> errors, Value<int> passed) {
  try {
    if (barrier.wait() == parties / 2) {
      // The third of all breaks the next pass.
      barrier.abort();
    }
    barrier.wait();
  } catch (const mp::BrokenBarrierError&) {
    errors.fetch_add(1);
  }
  if (guard.wait() == 0) barrier.reset();
  guard.wait();
  barrier.wait();
  passed.fetch_add(1);
}

TEST_P(SyncConformance, barrier__abort_then_reset) {
  const Barrier barrier(parties, patience);
  const Barrier guard(parties, patience);
  const Value<int> errors(0);
  const Value<int> passed(0);
  std::vector<Process> children;
  for (int i = 1; i < parties; ++i) {
    children.push_back(start(abort_then_reset, barrier, guard, errors, passed));
  }
  abort_then_reset(barrier, guard, errors, passed);
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(errors.value, parties);
  EXPECT_EQ(passed.value, parties);
}

TEST(SyncConformanceOnce, barrier__single_party) {
  const Barrier barrier(1);
  EXPECT_EQ(barrier.wait(), 0);
  EXPECT_EQ(barrier.wait(), 0);
}

void send_passes(Barrier barrier, Lock lock, mp::Connection to, int passes) {
  for (int i = 0; i < passes; ++i) {
    barrier.wait();
    const std::scoped_lock guard(lock);
    to.send(i);
  }
}

TEST_P(SyncConformance, barrier__thousand) {
  constexpr int passes = 1000;
  const Barrier barrier(parties, patience);
  const Lock lock;
  auto [from, to] = mp::Pipe(false);
  std::vector<Process> children;
  for (int i = 0; i < parties; ++i) {
    children.push_back(start(send_passes, barrier, lock, to, passes));
  }
  to.close();
  for (int i = 0; i < passes; ++i) {
    for (int party = 0; party < parties; ++party) ASSERT_EQ(from.recv<int>(), i);
  }
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
}

// --- promised, and not checked by CPython ------------------------------------

void release_lock(Lock lock, RLock recursive) {
  lock.release();
  try {
    recursive.release();
  } catch (const mp::AssertionError&) {
    return;
  }
  mp::exit(1);
}

TEST_P(SyncConformance, extra__lock_release_by_other_process) {
  const Lock lock;
  const RLock recursive;
  lock.acquire();
  recursive.acquire();
  auto child = start(release_lock, lock, recursive);
  EXPECT_EQ(ended(child), 0);
  EXPECT_FALSE(lock.locked());
  EXPECT_TRUE(recursive.locked());
}

TEST(SyncConformanceOnce, extra__condition_unowned) {
  const Condition condition;
  EXPECT_THROW(condition.wait(), mp::AssertionError);
  EXPECT_THROW(condition.notify(), mp::AssertionError);
}

TEST_P(SyncConformance, survive__lock_owner_killed) {
  const Lock lock;
  const Event held;
  auto child = start(hold_for_ever<Lock>, lock, held, 1);
  ASSERT_TRUE(held.wait(patience));
  crash(child);
  EXPECT_LT(timed([&] { EXPECT_THROW(lock.acquire(), mp::OwnerDied); }), 1s);
  lock.release();
  EXPECT_TRUE(lock.acquire());
}

TEST_P(SyncConformance, survive__rlock_owner_killed_with_depth) {
  const RLock lock;
  const Event held;
  auto child = start(hold_for_ever<RLock>, lock, held, 3);
  ASSERT_TRUE(held.wait(patience));
  crash(child);
  EXPECT_LT(timed([&] { EXPECT_THROW(lock.acquire(), mp::OwnerDied); }), 1s);
  lock.release();
  EXPECT_FALSE(lock.locked());
}

TEST_P(SyncConformance, survive__notify_with_killed_waiter) {
  const Condition condition;
  const Semaphore woken(0);
  auto victim = start(sleep_and_tell, condition, woken, mp::Timeout());
  ASSERT_TRUE(sleepers(condition, 1));
  auto other = start(sleep_and_tell, condition, woken, mp::Timeout());
  ASSERT_TRUE(sleepers(condition, 2));
  crash(victim);
  EXPECT_LT(timed([&] {
              const std::scoped_lock guard(condition);
              condition.notify_all();
            }),
            1s);
  EXPECT_TRUE(woken.acquire(patience));
  EXPECT_EQ(ended(other), 0);
}

TEST_P(SyncConformance, survive__event_pulse) {
  const Event event;
  const Value<int> result(-1);
  const Value<int> tid(0);
  auto child = start(
      +[](Event pulsed, Value<int> told, Value<int> me) {
        me.value = ::gettid();
        told.value = pulsed.wait() ? 1 : 0;
      },
      event, result, tid);
  // In its wait by what the kernel says: asleep, and no longer starting.
  ASSERT_TRUE(becomes([&] {
    if (tid.value == 0) return false;
    std::array<char, 64> name{};
    std::FILE* file = std::fopen(fmt::format("/proc/{}/wchan", int{tid.value}).c_str(), "r");
    if (file == nullptr) return false;
    const auto size = std::fread(name.data(), 1, name.size() - 1, file);
    std::fclose(file);
    return std::string_view(name.data(), size).find("futex") != std::string_view::npos;
  }));
  event.set();
  event.clear();
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(result.value, 1);
}

const Event* in_handler = nullptr;

TEST(SyncConformanceOnce, survive__event_set_in_signal_handler) {
  const Event event;
  in_handler = &event;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { in_handler->set(); };
  ::sigaction(SIGUSR1, &action, &before);
  std::atomic<bool> stop{false};
  const pthread_t me = ::pthread_self();
  std::thread other([&] {
    while (!stop) ::pthread_kill(me, SIGUSR1);
  });
  for (int i = 0; i < 500; ++i) {
    EXPECT_TRUE(event.wait(patience));
    event.clear();
    (void)event.is_set();
  }
  stop = true;
  other.join();
  ::sigaction(SIGUSR1, &before, nullptr);
}

}  // namespace
