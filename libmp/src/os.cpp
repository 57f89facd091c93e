#include "mp/detail/os.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <system_error>
#include <vector>

namespace mp::detail {

void throw_errno(const char* call) { throw_errno(call, errno); }

void throw_errno(const char* call, int error) {
  throw std::system_error(error, std::generic_category(), call);
}

// --- descriptors -------------------------------------------------------------

void UniqueFd::reset(int fd) noexcept {
  // close(2) is never repeated: on Linux the descriptor is gone even after EINTR.
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

UniqueFd UniqueFd::duplicate(int fd) {
  return UniqueFd(check(::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), "fcntl(F_DUPFD_CLOEXEC)"));
}

int poll_once(std::span<pollfd> entries, Timeout timeout) {
  timespec left{};
  if (timeout) {
    left.tv_sec = timeout->count() / 1'000'000'000;
    left.tv_nsec = timeout->count() % 1'000'000'000;
  }
  const int ready = ::ppoll(entries.data(), entries.size(), timeout ? &left : nullptr, nullptr);
  if (ready < 0 && errno != EINTR) throw_errno("ppoll");
  return std::max(ready, 0);
}

UniqueFd above_stdio(int fd) {
  UniqueFd low(fd);
  return fd < 0 || fd > STDERR_FILENO ? std::move(low) : low.duplicate();
}

std::pair<UniqueFd, UniqueFd> above_stdio(const std::array<int, 2>& fds) {
  UniqueFd first(fds[0]);
  UniqueFd second(fds[1]);
  first = above_stdio(first.release());
  return {std::move(first), above_stdio(second.release())};
}

UniqueFd opened(int fd, const char* call) { return above_stdio(check(fd, call)); }

bool wait_fd(int fd, short events, const Deadline& deadline) {
  pollfd entry{fd, events, 0};
  for (;;) {
    const Timeout left = deadline.remaining();
    if (poll_once({&entry, 1}, left) > 0) return true;
    if (left && deadline.passed()) return false;
  }
}

bool write_all(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd entry{fd, POLLOUT, 0};
      ::poll(&entry, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

void send_with_fds(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  // Descriptors ride on the first byte; the rest is a plain stream.
  while (!bytes.empty()) {
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    std::vector<std::byte> control(fds.empty() ? 0 : CMSG_SPACE(fds.size_bytes()));
    if (!fds.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds.size_bytes());
      std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    }
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        wait_fd(socket, POLLOUT, Deadline());
        continue;
      }
      throw_errno("sendmsg");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
    fds = {};
  }
}

// --- time --------------------------------------------------------------------

Deadline::Deadline(Timeout timeout) {
  if (!timeout) return;
  const auto now = std::chrono::steady_clock::now();
  const Duration wait = std::max(*timeout, Duration::zero());
  // A time-out beyond the clock's range is never.
  if (wait < std::chrono::steady_clock::time_point::max() - now) at_ = now + wait;
}

bool Deadline::passed() const { return at_ && std::chrono::steady_clock::now() >= *at_; }

Timeout Deadline::remaining() const {
  if (!at_) return std::nullopt;
  return std::max<Duration>(*at_ - std::chrono::steady_clock::now(), Duration::zero());
}

Duration Deadline::remaining_at_most(Duration slice) const {
  const Timeout left = remaining();
  return left ? std::min(*left, slice) : slice;
}

// --- futex -------------------------------------------------------------------

bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected, Timeout slice) {
  timespec left{};
  if (slice) {
    if (*slice <= Duration::zero()) return false;
    left.tv_sec = slice->count() / 1'000'000'000;
    left.tv_nsec = slice->count() % 1'000'000'000;
  }
  const long result =
      ::syscall(SYS_futex, &word, FUTEX_WAIT, expected, slice ? &left : nullptr, nullptr, 0);
  return result == 0 || errno != ETIMEDOUT;
}

int futex_wake(const std::atomic<std::uint32_t>& word, int count) {
  return static_cast<int>(::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0));
}

// --- who am I ----------------------------------------------------------------

