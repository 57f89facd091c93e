#pragma once

#include <cstddef>
#include <deque>
#include <optional>

#include "mp/detail/future_state.hpp"

namespace mp::futures {
template <class T>
class Future;
}

namespace mp::detail {

template <class Handle>
struct ValueOf;
template <class T>
struct ValueOf<futures::Future<T>> {
  using type = T;
};

/// Futures in the order in which they are done: what wait() and
/// as_completed() sleep on.
class CompletionQueue final : public Watcher {
 public:
  struct Done {
    std::size_t index;
    bool failed;
  };
  void done(std::size_t index, bool failed) noexcept override;
  /// Empty at the deadline.
  std::optional<Done> next(const Deadline& deadline);

 private:
  ForkSafeMutex mutex_;
  std::deque<Done> queue_;
  Signal signal_;
};

}  // namespace mp::detail
