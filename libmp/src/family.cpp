// What a process knows of itself and its children, and how it buries them.

#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "mp/detail/heap.hpp"
#include "mp/logging.hpp"
#include "process_state.hpp"

namespace mp::detail {

namespace {

using Children = std::map<std::uint64_t, std::shared_ptr<ProcessState>>;  // By order of starting.

// What this process knows of itself and its children. Never destroyed, as exit
// work runs late.
struct Family {
  ForkSafeMutex mutex;
  std::shared_ptr<ProcessState> self;
  std::shared_ptr<ProcessState> parent;
  Children children;
  int constructed = 0;
  std::uint64_t started = 0;
};

std::shared_ptr<ProcessState> make_main_state() {
  auto state = std::make_shared<ProcessState>();
  state->kind = ProcessState::Kind::main;
  state->class_name = "_MainProcess";
  state->name = "MainProcess";
  state->pid = this_pid();
  std::vector<std::byte> key(32);
  check(::getrandom(key.data(), key.size(), 0), "getrandom");
  state->authkey = AuthenticationString(std::move(key));
  return state;
}

void disown_children();

Family& family() {
  static Family& instance = []() -> Family& {
    after_fork_in_child(disown_children);
    arrange_exit_work();
    auto& made = *new Family;
    made.self = make_main_state();
    return made;
  }();
  return instance;
}

// A raw fork's child is no parent of its parent's children: it lets go of them,
// so that it neither waits for them at exit nor holds their pidfds.
void disown_children() {
  Family& mine = family();
  if (mine.mutex.locked()) {
    // Another thread was at it, and left it as it is now: not to be touched.
    std::construct_at(&mine.children);
  } else {
    mine.children.clear();
  }
}

[[maybe_unused]] const bool names_known =
    (set_process_name_source([] { return current_process().name(); }), true);

int status_of(const siginfo_t& info) {
  return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

void forget_child(ProcessState& state) {
  {
    const std::lock_guard guard(family().mutex);
    family().children.erase(state.serial);
  }
  if (state.birth != 0) heap_child_gone(std::exchange(state.birth, 0));
  state.kept.clear();
}

// Its status went to somebody else's wait, or to nobody.
void lose_status(ProcessState& state) {
  state.status = 255;
  log(logging::warning, "the exit status of process {} was lost", state.name);
}

// Called under state.mutex. Takes the status if the child has ended.
void collect(ProcessState& state) {
  siginfo_t info{};
  rusage used{};
  long result = 0;
  do {
    // The system call itself: the library's waitid() does not tell the usage.
    result = ::syscall(SYS_waitid, P_PIDFD, state.pidfd->get(), &info, WEXITED | WNOHANG, &used);
  } while (result < 0 && errno == EINTR);
  if (result == 0) {
    if (info.si_pid == 0) return;
    state.status = status_of(info);
    state.core_dumped = info.si_code == CLD_DUMPED;
    state.peak_rss = static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
  } else if (errno == ECHILD) {
    if (!says_ended(*state.pidfd)) return;
    lose_status(state);
  } else {
    throw_errno("waitid");
  }
  forget_child(state);
}

}  // namespace

bool says_ended(const UniqueFd& pidfd) {
  pollfd entry{pidfd.get(), POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0;
}

std::shared_ptr<ProcessState> current_state() {
  Family& mine = family();
  const std::lock_guard guard(mine.mutex);
  return mine.self;
}

std::vector<int> next_identity() {
  Family& mine = family();
  const std::lock_guard guard(mine.mutex);
  std::vector<int> identity = mine.self->identity;
  identity.push_back(++mine.constructed);
  return identity;
}

std::shared_ptr<ProcessState> parent_state() {
  const std::lock_guard guard(family().mutex);
  return family().parent;
}

void become(std::shared_ptr<ProcessState> self, std::shared_ptr<ProcessState> parent) {
  Family& mine = family();
  const std::lock_guard guard(mine.mutex);
  self->kind = ProcessState::Kind::self;
  self->pid = this_pid();
  mine.self = std::move(self);
  mine.parent = std::move(parent);
  mine.children.clear();
  mine.constructed = 0;
  mine.started = 0;
}

std::shared_ptr<ProcessState> describe_parent(std::string name, pid_t pid) {
  auto state = std::make_shared<ProcessState>();
  state->kind = ProcessState::Kind::parent;
  state->class_name = "_ParentProcess";
  state->name = std::move(name);
  state->pid = pid;
  // Room for what hold_parent() finds: before a fork, as it is the parent's to pay for.
  state->pidfd = std::make_shared<UniqueFd>();
  return state;
}

void hold_parent(ProcessState& parent) {
  UniqueFd pidfd = open_pidfd(parent.pid);
  // The pid may belong to a stranger by now; then the parent has ended.
  if (!pidfd || ::getppid() != parent.pid) return parent.pidfd.reset();
  *std::const_pointer_cast<UniqueFd>(parent.pidfd) = std::move(pidfd);
}

std::shared_ptr<const UniqueFd> pidfd_of(const ProcessState& state) {
  const std::lock_guard guard(state.mutex);
  return state.status ? nullptr : state.pidfd;
}

std::optional<int> reap(ProcessState& state) {
  const std::lock_guard guard(state.mutex);
  if (state.status || state.closed || state.pid == 0) return state.status;
  if (state.pidfd) {
    collect(state);
  } else {
    lose_status(state);
    forget_child(state);
  }
  return state.status;
}

Newborn::~Newborn() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

// Into the family first: who sees the pid may see the end, too.
void adopt(const std::shared_ptr<ProcessState>& state, Newborn child) {
  const auto pidfd = std::make_shared<UniqueFd>();
  {
    Family& mine = family();
    const std::lock_guard guard(mine.mutex);
    state->serial = ++mine.started;
    mine.children.emplace(state->serial, state);
  }
  const std::lock_guard guard(state->mutex);
  const pid_t pid = child.pid();
  *pidfd = child.keep();
  if (*pidfd) state->pidfd = pidfd;
  state->pid = pid;
}

std::vector<std::shared_ptr<ProcessState>> living_children() {
  std::vector<std::shared_ptr<ProcessState>> all;
  {
    const std::lock_guard guard(family().mutex);
    for (const auto& [serial, child] : family().children) all.push_back(child);
  }
  // One that is being started has no pid yet.
  std::erase_if(all, [](const auto& child) { return reap(*child) || child->pid == 0; });
  return all;
}

std::uint64_t last_start() noexcept {
  const std::lock_guard guard(family().mutex);
  return family().started;
}

}  // namespace mp::detail
