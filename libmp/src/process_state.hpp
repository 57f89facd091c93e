#pragma once

// What stands behind a Process handle, and the pieces that start one. Private
// to the process room.

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "mp/context.hpp"
#include "mp/process.hpp"
#include "private_fd.hpp"

namespace mp::detail {

/// That which was asked for, else the default, which is fixed by that.
inline StartMethod chosen_method(const std::optional<StartMethod>& asked) {
  return asked ? *asked : get_start_method();
}

/// Invariants:
/// 1. kind, class_name, identity, start_method, creator and task are set before
///    another thread may ask: by the constructor and by start(), which only one
///    thread gets into. So are kept, birth and serial, before the pid.
/// 2. pid and pidfd are set together, under `mutex`, when the child is held and
///    in the family: who sees a pid sees all that belongs to it.
/// 3. name, authkey, pidfd, status and what comes with it change under `mutex`
///    only. Who waits holds the pidfd: close() may let go of it meanwhile.
struct ProcessState {
  enum class Kind : unsigned char { main, child, parent, self };

  Kind kind = Kind::child;
  std::string class_name = "Process";
  std::string name;
  std::vector<int> identity;  ///< The path of construction counts, for names.
  std::atomic<bool> daemon = false;
  bool may_have_children = false;  ///< Although a daemon: a pool's worker.
  std::optional<StartMethod> start_method;
  AuthenticationString authkey;
  std::optional<pid_t> creator;  ///< Whose object it is; empty for the main process.
  std::atomic<bool> start_called = false;
  std::atomic<pid_t> pid = 0;  ///< 0: not started.
  std::atomic<bool> closed = false;
  std::shared_ptr<const UniqueFd> pidfd;  ///< Empty: it had ended before it could be held.
  std::optional<int> status;              ///< As exitcode() tells it.
  bool core_dumped = false;
  std::uint64_t peak_rss = 0;  ///< Bytes; known with the status.
  std::unique_ptr<Task> task;
  std::vector<std::shared_ptr<const void>> kept;  ///< Shared objects the child was sent.
  std::uint64_t birth = 0;                        ///< What heap_child_born() gave.
  std::uint64_t serial = 0;                       ///< Order of starting.
  mutable ForkSafeMutex mutex;
};

struct ProcessAccess {
  static const std::shared_ptr<ProcessState>& state(const Process& process) {
    return process.state_;
  }
  static Process handle(std::shared_ptr<ProcessState> state) { return Process(std::move(state)); }
  static void set_task(Process& process, std::unique_ptr<Task> task) {
    process.set_task(std::move(task));
  }
  static void adopt(Process& process, std::shared_ptr<ProcessState> state) {
    process.state_ = std::move(state);
  }
};

// --- the process and its children (family.cpp) ---

/// The object of this process; made on first use.
std::shared_ptr<ProcessState> current_state();
std::shared_ptr<ProcessState> parent_state();
/// Of an object that is being constructed.
std::vector<int> next_identity();
/// Makes `self` the current process, a child of `parent`: names count from 1 again.
void become(std::shared_ptr<ProcessState> self, std::shared_ptr<ProcessState> parent);
/// The child's status if it has ended, collected now if need be.
std::optional<int> reap(ProcessState& state);
/// What its end can be seen by; empty if that was seen already.
std::shared_ptr<const UniqueFd> pidfd_of(const ProcessState& state);
bool says_ended(const UniqueFd& pidfd);
std::vector<std::shared_ptr<ProcessState>> living_children();
/// How many children this process has started: the serial of the last one.
std::uint64_t last_start() noexcept;

/// What a child of that process shall know of it. The child itself then gets
/// hold of its parent.
std::shared_ptr<ProcessState> describe_parent(std::string name, pid_t pid);
void hold_parent(ProcessState& parent);

// --- classes of processes (process.cpp) ---

const ProcessClass* find_process_class(const std::type_info& type);

// --- starting (popen_*.cpp) ---

/// A child that exists and is nobody's yet. Unless it is kept, it is killed and
/// reaped: a start that fails leaves none.
class Newborn {
 public:
  /// Throws, and there is no child, if it cannot be held.
  explicit Newborn(pid_t pid) : Newborn(pid, UniqueFd()) { pidfd_ = open_pidfd(pid); }
  Newborn(Newborn&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)), pidfd_(std::move(other.pidfd_)) {}
  Newborn& operator=(Newborn&& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(pidfd_, other.pidfd_);
    return *this;
  }
  ~Newborn();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] const UniqueFd& pidfd() const noexcept { return pidfd_; }
  /// From now on it is the caller's to wait for.
  [[nodiscard]] UniqueFd keep() noexcept {
    pid_ = 0;
    return std::move(pidfd_);
  }

 private:
  Newborn(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_ = 0;
  UniqueFd pidfd_;
};

/// A started child becomes one of the family.
void adopt(const std::shared_ptr<ProcessState>& state, Newborn child);

Newborn popen_fork(Process& process, ProcessState& state);
Newborn popen_spawn(Process& process, ProcessState& state);
Newborn popen_forkserver(Process& process, ProcessState& state);

/// Everything a child of spawn or forkserver needs, with descriptors.
void encode_child(Encoder& out, const Process& process, const ProcessState& state,
                  StartMethod method);
/// True while that runs in this thread: what is encoded goes to a child, and
/// nowhere else.
bool is_encoding_start_order() noexcept;
/// The child's side of it: reads the order from `control`, runs it, ends.
[[noreturn]] void run_ordered_child(UniqueFd control);

/// One frame on a control socket: a length, bytes, descriptors.
void send_frame(int socket, const Encoder& frame);
/// The same for one that may have ended before it has read: its exit code says why.
void send_order(int socket, const Encoder& order);
/// Does it say that the other end of a socket has gone?
bool is_gone(const std::system_error& error) noexcept;
struct ControlFrame {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> fds;
};
/// Empty at end-of-file before the first byte.
std::optional<ControlFrame> receive_frame(int socket);
/// A connected pair of unix sockets. A child that another thread forks meanwhile
/// keeps neither: the end of one of them is to be seen at the other.
std::pair<PrivateFd, PrivateFd> control_sockets();

/// Executes this program (or set_executable's) with `control` as descriptor 3
/// and MP_CHILD=`role`:3; no other descriptor beyond stderr crosses.
Newborn launch(const char* role, int control);

/// Whether this is a child that has not come to freeze_support() yet.
bool is_bootstrapping() noexcept;
std::string executable_path();
std::vector<void (*)()> forkserver_preload();
StartMethod default_start_method() noexcept;
void force_start_method(StartMethod method) noexcept;

// --- a child's life (child.cpp) ---

/// Runs `body` as the current process and leaves by _exit with its code.
[[noreturn]] void run_child(const std::function<void()>& body);
/// Has run_exit_work() called at the program's end.
void arrange_exit_work();
/// The end of a process: exit functions, daemons, children. Once.
void run_exit_work();
/// Text, type and causes of the exception being handled, a line each.
std::string describe_current_exception();
/// Flushes what stdio and iostreams hold; errors are nobody's.
void flush_streams() noexcept;

// --- the life line (lifeline.cpp) ---

/// The read end of a pipe whose write end only this process has.
int lifeline();
/// Asks the kernel for SIGKILL when the owner of that pipe has ended.
void die_with_parent(int lifeline, pid_t parent);
/// In a forked child: closes what it inherited of its parent's.
void drop_parents_lifeline();

}  // namespace mp::detail
