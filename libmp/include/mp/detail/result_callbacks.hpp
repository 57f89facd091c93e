#pragma once

// Callbacks for results that wait in a manager's server: run in the process that
// has the functions, by one thread for each server.

#include <cstdint>
#include <functional>
#include <memory>

#include "mp/detail/future_state.hpp"
#include "mp/detail/os.hpp"
#include "mp/detail/remote.hpp"

namespace mp::detail {

/// Whether a result's callbacks have run.
class Told {
 public:
  /// False at the deadline. At once in the callbacks' own thread, which must
  /// not wait for itself, and in a forked child, which has no such thread.
  bool wait(const Deadline& deadline) const;
  [[nodiscard]] bool done() const { return wait(Deadline(Duration::zero())); }
  void set() noexcept { signal_.change(); }

 private:
  const std::uint32_t creator_ = fork_generation();
  Signal signal_;
};

class CallbackThread;

/// A number under which the server says that a result is done; made before
/// the task is handed out, as that may be done at once. Without a number there
/// is nothing to be said.
class CallbackTicket {
 public:
  CallbackTicket() = default;
  /// Throws what a call of the pool throws.
  static CallbackTicket take(const std::shared_ptr<ProxyState>& pool);
  CallbackTicket(CallbackTicket&& other) noexcept = default;
  CallbackTicket& operator=(CallbackTicket&&) = delete;
  ~CallbackTicket();

  [[nodiscard]] explicit operator bool() const noexcept { return thread_ != nullptr; }
  /// The server's object that is told, and the number.
  void write(Encoder& out) const;
  /// The task was handed out: `tell` is run once its result is done, or its
  /// server is gone. What it throws is logged.
  void use(std::function<void()> tell);

 private:
  std::shared_ptr<CallbackThread> thread_;
  std::shared_ptr<ProxyState> notices_;
  std::uint64_t number_ = 0;
};

}  // namespace mp::detail
