#include <algorithm>
#include <array>
#include <limits>
#include <ostream>

#include "mp/synchronize.hpp"
#include "probe.hpp"
#include "synchronize_state.hpp"

namespace mp {
namespace detail {

namespace {

constexpr std::uint32_t waiters_bit = 1U << 31U;
constexpr std::uint32_t largest_value = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t holder_slots = 64;

struct UnitHolder {
  AtomicIdentity process;
  std::atomic<std::uint32_t> count{0};
};

// What a dead process did last is found in the order in which it did it: the
// compiler moves no write behind this one.
void change(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept {
  word.store(value, std::memory_order_release);
}
std::uint32_t look(const std::atomic<std::uint32_t>& word) noexcept {
  return word.load(std::memory_order_relaxed);
}

}  // namespace

/// What a Semaphore is in shared memory.
///
/// Invariants:
///   1. All but `word` is read and written under `guard`. Whoever writes may
///      be killed between any two writes, so each is a release: they are made
///      in the order written down.
///   2. As long as `signal` is 0, the free units are `initial` less what the
///      holders have (and `untracked`); one store to a holder's count takes or
///      gives a unit. Afterwards they are `value`; one store again.
///   3. `word` repeats the free units for those who look and sleep; bit 31:
///      somebody may sleep on it. Whoever takes over the guard from a dead
///      process sets it anew from 2.
struct SemaphoreState {
  OwnedLock guard;
  std::atomic<std::uint32_t> word{0};
  std::uint32_t initial = 0;
  std::uint32_t bounded = 0;
  std::atomic<std::uint32_t> signal{0};
  std::atomic<std::uint32_t> value{0};
  std::atomic<std::uint32_t> untracked{0};
  std::array<UnitHolder, holder_slots> holders{};

