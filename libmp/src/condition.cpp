#include <algorithm>
#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "mp/synchronize.hpp"
#include "probe.hpp"
#include "synchronize_state.hpp"

namespace mp {
namespace detail {

namespace {

constexpr std::size_t most_sleepers = 500;

// A sleeper's word.
constexpr std::uint32_t empty = 0;
constexpr std::uint32_t asleep = 1;
constexpr std::uint32_t notified = 2;

struct Sleeper {
  std::atomic<std::uint32_t> word{empty};
  std::atomic<std::uint64_t> turn{0};
  AtomicIdentity process;
};

}  // namespace

/// What a Condition is in shared memory, beside its lock.
///
/// Invariants:
///   1. A sleeper is in the list when its word is not `empty`. The holder of
///      the condition's lock makes entries (empty to asleep), marks them
///      (asleep to notified) and takes its own out. Others only look.
///   2. A mark is a wake-up: the notifier owes it until it has released the
///      lock, then the sleeper has it. If the sleeper's process has ended, the
///      mark is for those who slept already when it was made: one of them
///      takes the lock and, as the last thing that it does, the mark. So
///      whoever is killed on the way leaves the mark to the next.
///   3. `turn` grows with each entry: who came first is woken first. In a
///      marked entry it is the next turn as of the mark: it tells those who
///      slept already from those who came later.
///   4. No entry lies beyond `used`.
struct ConditionState {
  std::atomic<std::uint32_t> used{0};
  std::atomic<std::uint64_t> next_turn{0};
  std::array<Sleeper, most_sleepers> sleepers{};

  std::size_t enlist();
  std::size_t dead_entry() const;
  void shrink() noexcept;
  Sleeper* left_to(std::uint64_t turn) noexcept;
  bool woken(std::size_t slot, std::uint64_t turn) noexcept;
  bool leave(std::size_t slot, std::uint64_t turn) noexcept;
  void mark(int n);
};

std::size_t ConditionState::enlist() {
  std::size_t slot = 0;
  const std::size_t end = used.load(std::memory_order_relaxed);
  while (slot < end && sleepers[slot].word.load(std::memory_order_relaxed) != empty) ++slot;
  if (slot == most_sleepers) {
    slot = dead_entry();
    // From here on a free one, also for those who look if this process ends now.
    sleepers[slot].word.store(empty, std::memory_order_release);
  }
  auto& sleeper = sleepers[slot];
  sleeper.process.store(this_process());
  const std::uint64_t turn = next_turn.load(std::memory_order_relaxed);
  sleeper.turn.store(turn, std::memory_order_relaxed);
  next_turn.store(turn + 1, std::memory_order_relaxed);
  if (slot == end) used.store(static_cast<std::uint32_t>(end + 1), std::memory_order_relaxed);
  sleeper.word.store(asleep, std::memory_order_release);
  return slot;
}

// What the killed left behind makes room: the place of one that slept, else a
// mark that came before all who sleep now, so that it is nobody's any more.
std::size_t ConditionState::dead_entry() const {
  std::uint64_t first_asleep = next_turn.load(std::memory_order_relaxed);
  for (std::size_t slot = 0; slot < most_sleepers; ++slot) {
    const auto& sleeper = sleepers[slot];
    if (sleeper.word.load(std::memory_order_relaxed) != asleep) continue;
    if (has_ended(sleeper.process.load())) return slot;
    first_asleep = std::min(first_asleep, sleeper.turn.load(std::memory_order_relaxed));
  }
  for (std::size_t slot = 0; slot < most_sleepers; ++slot) {
    const auto& sleeper = sleepers[slot];
    if (sleeper.turn.load(std::memory_order_relaxed) > first_asleep) continue;
    if (has_ended(sleeper.process.load())) return slot;
  }
  throw RuntimeError("too many wait for the condition");
}

void ConditionState::shrink() noexcept {
  std::uint32_t end = used.load(std::memory_order_relaxed);
  while (end > 0 && sleepers[end - 1].word.load(std::memory_order_relaxed) == empty) --end;
  used.store(end, std::memory_order_relaxed);
}

// A mark that a dead process has left to who came at `turn`; null if there is
// none. Without the lock only a hint.
Sleeper* ConditionState::left_to(std::uint64_t turn) noexcept {
  const std::size_t end = std::min<std::size_t>(used.load(), most_sleepers);
  for (std::size_t slot = 0; slot < end; ++slot) {
    auto& sleeper = sleepers[slot];
    if (sleeper.word.load(std::memory_order_acquire) != notified) continue;
    if (turn >= sleeper.turn.load(std::memory_order_relaxed)) continue;
    const ProcessIdentity process = sleeper.process.load();
    if (process != this_process() && has_ended(process)) return &sleeper;
  }
  return nullptr;
}

bool ConditionState::woken(std::size_t slot, std::uint64_t turn) noexcept {
  return sleepers[slot].word.load(std::memory_order_relaxed) != asleep || left_to(turn) != nullptr;
}

// Takes the own entry out, and the wake-up that there is, if any: the own one,
// else a dead one's.
bool ConditionState::leave(std::size_t slot, std::uint64_t turn) noexcept {
  bool woken = sleepers[slot].word.exchange(empty) == notified;
  if (Sleeper* heritage = woken ? nullptr : left_to(turn)) {
    probe("condition.wait.inherited");
    heritage->word.store(empty, std::memory_order_release);
    woken = true;
  }
  shrink();
  return woken;
}

namespace {

// Words of those whom this thread has notified and not woken yet.
thread_local std::vector<const std::atomic<std::uint32_t>*> owed_wakes;

}  // namespace

// Marks the n longest asleep; they are woken when the lock is released, as all
// they could do before is to wait for it.
void ConditionState::mark(int n) {
  std::array<std::pair<std::uint64_t, std::uint32_t>, most_sleepers> order;
  std::size_t count = 0;
  const std::uint32_t end = std::min<std::uint32_t>(used.load(), most_sleepers);
  for (std::uint32_t slot = 0; slot < end; ++slot) {
    if (sleepers[slot].word.load(std::memory_order_relaxed) != asleep) continue;
    order[count++] = {sleepers[slot].turn.load(std::memory_order_relaxed), slot};
  }
  std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count));
  const std::uint64_t next = next_turn.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < count && n > 0; ++i, --n) {
    auto& sleeper = sleepers[order[i].second];
    sleeper.turn.store(next, std::memory_order_relaxed);
    sleeper.word.store(notified, std::memory_order_release);
    probe("condition.notify.marked");
    owed_wakes.push_back(&sleeper.word);
  }
}

