#include "mp/detail/input_lock.hpp"

#include "mp/errors.hpp"

namespace mp::detail {

void InputLock::lock() {
  require_outside();
  mutex_.lock();
}

bool InputLock::lock_until(const Deadline& deadline) {
  require_outside();
  return mutex_.lock_until(deadline);
}

void InputLock::require_outside() const {
  if (is_inside()) throw AssertionError("an input cannot wait for what is made of it");
}

}  // namespace mp::detail
