// A daemon ends with its parent, whatever ended the parent.
//
// PR_SET_PDEATHSIG would kill the daemon when the *thread* that started it
// ends. So the parent has a pipe whose write end nobody else holds; the kernel
// closes it with the process, and sends each daemon, which asked for signals
// on the read end, the one that cannot be blocked. No thread watches.

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <mutex>
#include <string>
#include <utility>

#include "process_state.hpp"

namespace mp::detail {

namespace {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

ForkSafeMutex mutex;
Pipe* own = nullptr;      // Kept for the life of the process.
Pipe* parents = nullptr;  // Only its read end, and only until the child has opened that anew.

// A child that kept the write end would keep its parent's daemons alive.
void inherit_pipe() {
  delete parents;
  parents = std::exchange(own, nullptr);
  if (parents != nullptr) parents->write.reset();
}

}  // namespace

int lifeline() {
  const std::lock_guard guard(mutex);
  if (own == nullptr) {
    static const bool once = (after_fork_in_child(inherit_pipe), true);
    (void)once;
    std::array<int, 2> ends{};
    check(::pipe2(ends.data(), O_CLOEXEC), "pipe2");
    auto [read, write] = above_stdio(ends);
    own = new Pipe{std::move(read), std::move(write)};
  }
  return own->read.get();
}

void die_with_parent(int lifeline, pid_t parent) {
  // Signals belong to the open file, which all children share: open it anew.
  const std::string path = "/proc/self/fd/" + std::to_string(lifeline);
  UniqueFd end = above_stdio(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  // It stays open as long as the process lives, also when that executes another
  // program: it is the daemon still.
  const int own_end = end.release();
  if (own_end < 0 || ::fcntl(own_end, F_SETFD, 0) < 0 || ::fcntl(own_end, F_SETSIG, SIGKILL) < 0 ||
      ::fcntl(own_end, F_SETOWN, ::getpid()) < 0 ||
      ::fcntl(own_end, F_SETFL, O_RDONLY | O_NONBLOCK | O_ASYNC) < 0) {
    // No /proc here: the weaker promise is better than none.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  // The parent may have ended before the kernel was asked.
  if (::getppid() != parent) ::_exit(128 + SIGKILL);
}

void drop_parents_lifeline() { delete std::exchange(parents, nullptr); }

}  // namespace mp::detail
