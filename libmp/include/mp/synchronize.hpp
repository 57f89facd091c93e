#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "mp/detail/callable.hpp"
#include "mp/detail/heap.hpp"
#include "mp/detail/lockable.hpp"
#include "mp/detail/os.hpp"
#include "mp/errors.hpp"
#include "mp/pickle.hpp"

/// Locks and signals between processes. Python: multiprocessing.synchronize.
///
/// All of these are handles: copies, and what a child gets as an argument
/// under any start method, are the same lock. Const or not makes no difference
/// to them. Every call may be made by any thread of any process that has a
/// handle, one that was moved from included. Every wait goes on after signals,
/// takes its time from the monotonic clock and counts a negative time-out as zero.
/// No acquire() waits for a holder whose process has ended: a death is noticed
/// within a fraction of a second (of a thread that ends, or a program that is
/// replaced by exec, nothing is noticed). Making one
/// throws std::system_error where the system has no memory or descriptor for it.
///
/// What can be acquired has Python's acquire(block, timeout) as well, where not
/// blocking means a time-out of zero, and lock(), try_lock(), try_lock_for() and
/// unlock(), as std::scoped_lock and its like want them (detail/lockable.hpp).
///
/// OwnerDied is thrown by the acquire() that takes over from a dead process,
/// once; the caller HOLDS the lock then. std::scoped_lock and unique_lock let
/// the exception through and release nothing: whoever catches it goes on with
/// `std::unique_lock guard(lock, std::adopt_lock)`. After std::scoped_lock(a, b)
/// it cannot be known which of them is held: where a death matters, take them
/// one after the other. A guard's destructor cannot say that a release() failed:
/// a lock that was released under it ends the program.
namespace mp {

namespace detail {
struct LockState;
struct SemaphoreState;
struct ConditionState;
struct EventState;
class BarrierParty;
}  // namespace detail

/// A lock that any process or thread may release. Python: Lock.
class Lock : public detail::Lockable<Lock> {
 public:
  Lock();

  /// Waits until the lock is held (true) or `timeout` has passed (false).
  /// Throws OwnerDied, holding the lock, if its holder ended without releasing it.
  bool acquire(Timeout timeout = {}) const;
  using detail::Lockable<Lock>::acquire;
  /// Throws ValueError if nobody holds it.
  void release() const;
  /// Whether anybody holds it, a dead process included.
  [[nodiscard]] bool locked() const noexcept;

  /// `<Lock(owner=MainProcess)>`: None, this process's name (`|` and its
  /// thread's, if not the main one), SomeOtherThread or SomeOtherProcess.
  [[nodiscard]] std::string repr() const;

  void pickle(Encoder& out) const;
  static Lock unpickle(Decoder& in);
  friend bool operator==(const Lock& a, const Lock& b) noexcept { return a.block_ == b.block_; }

 private:
  friend class Condition;
  explicit Lock(detail::SharedBlock block);

  detail::SharedBlock block_;
  detail::LockState* state_;
};

/// A lock that its holder, one thread of one process, may acquire again and
/// must release as often. A child of its holder does not hold it. Python: RLock.
class RLock : public detail::Lockable<RLock> {
 public:
  RLock();

  /// As Lock's; at once for the thread that holds it. After OwnerDied it is
  /// held once, however often the dead process had acquired it.
  bool acquire(Timeout timeout = {}) const;
  using detail::Lockable<RLock>::acquire;
  /// Throws AssertionError for all but the thread that holds it.
  void release() const;
  [[nodiscard]] bool locked() const noexcept;

  /// `<RLock(MainProcess, 3)>`: as Lock's, with how often it is held.
  [[nodiscard]] std::string repr() const;

  void pickle(Encoder& out) const;
  static RLock unpickle(Decoder& in);
  friend bool operator==(const RLock& a, const RLock& b) noexcept { return a.block_ == b.block_; }

 private:
  friend class Condition;
  explicit RLock(detail::SharedBlock block);

