#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <thread>

#include "mp/detail/os.hpp"

namespace mp::detail {

/// The lock of a stream's input and of all that its reader has. One thread at a time
/// reads on: the reader, or one that joins the pool. Knows who is in the input's own
/// code, which must not wait for what is made of it.
class InputLock {
 public:
  /// Throws AssertionError in the input's own code.
  void lock();
  /// False at the deadline. Throws as lock().
  bool lock_until(const Deadline& deadline);
  void unlock() noexcept { mutex_.unlock(); }

  /// Calls `pull`, which is the input's own code, for a holder of the lock.
  template <class Pull>
  decltype(auto) inside(Pull&& pull) {
    struct Leaving {
      InputLock& self;
      ~Leaving() { self.inside_ = std::thread::id(); }
    };
    inside_ = std::this_thread::get_id();
    const Leaving leaving{*this};
    return pull();
  }
  /// Whether this thread is in the input's own code.
  [[nodiscard]] bool is_inside() const noexcept { return inside_ == std::this_thread::get_id(); }

  /// So many items are read at a time by one that takes no results.
  static constexpr std::size_t read_on_items = 256;
  /// Has `step` read some, until it says that there are no more, or the deadline. Others
  /// may read between two steps. Throws as lock().
  template <class Step>
  void read_on(const Deadline& deadline, Step step) {
    for (bool more = true; more && lock_until(deadline); more = more && !deadline.passed()) {
      const std::lock_guard guard(*this, std::adopt_lock);
      more = step();
    }
  }

 private:
  void require_outside() const;

  ForkSafeMutex mutex_;
  std::atomic<std::thread::id> inside_{};
};

}  // namespace mp::detail
