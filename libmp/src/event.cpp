#include <cerrno>
#include <limits>

#include "mp/synchronize.hpp"
#include "probe.hpp"
#include "synchronize_state.hpp"

namespace mp {
namespace detail {

namespace {
constexpr std::uint32_t flag = 1;
constexpr std::uint32_t one_set = 2;
constexpr Duration event_slice = std::chrono::milliseconds(400);
}  // namespace

/// Bit 0 is the flag; the bits above count how often it was set. A sleeper
/// that finds another count than the one it fell asleep on was woken by a set,
/// even if the flag is cleared again.
struct EventState {
  std::atomic<std::uint32_t> word{0};
};

}  // namespace detail

Event::Event() : Event(detail::SharedBlock::allocate(sizeof(detail::EventState))) {
  new (state_) detail::EventState;
}

Event::Event(detail::SharedBlock block)
    : block_(std::move(block)), state_(block_.as<detail::EventState>()) {}

bool Event::is_set() const noexcept {
  return (state_->word.load(std::memory_order_acquire) & detail::flag) != 0;
}

void Event::set() const noexcept {
  // A signal handler gives errno back as it found it.
  const int saved = errno;
  auto& word = state_->word;
  detail::probe("event.set.before");
  std::uint32_t seen = word.load(std::memory_order_relaxed);
  do {
    // Release, also when it is set already: what was written before this
    // call is seen by whoever finds the flag.
  } while (!word.compare_exchange_weak(
      seen, (seen & detail::flag) != 0 ? seen : (seen + detail::one_set) | detail::flag,
      std::memory_order_release, std::memory_order_relaxed));
  detail::probe("event.set.set");
  if ((seen & detail::flag) == 0) detail::futex_wake(word, std::numeric_limits<int>::max());
  detail::probe("event.set.done");
  errno = saved;
}

void Event::clear() const noexcept {
  state_->word.fetch_and(~detail::flag, std::memory_order_relaxed);
  detail::probe("event.clear.done");
}

bool Event::wait(Timeout timeout) const {
  auto& word = state_->word;
  std::uint32_t seen = word.load(std::memory_order_acquire);
  const std::uint32_t sets = seen / detail::one_set;
  if ((seen & detail::flag) != 0) return true;
  const detail::Deadline deadline(timeout);
  for (;;) {
    detail::probe("event.wait.before");
    // In slices: who set it may have been killed before it woke anybody.
    const bool in_time =
        detail::futex_wait(word, seen, deadline.remaining_at_most(detail::event_slice));
    detail::probe("event.wait.woken");
    seen = word.load(std::memory_order_acquire);
    if ((seen & detail::flag) != 0 || seen / detail::one_set != sets) return true;
    if (!in_time && deadline.passed()) return false;
  }
}

std::string Event::repr() const {
  return fmt::format("<Event at {} {}>", fmt::ptr(state_), is_set() ? "set" : "unset");
}

void Event::pickle(Encoder& out) const { detail::pickle_shared(out, 'E', block_); }

Event Event::unpickle(Decoder& in) {
  return Event(detail::unpickle_shared(in, 'E', sizeof(detail::EventState)));
}

}  // namespace mp
