#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include <mp/detail/os.hpp>

#include "processes.hpp"

namespace mp::test {

/// How long a test waits for what must happen: generous, so that a loaded
/// machine fails nothing that is right.
inline constexpr std::chrono::seconds patience{20};

/// Whether it does before the patience is over.
template <class Condition>
bool comes_true(Condition condition) {
  const detail::Deadline deadline(patience);
  while (!condition()) {
    if (deadline.passed()) return false;
    std::this_thread::yield();
  }
  return true;
}

/// A child by plain fork(2), for tests below the floor where Process lives.
/// It runs `body` and exits with what that returns; 99 after an exception.
/// A child that is still there at the end of the scope is killed and reaped.
class Forked {
 public:
  template <class Body>
  explicit Forked(Body body) : pid_(::fork()) {
    if (pid_ < 0) detail::throw_errno("fork");
    if (pid_ > 0) return;
    int code = 99;
    try {
      code = body();
    } catch (...) {
    }
    ::_exit(code);
  }
  Forked(Forked&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Forked& operator=(Forked&&) = delete;
  ~Forked() { kill(); }

  [[nodiscard]] pid_t pid() const { return pid_; }

  /// Waits until it is asleep, as who waits in futex(2) is, or has ended.
  [[nodiscard]] bool settles() const {
    return comes_true([this] { return is_asleep(pid_) || is_gone(pid_); });
  }

  /// Exit code, or minus the signal; empty if it outlived the time.
  std::optional<int> wait(Duration longest = patience) {
    const detail::UniqueFd pidfd = detail::open_pidfd(pid_);
    if (!detail::wait_fd(pidfd.get(), POLLIN, detail::Deadline(longest))) return std::nullopt;
    int status = 0;
    detail::check(::waitpid(pid_, &status, 0), "waitpid");
    pid_ = 0;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }

  /// Ends it as a crash would, and reaps it.
  void kill() noexcept {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

 private:
  pid_t pid_;
};

/// One T in memory that this process and its later children share.
template <class T>
class Shared {
 public:
  Shared()
      : value_(new (::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                           -1, 0)) T{}) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(value_, sizeof(T)); }
  T& operator*() const { return *value_; }
  T* operator->() const { return value_; }

 private:
  T* value_;
};

/// Opens once; who waits at it blocks without polling.
struct Gate {
  void open() {
    word.store(1, std::memory_order_release);
    detail::futex_wake(word, 1 << 30);
  }
  /// False if it stayed shut for as long as the patience lasts.
  bool wait() const {
    const detail::Deadline deadline(patience);
    while (word.load(std::memory_order_acquire) == 0) {
      if (!detail::futex_wait(word, 0, deadline.remaining()) && deadline.passed()) return false;
    }
    return true;
  }
  std::atomic<std::uint32_t> word{0};
};

}  // namespace mp::test
