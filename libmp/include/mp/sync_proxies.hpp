#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mp/base_proxy.hpp"
#include "mp/detail/lockable.hpp"

/// Queues, locks and signals that live in a manager's server.
///
/// Who holds a lock is a thread of a process. When its connection ends, as it
/// does at the latest with its process, what it held is handed on, and the
/// next acquire() throws OwnerDied, once; the caller HOLDS the lock then. All
/// who wait are served in the order in which they came. Time-outs run in the
/// server; zero and less only look.
namespace mp {

/// A first-in first-out queue. Python: Queue and JoinableQueue of a manager.
template <class T>
class QueueProxy : public BaseProxy {
 public:
  explicit QueueProxy(std::shared_ptr<detail::ProxyState> state)
      : BaseProxy(std::move(state), {"Queue", "JoinableQueue"}, detail::signature<T>) {}
  static QueueProxy unpickle(Decoder& in) { return QueueProxy(detail::ProxyState::unpickle(in)); }

  /// Waits for room; throws Full at the end of the time, ShutDown after shutdown().
  void put(const T& item, Timeout timeout = {}) const {
    auto call = request("put", detail::wire_timeout(timeout));
    detail::put_element(call.args(), item, server());
    call.finish();
  }
  /// Python's put(obj, block, timeout): not blocking means a time-out of zero.
  template <std::same_as<bool> Block>
  void put(const T& item, Block block, Timeout timeout = {}) const {
    put(item, detail::time_to_wait(block, timeout));
  }
  void put_nowait(const T& item) const { put(item, Duration::zero()); }
  /// All of them in one message and one step, or none: Full.
  template <std::ranges::sized_range Items>
  void put_many(const Items& items) const {
    auto call = request("put_many");
    call.args().template number<std::uint64_t>(std::ranges::size(items));
    for (const auto& item : items) detail::put_element<T>(call.args(), item, server());
    call.finish();
  }
  /// Waits for an item; throws Empty at the end of the time, ShutDown after
  /// shutdown() when there is none left.
  T get(Timeout timeout = {}) const {
    auto call = request("get", detail::wire_timeout(timeout));
    return detail::take_element<T>(call.result(), server());
  }
  /// Python's get(block, timeout).
  template <std::same_as<bool> Block>
  T get(Block block, Timeout timeout = {}) const {
    return get(detail::time_to_wait(block, timeout));
  }
  T get_nowait() const { return get(Duration::zero()); }
  /// What there is and fits into one message, `count` at most.
  std::vector<T> get_many(std::size_t count) const {
    auto call = request("get_many", static_cast<std::uint64_t>(count));
    return detail::take_elements<T>(call.result(), server());
  }

  /// Exact, for the moment.
  [[nodiscard]] std::size_t qsize() const {
    auto call = request("qsize");
    return call.result().template number<std::uint64_t>();
  }
  [[nodiscard]] bool empty() const { return qsize() == 0; }
  [[nodiscard]] bool full() const {
    auto call = request("full");
    return call.result().template number<bool>();
  }

  /// One item that was got is done with. ValueError when that is said of more
  /// items than were put.
  void task_done() const { request("task_done").finish(); }
  /// Waits until every item that was put is done with; false at the end of the time.
  bool join(Timeout timeout = {}) const {
    auto call = request("join", detail::wire_timeout(timeout));
    return call.result().template number<bool>();
  }
  /// Nothing more is put; what is there can be got, unless `immediate`.
  void shutdown(bool immediate = false) const { request("shutdown", immediate).finish(); }

  [[nodiscard]] std::string repr() const { return describe("QueueProxy"); }
};

template <class T>
using JoinableQueueProxy = QueueProxy<T>;

namespace detail {

/// What all that can be acquired have; further names as synchronize.hpp has them.
class AcquirerProxy : public BaseProxy, public Lockable<AcquirerProxy> {
 public:
  /// True when it is held, false at the end of the time. Throws OwnerDied,
  /// holding it, if its last holder ended without releasing it.
  bool acquire(Timeout timeout = {}) const;
  using Lockable<AcquirerProxy>::acquire;
  /// Throws RuntimeError for a lock that is not held (an RLock: by the
  /// caller), ValueError for a bounded semaphore.
  void release() const;

