#pragma once

#include <atomic>
#include <cstdint>

#include "mp/detail/os.hpp"

namespace mp::detail {

/// What acquire() came to.
enum class Taken {
  timed_out,        ///< The deadline came first; the lock is not held.
  taken,            ///< The lock is held.
  taken_from_dead,  ///< Held; its last owner ended without releasing it. Told once.
};

/// A lock between processes that outlives its owner: a plain struct for shared
/// memory, zero when free. Under it lie mp::Lock, mp::RLock and libmp's own
/// shared structures.
///
/// Invariants:
///   1. The word is 0 when the lock is free, else it names the owner: its pid
///      (bits 0 to 30) and its start time (bits 32 to 63). Both change in one
///      compare-and-swap, so an owner is never seen with another's start time.
///   2. Bit 31 says that somebody may sleep on the word's lower half. Who
///      has slept takes the lock with that bit set, since others may sleep on.
///   3. A sleeper wakes up by itself every now and then, looks whether the
///      owner still lives, and if not takes the lock over by compare-and-swap:
///      exactly one succeeds. So neither an owner that was killed nor one
///      killed between freeing the lock and waking a sleeper stops anybody.
/// Memory order: taking acquires, freeing releases; what only looks is relaxed.
///
/// Between threads of one process it is a lock like any other, but the end of
/// a thread is not noticed: the owner is the process.
class OwnedLock {
 public:
  /// Waits until the lock is taken or the deadline has passed; a deadline of
  /// zero only looks, at the owner's life too. Goes on after signals.
  Taken acquire(const Deadline& deadline = Deadline());

  /// Takes the lock if it is free. A dead owner's lock is not free.
  bool try_acquire() noexcept;

  /// Frees the lock, whoever holds it. False if it was free.
  bool release() noexcept;

  [[nodiscard]] bool locked() const noexcept { return word_.load(std::memory_order_relaxed) != 0; }

  /// The owner; pid 0 when free. True only for the moment.
  [[nodiscard]] ProcessIdentity owner() const noexcept;

  /// Whether the calling process holds it: stable if one of its threads does.
  [[nodiscard]] bool owned_by_this_process() const noexcept;

 private:
  Taken acquire_slowly(std::uint64_t me, const Deadline& deadline);
  bool take_from_dead(std::uint64_t seen, std::uint64_t mine);

  std::atomic<std::uint64_t> word_{0};
};

/// Holds an internal lock for a scope. After `owner_died()` what the lock
/// protects may be half changed and is repaired first.
class OwnedGuard {
 public:
  explicit OwnedGuard(OwnedLock& lock) : lock_(lock), taken_(lock.acquire()) {}
  OwnedGuard(const OwnedGuard&) = delete;
  OwnedGuard& operator=(const OwnedGuard&) = delete;
  ~OwnedGuard() { lock_.release(); }
  [[nodiscard]] bool owner_died() const noexcept { return taken_ == Taken::taken_from_dead; }

 private:
  OwnedLock& lock_;
  Taken taken_;
};

}  // namespace mp::detail
