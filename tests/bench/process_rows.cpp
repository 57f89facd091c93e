#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include <boost/process/child.hpp>

#include "mp/process.hpp"
#include "raw.hpp"
#include "row.hpp"

extern char** environ;

namespace bench {

namespace {

void nothing() {}

// Makes this process big, in pages of the usual size, once.
void touch_1GiB() {
  constexpr std::size_t size = std::size_t{1} << 30;
  static char* const memory = [] {
    auto* fresh = static_cast<char*>(
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    check(fresh == MAP_FAILED ? -1 : 0, "mmap");
    check(::madvise(fresh, size, MADV_NOHUGEPAGE), "madvise");
    std::memset(fresh, 1, size);
    return fresh;
  }();
  memory[0] = 2;
}

Run in_big_process(Run run) {
  return [run = std::move(run)](std::size_t count) {
    touch_1GiB();
    return run(count);
  };
}

Run start_and_join(mp::StartMethod method) {
  return [method](std::size_t count) -> Timing {
    const auto once = [&] {
      mp::Process process({.start_method = method}, nothing);
      process.start();
      process.join();
    };
    // The fork server, where there is one, is started by its first client.
    if (method == mp::StartMethod::forkserver) once();
    const Stopwatch watch;
    for (std::size_t i = 0; i < count; ++i) once();
    return {watch.ns_per(count)};
  };
}

Timing fork_and_wait(std::size_t count) {
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) {
    const auto pid = static_cast<pid_t>(check(::fork(), "fork"));
    if (pid == 0) ::_exit(0);
    check(::waitpid(pid, nullptr, 0), "waitpid");
  }
  return {watch.ns_per(count)};
}

Timing posix_spawn_and_wait(std::size_t count) {
  std::string path = "/proc/self/exe";
  std::string argument = leave_at_once;
  const std::array<char*, 3> arguments{path.data(), argument.data(), nullptr};
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) {
    pid_t pid = 0;
    errno = ::posix_spawn(&pid, path.c_str(), nullptr, nullptr, arguments.data(), environ);
    check(errno == 0 ? 0 : -1, "posix_spawn");
    check(::waitpid(pid, nullptr, 0), "waitpid");
  }
  return {watch.ns_per(count)};
}

Timing boost_child(std::size_t count) {
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) {
    boost::process::child child("/proc/self/exe", leave_at_once);
    child.wait();
  }
  return {watch.ns_per(count)};
}

}  // namespace

std::vector<Row> process_rows() {
  using enum mp::StartMethod;
  const auto spawned = "posix_spawn of the same executable, waitpid";
  return {
      {.name = "process.fork",
       .operation = "start and join of a child",
       .contenders = {{"libmp", "Process, fork", start_and_join(fork)},
                      {"floor", "fork, _exit, waitpid", fork_and_wait},
                      cpython("Process, fork")},
       .reaches = {at_most(1.3, "floor")}},
      {.name = "process.spawn",
       .operation = "start and join of a child",
       .contenders = {{"libmp", "Process, spawn", start_and_join(spawn)},
                      {"floor", spawned, posix_spawn_and_wait},
                      cpython("Process, spawn"),
                      {"boost_process", "Boost.Process's child, wait", boost_child}},
       .reaches = {at_most(1.3, "floor")}},
      {.name = "process.spawn_1GiB",
       .operation = "start and join of a child by a parent with 1 GiB in memory",
       .contenders = {{"libmp", "Process, spawn", in_big_process(start_and_join(spawn))},
                      {"floor", spawned, in_big_process(posix_spawn_and_wait)},
                      cpython("Process, spawn"),
                      {"small_parent", "libmp's Process, spawn, by a parent without the 1 GiB",
                       start_and_join(spawn)},
                      {"raw_fork", "fork, _exit, waitpid", in_big_process(fork_and_wait)}},
       .reaches = {at_most(1.2, "small_parent")}},
      {.name = "process.forkserver",
       .operation = "start and join of a child, by a server that runs",
       .contenders = {{"libmp", "Process, forkserver", start_and_join(forkserver)},
                      {"floor", "fork, _exit, waitpid, by a small parent", fork_and_wait},
                      cpython("Process, forkserver"),
                      {"1GiB_parent", "libmp's Process, forkserver, by a parent with 1 GiB",
                       in_big_process(start_and_join(forkserver))}},
       .reaches = {at_most(2.0, "floor"), at_most(2.0, "floor", "1GiB_parent")}},
  };
}

}  // namespace bench
