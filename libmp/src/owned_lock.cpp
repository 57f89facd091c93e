#include "mp/detail/owned_lock.hpp"

#include <bit>
#include <chrono>
#include <type_traits>

#include "probe.hpp"

namespace mp::detail {
namespace {

using namespace std::chrono_literals;

static_assert(std::is_standard_layout_v<OwnedLock> &&
              std::atomic<std::uint64_t>::is_always_lock_free);

constexpr std::uint64_t waiters_bit = 1U << 31U;

// How long a sleeper trusts the owner before it looks whether it lives.
constexpr Duration slice = 100ms;

// A taken lock is looked at before going to sleep, where another core can free
// it meanwhile: after 32, 64 and 128 pauses, together about what a sleep and a
// wake-up cost. Not at once, and ever more rarely, since each look takes the
// lock's cache line from the core that works under it: two processes in turns
// get twice as much done when each is left alone for a while.
constexpr int first_pauses = 32;
constexpr int most_pauses = 128;

std::uint64_t packed(const ProcessIdentity& process) noexcept {
  return std::uint64_t{process.start} << 32U | static_cast<std::uint32_t>(process.pid);
}

ProcessIdentity unpacked(std::uint64_t word) noexcept {
  return {static_cast<std::int32_t>(word & (waiters_bit - 1)),
          static_cast<std::uint32_t>(word >> 32U)};
}

// futex(2) compares 32 bits: the half with the pid and the waiters bit.
const std::atomic<std::uint32_t>& futex_half(const std::atomic<std::uint64_t>& word) noexcept {
  const auto* halves = reinterpret_cast<const std::atomic<std::uint32_t>*>(&word);
  return halves[std::endian::native == std::endian::little ? 0 : 1];
}

}  // namespace

Taken OwnedLock::acquire(const Deadline& deadline) {
  probe("owned_lock.acquire.before");
  const std::uint64_t me = packed(this_process());
  std::uint64_t seen = 0;
  if (!word_.compare_exchange_strong(seen, me, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
    return acquire_slowly(me, deadline);
  }
  probe("owned_lock.acquire.taken");
  return Taken::taken;
}

bool OwnedLock::try_acquire() noexcept {
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  if (seen != 0 ||
      !word_.compare_exchange_strong(seen, packed(this_process()), std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
    return false;
  }
  probe("owned_lock.try.taken");
  return true;
}

Taken OwnedLock::acquire_slowly(std::uint64_t me, const Deadline& deadline) {
  std::uint64_t mine = me;
  int pauses = has_several_cores() ? first_pauses : most_pauses + 1;
  for (;;) {
    std::uint64_t seen = word_.load(std::memory_order_relaxed);
    if (seen == 0) {
      if (!word_.compare_exchange_weak(seen, mine, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        continue;
      }
      probe("owned_lock.acquire.taken");
      return Taken::taken;
    }
    if (pauses <= most_pauses) {
      for (int i = 0; i < pauses; ++i) spin_pause();
      pauses *= 2;
      continue;
    }
    const Duration wait = deadline.remaining_at_most(slice);
    if (wait > Duration::zero()) {
      if ((seen & waiters_bit) == 0) {
        if (!word_.compare_exchange_weak(seen, seen | waiters_bit, std::memory_order_relaxed)) {
          continue;
        }
        seen |= waiters_bit;
      }
      probe("owned_lock.acquire.announced");
      mine = me | waiters_bit;
      const bool in_time = futex_wait(futex_half(word_), static_cast<std::uint32_t>(seen), wait);
      probe("owned_lock.acquire.woken");
      if (in_time) continue;
      // Only an owner that stayed all the time is looked at below.
      if (word_.load(std::memory_order_relaxed) != seen) continue;
    }
    if (take_from_dead(seen, mine)) return Taken::taken_from_dead;
    if (deadline.passed()) return Taken::timed_out;
  }
}

// The word holds pid and start time, so a swap that succeeds took the lock
// from that very process and from no later owner.
bool OwnedLock::take_from_dead(std::uint64_t seen, std::uint64_t mine) {
  const ProcessIdentity owner = unpacked(seen);
  if (owner == this_process() || !has_ended(owner)) return false;
  if (!word_.compare_exchange_strong(seen, mine | (seen & waiters_bit), std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
    return false;
  }
  probe("owned_lock.acquire.inherited");
  return true;
}

bool OwnedLock::release() noexcept {
  probe("owned_lock.release.before");
  const std::uint64_t was = word_.exchange(0, std::memory_order_release);
  probe("owned_lock.release.freed");
  if ((was & waiters_bit) != 0) futex_wake(futex_half(word_), 1);
  probe("owned_lock.release.done");
  return was != 0;
}

ProcessIdentity OwnedLock::owner() const noexcept {
  return unpacked(word_.load(std::memory_order_relaxed));
}

bool OwnedLock::owned_by_this_process() const noexcept { return owner() == this_process(); }

}  // namespace mp::detail
