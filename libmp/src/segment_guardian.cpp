#include "segment_guardian.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "mp/detail/os.hpp"
#include "mp/errors.hpp"
#include "mp/logging.hpp"

namespace mp::detail {
namespace {

constexpr std::size_t most_segments = 4096;

// The list is memory that the guardian shares, so that nothing has to be sent
// to it: an entry counts from the moment `used` says so.
struct Entry {
  std::atomic<std::uint32_t> used;
  dev_t device;
  ino_t inode;
  std::array<char, 256> name;
};

using Entries = std::array<Entry, most_segments>;

struct Guardian {
  ForkSafeMutex mutex;
  std::uint32_t generation = 0;  // Fork generation of the process it guards for.
  pid_t pid = 0;
  Entries* entries = nullptr;
  std::size_t count = 0;
  UniqueFd dismissal;
};

Guardian& guardian() {
  static auto& instance = *new Guardian;
  return instance;
}

// From here on in the guardian: a copy of a process that may have threads, so
// nothing that takes a lock or memory.

using Path = std::array<char, 300>;

// Whether the name is still that of the segment.
bool still_there(const Entry& entry, Path& path) noexcept {
  std::snprintf(path.data(), path.size(), "/dev/shm/%s", entry.name.data());
  struct stat info {};
  return ::stat(path.data(), &info) == 0 && info.st_dev == entry.device &&
         info.st_ino == entry.inode;
}

void unlink_if_same(const Entry& entry) noexcept {
  Path path{};
  if (!still_there(entry, path) || ::unlink(path.data()) != 0) return;
  std::array<char, 400> text{};
  const int size = std::snprintf(
      text.data(), text.size(),
      "libmp: shared memory '%s' was left over by a process that has ended; unlinked\n",
      entry.name.data());
  write_all(STDERR_FILENO, {text.data(), static_cast<std::size_t>(size)});
}

[[noreturn]] void stand_guard(const Entries& entries, int watched, int dismissal) noexcept {
  ::prctl(PR_SET_NAME, "mp-shm-guardian");
  // Not ended by what ends the program: Ctrl-C goes to the whole group. Other
  // signals have been blocked since before it was there. Fails if its maker was quicker.
  ::setsid();
  // Nobody's pipe stays open because of the guardian. Its two go in front.
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    ::dup2(null, STDIN_FILENO);
    ::dup2(null, STDOUT_FILENO);
  }
  watched = ::dup2(::fcntl(watched, F_DUPFD, 5), 3);
  dismissal = ::dup2(::fcntl(dismissal, F_DUPFD, 5), 4);
  ::syscall(SYS_close_range, 5, ~0U, 0);
  std::array<pollfd, 2> fds{pollfd{watched, POLLIN, 0}, pollfd{dismissal, POLLIN, 0}};
  while (::poll(fds.data(), fds.size(), -1) < 0 && errno == EINTR) {
  }
  if (fds[0].revents != 0) {
    for (const auto& entry : entries) {
      if (entry.used.load(std::memory_order_acquire) != 0) unlink_if_same(entry);
    }
  }
  ::_exit(0);
}

// A child whose end raises no signal: no wait of the program's finds it. And
// without what fork(2) does for those who go on with the program's work.
pid_t hidden_fork() noexcept {
  return static_cast<pid_t>(::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr));
}

pid_t start_guarding(const Entries& entries, const UniqueFd& dismissal) {
  const UniqueFd self = open_pidfd(this_pid());
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = hidden_fork();
  if (pid == 0) stand_guard(entries, self.get(), dismissal.get());
  const int error = errno;
  // Out of the group before it guards anything, though it may not have run yet: a SIGKILL of the
  // whole group must not reach it. Fails if it has a session of its own by now.
  if (pid > 0) ::setpgid(pid, pid);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) throw_errno("clone", error);
  return pid;
}

void post(Guardian& guard) {
  void* memory = ::mmap(nullptr, sizeof(Entries), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw_errno("mmap");
  auto* entries = static_cast<Entries*>(memory);
  UniqueFd dismissal;
  try {
    dismissal = opened(::eventfd(0, EFD_CLOEXEC), "eventfd");
    guard.pid = start_guarding(*entries, dismissal);
  } catch (...) {
    ::munmap(memory, sizeof(Entries));
    throw;
  }
  guard.entries = entries;
  guard.count = 0;
  guard.dismissal = std::move(dismissal);
  guard.generation = fork_generation();
}

// Somebody may have killed it. The list is there still, so another takes over.
void replace_if_dead(Guardian& guard) {
  if (::waitpid(guard.pid, nullptr, WNOHANG | __WALL) == 0) return;
  log(logging::warning, "the guardian of shared memory, process {}, died; another takes over",
      guard.pid);
  guard.pid = start_guarding(*guard.entries, guard.dismissal);
}

void dismiss(Guardian& guard) noexcept {
  const std::uint64_t word = 1;
  (void)!::write(guard.dismissal.get(), &word, sizeof word);
  guard.dismissal.reset();
  while (::waitpid(guard.pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  ::munmap(guard.entries, sizeof(Entries));
  guard.entries = nullptr;
  guard.generation = 0;
}

// One that is not in use; null if all are. Others may have unlinked what this
// process has made: their entries make room then.
Entry* free_entry(Guardian& guard) noexcept {
  const auto unused = [](const Entry& entry) {
    return entry.used.load(std::memory_order_relaxed) == 0;
  };
  auto found = std::find_if(guard.entries->begin(), guard.entries->end(), unused);
  if (found != guard.entries->end()) return &*found;
  Path path{};
  for (auto& entry : *guard.entries) {
    if (still_there(entry, path)) continue;
    entry.used.store(0, std::memory_order_release);
    --guard.count;
    found = &entry;
  }
  return found == guard.entries->end() ? nullptr : &*found;
}

void forget(Guardian& guard, Entry& entry) noexcept {
  entry.used.store(0, std::memory_order_release);
  if (--guard.count == 0) dismiss(guard);
}

}  // namespace

void guard_segment(int fd, const std::string& name, const std::function<void()>& give_name) {
  struct stat info {};
  check(::fstat(fd, &info), "fstat");
  Guardian& guard = guardian();
  const std::lock_guard lock(guard.mutex);
  // A forked child's segments are its own: another process's end counts.
  if (guard.generation != fork_generation()) {
    post(guard);
  } else {
    replace_if_dead(guard);
  }
  Entry* entry = free_entry(guard);
  if (entry == nullptr) throw RuntimeError("too many shared memory segments are not unlinked yet");
  entry->device = info.st_dev;
  entry->inode = info.st_ino;
  entry->name = {};
  name.copy(entry->name.data(), entry->name.size() - 1);
  entry->used.store(1, std::memory_order_release);
  ++guard.count;
  try {
    // Under the mutex: another thread in search of room finds no entry that has no file yet.
    give_name();
  } catch (...) {
    forget(guard, *entry);
    throw;
  }
}

void unguard_segment(const std::string& name) noexcept {
  Guardian& guard = guardian();
  const std::lock_guard lock(guard.mutex);
  if (guard.generation != fork_generation()) return;
  for (auto& entry : *guard.entries) {
    if (entry.used.load(std::memory_order_relaxed) == 0 || name != entry.name.data()) continue;
    return forget(guard, entry);
  }
}

}  // namespace mp::detail