  detail::SharedBlock block_;
  detail::LockState* state_;
};

/// A number of units; acquire() takes one, release() gives one back or, from
/// whoever never took any, adds one: a signal. Python: Semaphore.
///
/// While every release has come from a process that had acquired, the units
/// that a process held when it ended are handed on, one acquire() and one
/// OwnerDied each. A semaphore once used as a signal never does that: there
/// taking and giving are different processes' work. Kept for 64 processes
/// that hold units at a time; units taken by further ones are not handed on.
class Semaphore : public detail::Lockable<Semaphore> {
 public:
  /// Throws ValueError for a negative value.
  explicit Semaphore(std::int32_t value = 1);

  bool acquire(Timeout timeout = {}) const;
  using detail::Lockable<Semaphore>::acquire;
  /// Throws ValueError at the largest value there is, 2147483647.
  void release() const;
  /// Units that are free at this moment.
  [[nodiscard]] std::int32_t get_value() const noexcept;

  /// `<Semaphore(value=3)>`.
  [[nodiscard]] std::string repr() const;

  void pickle(Encoder& out) const;
  static Semaphore unpickle(Decoder& in);
  friend bool operator==(const Semaphore& a, const Semaphore& b) noexcept {
    return a.block_ == b.block_;
  }

 protected:
  Semaphore(std::int32_t value, bool bounded);
  explicit Semaphore(detail::SharedBlock block);
  static detail::SharedBlock unpickle_block(Decoder& in);

  detail::SharedBlock block_;
  detail::SemaphoreState* state_;
};

/// A semaphore that never holds more than it began with: release() beyond
/// that throws ValueError, checked in the same step. It is no signal, so the
/// units of dead processes, up to 64 at a time, are handed on. Python: BoundedSemaphore.
class BoundedSemaphore : public Semaphore {
 public:
  explicit BoundedSemaphore(std::int32_t value = 1) : Semaphore(value, true) {}

  /// `<BoundedSemaphore(value=2, maxvalue=2)>`.
  [[nodiscard]] std::string repr() const;

  static BoundedSemaphore unpickle(Decoder& in) { return BoundedSemaphore(unpickle_block(in)); }

 private:
  using Semaphore::Semaphore;
};

/// A lock, and sleepers that its holder wakes, the longest asleep first.
/// Python: Condition.
///
/// notify() marks who is to wake and waits for nobody; a sleeper that was
/// killed costs nobody a wake-up: the next one gets it. Nobody wakes without
/// being notified. At most 500 threads and processes sleep at a time.
class Condition : public detail::Lockable<Condition> {
 public:
  explicit Condition(RLock lock = RLock());
  explicit Condition(Lock lock);

  /// The lock's own.
  bool acquire(Timeout timeout = {}) const;
  using detail::Lockable<Condition>::acquire;
  void release() const;

  /// Releases the lock, however often it is acquired, sleeps until notified
  /// (true) or `timeout` has passed (false), and acquires it again as often.
  /// Throws AssertionError without the lock; RuntimeError when too many sleep;
  /// OwnerDied, holding the lock, as acquire() does: that counts as woken, so look
  /// at what was waited for.
  bool wait(Timeout timeout = {}) const;

  /// Waits until `predicate()`, called with the lock held, is true; returns
  /// what it said last. Throws as wait() does.
  template <std::invocable Predicate>
  auto wait_for(Predicate predicate, Timeout timeout = {}) const {
    const detail::Deadline deadline(timeout);
    auto result = predicate();
    while (!result && !deadline.passed()) {
      wait(deadline.remaining());
      result = predicate();
    }
    return result;
  }

  /// Wakes at most `n` of those who sleep now; it is not remembered for those
  /// who come later. Throws AssertionError without the lock.
  void notify(int n = 1) const;
  void notify_all() const;

  /// `<Condition(<RLock(None, 0)>, 0)>`: the lock, and how many sleep.
  [[nodiscard]] std::string repr() const;

  void pickle(Encoder& out) const;
  static Condition unpickle(Decoder& in);
  friend bool operator==(const Condition& a, const Condition& b) noexcept {
    return a.block_ == b.block_;
  }

 private:
  Condition(std::variant<RLock, Lock> lock, detail::SharedBlock block);
  void sleep_released(std::size_t slot, std::uint64_t turn, const detail::Deadline& deadline) const;

