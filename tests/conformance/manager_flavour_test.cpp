// What CPython's own suite checks of every kind of queue, lock and pool, here
// of a manager's: one test an id.

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mp/mp.hpp>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <vector>

#include "children.hpp"
#include "pools.hpp"

namespace {

using namespace std::chrono_literals;
using mp::by_name;
using mp::test::ended;
using mp::test::numbers;
using mp::test::patience;
using mp::test::squares;
using mp::test::ThrowingRange;
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

// --- pools -------------------------------------------------------------------

int square(int x) { return x * x; }
int multiply(int a, int b) { return a * b; }
int refuse(int x) {
  if (x == 3) throw mp::ValueError("not three");
  return x;
}
void wait_for(const mp::EventProxy& event) { event.wait(); }
void wait_for_ever(int) {
  for (;;) ::pause();
}

TEST_P(ManagerFlavour, pool__apply__manager) {
  auto pool = manager.Pool(4);
  EXPECT_EQ(pool.apply(by_name<square>, 5), 25);
  EXPECT_EQ(pool.apply(by_name<multiply>, 5, 3), 15);
}

TEST_P(ManagerFlavour, pool__map__manager) {
  auto pool = manager.Pool(4);
  EXPECT_EQ(pool.map(by_name<square>, numbers(10)), squares(10));
  EXPECT_EQ(pool.map(by_name<square>, numbers(100), 20), squares(100));
}

TEST_P(ManagerFlavour, pool__starmap__manager) {
  auto pool = manager.Pool(4);
  std::vector<std::tuple<int, int>> pairs;
  for (int i = 0; i < 100; ++i) pairs.emplace_back(i, i);
  EXPECT_EQ(pool.starmap(by_name<multiply>, pairs), squares(100));
  EXPECT_EQ(pool.starmap(by_name<multiply>, pairs, 20), squares(100));
}

TEST_P(ManagerFlavour, pool__starmap_async__manager) {
  auto pool = manager.Pool(4);
  const std::vector<std::tuple<int, int>> pairs{{1, 1}, {2, 2}};
  EXPECT_EQ(pool.starmap_async(by_name<multiply>, pairs).get(patience), (std::vector{1, 4}));
}

TEST_P(ManagerFlavour, pool__map_async__manager) {
  auto pool = manager.Pool(4);
  EXPECT_EQ(pool.map_async(by_name<square>, numbers(10)).get(patience), squares(10));
  const auto failing = pool.map_async(by_name<refuse>, numbers(10), 1);
  EXPECT_THROW((void)failing.get(patience), mp::ValueError);
  EXPECT_FALSE(failing.successful());
}

TEST_P(ManagerFlavour, pool__map_async_callbacks__manager) {
  auto pool = manager.Pool(4);
  std::vector<std::vector<int>> values;
  pool.map_async({.callback = [&](const std::vector<int>& all) { values.push_back(all); }},
                 by_name<square>, numbers(2))
      .wait();
  EXPECT_EQ(values, (std::vector<std::vector<int>>{{0, 1}}));
  int failures = 0;
  pool.map_async({.error_callback =
                      [&](const std::exception_ptr& error) {
                        ++failures;
                        EXPECT_THROW(std::rethrow_exception(error), mp::ValueError);
                      }},
                 by_name<refuse>, std::vector<int>{3})
      .wait();
  EXPECT_EQ(failures, 1);
}

TEST_P(ManagerFlavour, pool__map_empty_with_chunksize__manager) {
  auto pool = manager.Pool(2);
  EXPECT_EQ(pool.map_async(by_name<square>, std::vector<int>(), 1).get(patience),
            std::vector<int>());
}

TEST_P(ManagerFlavour, pool__apply_async_result__manager) {
  auto pool = manager.Pool(2);
  auto gate = manager.Event();
  const auto result = pool.apply_async(by_name<wait_for>, gate);
  EXPECT_FALSE(result.ready());
  gate.set();
  result.get(patience);
  EXPECT_TRUE(result.ready());
}

TEST_P(ManagerFlavour, pool__get_timeout__manager) {
  auto pool = manager.Pool(2);
  auto gate = manager.Event();
  const auto result = pool.apply_async(by_name<wait_for>, gate);
  const auto begin = Clock::now();
  EXPECT_THROW(result.get(50ms), mp::TimeoutError);
  EXPECT_GE(Clock::now() - begin, 50ms);
  gate.set();
}

TEST_P(ManagerFlavour, pool__imap__manager) {
  auto pool = manager.Pool(4);
  auto results = pool.imap(by_name<square>, numbers(10));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(results.next(), i * i);
  EXPECT_EQ(results.next(), std::nullopt);
  std::vector<int> all;
  for (const int x : pool.imap(by_name<square>, numbers(1000), 100)) all.push_back(x);
  EXPECT_EQ(all, squares(1000));
}

TEST_P(ManagerFlavour, pool__imap_iterable_throws__manager) {
  auto pool = manager.Pool(4);
  struct Case {
    int fatal;
    int chunk;
    int results;
  };
  for (const Case& c : {Case{3, 1, 3}, Case{7, 2, 6}, Case{7, 4, 4}}) {
    auto results = pool.imap(by_name<square>, ThrowingRange{100, c.fatal}, c.chunk);
    for (int i = 0; i < c.results; ++i) EXPECT_EQ(results.next(), i * i);
    EXPECT_THROW(results.next(), mp::KeyError);
    EXPECT_EQ(results.next(), std::nullopt);
  }
}

TEST_P(ManagerFlavour, pool__imap_unordered__manager) {
  auto pool = manager.Pool(4);
  for (const int chunk : {1, 100}) {
    std::vector<int> all;
    for (const int x : pool.imap_unordered(by_name<square>, numbers(1000), chunk)) {
      all.push_back(x);
    }
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, squares(1000));
  }
}

