#include <algorithm>
#include <exception>
#include <limits>
#include <mutex>
#include <span>
#include <vector>

#include "mp/synchronize.hpp"
#include "probe.hpp"
#include "synchronize_state.hpp"

namespace mp {
namespace detail {

/// What a Barrier is in shared memory; behind it lie the parties that have
/// arrived and those of the last pass, `parties` of each.
///
/// Invariants:
///   1. Read and written under `guard`, except for `word` and `passes`.
///   2. `word` counts the generations; a generation ends, by a pass or by a
///      break, with the store that makes it one more, and by nothing else.
///      How the last 64 have ended is in `passes`, written before.
///   3. `arrived` and `acting` are of the generation `of`; when that is not
///      `word`, nobody has arrived yet in the present one.
///   4. Whoever writes may be killed between any two writes. What says that
///      others are whole (`word`, `of`, `arrived`) is stored after them, by a
///      release.
struct BarrierState {
  OwnedLock guard;
  std::atomic<std::uint32_t> word{0};
  std::uint32_t parties = 0;
  std::atomic<std::uint32_t> of{0};
  std::atomic<std::uint32_t> arrived{0};
  std::uint32_t acting = 0;
  std::uint32_t broken = 0;
  std::atomic<std::uint64_t> passes{0};
  std::int64_t watched = 0;  // When somebody last looked who lives; steady clock.

  AtomicIdentity* here() noexcept { return reinterpret_cast<AtomicIdentity*>(this + 1); }
  AtomicIdentity* last() noexcept { return here() + parties; }
  [[nodiscard]] std::uint32_t generation() const noexcept {
    return word.load(std::memory_order_acquire);
  }
  // How many have come in the present generation; under the guard.
  [[nodiscard]] std::uint32_t came() const noexcept {
    return arrived.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool passed(std::uint32_t which) const noexcept {
    return (passes.load(std::memory_order_relaxed) >> (which % 64) & 1U) != 0;
  }

  void settle() noexcept;
  void end_generation(bool pass) noexcept;
  void break_up() noexcept;
  bool somebody_died() noexcept;
};
static_assert(sizeof(BarrierState) % alignof(AtomicIdentity) == 0);

namespace {

std::size_t size_for(std::uint32_t parties) {
  return sizeof(BarrierState) + 2 * std::size_t{parties} * sizeof(AtomicIdentity);
}

}  // namespace

/// What one process has of a barrier, shared by its handles. When the last of
/// them goes, or the process ends in order, it leaves: its end is no death.
class BarrierParty {
 public:
  BarrierParty(SharedBlock block, std::shared_ptr<Task> action, Timeout timeout);
  BarrierParty(const BarrierParty&) = delete;
  BarrierParty& operator=(const BarrierParty&) = delete;
  ~BarrierParty();

  int wait(Timeout timeout);
  void act(std::uint32_t generation);

  SharedBlock block;
  BarrierState& state;
  std::shared_ptr<Task> action;
  Timeout timeout;