  [[nodiscard]] std::uint32_t free_units() const noexcept {
    return word.load(std::memory_order_relaxed) & ~waiters_bit;
  }
  void repair() noexcept;
  void show(std::uint32_t units) noexcept;
  UnitHolder* holder_of(const ProcessIdentity& process) noexcept;
  void note_unit() noexcept;
  void take() noexcept;
  bool take_from_dead();
  void give_back();
};

void SemaphoreState::repair() noexcept {
  std::uint32_t held = look(untracked);
  for (const auto& holder : holders) held += look(holder.count);
  show(look(signal) != 0 ? look(value) : initial - std::min(held, initial));
}

// Sleepers stay announced; whoever wakes them tells when there are none.
void SemaphoreState::show(std::uint32_t units) noexcept {
  const std::uint32_t sleepers = word.load(std::memory_order_relaxed) & waiters_bit;
  word.store(units | sleepers, std::memory_order_release);
}

// The slot of this process, else an empty one; null when all are others'.
UnitHolder* SemaphoreState::holder_of(const ProcessIdentity& process) noexcept {
  UnitHolder* empty = nullptr;
  for (auto& holder : holders) {
    const bool in_use = look(holder.count) != 0;
    if (in_use && holder.process.load() == process) return &holder;
    if (!in_use && empty == nullptr) empty = &holder;
  }
  return empty;
}

// One more is this process's. Whose it is comes before that it is somebody's.
void SemaphoreState::note_unit() noexcept {
  UnitHolder* mine = holder_of(this_process());
  if (mine == nullptr) return change(untracked, look(untracked) + 1);
  mine->process.store(this_process());
  change(mine->count, look(mine->count) + 1);
}

void SemaphoreState::take() noexcept {
  const std::uint32_t units = free_units();
  if (look(signal) != 0) {
    change(value, units - 1);
  } else {
    note_unit();
  }
  probe("semaphore.acquire.taken");
  show(units - 1);
}

// Mine first: a taker killed between the two steps leaves one death too many
// to be told of, but no unit lost.
bool SemaphoreState::take_from_dead() {
  if (look(signal) != 0) return false;
  for (auto& holder : holders) {
    if (look(holder.count) == 0) continue;
    const ProcessIdentity process = holder.process.load();
    if (process == this_process() || !has_ended(process)) continue;
    note_unit();
    probe("semaphore.acquire.inherited");
    change(holder.count, look(holder.count) - 1);
    return true;
  }
  return false;
}

void SemaphoreState::give_back() {
  const std::uint32_t units = free_units();
  if (units == (bounded != 0 ? initial : largest_value)) {
    throw ValueError("semaphore or lock released too many times");
  }
  const bool is_signal = look(signal) != 0;
  UnitHolder* mine = is_signal ? nullptr : holder_of(this_process());
  if (is_signal) {
    change(value, units + 1);
  } else if (mine != nullptr && look(mine->count) != 0) {
    change(mine->count, look(mine->count) - 1);
  } else if (look(untracked) != 0) {
    change(untracked, look(untracked) - 1);
  } else if (bounded != 0) {
    // Another's unit; whose is told by nothing.
    for (auto& holder : holders) {
      if (look(holder.count) == 0) continue;
      change(holder.count, look(holder.count) - 1);
      break;
    }
  } else {
    change(value, units + 1);
    probe("semaphore.release.counted");
    change(signal, 1);
  }
  probe("semaphore.release.given");
  show(units + 1);
}

namespace {

bool acquire_unit(SemaphoreState& state, const Deadline& deadline) {
  bool look_for_dead = false;
  for (;;) {
    std::uint32_t seen = 0;
    {
      const OwnedGuard guard(state.guard);
      if (guard.owner_died()) state.repair();
      if (state.free_units() > 0) {
        state.take();
        return true;
      }
      const bool last_look = deadline.passed();
      if ((look_for_dead || last_look) && state.take_from_dead()) break;
      if (last_look) return false;
      seen = state.word.fetch_or(waiters_bit, std::memory_order_relaxed) | waiters_bit;
    }
    probe("semaphore.acquire.announced");
    look_for_dead = !futex_wait(state.word, seen, deadline.remaining_at_most(watch_slice));
    probe("semaphore.acquire.woken");
  }
  throw OwnerDied("a process that held a unit of the semaphore ended; the unit is held now");
}

void release_unit(SemaphoreState& state) {
  std::uint32_t shown = 0;
  {
    const OwnedGuard guard(state.guard);
    if (guard.owner_died()) state.repair();
    state.give_back();
    shown = state.word.load(std::memory_order_relaxed);
  }
  if ((shown & waiters_bit) == 0) return;
  probe("semaphore.release.before_wake");
  if (futex_wake(state.word, 1) == 0) {
    // Nobody sleeps, unless somebody has come since: then the word is another.
    state.word.compare_exchange_strong(shown, shown & ~waiters_bit, std::memory_order_relaxed);
  }
}

SharedBlock new_semaphore_state(std::int32_t value, bool bounded) {
  if (value < 0) throw ValueError("semaphore initial value must be >= 0");
  auto block = SharedBlock::allocate(sizeof(SemaphoreState));
  auto* state = new (block.data()) SemaphoreState;
  state->initial = static_cast<std::uint32_t>(value);
  state->bounded = bounded ? 1 : 0;
  state->show(state->initial);
  return block;
}

}  // namespace
}  // namespace detail

Semaphore::Semaphore(std::int32_t value) : Semaphore(value, false) {}

Semaphore::Semaphore(std::int32_t value, bool bounded)
    : Semaphore(detail::new_semaphore_state(value, bounded)) {}

Semaphore::Semaphore(detail::SharedBlock block)
    : block_(std::move(block)), state_(block_.as<detail::SemaphoreState>()) {}

bool Semaphore::acquire(Timeout timeout) const {
  return detail::acquire_unit(*state_, detail::Deadline(timeout));
}

void Semaphore::release() const { detail::release_unit(*state_); }

std::int32_t Semaphore::get_value() const noexcept {
  return static_cast<std::int32_t>(state_->free_units());
}

std::string Semaphore::repr() const { return fmt::format("<Semaphore(value={})>", get_value()); }

std::string BoundedSemaphore::repr() const {
  return fmt::format("<BoundedSemaphore(value={}, maxvalue={})>", get_value(), state_->initial);
}

void Semaphore::pickle(Encoder& out) const { detail::pickle_shared(out, 'S', block_); }

detail::SharedBlock Semaphore::unpickle_block(Decoder& in) {
  return detail::unpickle_shared(in, 'S', sizeof(detail::SemaphoreState));
}

Semaphore Semaphore::unpickle(Decoder& in) { return Semaphore(unpickle_block(in)); }

}  // namespace mp
