// What CPython's own suite checks of every kind of queue and lock, here of a
// manager's: one test an id.

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <mp/mp.hpp>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "children.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::ended;
using mp::test::patience;
using Clock = std::chrono::steady_clock;

class ManagerFlavour : public mp::test::EachMethod {
 protected:
  mp::SyncManager manager = mp::Manager({.start_method = GetParam()});

  // `count` children that all do the same.
  template <class Target, class... Args>
  std::vector<mp::Process> start_all(int count, Target target, const Args&... args) {
    std::vector<mp::Process> children;
    for (int i = 0; i < count; ++i) children.push_back(start(target, args...));
    return children;
  }
};
MP_TEST_EACH_METHOD(ManagerFlavour);

void expect_all_to_end_well(std::vector<mp::Process>& children) {
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
}

// --- queues ------------------------------------------------------------------

TEST_P(ManagerFlavour, queue__qsize__manager) {
  auto queue = manager.Queue<int>();
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(queue.qsize(), i);
    queue.put(1);
  }
  for (std::size_t i = 3; i > 0; --i) {
    EXPECT_EQ(queue.qsize(), i);
    EXPECT_EQ(queue.get(), 1);
  }
  EXPECT_EQ(queue.qsize(), 0U);
}

TEST_P(ManagerFlavour, queue__get_timeout_waits__manager) {
  auto queue = manager.Queue<int>();
  const auto begin = Clock::now();
  EXPECT_THROW(queue.get(200ms), mp::Empty);
  EXPECT_GE(Clock::now() - begin, 200ms);
}

TEST_P(ManagerFlavour, queue__feeder_survives_serialise_error__manager) {
  struct Stubborn {
    bool refuses = false;
    void pickle(mp::Encoder& out) const {
      if (refuses) throw std::runtime_error("pickling refused");
      mp::encode(out, refuses);
    }
    static Stubborn unpickle(mp::Decoder& in) { return {mp::decode<bool>(in)}; }
  };
  auto queue = manager.Queue<Stubborn>(1);
  EXPECT_THROW(queue.put({true}), std::runtime_error);
  queue.put_nowait({false});
  EXPECT_FALSE(queue.get(patience).refuses);
}

TEST_P(ManagerFlavour, queue__shutdown_empty__manager) {
  auto queue = manager.Queue<int>();
  queue.shutdown();
  EXPECT_THROW(queue.put(1), mp::ShutDown);
  EXPECT_THROW(queue.get(), mp::ShutDown);
}

TEST_P(ManagerFlavour, queue__shutdown_nonempty__manager) {
  auto queue = manager.Queue<int>();
  queue.put(1);
  queue.shutdown();
  EXPECT_THROW(queue.put(2), mp::ShutDown);
  EXPECT_EQ(queue.get(), 1);
  EXPECT_THROW(queue.get(), mp::ShutDown);
}

TEST_P(ManagerFlavour, queue__shutdown_immediate__manager) {
  auto queue = manager.JoinableQueue<int>();
  auto waits = start(
      [](const mp::JoinableQueueProxy<int>& q) {
        if (!q.join(patience)) mp::exit(1);
      },
      queue);
  queue.put(1);
  queue.shutdown(true);
  EXPECT_THROW(queue.get(), mp::ShutDown);
  EXPECT_TRUE(queue.join(patience));
  EXPECT_EQ(ended(waits), 0);
}

TEST_P(ManagerFlavour, queue__shutdown_immediate_unfinished__manager) {
  auto queue = manager.JoinableQueue<int>();
  queue.put(1);
  queue.put(2);
  EXPECT_EQ(queue.get(), 1);
  queue.shutdown(true);
  EXPECT_FALSE(queue.join(0ms));
  queue.task_done();
  EXPECT_TRUE(queue.join(patience));
  EXPECT_THROW(queue.task_done(), mp::ValueError);
}

// What was put is there for a child that is forked afterwards.
TEST_P(ManagerFlavour, queue__fork_with_running_feeder__manager) {
  auto queue = manager.Queue<int>();
  for (int i = 0; i < 10; ++i) queue.put(i);
  auto child = start(
      [](const mp::QueueProxy<int>& q) {
        for (int i = 10; i < 20; ++i) q.put(i);
      },
      queue);
  EXPECT_EQ(ended(child), 0);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(queue.get(patience), i);
  EXPECT_THROW(queue.get_nowait(), mp::Empty);
}