 private:
  std::uint32_t arrive(const Deadline& deadline, std::uint32_t& index);
  void watch(std::uint32_t generation, bool out_of_time);
  std::atomic<std::uint32_t> fork_generation_{0};  // Of the process that waited last.
};

// --- the state, under its guard ----------------------------------------------

void BarrierState::settle() noexcept {
  const std::uint32_t present = generation();
  if (of.load(std::memory_order_relaxed) == present) return;
  arrived.store(0, std::memory_order_relaxed);
  acting = 0;
  of.store(present, std::memory_order_release);
}

void BarrierState::end_generation(bool pass) noexcept {
  const std::uint32_t which = generation();
  const std::uint64_t bit = std::uint64_t{1} << (which % 64);
  const std::uint64_t others = passes.load(std::memory_order_relaxed) & ~bit;
  passes.store(pass ? others | bit : others, std::memory_order_relaxed);
  probe("barrier.generation.ending");
  word.store(which + 1, std::memory_order_release);
  settle();
}

void BarrierState::break_up() noexcept {
  broken = 1;
  probe("barrier.break.marked");
  end_generation(false);
  probe("barrier.break.told");
  futex_wake(word, std::numeric_limits<int>::max());
}

// One of those who wait, or of the last pass and not here yet.
bool BarrierState::somebody_died() noexcept {
  const auto dead = [](const AtomicIdentity& entry) {
    const ProcessIdentity process = entry.load();
    return process.pid != 0 && process != this_process() && has_ended(process);
  };
  return std::any_of(here(), here() + std::min(came(), parties), dead) ||
         std::any_of(last(), last() + parties, dead);
}

// --- the party of one process ------------------------------------------------

namespace {

// Those that leave when the process ends in order. Replaced in a forked
// child, whose handles are its parent's until it waits.
struct Parties {
  ForkSafeMutex mutex;
  std::vector<BarrierParty*> present;
  std::vector<SharedBlock> dropped;  // By an exception: how it ends is open.
};

void leave(const SharedBlock& block) noexcept {
  auto& state = *block.as<BarrierState>();
  const OwnedGuard guard(state.guard);
  for (auto& entry : std::span(state.last(), state.parties)) {
    if (entry.load() == this_process()) entry.store({});
  }
}

std::atomic<Parties*> the_parties{nullptr};

Parties& parties_here() {
  static const bool hooked = [] {
    the_parties = new Parties;
    after_fork_in_child([] { the_parties = new Parties; });
    at_orderly_end([] {
      Parties& all = *the_parties;
      const std::lock_guard guard(all.mutex);
      for (const auto* party : all.present) leave(party->block);
      for (const auto& block : all.dropped) leave(block);
    });
    return true;
  }();
  (void)hooked;
  return *the_parties;
}

}  // namespace

BarrierParty::BarrierParty(SharedBlock memory, std::shared_ptr<Task> task, Timeout default_timeout)
    : block(std::move(memory)),
      state(*block.as<BarrierState>()),
      action(std::move(task)),
      timeout(default_timeout) {}

BarrierParty::~BarrierParty() {
  if (fork_generation_ != detail::fork_generation()) return;
  Parties& all = parties_here();
  const std::lock_guard guard(all.mutex);
  std::erase(all.present, this);
  if (std::uncaught_exceptions() > 0) {
    all.dropped.push_back(block);
  } else {
    leave(block);
  }
}

// Takes a place in the present generation, after those who pass are gone.
std::uint32_t BarrierParty::arrive(const Deadline& deadline, std::uint32_t& index) {
  if (fork_generation_.exchange(detail::fork_generation()) != detail::fork_generation()) {
    Parties& all = parties_here();
    const std::lock_guard guard(all.mutex);
    all.present.push_back(this);
  }
  for (;;) {
    std::uint32_t generation = 0;
    {
      const OwnedGuard guard(state.guard);
      state.settle();
      generation = state.generation();
      if (state.broken != 0) throw BrokenBarrierError("the barrier is broken");
      if (state.came() < state.parties) {
        index = state.came();
        state.here()[index].store(this_process());
        probe("barrier.wait.noted");
        state.arrived.store(index + 1, std::memory_order_release);
        if (index + 1 == state.parties) state.acting = 1;
        probe("barrier.wait.counted");
        return generation;
      }
    }
    // All have come, and the last of them acts: the next pass is not begun.
    const bool in_time =
        futex_wait(state.word, generation, deadline.remaining_at_most(watch_slice));
    if (!in_time) watch(generation, deadline.passed());
  }
}

int BarrierParty::wait(Timeout limit) {
  const Deadline deadline(limit);
  std::uint32_t index = 0;
  const std::uint32_t generation = arrive(deadline, index);
  if (index + 1 == state.parties) {
    act(generation);
    return static_cast<int>(index);
  }
  while (state.generation() == generation) {
    const bool in_time =
        futex_wait(state.word, generation, deadline.remaining_at_most(watch_slice));
    if (!in_time) watch(generation, deadline.passed());
  }
  probe("barrier.wait.woken");
  if (!state.passed(generation)) throw BrokenBarrierError("the barrier broke");
  return static_cast<int>(index);
}

// The last party's part. Not under the guard: the action may ask the barrier.
void BarrierParty::act(std::uint32_t generation) {
  probe("barrier.wait.acting");
  if (action) {
    try {
      action->run();
    } catch (...) {
      const OwnedGuard guard(state.guard);
      state.settle();
      if (state.generation() == generation) state.break_up();
      throw;
    }
    probe("barrier.wait.acted");
  }
  {
    const OwnedGuard guard(state.guard);
    state.settle();
    if (state.generation() != generation) throw BrokenBarrierError("the barrier broke");
    for (std::uint32_t i = 0; i < state.parties; ++i) {
      state.last()[i].store(state.here()[i].load());
    }
    state.end_generation(true);
  }
  probe("barrier.wait.passed");
  futex_wake(state.word, std::numeric_limits<int>::max());
}

// Breaks the barrier if this party's time is over or another has died. One
// of the many that wait looks for all, some ten times a second.
void BarrierParty::watch(std::uint32_t generation, bool out_of_time) {
  const OwnedGuard guard(state.guard);
  state.settle();
  if (state.generation() != generation) return;
  const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  const bool look = now - state.watched >= Duration(watch_slice).count() * 3 / 4;
  if (look) state.watched = now;
  // Broken, but its breaker was killed before it said so.
  if (out_of_time || state.broken != 0 || (look && state.somebody_died())) state.break_up();
}

}  // namespace detail

// --- the handle --------------------------------------------------------------

Barrier::Barrier(int parties, Timeout timeout) : Barrier(parties, nullptr, timeout) {}

Barrier::Barrier(int parties, std::unique_ptr<detail::Task> action, Timeout timeout) {
  if (parties < 1) throw ValueError("parties must be > 0");
  const auto count = static_cast<std::uint32_t>(parties);
  auto block = detail::SharedBlock::allocate(detail::size_for(count));
  auto* state = new (block.data()) detail::BarrierState;
  state->parties = count;
  std::uninitialized_value_construct_n(state->here(), 2 * std::size_t{count});
  party_ = std::make_shared<detail::BarrierParty>(std::move(block), std::move(action), timeout);
}

int Barrier::wait() const { return party_->wait(party_->timeout); }
int Barrier::wait(Timeout timeout) const { return party_->wait(timeout); }

void Barrier::reset() const {
  auto& state = party_->state;
  const detail::OwnedGuard guard(state.guard);
  state.settle();
  if (state.came() != 0) state.break_up();
  state.broken = 0;
  for (std::uint32_t i = 0; i < state.parties; ++i) state.last()[i].store({});
}

void Barrier::abort() const {
  auto& state = party_->state;
  const detail::OwnedGuard guard(state.guard);
  state.settle();
  state.break_up();
}

int Barrier::parties() const noexcept { return static_cast<int>(party_->state.parties); }

int Barrier::n_waiting() const {
  auto& state = party_->state;
  const detail::OwnedGuard guard(state.guard);
  state.settle();
  return state.acting != 0 ? 0 : static_cast<int>(state.came());
}

bool Barrier::broken() const {
  auto& state = party_->state;
  const detail::OwnedGuard guard(state.guard);
  return state.broken != 0;
}

bool Barrier::same_as(const Barrier& other) const noexcept {
  return &party_->state == &other.party_->state;
}

std::string Barrier::repr() const {
  const void* where = &party_->state;
  if (broken()) return fmt::format("<Barrier at {}: broken>", where);
  return fmt::format("<Barrier at {}: waiters={}/{}>", where, n_waiting(), parties());
}

void Barrier::pickle(Encoder& out) const {
  detail::pickle_shared(out, 'B', party_->block);
  encode(out, party_->timeout);
  out.number(party_->action != nullptr);
  if (party_->action) party_->action->pickle(out);
}

Barrier Barrier::unpickle(Decoder& in) {
  auto block = detail::unpickle_shared(in, 'B', sizeof(detail::BarrierState));
  const auto* state = block.as<detail::BarrierState>();
  if (state->parties == 0 || block.size() < detail::size_for(state->parties)) {
    Decoder::malformed("a barrier with more parties than room");
  }
  const auto timeout = decode<Timeout>(in);
  std::unique_ptr<detail::Task> action;
  if (in.number<bool>()) action = detail::Task::unpickle(in);
  Barrier barrier;
  barrier.party_ =
      std::make_shared<detail::BarrierParty>(std::move(block), std::move(action), timeout);
  return barrier;
}

}  // namespace mp