TEST_P(ManagerFlavour, pool__imap_unordered_iterable_throws__manager) {
  auto pool = manager.Pool(4);
  auto results = pool.imap_unordered(by_name<square>, ThrowingRange{100, 7}, 2);
  std::set<int> seen;
  try {
    while (const auto result = results.next(patience)) {
      EXPECT_TRUE(seen.insert(*result).second);
    }
    FAIL();
  } catch (const mp::KeyError&) {
  }
  EXPECT_LE(seen.size(), 7U);
}

TEST_P(ManagerFlavour, pool__invalid_sizes__manager) {
  EXPECT_THROW((void)manager.Pool(0), mp::ValueError);
  EXPECT_THROW((void)manager.Pool(-1), mp::ValueError);
}

TEST_P(ManagerFlavour, pool__unserialisable_argument_raises__manager) {
  auto pool = manager.Pool(1);
  auto [here, there] = mp::Pipe();
  EXPECT_THROW((void)pool.apply([](mp::Connection c) { return c.closed(); }, here),
               mp::PicklingError);
  EXPECT_EQ(pool.apply(by_name<square>, 5), 25);
}

TEST_P(ManagerFlavour, pool__map_iterable_throws__manager) {
  auto pool = manager.Pool(2);
  for (const int fatal : {0, 3}) {
    EXPECT_THROW((void)pool.map(by_name<square>, ThrowingRange{10, fatal}), mp::KeyError);
  }
  EXPECT_EQ(pool.map(by_name<square>, ThrowingRange{10, -1}), squares(10));
}

TEST_P(ManagerFlavour, pool__context_exit_terminates__manager) {
  pid_t worker = 0;
  {
    auto pool = manager.Pool(1);
    worker = pool.apply([] { return ::getpid(); });
    const auto result = pool.map_async(by_name<wait_for_ever>, numbers(10), 1);
    EXPECT_FALSE(result.ready());
  }
  const mp::detail::Deadline deadline(patience);
  while (::kill(worker, 0) == 0 && !deadline.passed()) std::this_thread::yield();
  EXPECT_EQ(::kill(worker, 0), -1);
}

TEST_P(ManagerFlavour, pool__remote_traceback__manager) {
  auto pool = manager.Pool(1);
  const auto worker = pool.apply([] { return ::getpid(); });
  try {
    (void)pool.apply(by_name<refuse>, 3);
    FAIL();
  } catch (const mp::ValueError& error) {
    EXPECT_STREQ(error.what(), "not three");
    try {
      std::rethrow_if_nested(error);
      FAIL();
    } catch (const mp::RemoteTraceback& remote) {
      EXPECT_EQ(remote.origin().type, "mp::ValueError");
      // The server passes on what its worker has said.
      EXPECT_EQ(remote.origin().pid, *manager.pid());
      EXPECT_NE(remote.origin().trace.find(std::to_string(worker)), std::string::npos)
          << remote.origin().trace;
    }
  }
}

// How many there are in this process.
struct Counted {
  static inline std::atomic<int> alive{0};
  int value = 0;
  Counted() { ++alive; }
  Counted(const Counted& other) : value(other.value) { ++alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --alive; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(value);
  }
};
Counted pass_on(const Counted& counted) { return counted; }
int counted_in_worker() { return Counted::alive; }

TEST_P(ManagerFlavour, pool__task_objects_released__manager) {
  auto pool = manager.Pool(1);
  const auto before = manager.number_of_objects();
  {
    const std::vector<Counted> items(10);
    EXPECT_EQ(pool.map(by_name<pass_on>, items).size(), 10U);
    auto results = pool.imap(by_name<pass_on>, items);
    EXPECT_TRUE(results.next(patience));
  }
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_EQ(pool.apply(by_name<counted_in_worker>), 0);
  // What the server has had of them are results, and these are gone.
  EXPECT_EQ(manager.number_of_objects(), before);
}

TEST_P(ManagerFlavour, pool__reenter_raises__manager) {
  auto pool = manager.Pool(1);
  pool.terminate();
  EXPECT_THROW((void)pool.apply(by_name<square>, 1), mp::ValueError);
  EXPECT_THROW((void)pool.map(by_name<square>, numbers(3)), mp::ValueError);
  EXPECT_TRUE(pool.join(patience));
}

// The server's word: of one in this process, so as to hear it.
TEST_P(ManagerFlavour, pool__unclosed_warning__manager) {
  const auto stderr_of = [](bool with_work) {
    testing::internal::CaptureStderr();
    {
      mp::SyncManager local({.authkey = "k"});
      auto server = local.get_server();
      std::thread serving([&] { server.serve_forever(); });
      mp::SyncManager client({.address = server.address(), .authkey = "k"});
      client.connect();
      {
        auto pool = client.Pool(1);
        const auto result = pool.apply_async(by_name<wait_for_ever>, 1);
        if (!with_work) {
          pool.terminate();
          result.wait(patience);
        }
      }
      EXPECT_EQ(client.number_of_objects(), 0U);
      server.stop();
      serving.join();
    }
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_NE(stderr_of(true).find("unclosed running multiprocessing pool"), std::string::npos);
  EXPECT_EQ(stderr_of(false).find("unclosed"), std::string::npos);
}

TEST_P(ManagerFlavour, pool__terminate_drops_10000_tasks__manager) {
  auto pool = manager.Pool(4);
  const auto result = pool.map_async(by_name<wait_for_ever>, numbers(10'000), 1);
  pool.terminate();
  EXPECT_TRUE(pool.join(patience));
  EXPECT_THROW(result.get(patience), mp::PoolTerminated);
}

}  // namespace