  std::variant<RLock, Lock> lock_;
  detail::LockState* lock_state_;
  detail::SharedBlock block_;
  detail::ConditionState* state_;
};

/// A flag to wait for. Python: Event.
///
/// One word of memory: set() takes no lock, so a signal handler may call it.
/// The word counts the sets, so set() and clear() in a row wake all who
/// sleep, and their wait() returns true.
class Event {
 public:
  Event();
  [[nodiscard]] bool is_set() const noexcept;
  /// Async-signal-safe.
  void set() const noexcept;
  void clear() const noexcept;
  /// True when the flag is set, or was set since the call; false if `timeout` passes first.
  bool wait(Timeout timeout = {}) const;

  /// `<Event at 0x7f0012345040 unset>`.
  [[nodiscard]] std::string repr() const;

  void pickle(Encoder& out) const;
  static Event unpickle(Decoder& in);
  friend bool operator==(const Event&, const Event&) noexcept = default;

 private:
  explicit Event(detail::SharedBlock block);

  detail::SharedBlock block_;
  detail::EventState* state_;
};

/// Holds `parties` threads and processes back until all have come. Then all
/// pass, and the next pass begins. Python: Barrier.
///
/// Breaks for all who wait, and stays broken until reset(), by abort(), by a
/// time-out, by an exception of `action`, and by a death: when a process ends
/// while it waits, or one that took part in the last pass ends otherwise than
/// in order (a crash, a signal, an exit code that is not 0; a main program that
/// leaves by std::exit() beside its handle) before it comes again. A process that ends before it
/// ever came is unknown: give a time-out.
class Barrier {
 public:
  /// Throws ValueError for less than one party. `timeout` is wait()'s default.
  explicit Barrier(int parties, Timeout timeout = {});
  /// `action()` runs in each pass, in the party that comes last, before anyone
  /// is let go. Under spawn and forkserver it must be picklable.
  template <std::invocable Action>
  Barrier(int parties, Action action, Timeout timeout = {})
      : Barrier(parties, detail::make_task(std::move(action)), timeout) {}

  /// 0 to parties - 1, each once in a pass. Throws BrokenBarrierError when the
  /// barrier is broken or breaks meanwhile; in the last party what `action` throws.
  int wait() const;
  int wait(Timeout timeout) const;
  /// Makes it as new; those who wait get a BrokenBarrierError.
  void reset() const;
  /// Breaks it.
  void abort() const;

  // Moved from, it stays a handle to the same barrier.
  Barrier(const Barrier&) = default;
  Barrier& operator=(const Barrier&) = default;
  ~Barrier() = default;

  [[nodiscard]] int parties() const noexcept;
  /// How many wait now.
  [[nodiscard]] int n_waiting() const;
  [[nodiscard]] bool broken() const;

  /// `<Barrier at 0x7f0012345040: waiters=0/2>`; `broken` for the count.
  [[nodiscard]] std::string repr() const;

  void pickle(Encoder& out) const;
  static Barrier unpickle(Decoder& in);
  /// The same barrier, whatever action and time-out the handles bring.
  friend bool operator==(const Barrier& a, const Barrier& b) noexcept { return a.same_as(b); }

 private:
  Barrier(int parties, std::unique_ptr<detail::Task> action, Timeout timeout);
  Barrier() = default;
  [[nodiscard]] bool same_as(const Barrier& other) const noexcept;

  std::shared_ptr<detail::BarrierParty> party_;
};

namespace detail {

template <class T>
concept Synchronizer = std::same_as<T, Lock> || std::same_as<T, RLock> ||
    std::same_as<T, Condition> || std::same_as<T, Event> || std::same_as<T, Barrier> ||
    std::same_as<T, Semaphore> || std::same_as<T, BoundedSemaphore>;

}  // namespace detail

template <detail::Synchronizer T>
std::ostream& operator<<(std::ostream& out, const T& object) {
  return out << object.repr();
}

}  // namespace mp

template <mp::detail::Synchronizer T>
struct fmt::formatter<T> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const T& object, Context& context) const {
    return fmt::formatter<std::string>::format(object.repr(), context);
  }
};
