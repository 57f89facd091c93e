#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "mp/detail/heap.hpp"
#include "mp/detail/owned_lock.hpp"

namespace mp::detail {

/// What a Lock or an RLock is in shared memory.
///
/// `tid` is the holder's thread: written by it after it has taken the lock and
/// cleared by it before it releases, so who reads its own id there holds the
/// lock. `depth` belongs to the holder; how often an RLock is acquired. So does
/// `wakes_owed`: it has notified sleepers of a condition, and wakes them when it
/// has released the lock, since they could do nothing before.
struct LockState {
  OwnedLock lock;
  std::atomic<std::int32_t> tid{0};
  std::uint32_t depth = 0;
  std::uint32_t wakes_owed = 0;
};

/// The holder is a thread of this process: this one.
bool held_by_this_thread(const LockState& state) noexcept;

/// Takes the lock and notes the thread; throws OwnerDied when it holds it.
bool acquire_lock(LockState& state, const Deadline& deadline);
/// Notes and frees; false if it was free.
bool release_lock(LockState& state) noexcept;

/// Wakes whom this thread has notified.
void pay_wakes() noexcept;

/// Who a process is in one word, so that it is read and written as one.
class AtomicIdentity {
 public:
  [[nodiscard]] ProcessIdentity load() const noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    return {static_cast<std::int32_t>(word), static_cast<std::uint32_t>(word >> 32U)};
  }
  void store(const ProcessIdentity& process) noexcept {
    word_.store(std::uint64_t{process.start} << 32U | static_cast<std::uint32_t>(process.pid),
                std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> word_{0};
};

/// How long a sleeper trusts the others before it looks whether they live.
inline constexpr Duration watch_slice = std::chrono::milliseconds(100);

}  // namespace mp::detail
