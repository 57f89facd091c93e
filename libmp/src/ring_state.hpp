#pragma once

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "mp/detail/owned_lock.hpp"
#include "mp/detail/ring.hpp"
#include "mp/errors.hpp"
#include "spin.hpp"

/// What lies in a ring's memory, and what each process keeps beside it.
namespace mp::detail {

namespace ring {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;

constexpr std::uint32_t waiting_bit = 1;
constexpr std::uint32_t one_round = 2;

// In front of each record: its size.
constexpr std::uint64_t record_header = sizeof(std::uint64_t);
// The spill is mapped for writing in parts of this size.
constexpr std::uint64_t mapped_step = 256 << 10;

[[noreturn]] inline void corrupt() { throw RuntimeError("the memory of a queue is corrupt"); }

inline void put_number(std::byte* at, std::uint64_t number) {
  std::memcpy(at, &number, sizeof number);
}

inline std::uint64_t get_number(const std::byte* at) {
  std::uint64_t number = 0;
  std::memcpy(&number, at, sizeof number);
  return number;
}

inline void copy_pieces(std::byte* at, Ring::Pieces pieces) {
  for (const auto piece : pieces) {
    if (!piece.empty()) std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  }
}

}  // namespace ring

struct Ring::State {
  std::uint64_t ring = 0;   // Place in the ring.
  std::uint64_t spill = 0;  // Offset in the spill.
  std::uint64_t count = 0;  // Records since the beginning.
  std::uint64_t bytes = 0;  // Payload since the beginning.
};

// What one side has done, for the other to see. Written under that side's
// lock; read by anybody.
struct alignas(128) Ring::Side {
  struct Slot {
    std::atomic<std::uint64_t> ring, spill, count;
  };
  std::array<Slot, 2> slots;
  std::atomic<std::uint64_t> version;
  // Looked at from the other side only where there is a bound in bytes, and
  // away from the lines that are looked at all the time.
  alignas(128) std::array<std::atomic<std::uint64_t>, 2> bytes;
  alignas(128) OwnedLock lock;
  // Lower bounds of what the other side has done, as this side last saw it.
  std::atomic<std::uint64_t> seen_ring, seen_spill, seen_count, seen_bytes;

  [[nodiscard]] State seen() const {
    return {seen_ring.load(ring::relaxed), seen_spill.load(ring::relaxed),
            seen_count.load(ring::relaxed), seen_bytes.load(ring::relaxed)};
  }
  // Under the lock. The ring before the spill: a consumer that is killed
  // between them leaves a look at which the ring is not older than the spill.
  void see(const State& other) {
    seen_ring.store(other.ring, ring::release);
    seen_spill.store(other.spill, ring::release);
    seen_count.store(other.count, ring::relaxed);
    seen_bytes.store(other.bytes, ring::relaxed);
  }
  // The own state, under the lock.
  [[nodiscard]] State own() const {
    const std::size_t i = version.load(ring::relaxed) & 1;
    return {slots[i].ring.load(ring::relaxed), slots[i].spill.load(ring::relaxed),
            slots[i].count.load(ring::relaxed), bytes[i].load(ring::relaxed)};
  }
  // The other side's, as of one moment: the slot read is not written again
  // before the version has changed.
  [[nodiscard]] State look(bool with_bytes = false) const {
    for (;;) {
      const std::uint64_t before = version.load(ring::acquire);
      const std::size_t i = before & 1;
      State state{slots[i].ring.load(ring::relaxed), slots[i].spill.load(ring::relaxed),
                  slots[i].count.load(ring::relaxed)};
      if (with_bytes) state.bytes = bytes[i].load(ring::relaxed);
      std::atomic_thread_fence(ring::acquire);
      if (version.load(ring::relaxed) == before) return state;
    }
  }
  // The gates' bits are read after it: order_before_gates() comes between.
  void commit(const State& next) {
    const std::uint64_t now = version.load(ring::relaxed);
    const std::size_t i = (now + 1) & 1;
    // Whoever finds one of these in a look at the slot finds a version that
    // is no longer the one it began with.
    std::atomic_thread_fence(ring::release);
    slots[i].ring.store(next.ring, ring::relaxed);
    slots[i].spill.store(next.spill, ring::relaxed);
    slots[i].count.store(next.count, ring::relaxed);
    bytes[i].store(next.bytes, ring::relaxed);
    version.store(now + 1, ring::release);
  }
};

// A futex word: rounds << 1 | somebody may sleep.
struct Ring::Gate {
  std::atomic<std::uint32_t> word;

  void tell(int count) {
    if ((word.load(std::memory_order_seq_cst) & ring::waiting_bit) == 0) return;
    word.fetch_add(ring::one_round, std::memory_order_seq_cst);
    if (futex_wake(word, count) > 0) return;
    // Nobody sleeps. Who sets the bit from here on is seen by the next; who
    // had set it and was about to sleep finds another word, or is woken.
    // All of them: with the bit gone nobody else tells them.
    word.fetch_and(~ring::waiting_bit, std::memory_order_seq_cst);
    futex_wake(word, INT_MAX);
  }
};

struct Ring::Header {
  std::uint64_t magic;
  RingLimits limits;
  std::atomic<std::uint32_t> flags;  // Changed under both locks.

  Side tail;
  std::atomic<std::uint64_t> warm;      // Under the tail lock: where the ring starts over,
  std::atomic<std::uint64_t> retry_at;  // where to try that again if it is not free yet,
  std::atomic<std::uint64_t> calm;      // and how often in a row readers had kept up.

  Side head;
  std::atomic<std::uint64_t> punched;  // Under the head lock: where the spill's pages begin.

  alignas(128) Gate not_empty;
  std::atomic<std::uint32_t> poll_asked;
  alignas(64) Gate not_full;
  alignas(64) Gate finished;
  std::atomic<std::uint64_t> done;
};

// A part of the spill, read ahead, or one large record, mapped. Of this process, under the head
// lock; its bytes are those of committed records, which do not change.
struct Ring::Window {
  Window() = default;
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  ~Window() { reset(); }
  void reset() noexcept {
    if (mapping != nullptr) ::munmap(mapping, mapped);
    mapping = nullptr;
    bytes.reset();
    begin = end = capacity = 0;
  }

  // `size` bytes of the spill; more are read if there are, up to `limit`.
  std::span<const std::byte> fetch(int fd, std::uint64_t from, std::uint64_t size,
                                   std::uint64_t limit);
  // `size` bytes where they lie; none if they cannot be mapped.
  std::span<const std::byte> map(int fd, std::uint64_t from, std::uint64_t size);

  std::uint32_t generation = fork_generation();
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t capacity = 0;
  std::unique_ptr<std::byte[]> bytes = {};
  void* mapping = nullptr;
  std::uint64_t mapped = 0;
};

// A part of the spill, mapped for writing. Of this process, under the tail lock.
struct Ring::View {
  View() = default;
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() { reset(); }
  void reset() noexcept {
    if (memory != nullptr) ::munmap(memory, ring::mapped_step);
    memory = nullptr;
    begin = end = 0;
  }

  std::uint32_t generation = fork_generation();
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::byte* memory = nullptr;
};

struct Ring::Spins {
  AdaptiveSpin get;
  AdaptiveSpin put;
  HeadStart head_start;
};

}  // namespace mp::detail
