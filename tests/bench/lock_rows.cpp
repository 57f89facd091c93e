#include <pthread.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>

#include <boost/interprocess/sync/interprocess_mutex.hpp>

#include "mp/sharedctypes.hpp"
#include "mp/synchronize.hpp"
#include "partner.hpp"
#include "raw.hpp"
#include "row.hpp"

namespace bench {

namespace {

// --- what the C library and the kernel have ---

class RobustMutex {
 public:
  RobustMutex() {
    pthread_mutexattr_t attributes;
    ok(::pthread_mutexattr_init(&attributes));
    ok(::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
    ok(::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST));
    ok(::pthread_mutex_init(&mutex_, &attributes));
    ::pthread_mutexattr_destroy(&attributes);
  }
  void lock() { ok(::pthread_mutex_lock(&mutex_)); }
  void unlock() { ok(::pthread_mutex_unlock(&mutex_)); }

 private:
  static void ok(int error) {
    if (error != 0) throw std::runtime_error("pthread");
  }
  pthread_mutex_t mutex_;
};

// An event, as bare as a futex can be.
class FutexEvent {
 public:
  void set() {
    word_.store(1);
    futex_wake(word_, INT_MAX);
  }
  void clear() { word_.store(0); }
  void wait() {
    while (word_.load() == 0) futex_wait(word_, 0);
  }

 private:
  FutexWord word_ = 0;
};

// Whose turn it is, by number.
class FutexTurn {
 public:
  void wait_for(unsigned turn) {
    for (unsigned seen = word_.load(); seen != turn; seen = word_.load()) futex_wait(word_, seen);
  }
  void give(unsigned turn) {
    word_.store(turn);
    futex_wake(word_, 1);
  }

 private:
  FutexWord word_ = 0;
};

class FutexBarrier {
 public:
  explicit FutexBarrier(unsigned parties) : parties_(parties) {}
  void wait() {
    const unsigned pass = pass_.load();
    if (arrived_.fetch_add(1) + 1 == parties_) {
      arrived_.store(0);
      pass_.fetch_add(1);
      futex_wake(pass_, INT_MAX);
    } else {
      while (pass_.load() == pass) futex_wait(pass_, pass);
    }
  }