namespace {

// Field 22 of /proc/PID/stat. The second field may hold anything, spaces and
// parentheses included, so fields are counted from the last ')'.
std::uint32_t start_time(pid_t pid) noexcept {
  std::array<char, 64> path{};
  char* end = std::to_chars(path.data() + 6, path.data() + 32, pid).ptr;
  std::memcpy(path.data(), "/proc/", 6);
  std::memcpy(end, "/stat", 6);
  const int fd = ::open(path.data(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  std::array<char, 1024> text{};
  const ssize_t size = ::read(fd, text.data(), text.size());
  ::close(fd);
  if (size <= 0) return 0;
  std::string_view fields(text.data(), static_cast<std::size_t>(size));
  fields.remove_prefix(std::min(fields.size(), fields.rfind(')') + 2));
  for (int field = 3; field < 22; ++field) {
    fields.remove_prefix(std::min(fields.size(), fields.find(' ') + 1));
  }
  std::uint64_t ticks = 0;
  std::from_chars(fields.data(), fields.data() + fields.size(), ticks);
  const auto low = static_cast<std::uint32_t>(ticks);
  return low == 0 ? 1 : low;
}

std::atomic<pid_t> cached_pid{0};
constexpr std::uint64_t not_asked = ~std::uint64_t{0};
std::atomic<std::uint64_t> cached_start{not_asked};
std::atomic<std::uint32_t> generation{1};
thread_local pid_t cached_tid = 0;
std::atomic<std::string (*)()> name_source{nullptr};
std::atomic<int> own_threads{0};

constexpr std::size_t max_fork_hooks = 16;
std::array<std::atomic<void (*)()>, max_fork_hooks> fork_hooks{};
std::atomic<std::size_t> fork_hook_count{0};
std::array<std::atomic<void (*)()>, max_fork_hooks> end_hooks{};
std::atomic<std::size_t> end_hook_count{0};
std::atomic<void (*)()> before_fork_hook{nullptr};
std::atomic<void (*)()> parent_fork_hook{nullptr};

void forget_identity() {
  cached_pid.store(::getpid(), std::memory_order_relaxed);
  cached_start.store(not_asked, std::memory_order_relaxed);
  cached_tid = 0;
  own_threads.store(0, std::memory_order_relaxed);
  generation.fetch_add(1, std::memory_order_relaxed);
}

void run_before_fork_hook() {
  if (auto* hook = before_fork_hook.load(std::memory_order_acquire)) hook();
}

// Not for a hook that came too late to be called before.
void run_parent_fork_hook() {
  if (auto* hook = parent_fork_hook.load(std::memory_order_acquire)) hook();
}

// One pthread_atfork for all of libmp: it cannot be undone, and one place
// keeps the order of what happens in a new child readable.
[[maybe_unused]] const int fork_handler_registered =
    ::pthread_atfork(run_before_fork_hook, run_parent_fork_hook, run_after_fork_hooks);

}  // namespace

void run_after_fork_hooks() {
  forget_identity();
  const std::size_t count = fork_hook_count.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    if (auto* hook = fork_hooks[i].load(std::memory_order_acquire)) hook();
  }
}

void after_fork_in_child(void (*function)()) {
  const std::size_t index = fork_hook_count.fetch_add(1, std::memory_order_acq_rel);
  fork_hooks.at(index).store(function, std::memory_order_release);
}

std::size_t after_fork_functions() noexcept {
  return fork_hook_count.load(std::memory_order_acquire);
}

void at_orderly_end(void (*function)()) {
  const std::size_t index = end_hook_count.fetch_add(1, std::memory_order_acq_rel);
  end_hooks.at(index).store(function, std::memory_order_release);
}

void run_orderly_end_hooks() {
  const std::size_t count = end_hook_count.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    if (auto* hook = end_hooks[i].load(std::memory_order_acquire)) hook();
  }
}

void around_fork(void (*before)(), void (*after_in_parent)()) {
  parent_fork_hook.store(after_in_parent, std::memory_order_release);
  before_fork_hook.store(before, std::memory_order_release);
}

std::atomic<int>& service_threads() noexcept { return own_threads; }

std::uint32_t fork_generation() noexcept { return generation.load(std::memory_order_relaxed); }

pid_t this_pid() noexcept {
  pid_t pid = cached_pid.load(std::memory_order_relaxed);
  if (pid == 0) {
    pid = ::getpid();
    cached_pid.store(pid, std::memory_order_relaxed);
  }
  return pid;
}

pid_t this_tid() noexcept {
  if (cached_tid == 0) cached_tid = ::gettid();
  return cached_tid;
}

ProcessIdentity this_process() noexcept {
  std::uint64_t start = cached_start.load(std::memory_order_relaxed);
  if (start == not_asked) {
    // Also what could not be found out, for want of a descriptor, stays so: who holds a lock
    // must be the same later on.
    const std::uint64_t found = start_time(this_pid());
    if (cached_start.compare_exchange_strong(start, found, std::memory_order_relaxed)) {
      start = found;
    }
  }
  return {this_pid(), static_cast<std::uint32_t>(start)};
}

