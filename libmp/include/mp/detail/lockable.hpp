#pragma once

#include <concepts>

#include "mp/timeout.hpp"

namespace mp::detail {

/// How long a call with Python's `block` waits: not blocking means a time-out of zero.
inline Timeout time_to_wait(bool block, Timeout timeout) {
  return block ? timeout : Timeout(Duration::zero());
}

/// The further names of acquire(Timeout) and release(), which `Derived` has: Python's
/// with `block`, and the standard library's, for std::scoped_lock and the like.
template <class Derived>
class Lockable {
 public:
  /// Python's acquire(block, timeout).
  template <std::same_as<bool> Block>
  bool acquire(Block block, Timeout timeout = {}) const {
    return self().acquire(time_to_wait(block, timeout));
  }
  void lock() const { self().acquire(Timeout()); }
  [[nodiscard]] bool try_lock() const { return self().acquire(Duration::zero()); }
  [[nodiscard]] bool try_lock_for(Duration timeout) const { return self().acquire(timeout); }
  void unlock() const { self().release(); }

 private:
  [[nodiscard]] const Derived& self() const { return static_cast<const Derived&>(*this); }
};

}  // namespace mp::detail