 private:
  unsigned parties_;
  std::atomic<unsigned> arrived_ = 0;
  FutexWord pass_ = 0;
};

// --- locks ---

template <class Mutex>
Timing time_uncontended(Mutex& mutex, std::size_t count) {
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) {
    mutex.lock();
    mutex.unlock();
  }
  return {watch.ns_per(count)};
}

// Two processes at it, each half the times. A loss is an error: figures of a
// lock that does not lock are none.
template <class Partner>
Timing time_adding(std::size_t count, const Body& add, const std::function<std::size_t()>& sum) {
  const std::size_t each = (count + 1) / 2;
  const Body body = [&] {
    for (std::size_t i = 0; i < each; ++i) add();
  };
  const Shared<StartingLine> line;
  Partner partner([&] {
    line->meet(2);
    body();
  });
  line->meet(2);
  const Stopwatch watch;
  body();
  partner.join();
  const Timing timing{watch.ns_per(2 * each)};
  if (sum() != 2 * each) throw std::runtime_error("the lock does not lock");
  return timing;
}

// What both add to, in the lock's keeping. Relaxed, so that it is not kept in
// a register from one lock to the next.
struct Counted {
  std::atomic<std::size_t> value = 0;
  void add() { value.store(value.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
};

template <class Partner, class Mutex>
Timing time_contended(Mutex& mutex, std::size_t count) {
  const Shared<Counted> counted;
  return time_adding<Partner>(
      count,
      [&] {
        mutex.lock();
        counted->add();
        mutex.unlock();
      },
      [&] { return counted->value.load(); });
}

Timing libmp_locked_add(std::size_t count) {
  mp::Value<std::int64_t> value(0);
  return time_adding<LibmpChild>(
      count,
      [&] {
        const std::scoped_lock guard(value.get_lock());
        value.value += 1;
      },
      [&] { return static_cast<std::size_t>(value.value.get()); });
}

Timing atomic_add(std::size_t count) {
  const Shared<Counted> counted;
  return time_adding<Child>(
      count, [&] { counted->value.fetch_add(1); }, [&] { return counted->value.load(); });
}

// --- wake-ups: two processes in turns, each waits for the other ---

template <class Partner, class Event>
Timing time_events(Event& there, Event& back, std::size_t count) {
  const std::size_t rounds = (count + 1) / 2;
  return time_pair<Partner>(
      2 * rounds,
      [&] {
        for (std::size_t i = 0; i < rounds; ++i) {
          there.wait();
          there.clear();
          back.set();
        }
      },
      [&] {
        for (std::size_t i = 0; i < rounds; ++i) {
          there.set();
          back.wait();
          back.clear();
        }
      });
}

template <class Partner, class TakeTurn>
Timing time_turns(TakeTurn take_turn, std::size_t count) {
  const std::size_t rounds = (count + 1) / 2;
  return time_pair<Partner>(
      2 * rounds,
      [&] {
        for (std::size_t i = 0; i < rounds; ++i) take_turn(1, 0);
      },
      [&] {
        for (std::size_t i = 0; i < rounds; ++i) take_turn(0, 1);
      });
}

Timing libmp_conditions(std::size_t count) {
  struct Turn {
    unsigned now = 0;
  };
  const Shared<Turn> turn;
  const mp::Condition condition;
  return time_turns<LibmpChild>(
      [&](unsigned mine, unsigned next) {
        condition.lock();
        while (turn->now != mine) condition.wait();
        turn->now = next;
        condition.notify();
        condition.unlock();
      },
      count);
}

Timing futex_turns(std::size_t count) {
  const Shared<FutexTurn> turn;
  return time_turns<Child>(
      [&](unsigned mine, unsigned next) {
        turn->wait_for(mine);
        turn->give(next);
      },
      count);
}

template <class Partner, class Barrier>
Timing time_barrier(Barrier& barrier, std::size_t count) {
  const Body body = [&] {
    for (std::size_t i = 0; i < count; ++i) barrier.wait();
  };
  return time_pair<Partner>(count, body, body);
}

}  // namespace

std::vector<Row> lock_rows() {
  const auto robust = "a robust process-shared pthread mutex";
  const auto boost = "Boost.Interprocess's interprocess_mutex, not robust";
  using BoostMutex = boost::interprocess::interprocess_mutex;
  return {
      {.name = "lock.uncontended",
       .operation = "acquire and release",
       .contenders = {{"libmp", "Lock",
                       [](std::size_t count) {
                         const mp::Lock lock;
                         return time_uncontended(lock, count);
                       }},
                      {"floor", robust,
                       [](std::size_t count) {
                         const Shared<RobustMutex> mutex;
                         return time_uncontended(*mutex, count);
                       }},
                      cpython("Lock"),
                      {"boost_mutex", boost,
                       [](std::size_t count) {
                         const Shared<BoostMutex> mutex;
                         return time_uncontended(*mutex, count);
                       }}},
       .reaches = {at_most(1.3, "floor")}},
      {.name = "lock.contended",
       .operation = "acquire, add, release; two processes at it",
       .contenders = {{"libmp", "Lock",
                       [](std::size_t count) {
                         const mp::Lock lock;
                         return time_contended<LibmpChild>(lock, count);
                       }},
                      {"floor", robust,
                       [](std::size_t count) {
                         const Shared<RobustMutex> mutex;
                         return time_contended<Child>(*mutex, count);
                       }},
                      cpython("Lock, RawValue"),
                      {"boost_mutex", boost,
                       [](std::size_t count) {
                         const Shared<BoostMutex> mutex;
                         return time_contended<Child>(*mutex, count);
                       }}},
       .reaches = {at_least(0.8, "floor"), at_least(3, "cpython")}},
      {.name = "value.locked_add",
       .operation = "v.value += 1 under its lock; two processes at it",
       .contenders = {{"libmp", "Value, get_lock()", libmp_locked_add},
                      {"floor", robust,
                       [](std::size_t count) {
                         const Shared<RobustMutex> mutex;
                         return time_contended<Child>(*mutex, count);
                       }},
                      cpython("Value, get_lock()"),
                      {"atomic", "std::atomic's fetch_add, no lock", atomic_add}},
       .reaches = {at_least(10, "cpython")}},
      {.name = "event.wake",
       .operation = "set, and the other process wakes",
       .contenders = {{"libmp", "two Events",
                       [](std::size_t count) {
                         const mp::Event there;
                         const mp::Event back;
                         return time_events<LibmpChild>(there, back, count);
                       }},
                      {"floor", "two futexes",
                       [](std::size_t count) {
                         const Shared<std::array<FutexEvent, 2>> events;
                         return time_events<Child>((*events)[0], (*events)[1], count);
                       }},
                      cpython("two Events")},
       .reaches = {at_most(1.3, "floor")},
       .shows_cpu = true},
      {.name = "condition.wake",
       .operation = "notify, and the other process wakes",
       .contenders = {{"libmp", "Condition", libmp_conditions},
                      {"floor", "a futex", futex_turns},
                      cpython("Condition")},
       .reaches = {at_most(1.3, "floor")},
       .shows_cpu = true},
      {.name = "barrier.pass",
       .operation = "two processes pass",
       .contenders = {{"libmp", "Barrier",
                       [](std::size_t count) {
                         const mp::Barrier barrier(2);
                         return time_barrier<LibmpChild>(barrier, count);
                       }},
                      {"floor", "a count and a futex",
                       [](std::size_t count) {
                         const Shared<FutexBarrier> barrier(2U);
                         return time_barrier<Child>(*barrier, count);
                       }},
                      cpython("Barrier")},
       .reaches = {at_most(1.3, "floor")},
       .shows_cpu = true},
  };
}

}  // namespace bench
