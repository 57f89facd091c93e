#pragma once

#include <poll.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "mp/timeout.hpp"

namespace mp::detail {

/// Throws std::system_error with `error` (errno by default) and the call's name.
[[noreturn]] void throw_errno(const char* call);
[[noreturn]] void throw_errno(const char* call, int error);

/// Passes a system call's result through; throws if it is -1.
template <class Int>
Int check(Int result, const char* call) {
  if (result == Int{-1}) throw_errno(call);
  return result;
}

/// Owns a descriptor. Everything libmp opens is close-on-exec.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;
  /// A second descriptor of the same file, close-on-exec and above_stdio().
  [[nodiscard]] UniqueFd duplicate() const { return duplicate(fd_); }
  [[nodiscard]] static UniqueFd duplicate(int fd);

 private:
  int fd_ = -1;
};

/// The same file, not as 0, 1 or 2: where those are closed, what is printed
/// would go into it. Owns `fd`, which may be -1; no system call unless it is low.
UniqueFd above_stdio(int fd);
/// Of a pipe or a socket pair, both.
std::pair<UniqueFd, UniqueFd> above_stdio(const std::array<int, 2>& fds);

/// Owns what a system call has opened, above_stdio(); throws if that is -1.
UniqueFd opened(int fd, const char* call);

/// A moment on the monotonic clock, or never.
class Deadline {
 public:
  Deadline() = default;  ///< Never.
  explicit Deadline(Timeout timeout);
  [[nodiscard]] bool never() const noexcept { return !at_; }
  [[nodiscard]] bool passed() const;
  /// What is left, at least zero; empty for never.
  [[nodiscard]] Timeout remaining() const;
  /// What is left, but no more than `slice`.
  [[nodiscard]] Duration remaining_at_most(Duration slice) const;

 private:
  std::optional<std::chrono::steady_clock::time_point> at_;
};

/// poll(2) on one descriptor; true when one of `events` (or an error or
/// hang-up) is there, false at the deadline. Restarts after signals.
bool wait_fd(int fd, short events, const Deadline& deadline);

/// ppoll(2), once: how many of `entries` are ready, 0 after `timeout` or a signal.
int poll_once(std::span<pollfd> entries, Timeout timeout);

/// futex(2) on a word that processes share. Returns when woken, when the
/// word is not `expected`, on a signal or after `slice`; says nothing else,
/// so callers look again. False only when `slice` ran out.
bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected, Timeout slice);
/// Wakes at most `count` sleepers; returns how many slept.
int futex_wake(const std::atomic<std::uint32_t>& word, int count);

/// getpid() and gettid() without a system call; right after fork, too.
pid_t this_pid() noexcept;
pid_t this_tid() noexcept;

/// Who a process is, for as long as the machine is up: pids are used again,
/// a pid with its start time is not.
struct ProcessIdentity {
  std::int32_t pid = 0;
  std::uint32_t start = 0;  ///< Clock ticks since boot, low bits; 0: not known.
  friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
};
/// The calling process (cached; right after fork, too).
ProcessIdentity this_process() noexcept;
/// True when that process has ended, a zombie included; of nobody, too. A few system calls.
bool has_ended(const ProcessIdentity& process) noexcept;

/// What this process is called, for texts that name it; "MainProcess" where
/// no higher floor has said how to find out.
std::string process_name();
void set_process_name_source(std::string (*source)());

/// A pidfd for a process; empty when there is no such process (any more).
UniqueFd open_pidfd(pid_t pid);

/// True when this process may run on more than one core: spinning before a
/// sleep can pay only then.
bool has_several_cores() noexcept;

/// One hint to the core that this is a spin loop.
inline void spin_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Sends `bytes` and `fds` over a unix stream socket; blocks until all is
/// gone. Throws std::system_error (EPIPE if the peer is gone; no SIGPIPE).
void send_with_fds(int socket, std::span<const std::byte> bytes, std::span<const int> fds);

/// Writes all of `text`, in one write(2) where the system allows; false on error.
bool write_all(int fd, std::string_view text) noexcept;

/// Throws std::system_error, EFBIG, if a file of that size is beyond RLIMIT_FSIZE:
/// the system would send SIGXFSZ, which ends the program.
void require_file_size(std::uint64_t size, const char* call);

/// Shared memory without a name: a memfd and its mapping. Goes when the last
/// process lets go, whatever happened to it.
class SharedMapping {
 public:
  SharedMapping() = default;
  /// New, zeroed, `size` bytes (whole pages are taken when touched).
  static SharedMapping create(const char* label, std::size_t size);
  /// Another process's, from its descriptor.
  /// `size` bytes of it, or all that there are.
  static SharedMapping attach(UniqueFd fd, std::size_t size = 0);
  SharedMapping(SharedMapping&& other) noexcept;
  SharedMapping& operator=(SharedMapping&& other) noexcept;
  ~SharedMapping();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  SharedMapping(UniqueFd fd, std::size_t size);
  UniqueFd fd_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A mutex of one process that a forked child may always take: a holder that
/// the fork left behind does not exist in the child.
class ForkSafeMutex {
 public:
  void lock() noexcept;
  bool try_lock() noexcept;
  /// False if the deadline comes first.
  bool lock_until(const Deadline& deadline);
  void unlock() noexcept;
  /// Whether anybody holds it. In a new child: whether another thread of the
  /// parent did, and what it protects may be half changed.
  [[nodiscard]] bool locked() const noexcept { return word_.load(std::memory_order_relaxed) != 0; }

 private:
  // 0 free, else (fork generation << 1 | someone waits), never 0.
  std::atomic<std::uint32_t> word_{0};
};

/// How many threads of this process are libmp's own: they hold no lock that a
/// fork could leave behind. Whoever starts one counts it.
std::atomic<int>& service_threads() noexcept;

/// How many forks lie between the program's start and this process.
std::uint32_t fork_generation() noexcept;

/// Calls `function` in every child that fork(2) makes, in order of
/// registration, before fork returns there. Never unregistered.
void after_fork_in_child(void (*function)());
/// How many there are: as many in a child as in its parent.
std::size_t after_fork_functions() noexcept;

/// Calls `function` when a child of this program ends with exit code 0, in
/// order of registration; inherited by children. Never unregistered.
void at_orderly_end(void (*function)());
/// Called by the floor that knows how processes end.
void run_orderly_end_hooks();

/// Calls `before` before, and `after_in_parent` after every fork(2), in the
/// forking thread; the child gets neither. Never unregistered.
void around_fork(void (*before)(), void (*after_in_parent)());

/// What fork(2) does to libmp in the child, for a child made without it.
void run_after_fork_hooks();

}  // namespace mp::detail
