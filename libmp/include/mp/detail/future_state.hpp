#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "mp/detail/os.hpp"
#include "mp/errors.hpp"
#include "mp/executor_errors.hpp"

namespace mp::detail {

/// A count that threads of one process wait on to change; it begins at 0. Changing
/// it costs a system call only while somebody sleeps. Who sees the change may
/// destroy the signal: who made it touches it no more.
class Signal {
 public:
  [[nodiscard]] std::uint32_t value() const noexcept {
    return word_.load(std::memory_order_acquire) & ~somebody_sleeps;
  }
  void change() noexcept;
  /// False at the deadline, with the value still `seen`.
  bool wait(std::uint32_t seen, const Deadline& deadline) const;

 private:
  // One word, so that the changer learns of the sleepers by the change itself.
  static constexpr std::uint32_t somebody_sleeps = 1;
  static constexpr std::uint32_t step = 2;
  mutable std::atomic<std::uint32_t> word_{0};
};

/// Told once when a future is done: what wait() and as_completed() hang on
/// each future they wait for.
class Watcher {
 public:
  Watcher() = default;
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  virtual ~Watcher() = default;
  /// In the thread that finished the future, which holds its mutex.
  virtual void done(std::size_t index, bool failed) noexcept = 0;
};

/// The state that the handles of one future share, but for its value.
///
/// Invariants:
///   1. `status_` only goes pending → running → finished, or pending →
///      cancelled → cancelled_and_notified, pending → finished included. It is
///      written under `mutex_`, with release; who reads finished may read value and
///      error without the mutex, as they never change again.
///   2. A callback and a watcher are told exactly once: under `mutex_` they
///      are either taken over by who finishes, or find the future done.
class FutureBase {
 public:
  enum class Status : std::uint32_t {
    pending,
    running,
    cancelled,
    cancelled_and_notified,
    finished
  };

  FutureBase() = default;
  FutureBase(const FutureBase&) = delete;
  FutureBase& operator=(const FutureBase&) = delete;
  virtual ~FutureBase() = default;

  /// A pending future whose task a worker has begun counts as running.
  [[nodiscard]] Status status() const;
  [[nodiscard]] bool done() const noexcept;
  [[nodiscard]] bool cancelled() const noexcept;
  /// Done, and its watchers were told: a future cancelled by hand is not.
  [[nodiscard]] bool finished_or_notified() const noexcept {
    return status_.load(std::memory_order_acquire) >= Status::cancelled_and_notified;
  }
  /// True if it is cancelled now: never once it has begun.
  bool cancel();
  /// Waits until it is done; false at the deadline.
  bool wait(const Deadline& deadline);
  /// Waits; TimeoutError at the deadline, CancelledError, the task's own error.
  void require(Timeout timeout);
  /// Waits likewise; the error instead of throwing it, null for a value.
  std::exception_ptr error(Timeout timeout);
  /// Its error if it is done and has one; no waiting, nothing thrown.
  [[nodiscard]] std::exception_ptr error_if_done() const noexcept;

  /// Called once when it is done, at once if it is; exceptions are logged.
  void on_done(std::function<void()> callback);
  void set_error(std::exception_ptr error);
  bool set_running_or_notify_cancel();

  /// Registers; or, if it is done, says so instead and tells whether it failed.
  std::optional<bool> watch(Watcher& watcher, std::size_t index);
  void unwatch(Watcher& watcher) noexcept;

  /// "pending", "running", "cancelled", "finished raised T", "finished returned T".
  [[nodiscard]] std::string describe(const char* value_type) const;

 protected:
  /// Makes it finished and tells everybody; `store` keeps the value.
  template <class Store>
  void finish(Store store) {
    mutex_.lock();
    try {
      require_unfinished();
      store();
    } catch (...) {
      mutex_.unlock();
      throw;
    }
    announce(Status::finished);
  }

  /// An executor's word that it will never run; it was pending.
  void set_cancelled();

  /// What an executor adds: whether a worker has begun a pending task, how to
  /// take it back (true: it will never begin), and doing something useful
  /// while a thread waits for `signal` to change from `seen`.
  [[nodiscard]] virtual bool has_begun() const { return false; }
  virtual bool take_back() { return true; }
  virtual void help(const Signal& signal, std::uint32_t seen, const Deadline& deadline);
  /// Whether a cancelled future counts as told to its waiters at once.
  [[nodiscard]] virtual bool notifies_itself() const { return false; }

 private:
  void require_unfinished() const;
  /// Unlocks the mutex.
  void announce(Status status);

  std::atomic<Status> status_{Status::pending};
  Signal signal_;
  mutable ForkSafeMutex mutex_;
  std::exception_ptr error_;
  std::vector<std::function<void()>> callbacks_;
  struct Watch {
    Watcher* watcher;
    std::size_t index;
  };
  std::vector<Watch> watches_;
};

/// What stands for a T in storage: void has no values.
template <class T>
using Storable = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
class FutureState : public FutureBase {
 public:
  using Value = Storable<T>;

  void set_value(Value value) {
    finish([&] { value_.emplace(std::move(value)); });
  }
  /// Once finished without an error.
  [[nodiscard]] Value& value() noexcept { return *value_; }

 private:
  std::optional<Value> value_;
};

/// Whether a T can be copied, and what it holds: a vector says that it can,
/// whatever its elements can.
template <class T>
inline constexpr bool can_be_copied = std::is_copy_constructible_v<T>;
template <class T, class Allocator>
inline constexpr bool can_be_copied<std::vector<T, Allocator>> = can_be_copied<T>;

/// The value behind a handle, for a caller that may be the last to hold it.
template <class T>
T copy_or_move(std::shared_ptr<FutureState<T>>& state, bool last) {
  if constexpr (std::is_void_v<T>) {
    return;
  } else if constexpr (can_be_copied<T>) {
    if (last && state.use_count() == 1) return std::move(state->value());
    return state->value();
  } else {
    return std::move(state->value());
  }
}

}  // namespace mp::detail