TEST_P(ManagerFlavour, queue__put_until_full__manager) {
  auto queue = manager.Queue<int>(6);
  EXPECT_TRUE(queue.empty());
  for (int i = 1; i <= 5; ++i) queue.put(i);
  queue.put_nowait(6);
  EXPECT_TRUE(queue.full());
  EXPECT_THROW(queue.put_nowait(7), mp::Full);
  const auto begin = Clock::now();
  EXPECT_THROW(queue.put(7, 50ms), mp::Full);
  EXPECT_GE(Clock::now() - begin, 50ms);
  auto child = start(
      [](const mp::QueueProxy<int>& q) {
        for (int i = 1; i <= 6; ++i) {
          if (q.get() != i) mp::exit(1);
        }
      },
      queue);
  EXPECT_EQ(ended(child), 0);
  EXPECT_TRUE(queue.empty());
}

TEST_P(ManagerFlavour, queue__get_until_empty__manager) {
  auto queue = manager.Queue<int>();
  auto child = start(
      [](const mp::QueueProxy<int>& q) {
        for (int i = 2; i <= 5; ++i) q.put(i);
      },
      queue);
  for (int i = 2; i <= 5; ++i) EXPECT_EQ(queue.get(patience), i);
  EXPECT_THROW(queue.get_nowait(), mp::Empty);
  const auto begin = Clock::now();
  EXPECT_THROW(queue.get(50ms), mp::Empty);
  EXPECT_GE(Clock::now() - begin, 50ms);
  EXPECT_EQ(ended(child), 0);
}

TEST_P(ManagerFlavour, queue__task_done_and_join__manager) {
  auto queue = manager.JoinableQueue<std::optional<int>>();
  std::vector<mp::Process> workers;
  for (int i = 0; i < 4; ++i) {
    workers.push_back(start(
        [](const mp::JoinableQueueProxy<std::optional<int>>& q) {
          while (q.get()) q.task_done();
          q.task_done();
        },
        queue));
  }
  for (int i = 0; i < 10; ++i) queue.put(i);
  EXPECT_TRUE(queue.join(patience));
  for (std::size_t i = 0; i < workers.size(); ++i) queue.put(std::nullopt);
  for (auto& worker : workers) EXPECT_EQ(ended(worker), 0);
}

// --- locks -------------------------------------------------------------------

TEST_P(ManagerFlavour, lock__context_manager__manager) {
  auto lock = manager.Lock();
  {
    const std::scoped_lock guard(lock);
    EXPECT_TRUE(lock.locked());
  }
  EXPECT_FALSE(lock.locked());
  EXPECT_TRUE(std::unique_lock(lock, std::try_to_lock).owns_lock());
}

TEST_P(ManagerFlavour, rlock__context_manager__manager) {
  auto lock = manager.RLock();
  {
    const std::scoped_lock outer(lock);
    const std::scoped_lock inner(lock);
    EXPECT_TRUE(lock.locked());
  }
  EXPECT_FALSE(lock.locked());
}

std::atomic<int> interrupts{0};

TEST_P(ManagerFlavour, condition__wait_result_and_sigint__manager) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { ++interrupts; };
  ::sigaction(SIGUSR1, &action, &before);
  interrupts = 0;
  auto condition = manager.Condition();
  condition.acquire();
  EXPECT_FALSE(condition.wait(1ms));
  // Whoever gets the lock knows that this thread waits.
  std::thread other([&, waiting = ::pthread_self()] {
    const std::scoped_lock guard(condition);
    ::pthread_kill(waiting, SIGUSR1);
    while (interrupts == 0) std::this_thread::yield();
    condition.notify();
  });
  EXPECT_TRUE(condition.wait(patience));
  condition.release();
  other.join();
  EXPECT_EQ(interrupts, 1);
  ::sigaction(SIGUSR1, &before, nullptr);
}

template <class Lock>
void check_locked(const Lock& lock, bool held) {
  if (lock.locked() != held || lock.acquire(false) == held) mp::exit(1);
}

TEST_P(ManagerFlavour, lock__locked_seen_by_other_process__manager) {
  auto lock = manager.Lock();
  for (const bool held : {true, false}) {
    if (held) lock.acquire();
    auto child = start(check_locked<mp::LockProxy>, lock, held);
    EXPECT_EQ(ended(child), 0);
    if (held) lock.release();
  }
}

TEST_P(ManagerFlavour, rlock__locked_seen_by_other_process__manager) {
  auto lock = manager.RLock();
  for (const bool held : {true, false}) {
    if (held) lock.acquire();
    auto child = start(check_locked<mp::RLockProxy>, lock, held);
    EXPECT_EQ(ended(child), 0);
    if (held) lock.release();
  }
}