namespace {

// For want of a descriptor: a process without memory of its own, whose last
// thread it is, has ended. Whether it is the one that was meant is not asked.
bool has_ended_by_name(pid_t pid) noexcept {
  if (::kill(pid, 0) != 0 && errno == ESRCH) return true;
  std::array<char, 64> path{};
  char* end = std::to_chars(path.data() + 6, path.data() + 32, pid).ptr;
  std::memcpy(path.data(), "/proc/", 6);
  std::memcpy(end, "/exe", 5);
  char first = 0;
  if (::readlink(path.data(), &first, 1) >= 0 || errno != ENOENT) return false;
  std::memcpy(end, "/task", 6);
  struct stat threads {};
  // A folder has a link for itself, one for its name, and one for each folder in it.
  return ::stat(path.data(), &threads) == 0 && threads.st_nlink <= 3;
}

}  // namespace

bool has_ended(const ProcessIdentity& process) noexcept {
  if (process.pid <= 0) return true;
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!pidfd) return errno == ESRCH || has_ended_by_name(process.pid);
  pollfd entry{pidfd.get(), POLLIN, 0};
  if (::poll(&entry, 1, 0) > 0) return true;
  // Alive; but is it still the one that was meant?
  if (process.start == 0) return false;
  const std::uint32_t start = start_time(process.pid);
  return start != 0 && start != process.start;
}

std::string process_name() {
  auto* source = name_source.load(std::memory_order_relaxed);
  return source == nullptr ? "MainProcess" : source();
}

void set_process_name_source(std::string (*source)()) {
  name_source.store(source, std::memory_order_relaxed);
}

UniqueFd open_pidfd(pid_t pid) {
  // syscall(): the wrapper in <sys/pidfd.h> of glibc 2.36 lacks C linkage.
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0 && errno != ESRCH) throw_errno("pidfd_open");
  return above_stdio(fd);
}

bool has_several_cores() noexcept {
  static const bool several = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    return ::sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) > 1;
  }();
  return several;
}

// --- shared memory -----------------------------------------------------------

void require_file_size(std::uint64_t size, const char* call) {
  rlimit limit{};
  check(::getrlimit(RLIMIT_FSIZE, &limit), "getrlimit");
  if (size > limit.rlim_cur) {
    throw_errno((std::string(call) + " beyond RLIMIT_FSIZE").c_str(), EFBIG);
  }
}

SharedMapping SharedMapping::create(const char* label, std::size_t size) {
  require_file_size(size, "ftruncate");
  UniqueFd fd = opened(::memfd_create(label, MFD_CLOEXEC), "memfd_create");
  check(::ftruncate(fd.get(), static_cast<off_t>(size)), "ftruncate");
  return SharedMapping(std::move(fd), size);
}

SharedMapping SharedMapping::attach(UniqueFd fd, std::size_t size) {
  if (size != 0) return SharedMapping(std::move(fd), size);
  struct stat info {};
  check(::fstat(fd.get(), &info), "fstat");
  return SharedMapping(std::move(fd), static_cast<std::size_t>(info.st_size));
}

SharedMapping::SharedMapping(UniqueFd fd, std::size_t size) : fd_(std::move(fd)), size_(size) {
  void* address =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
  if (address == MAP_FAILED) throw_errno("mmap");
  data_ = static_cast<std::byte*>(address);
}

SharedMapping::SharedMapping(SharedMapping&& other) noexcept
    : fd_(std::move(other.fd_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

SharedMapping& SharedMapping::operator=(SharedMapping&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

SharedMapping::~SharedMapping() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

// --- ForkSafeMutex -----------------------------------------------------------

// The word names the fork generation of its holder, so a child that inherits
// a taken mutex sees that the holder is not among its own threads.
void ForkSafeMutex::lock() noexcept {
  if (!try_lock()) lock_until(Deadline());
}

bool ForkSafeMutex::lock_until(const Deadline& deadline) {
  const std::uint32_t mine = fork_generation() << 1;
  std::uint32_t seen = 0;
  if (word_.compare_exchange_strong(seen, mine, std::memory_order_acquire)) return true;
  for (;;) {
    if (seen == 0 || (seen & ~1U) != mine) {
      // Taken with the waiting bit: others may still sleep on the word.
      if (word_.compare_exchange_strong(seen, mine | 1U, std::memory_order_acquire)) return true;
    } else if ((seen & 1U) != 0 ||
               word_.compare_exchange_strong(seen, mine | 1U, std::memory_order_relaxed)) {
      if (deadline.passed()) return false;
      futex_wait(word_, mine | 1U, deadline.remaining());
      seen = word_.load(std::memory_order_relaxed);
    }
  }
}

bool ForkSafeMutex::try_lock() noexcept {
  const std::uint32_t mine = fork_generation() << 1;
  std::uint32_t seen = word_.load(std::memory_order_relaxed);
  if (seen != 0 && (seen & ~1U) == mine) return false;
  return word_.compare_exchange_strong(seen, mine, std::memory_order_acquire);
}

void ForkSafeMutex::unlock() noexcept {
  if ((word_.exchange(0, std::memory_order_release) & 1U) != 0) futex_wake(word_, 1);
}

}  // namespace mp::detail
