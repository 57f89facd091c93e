#include "raw.hpp"

#include <arpa/inet.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <system_error>

namespace bench {

long check(long result, const char* call) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), call);
  return result;
}

Child::Child(const std::function<void()>& body) {
  std::fflush(nullptr);
  pid_ = static_cast<pid_t>(check(::fork(), "fork"));
  if (pid_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    body();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "in a child: %s\n", error.what());
    ::_exit(1);
  }
  ::_exit(0);
}

Child::~Child() {
  if (pid_ == 0) return;
  // Only on the way out of a failure: join() has not been reached.
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Child::join() {
  int status = 0;
  check(::waitpid(pid_, &status, 0), "waitpid");
  pid_ = 0;
  if (status != 0) throw std::runtime_error("a child has failed");
}

void* map_shared(std::size_t size) {
  void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  return address;
}

void unmap(void* address, std::size_t size) noexcept { ::munmap(address, size); }

void StartingLine::meet(int parties) {
  ++there_;
  while (there_ < parties) ::sched_yield();
}

void futex_wait(FutexWord& word, unsigned expected) {
  static_assert(sizeof word == 4);
  if (::syscall(SYS_futex, &word, FUTEX_WAIT, expected, nullptr, nullptr, 0) < 0 &&
      errno != EAGAIN && errno != EINTR) {
    throw std::system_error(errno, std::generic_category(), "futex");
  }
}

void futex_wake(FutexWord& word, int count) {
  check(::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0), "futex");
}

void write_fully(int fd, const void* data, std::size_t size) {
  for (auto* at = static_cast<const char*>(data); size != 0;) {
    const auto done = static_cast<std::size_t>(check(::write(fd, at, size), "write"));
    at += done;
    size -= done;
  }
}

void read_fully(int fd, void* data, std::size_t size) {
  for (auto* at = static_cast<char*>(data); size != 0;) {
    const auto done = static_cast<std::size_t>(check(::read(fd, at, size), "read"));
    if (done == 0) throw std::runtime_error("end of file");
    at += done;
    size -= done;
  }
}

FdPair FdPair::pipe() {
  std::array<int, 2> ends{};
  check(::pipe(ends.data()), "pipe");
  return {ends[0], ends[1]};
}

FdPair FdPair::sockets() {
  std::array<int, 2> ends{};
  check(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), "socketpair");
  return {ends[0], ends[1]};
}

FdPair FdPair::tcp() {
  const auto listener = static_cast<int>(check(::socket(AF_INET, SOCK_STREAM, 0), "socket"));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  check(::bind(listener, generic, size), "bind");
  check(::listen(listener, 1), "listen");
  check(::getsockname(listener, generic, &size), "getsockname");
  const auto client = static_cast<int>(check(::socket(AF_INET, SOCK_STREAM, 0), "socket"));
  check(::connect(client, generic, size), "connect");
  const auto served = static_cast<int>(check(::accept(listener, nullptr, nullptr), "accept"));
  ::close(listener);
  const int yes = 1;
  for (const int fd : {client, served}) {
    check(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), "setsockopt");
  }
  return {served, client};
}

void FdPair::close_write() {
  ::close(write);
  write = -1;
}

FdPair::~FdPair() {
  if (read >= 0) ::close(read);
  if (write >= 0) ::close(write);
}

}  // namespace bench