TEST_P(ManagerFlavour, condition__notify_wakes_one__manager) {
  auto condition = manager.Condition();
  auto waiting = manager.Semaphore(0);
  auto woken = manager.Semaphore(0);
  auto children = start_all(
      3,
      [](const mp::ConditionProxy& c, const mp::SemaphoreProxy& w, const mp::SemaphoreProxy& done) {
        c.acquire();
        w.release();
        c.wait();
        c.release();
        done.release();
      },
      condition, waiting, woken);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(waiting.acquire(patience));
  for (int i = 0; i < 3; ++i) {
    condition.acquire();
    condition.notify();
    condition.release();
    ASSERT_TRUE(woken.acquire(patience));
    EXPECT_FALSE(woken.acquire(20ms));
  }
  expect_all_to_end_well(children);
}

TEST_P(ManagerFlavour, condition__wait_timeout__manager) {
  auto condition = manager.Condition();
  condition.acquire();
  const auto begin = Clock::now();
  EXPECT_FALSE(condition.wait(50ms));
  EXPECT_GE(Clock::now() - begin, 50ms);
  condition.release();
}

// Two steps that no party takes before all have taken the first.
TEST_P(ManagerFlavour, barrier__lockstep__manager) {
  auto barrier = manager.Barrier(5);
  auto first = manager.list<int>();
  auto second = manager.list<int>();
  const auto step = [](const mp::BarrierProxy& b, const mp::ListProxy<int>& one,
                       const mp::ListProxy<int>& two) {
    for (std::size_t i = 0; i < 3; ++i) {
      one.append(1);
      b.wait(patience);
      if (one.size() != 5 * (i + 1)) mp::exit(1);
      two.append(1);
      b.wait(patience);
      if (two.size() != 5 * (i + 1)) mp::exit(2);
    }
  };
  auto children = start_all(4, step, barrier, first, second);
  step(barrier, first, second);
  expect_all_to_end_well(children);
  EXPECT_FALSE(barrier.broken());
}

TEST_P(ManagerFlavour, barrier__abort_then_reset__manager) {
  auto barrier = manager.Barrier(3);
  auto broken = manager.Semaphore(0);
  auto children = start_all(
      2,
      [](const mp::BarrierProxy& b, const mp::SemaphoreProxy& told) {
        try {
          b.wait(patience);
        } catch (const mp::BrokenBarrierError&) {
          told.release();
        }
      },
      barrier, broken);
  while (barrier.n_waiting() < 2) std::this_thread::yield();
  barrier.abort();
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(broken.acquire(patience));
  EXPECT_TRUE(barrier.broken());
  EXPECT_THROW((void)barrier.wait(), mp::BrokenBarrierError);
  expect_all_to_end_well(children);
  barrier.reset();
  EXPECT_FALSE(barrier.broken());
  auto again = start_all(
      2, [](const mp::BarrierProxy& b) { b.wait(patience); }, barrier);
  EXPECT_LT(barrier.wait(patience), 3U);
  expect_all_to_end_well(again);
}

TEST_P(ManagerFlavour, lock__basic__manager) {
  auto lock = manager.Lock();
  EXPECT_TRUE(lock.acquire());
  EXPECT_TRUE(lock.locked());
  EXPECT_FALSE(lock.acquire(false));
  lock.release();
  EXPECT_FALSE(lock.locked());
  EXPECT_THROW(lock.release(), mp::RuntimeError);
}

TEST_P(ManagerFlavour, rlock__basic__manager) {
  auto lock = manager.RLock();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(lock.acquire());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(lock.locked());
    lock.release();
  }
  EXPECT_THROW(lock.release(), mp::RuntimeError);
}

TEST_P(ManagerFlavour, semaphore__counting__manager) {
  auto semaphore = manager.Semaphore(2);
  EXPECT_TRUE(semaphore.acquire());
  EXPECT_TRUE(semaphore.acquire());
  EXPECT_FALSE(semaphore.acquire(false));
  for (int value = 1; value <= 4; ++value) {
    semaphore.release();
    EXPECT_EQ(semaphore.get_value(), value);
  }
}

TEST_P(ManagerFlavour, bounded_semaphore__counting__manager) {
  auto semaphore = manager.BoundedSemaphore(2);
  EXPECT_TRUE(semaphore.acquire());
  EXPECT_TRUE(semaphore.acquire());
  semaphore.release();
  semaphore.release();
  EXPECT_THROW(semaphore.release(), mp::ValueError);
  EXPECT_EQ(semaphore.get_value(), 2);
}

