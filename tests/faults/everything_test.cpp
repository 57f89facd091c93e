// A program with one of everything is killed at random moments, alone or with
// all its processes. Then it is as if it had never run.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mp/mp.hpp>
#include <random>
#include <string>
#include <system_error>

#include "forked.hpp"

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using mp::test::Forked;

int square(int x) { return x * x; }

void produce(mp::Queue<std::string> queue, const mp::Lock& lock, mp::Value<int> value) {
  for (;;) {
    const std::scoped_lock guard(lock);
    queue.put(std::string(10'000, 'x'));
    value.value += 1;
  }
}

void consume(mp::Queue<std::string> queue, mp::Connection out) {
  for (;;) out.send(queue.get());
}

// Comes to no end.
int work_with_everything() {
  mp::Queue<std::string> queue;
  const mp::Lock lock;
  mp::Value<int> value(0);
  mp::SharedMemory memory({.create = true, .size = 4096});
  auto [in, out] = mp::Pipe(false);
  mp::Process producer({.daemon = true}, produce, queue, lock, value);
  mp::Process consumer({.daemon = true, .start_method = mp::StartMethod::forkserver}, consume,
                       queue, out);
  producer.start();
  consumer.start();
  auto manager = mp::Manager();
  auto list = manager.list<int>();
  mp::Pool pool(2);
  for (int i = 0;; ++i) {
    in.recv<std::string>();
    list.append(pool.apply(square, i % 100));
  }
}

std::string text_of(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What has a name outlives processes.
std::string named_things() {
  return text_of("/proc/sysvipc/shm") + text_of("/proc/sysvipc/sem") + text_of("/proc/sysvipc/msg");
}

// Orphans become children of this process.
class Orphanage {
 public:
  Orphanage() {
    mp::detail::check(::prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl");
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &child, &before_);
  }
  Orphanage(const Orphanage&) = delete;
  Orphanage& operator=(const Orphanage&) = delete;
  ~Orphanage() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  [[nodiscard]] const sigset_t& mask_before() const { return before_; }

  /// False if one is still there when the patience ends.
  static bool all_have_ended() {
    const mp::detail::Deadline deadline(mp::test::patience);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    for (;;) {
      const pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
      if (pid < 0) return errno == ECHILD;
      if (pid > 0) continue;
      if (deadline.passed()) return false;
      // A signal that was there already is no reason to wait longer than this.
      const timespec slice{0, 10'000'000};
      ::sigtimedwait(&child, nullptr, &slice);
    }
  }

 private:
  sigset_t before_{};
};

TEST(EverythingKilled, AtRandomMomentsLeavesNothing) {
  constexpr int rounds = 30;
  const std::string things = named_things();
  std::string folder = (fs::temp_directory_path() / "everything-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const Orphanage orphanage;
  std::mt19937 random(3);
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    const bool with_children = round % 2 == 0;
    Forked program([&] {
      ::sigprocmask(SIG_SETMASK, &orphanage.mask_before(), nullptr);
      ::setpgid(0, 0);
      ::setenv("TMPDIR", folder.c_str(), 1);
      return work_with_everything();
    });
    ::setpgid(program.pid(), program.pid());
    const auto pidfd = mp::detail::open_pidfd(program.pid());
    // From just begun to hard at work.
    const bool ended = mp::detail::wait_fd(
        pidfd.get(), POLLIN,
        mp::detail::Deadline(std::chrono::milliseconds(random() % (round % 3 == 0 ? 30 : 400))));
    EXPECT_FALSE(ended) << "the program ended by itself";
    if (with_children) ::kill(-program.pid(), SIGKILL);
    program.kill();
    EXPECT_TRUE(Orphanage::all_have_ended()) << "round " << round;
    EXPECT_TRUE(fs::is_empty(folder)) << fs::directory_iterator(folder)->path();
  }
  fs::remove_all(folder);
  EXPECT_EQ(named_things(), things);
}

}  // namespace
