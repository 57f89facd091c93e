// The fork server: a fresh, single-threaded process of this program that forks
// on request. It takes orders on a socket pair that nobody else has.
//
// Its children are made with CLONE_PARENT: they are the program's own, so their
// exit statuses survive the server. A child says its pid on its control socket,
// and so does the server; the program believes whichever comes first, so it
// knows its child even if the server is killed in between.

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <system_error>

#include "mp/detail/forkserver.hpp"
#include "mp/logging.hpp"
#include "process_state.hpp"
#include "server.hpp"

namespace mp::detail {

namespace {

struct Server {
  PrivateFd socket;
  UniqueFd pidfd;
  pid_t pid = 0;
};

ForkSafeMutex mutex;
Server* running = nullptr;
std::atomic<pid_t> running_pid{0};  // For those who do not wait for a start to end.

// A server's forks would be children of the server's program, not of its child.
void forget_server() {
  running_pid = 0;
  delete running;
  running = nullptr;
}

void start_server() {
  static const bool once = (after_fork_in_child(forget_server), true);
  (void)once;
  auto [here, there] = control_sockets();
  flush_streams();
  Newborn server = launch("forkserver", there.get());
  there.reset();
  Encoder preload;
  encode(preload, forkserver_preload());
  send_order(here.get(), preload);
  const pid_t pid = server.pid();
  running = new Server{std::move(here), server.keep(), pid};
  running_pid = pid;
}

void bury_server() {
  const pid_t pid = running->pid;
  if (running->pidfd) {
    const bool refused =
        ::syscall(SYS_pidfd_send_signal, running->pidfd.get(), SIGKILL, nullptr, 0) < 0 &&
        errno == EPERM;
    // A program that has changed its user tells it by the end-of-file, and does not wait.
    if (refused) ::shutdown(running->socket.get(), SHUT_RDWR);
    siginfo_t info{};
    while (!refused &&
           ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(running->pidfd.get()), &info,
                    WEXITED) < 0 &&
           errno == EINTR) {
    }
  }
  forget_server();
  log(logging::info, "the fork server {} has ended", pid);
}

// A new child that listens on the other end of `control`; empty if the server
// was lost before it made one. Throws if the system refuses it a child.
std::optional<Newborn> request_child(PrivateFd& control) {
  auto [here, there] = control_sockets();
  try {
    const std::byte go{1};
    const int fd = there.get();
    send_with_fds(running->socket.get(), std::span(&go, 1), std::span(&fd, 1));
  } catch (const std::system_error& error) {
    if (!is_gone(error)) throw;
    return std::nullopt;
  }
  there.reset();
  pid_t pid = 0;
  ssize_t size = 0;
  do {
    size = ::recv(here.get(), &pid, sizeof pid, MSG_WAITALL);
  } while (size < 0 && errno == EINTR);
  if (size != sizeof pid) return std::nullopt;
  if (pid < 0) throw_errno("fork", -pid);
  control = std::move(here);
  return Newborn(pid);
}

constexpr int max_servers = 3;

}  // namespace

std::optional<pid_t> forkserver_pid() {
  const pid_t pid = running_pid;
  return pid == 0 ? std::nullopt : std::optional(pid);
}

void end_forkserver() {
  const std::lock_guard guard(mutex);
  if (running == nullptr) return;
  bury_server();
}

Newborn popen_forkserver(Process& process, ProcessState& state) {
  Encoder order;
  order.keep_until_receiver_ends();
  encode_child(order, process, state, StartMethod::forkserver);
  flush_streams();
  PrivateFd control;
  std::optional<Newborn> child;
  {
    const std::lock_guard guard(mutex);
    for (int tries = 0; !child; ++tries) {
      if (tries == max_servers) {
        throw RuntimeError(
            "the fork server ends before it serves: is mp::freeze_support() first in main()?");
      }
      if (running == nullptr) start_server();
      child = request_child(control);
      if (!child) bury_server();
    }
  }
  send_order(control.get(), order);
  state.kept = order.take_kept();
  return *std::move(child);
}

// --- the server's side -------------------------------------------------------

namespace {

// fork(2) for a child of this process's parent. The C library has no call for
// it, so what its fork() does for the child's only thread is done here: the
// kernel writes the new thread id where the library keeps it, and is told
// again where the list of robust mutexes starts.
pid_t fork_sibling() {
  static pid_t* const tid_of_library = [] {
    pid_t* address = nullptr;
    check(::prctl(PR_GET_TID_ADDRESS, &address), "prctl(PR_GET_TID_ADDRESS)");
    return address;
  }();
  void* robust_list = nullptr;
  std::size_t robust_size = 0;
  ::syscall(SYS_get_robust_list, 0, &robust_list, &robust_size);
  const long pid = ::syscall(SYS_clone, CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID,
                             nullptr, nullptr, tid_of_library, nullptr);
  if (pid == 0) {
    ::syscall(SYS_set_robust_list, robust_list, robust_size);
    run_after_fork_hooks();
  }
  return static_cast<pid_t>(pid);
}

// The pid of the child, or minus the error number of the system that refused it.
void say_pid(int control, pid_t pid) {
  // An error means that nobody listens any more; then there is nobody to tell.
  (void)::send(control, &pid, sizeof pid, MSG_NOSIGNAL);
}

std::optional<UniqueFd> next_order(int socket) {
  std::byte go{};
  iovec part{&go, 1};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> space{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = space.data();
  message.msg_controllen = space.size();
  ssize_t size = 0;
  do {
    size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size <= 0) return std::nullopt;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  int fd = -1;
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  }
  return above_stdio(fd);
}

}  // namespace

void serve_forks(UniqueFd control) {
  // Ctrl-C is for the program; the server ends with it, by end-of-file.
  ::signal(SIGINT, SIG_IGN);
  // Blocked as well: one that is meant for a child just born waits until the
  // child can take it. (A blocked signal is kept even where it is ignored.)
  sigset_t interrupts;
  sigset_t mask;
  ::sigemptyset(&interrupts);
  ::sigaddset(&interrupts, SIGINT);
  ::sigprocmask(SIG_BLOCK, &interrupts, &mask);
  auto preload = receive_frame(control.get());
  if (!preload) ::_exit(0);
  for (auto* function : loads<std::vector<void (*)()>>(preload->bytes)) {
    try {
      function();
    } catch (...) {
      write_all(STDERR_FILENO,
                "mp fork server, in a preload function:\n" + describe_current_exception());
    }
  }
  // What each child would else make for itself, on pages copied for it.
  get_logger();
  current_state();
  for (;;) {
    std::optional<UniqueFd> order = next_order(control.get());
    if (!order) ::_exit(0);
    if (!*order) continue;
    flush_streams();
    const pid_t pid = fork_sibling();
    if (pid == 0) {
      ::signal(SIGINT, SIG_DFL);
      ::sigprocmask(SIG_SETMASK, &mask, nullptr);
      control.reset();
      say_pid(order->get(), this_pid());
      run_ordered_child(*std::move(order));
    }
    say_pid(order->get(), pid > 0 ? pid : -errno);
  }
}

}  // namespace mp::detail