TEST_P(ManagerFlavour, semaphore__acquire_timeouts__manager) {
  auto semaphore = manager.Semaphore(0);
  EXPECT_FALSE(semaphore.acquire(false));
  EXPECT_FALSE(semaphore.acquire(false, patience));
  const auto begin = Clock::now();
  EXPECT_FALSE(semaphore.acquire(50ms));
  EXPECT_GE(Clock::now() - begin, 50ms);
}

TEST_P(ManagerFlavour, condition__notify_all__manager) {
  auto condition = manager.Condition();
  auto sleeping = manager.Semaphore(0);
  auto woken = manager.Value(0);
  const auto sleep = [](const mp::ConditionProxy& c, const mp::SemaphoreProxy& sleeping,
                        const mp::ValueProxy<int>& woken) {
    const std::scoped_lock guard(c);
    if (c.wait(10ms)) mp::exit(1);
    sleeping.release();
    if (!c.wait(patience)) mp::exit(2);
    woken.value += 1;
  };
  std::vector<mp::Process> children;
  for (int i = 0; i < 3; ++i) children.push_back(start(sleep, condition, sleeping, woken));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(sleeping.acquire(patience));
  {
    const std::scoped_lock guard(condition);
    EXPECT_EQ(woken.get(), 0);
    condition.notify_all();
  }
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(woken.get(), 3);
}

TEST_P(ManagerFlavour, condition__wait_for__manager) {
  auto condition = manager.Condition();
  auto state = manager.Value(-1);
  auto child = start(
      [](const mp::ConditionProxy& c, const mp::ValueProxy<int>& state) {
        const std::scoped_lock guard(c);
        state.set(0);
        c.notify();
        if (!c.wait_for([&] { return state.get() == 4; }, patience)) mp::exit(1);
      },
      condition, state);
  {
    const std::scoped_lock guard(condition);
    EXPECT_TRUE(condition.wait_for([&] { return state.get() == 0; }, patience));
  }
  for (int i = 0; i < 4; ++i) {
    const std::scoped_lock guard(condition);
    state.value += 1;
    condition.notify();
  }
  EXPECT_EQ(ended(child), 0);
}

TEST_P(ManagerFlavour, event__basic__manager) {
  auto event = manager.Event();
  EXPECT_FALSE(event.is_set());
  EXPECT_FALSE(event.wait(0ms));
  const auto begin = Clock::now();
  EXPECT_FALSE(event.wait(50ms));
  EXPECT_GE(Clock::now() - begin, 50ms);
  event.set();
  EXPECT_TRUE(event.wait());
  event.clear();
  auto child = start([](const mp::EventProxy& e) { e.set(); }, event);
  EXPECT_TRUE(event.wait(patience));
  EXPECT_EQ(ended(child), 0);
}

TEST_P(ManagerFlavour, barrier__ten_passes__manager) {
  static constexpr int parties = 3;
  auto barrier = manager.Barrier(parties);
  auto counts = manager.list(std::vector<int>(10));
  const auto pass = [](const mp::BarrierProxy& b, const mp::ListProxy<int>& counts) {
    for (int i = 0; i < 10; ++i) {
      counts[i] += 1;
      b.wait();
      if (counts[i] != parties) mp::exit(1);
      b.wait();
    }
  };
  std::vector<mp::Process> children;
  for (int i = 0; i < parties; ++i) children.push_back(start(pass, barrier, counts));
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(barrier.n_waiting(), 0U);
  EXPECT_FALSE(barrier.broken());
}

TEST_P(ManagerFlavour, barrier__wait_index__manager) {
  auto barrier = manager.Barrier(5);
  auto indices = manager.list<std::size_t>();
  std::vector<mp::Process> children;
  for (int i = 0; i < 5; ++i) {
    children.push_back(start([](const mp::BarrierProxy& b,
                                const mp::ListProxy<std::size_t>& list) { list.append(b.wait()); },
                             barrier, indices));
  }
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
  indices.sort();
  EXPECT_EQ(indices.getvalue(), (std::vector<std::size_t>{0, 1, 2, 3, 4}));
}

TEST_P(ManagerFlavour, barrier__single_party__manager) {
  auto barrier = manager.Barrier(1);
  EXPECT_EQ(barrier.wait(), 0U);
  EXPECT_EQ(barrier.wait(), 0U);
}

}  // namespace