 protected:
  using BaseProxy::BaseProxy;
};

}  // namespace detail

/// Any client may release it. Python: Lock of a manager.
class LockProxy : public detail::AcquirerProxy {
 public:
  explicit LockProxy(std::shared_ptr<detail::ProxyState> state);
  static LockProxy unpickle(Decoder& in) { return LockProxy(detail::ProxyState::unpickle(in)); }
  [[nodiscard]] bool locked() const;
  [[nodiscard]] std::string repr() const { return describe("AcquirerProxy"); }
};

/// Its holder may acquire it again, and releases it as often. Python: RLock.
class RLockProxy : public detail::AcquirerProxy {
 public:
  explicit RLockProxy(std::shared_ptr<detail::ProxyState> state);
  static RLockProxy unpickle(Decoder& in) { return RLockProxy(detail::ProxyState::unpickle(in)); }
  [[nodiscard]] bool locked() const;
  [[nodiscard]] std::string repr() const { return describe("AcquirerProxy"); }
};

/// Python: Semaphore and BoundedSemaphore of a manager.
class SemaphoreProxy : public detail::AcquirerProxy {
 public:
  explicit SemaphoreProxy(std::shared_ptr<detail::ProxyState> state);
  static SemaphoreProxy unpickle(Decoder& in) {
    return SemaphoreProxy(detail::ProxyState::unpickle(in));
  }
  [[nodiscard]] std::int64_t get_value() const;
  [[nodiscard]] std::string repr() const { return describe("AcquirerProxy"); }
};

/// Waits for what others change under the same lock. Python: Condition.
class ConditionProxy : public detail::AcquirerProxy {
 public:
  explicit ConditionProxy(std::shared_ptr<detail::ProxyState> state);
  static ConditionProxy unpickle(Decoder& in) {
    return ConditionProxy(detail::ProxyState::unpickle(in));
  }
  /// Gives the lock up, however often it is held, until notified or the end
  /// of the time, and takes it again; whether it was notified. RuntimeError
  /// for whom does not hold the lock; OwnerDied, with the lock, if its holder
  /// ended meanwhile.
  bool wait(Timeout timeout = {}) const;
  /// Until `predicate()`, which runs here, under the lock; its last result.
  template <class Predicate>
  bool wait_for(Predicate predicate, Timeout timeout = {}) const {
    const detail::Deadline deadline(timeout);
    while (!predicate()) {
      if (deadline.passed()) return predicate();
      wait(deadline.remaining());
    }
    return true;
  }
  /// Wakes `n` of those who wait now, the first come first. RuntimeError for
  /// whom does not hold the lock.
  void notify(std::size_t n = 1) const;
  void notify_all() const { notify(static_cast<std::size_t>(-1)); }
  [[nodiscard]] std::string repr() const { return describe("ConditionProxy"); }
};

/// A flag to wait for. Python: Event.
class EventProxy : public BaseProxy {
 public:
  explicit EventProxy(std::shared_ptr<detail::ProxyState> state);
  static EventProxy unpickle(Decoder& in) { return EventProxy(detail::ProxyState::unpickle(in)); }
  [[nodiscard]] bool is_set() const;
  /// Wakes all who wait now, whatever happens to the flag next.
  void set() const;
  void clear() const;
  /// Whether it was set, now or within the time.
  bool wait(Timeout timeout = {}) const;
  [[nodiscard]] std::string repr() const { return describe("EventProxy"); }
};

/// A meeting point for a number of threads or processes. Python: Barrier. It has
/// no action and no time-out of its own: whose wait() returns parties - 1 can
/// act, and wait() takes a time-out.
class BarrierProxy : public BaseProxy {
 public:
  explicit BarrierProxy(std::shared_ptr<detail::ProxyState> state);
  static BarrierProxy unpickle(Decoder& in) {
    return BarrierProxy(detail::ProxyState::unpickle(in));
  }
  /// Waits for all parties; the number of the caller, 0 to parties - 1.
  /// BrokenBarrierError, for all, when one runs out of time or ends.
  std::size_t wait(Timeout timeout = {}) const;
  /// Empty again; those who wait get BrokenBarrierError.
  void reset() const;
  /// Broken for everybody until reset().
  void abort() const;
  [[nodiscard]] std::size_t parties() const;
  [[nodiscard]] std::size_t n_waiting() const;
  [[nodiscard]] bool broken() const;
  [[nodiscard]] std::string repr() const { return describe("BarrierProxy"); }
};

}  // namespace mp
