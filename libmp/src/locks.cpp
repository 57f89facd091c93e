#include <pthread.h>

#include <array>
#include <ostream>

#include "mp/synchronize.hpp"
#include "probe.hpp"
#include "synchronize_state.hpp"

namespace mp {
namespace detail {

bool held_by_this_thread(const LockState& state) noexcept {
  return state.tid.load(std::memory_order_relaxed) == this_tid() &&
         state.lock.owned_by_this_process();
}

bool acquire_lock(LockState& state, const Deadline& deadline) {
  const Taken taken = state.lock.acquire(deadline);
  if (taken == Taken::timed_out) return false;
  state.tid.store(this_tid(), std::memory_order_relaxed);
  state.depth = 1;
  state.wakes_owed = 0;
  probe("lock.acquire.noted");
  if (taken == Taken::taken_from_dead) {
    throw OwnerDied("the process that held the lock ended without releasing it; it is held now");
  }
  return true;
}

bool release_lock(LockState& state) noexcept {
  const bool wakes_owed = state.wakes_owed != 0;
  state.depth = 0;
  state.tid.store(0, std::memory_order_relaxed);
  probe("lock.release.forgotten");
  const bool was_held = state.lock.release();
  if (wakes_owed) pay_wakes();
  return was_held;
}

namespace {

std::string thread_name() {
  std::array<char, 16> name{};
  ::pthread_getname_np(::pthread_self(), name.data(), name.size());
  return name.data();
}

enum class Holder { nobody, this_thread, other_thread, other_process };

Holder holder_of(const LockState& state) {
  if (!state.lock.locked()) return Holder::nobody;
  if (held_by_this_thread(state)) return Holder::this_thread;
  return state.lock.owned_by_this_process() ? Holder::other_thread : Holder::other_process;
}

std::string holder_text(Holder holder) {
  switch (holder) {
    case Holder::nobody:
      return "None";
    case Holder::this_thread:
      return this_tid() == this_pid() ? process_name() : process_name() + '|' + thread_name();
    case Holder::other_thread:
      return "SomeOtherThread";
    case Holder::other_process:
      break;
  }
  return "SomeOtherProcess";
}

SharedBlock new_lock_state() {
  auto block = SharedBlock::allocate(sizeof(LockState));
  new (block.data()) LockState;
  return block;
}

}  // namespace
}  // namespace detail

// --- Lock --------------------------------------------------------------------

Lock::Lock() : Lock(detail::new_lock_state()) {}

Lock::Lock(detail::SharedBlock block)
    : block_(std::move(block)), state_(block_.as<detail::LockState>()) {}

bool Lock::acquire(Timeout timeout) const {
  return detail::acquire_lock(*state_, detail::Deadline(timeout));
}

void Lock::release() const {
  if (!locked() || !detail::release_lock(*state_)) {
    throw ValueError("semaphore or lock released too many times");
  }
}

bool Lock::locked() const noexcept { return state_->lock.locked(); }

std::string Lock::repr() const {
  return fmt::format("<Lock(owner={})>", detail::holder_text(detail::holder_of(*state_)));
}

void Lock::pickle(Encoder& out) const { detail::pickle_shared(out, 'L', block_); }

Lock Lock::unpickle(Decoder& in) {
  return Lock(detail::unpickle_shared(in, 'L', sizeof(detail::LockState)));
}

// --- RLock -------------------------------------------------------------------

RLock::RLock() : RLock(detail::new_lock_state()) {}

RLock::RLock(detail::SharedBlock block)
    : block_(std::move(block)), state_(block_.as<detail::LockState>()) {}

bool RLock::acquire(Timeout timeout) const {
  if (detail::held_by_this_thread(*state_)) {
    ++state_->depth;
    return true;
  }
  return detail::acquire_lock(*state_, detail::Deadline(timeout));
}

void RLock::release() const {
  if (!detail::held_by_this_thread(*state_)) {
    throw AssertionError("attempt to release recursive lock not owned by thread");
  }
  if (state_->depth > 1) {
    --state_->depth;
  } else {
    detail::release_lock(*state_);
  }
}

bool RLock::locked() const noexcept { return state_->lock.locked(); }

std::string RLock::repr() const {
  const auto holder = detail::holder_of(*state_);
  std::string depth = "nonzero";
  if (holder == detail::Holder::nobody) depth = "0";
  if (holder == detail::Holder::this_thread) depth = std::to_string(state_->depth);
  return fmt::format("<RLock({}, {})>", detail::holder_text(holder), depth);
}

void RLock::pickle(Encoder& out) const { detail::pickle_shared(out, 'R', block_); }

RLock RLock::unpickle(Decoder& in) {
  return RLock(detail::unpickle_shared(in, 'R', sizeof(detail::LockState)));
}

}  // namespace mp