// A word that is somebody else's by now, or in no memory any more, does no
// harm: the system looks at the address only, and all sleepers look again.
void pay_wakes() noexcept {
  for (const auto* word : owed_wakes) {
    // Who is not asleep yet finds its mark; who was killed is found by others.
    futex_wake(*word, 1);
    probe("condition.notify.woken");
  }
  owed_wakes.clear();
}

}  // namespace detail

Condition::Condition(RLock lock)
    : Condition(std::variant<RLock, Lock>(std::move(lock)),
                detail::SharedBlock::allocate(sizeof(detail::ConditionState))) {
  new (state_) detail::ConditionState;
}

Condition::Condition(Lock lock)
    : Condition(std::variant<RLock, Lock>(std::move(lock)),
                detail::SharedBlock::allocate(sizeof(detail::ConditionState))) {
  new (state_) detail::ConditionState;
}

Condition::Condition(std::variant<RLock, Lock> lock, detail::SharedBlock block)
    : lock_(std::move(lock)),
      lock_state_(std::visit([](const auto& held) { return held.state_; }, lock_)),
      block_(std::move(block)),
      state_(block_.as<detail::ConditionState>()) {}

bool Condition::acquire(Timeout timeout) const {
  return std::visit([&](const auto& lock) { return lock.acquire(timeout); }, lock_);
}

void Condition::release() const {
  std::visit([](const auto& lock) { lock.release(); }, lock_);
}

bool Condition::wait(Timeout timeout) const {
  if (!detail::held_by_this_thread(*lock_state_)) {
    throw AssertionError("must acquire() condition before using wait()");
  }
  const detail::Deadline deadline(timeout);
  const std::size_t slot = state_->enlist();
  detail::probe("condition.wait.enlisted");
  const std::uint64_t turn = state_->sleepers[slot].turn.load(std::memory_order_relaxed);
  const std::uint32_t depth = lock_state_->depth;
  const auto leave = [&] {
    lock_state_->depth = depth;
    detail::probe("condition.wait.reacquired");
    return state_->leave(slot, turn);
  };
  do {
    detail::release_lock(*lock_state_);
    detail::probe("condition.wait.released");
    sleep_released(slot, turn, deadline);
    detail::probe("condition.wait.woken");
    try {
      detail::acquire_lock(*lock_state_, detail::Deadline());
    } catch (const OwnerDied&) {
      leave();
      throw;
    }
    // Another may have been quicker to take a dead one's wake-up.
  } while (!state_->woken(slot, turn) && !deadline.passed());
  return leave();
}

// Returns when there is a reason to take the lock.
void Condition::sleep_released(std::size_t slot, std::uint64_t turn,
                               const detail::Deadline& deadline) const {
  const auto& word = state_->sleepers[slot].word;
  for (;;) {
    const bool in_time =
        detail::futex_wait(word, detail::asleep, deadline.remaining_at_most(detail::watch_slice));
    if (word.load(std::memory_order_acquire) != detail::asleep) return;
    if (!in_time && (state_->left_to(turn) != nullptr || deadline.passed())) return;
  }
}

void Condition::notify(int n) const {
  if (!detail::held_by_this_thread(*lock_state_)) throw AssertionError("lock is not owned");
  lock_state_->wakes_owed = 1;
  state_->mark(n);
}

void Condition::notify_all() const { notify(std::numeric_limits<int>::max()); }

std::string Condition::repr() const {
  const auto sleeping =
      std::count_if(state_->sleepers.begin(), state_->sleepers.end(),
                    [](const auto& sleeper) { return sleeper.word.load() != detail::empty; });
  return fmt::format("<Condition({}, {})>",
                     std::visit([](const auto& lock) { return lock.repr(); }, lock_), sleeping);
}

void Condition::pickle(Encoder& out) const {
  encode(out, lock_);
  detail::pickle_shared(out, 'C', block_);
}

Condition Condition::unpickle(Decoder& in) {
  auto lock = decode<std::variant<RLock, Lock>>(in);
  return Condition(std::move(lock),
                   detail::unpickle_shared(in, 'C', sizeof(detail::ConditionState)));
}

}  // namespace mp
