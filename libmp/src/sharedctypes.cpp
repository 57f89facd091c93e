#include "mp/sharedctypes.hpp"

namespace mp::detail {

std::size_t checked_length(std::ptrdiff_t length) {
  if (length < 0) throw ValueError(fmt::format("Array length must be >= 0, not {}", length));
  return static_cast<std::size_t>(length);
}

std::size_t checked_index(std::ptrdiff_t index, std::size_t size) {
  const auto end = static_cast<std::ptrdiff_t>(size);
  const std::ptrdiff_t at = index < 0 ? index + end : index;
  if (at < 0 || at >= end) {
    throw IndexError(fmt::format("index {} is outside an array of length {}", index, size));
  }
  return static_cast<std::size_t>(at);
}

std::pair<std::size_t, std::size_t> checked_slice(std::ptrdiff_t start, std::ptrdiff_t stop,
                                                  std::size_t size) {
  const auto end = static_cast<std::ptrdiff_t>(size);
  const auto inside = [&](std::ptrdiff_t index) {
    return std::clamp<std::ptrdiff_t>(index < 0 ? index + end : index, 0, end);
  };
  const std::ptrdiff_t first = inside(start);
  return {static_cast<std::size_t>(first), static_cast<std::size_t>(std::max(first, inside(stop)))};
}

namespace {

// Calls `use` with the lock there is; without one there is nothing to ask for.
template <class Variant, class Use>
auto with_lock(const Variant& lock, Use use) {
  if (const auto* recursive = std::get_if<RLock>(&lock)) return use(*recursive);
  if (const auto* plain = std::get_if<Lock>(&lock)) return use(*plain);
  throw AttributeError("the shared object has no lock");
}

}  // namespace

bool ValueLock::acquire(Timeout timeout) const {
  return with_lock(lock_, [&](const auto& lock) { return lock.acquire(timeout); });
}

void ValueLock::release() const {
  with_lock(lock_, [](const auto& lock) { lock.release(); });
}

bool ValueLock::locked() const {
  return with_lock(lock_, [](const auto& lock) { return lock.locked(); });
}

std::string ValueLock::repr() const {
  return with_lock(lock_, [](const auto& lock) { return lock.repr(); });
}

ValueLockGuard::ValueLockGuard(const ValueLock* lock)
    : lock_(lock != nullptr && lock->exists() ? lock : nullptr) {
  if (lock_ == nullptr) return;
  try {
    lock_->acquire();
  } catch (const OwnerDied&) {
    lock_->release();
    throw;
  }
}

const ValueLock& ValueLock::required() const {
  if (!exists()) throw AttributeError("the shared object has no lock");
  return *this;
}

void ValueLock::pickle(Encoder& out) const {
  out.number(static_cast<std::uint8_t>(lock_.index()));
  if (exists()) with_lock(lock_, [&](const auto& lock) { lock.pickle(out); });
}

ValueLock ValueLock::unpickle(Decoder& in) {
  switch (in.number<std::uint8_t>()) {
    case 0:
      return no_lock;
    case 1:
      return RLock::unpickle(in);
    case 2:
      return Lock::unpickle(in);
    default:
      Decoder::malformed("a kind of lock that there is not");
  }
}

}  // namespace mp::detail
