// A process that is killed after any one of its writes to shared memory: not at places chosen in
// the source, but in the library as the compiler has made it, instruction by instruction.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <forked.hpp>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <mp/detail/heap.hpp>
#include <mp/queues.hpp>
#include <mp/synchronize.hpp>

namespace mp {
namespace {

using namespace std::chrono_literals;
using test::patience;

// What no survivor may wait longer for; the machine may be busy.
constexpr auto soon = 5s;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool instrumented = true;
#elif defined(__has_feature)
constexpr bool instrumented = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool instrumented = false;
#endif

// What this process shares by libmp's memfds, as far as it is used in these tests.
std::vector<std::span<const std::byte>> shared_memory() {
  std::vector<std::span<const std::byte>> found;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:mp") == std::string::npos) continue;
    const std::uint64_t begin = std::stoull(line, nullptr, 16);
    const std::uint64_t end = std::stoull(line.substr(line.find('-') + 1), nullptr, 16);
    found.emplace_back(reinterpret_cast<const std::byte*>(begin),
                       std::min<std::uint64_t>(end - begin, 64 << 10));
  }
  return found;
}

class Snapshot {
 public:
  Snapshot() {
    for (const auto memory : live_) seen_.emplace_back(memory.begin(), memory.end());
  }
  bool changed() {
    bool any = false;
    for (std::size_t i = 0; i < live_.size(); ++i) {
      if (std::memcmp(live_[i].data(), seen_[i].data(), live_[i].size()) == 0) continue;
      std::memcpy(seen_[i].data(), live_[i].data(), live_[i].size());
      any = true;
    }
    return any;
  }

 private:
  std::vector<std::span<const std::byte>> live_ = shared_memory();
  std::vector<std::vector<std::byte>> seen_;
};

enum class Outcome { killed, ended, refused };

int stopped_or_ended(pid_t child) {
  int status = 0;
  detail::check(::waitpid(child, &status, 0), "waitpid");
  return status;
}

// A child whose end is seen: memory that it shared is free again then.
struct Announced {
  Announced() = default;
  Announced(const Announced&) = delete;
  Announced& operator=(const Announced&) = delete;
  ~Announced() { detail::heap_child_gone(ticket); }
  const std::uint64_t ticket = detail::heap_child_born();
};

// Does `work` in a child, one instruction at a time, and kills that after the
// `which`-th change of shared memory.
Outcome kill_after(int which, const std::function<void()>& work) {
  const Announced announced;
  const pid_t child = ::fork();
  if (child == 0) {
    detail::this_process();  // What it finds out once, it knows.
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(2);
    ::raise(SIGSTOP);
    work();
    ::_exit(0);
  }
  int status = stopped_or_ended(child);
  if (WIFEXITED(status)) return Outcome::refused;
  Snapshot memory;
  for (int changes = 0; !WIFEXITED(status);) {
    detail::check(::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr), "ptrace");
    status = stopped_or_ended(child);
    if (!memory.changed() || ++changes < which) continue;
    ::kill(child, SIGKILL);
    stopped_or_ended(child);
    return Outcome::killed;
  }
  EXPECT_EQ(WEXITSTATUS(status), 0);
  return Outcome::ended;
}

// Goes on after a death, with what it has then.
template <class Call>
void told(const Call& call) {
  try {
    call();
  } catch (const OwnerDied&) {
  }
}

class EveryWrite : public testing::Test {
 protected:
  void SetUp() override {
    if (instrumented) GTEST_SKIP() << "the instructions are not those that are shipped";
  }

  // `scene(kill)` makes what is shared, calls kill(work), and if that is true
  // looks at what is left.
  template <class Scene>
  void for_each(const Scene& scene) {
    Outcome outcome = Outcome::killed;
    for (int which = 1; outcome == Outcome::killed; ++which) {
      SCOPED_TRACE(which);
      scene([&](const std::function<void()>& work) {
        outcome = kill_after(which, work);
        return outcome == Outcome::killed;
      });
      ASSERT_FALSE(outcome == Outcome::ended && which < 3) << "no writes were seen";
    }
    if (outcome == Outcome::refused) GTEST_SKIP() << "this system refuses ptrace";
  }
};

TEST_F(EveryWrite, OfALockLeavesItFreeOrADeadHolders) {
  for_each([](const auto& kill) {
    const RLock lock;
    if (!kill([&] {
          for (int i = 0; i < 2; ++i) lock.acquire();
          for (int i = 0; i < 2; ++i) lock.release();
          lock.acquire();
        })) {
      return;
    }
    told([&] { EXPECT_TRUE(lock.acquire(soon)); });
    EXPECT_EQ(lock.repr(), "<RLock(MainProcess, 1)>");
    lock.release();
    EXPECT_FALSE(lock.locked());
  });
}

TEST_F(EveryWrite, OfASemaphoreLosesNoUnit) {
  for_each([](const auto& kill) {
    const BoundedSemaphore units(2);
    if (!kill([&] {
          units.acquire();
          units.release();
          units.acquire();
        })) {
      return;
    }
    for (int i = 0; i < 2; ++i) told([&] { EXPECT_TRUE(units.acquire(soon)); });
    EXPECT_FALSE(units.acquire(0ms));
    for (int i = 0; i < 2; ++i) units.release();
    EXPECT_THROW(units.release(), ValueError);
  });
}

TEST_F(EveryWrite, OfASignalLosesNoneThatWasGivenBefore) {
  for_each([](const auto& kill) {
    const Semaphore signal(3);
    if (!kill([&] {
          signal.release();
          signal.release();
        })) {
      return;
    }
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(signal.acquire(soon));
    signal.release();
    EXPECT_TRUE(signal.acquire(soon));
  });
}

TEST_F(EveryWrite, OfAConditionLosesNoWakeUpAndInventsNone) {
  for_each([](const auto& kill) {
    const Condition condition;
    if (!kill([&] {
          condition.acquire();
          condition.wait(0ms);
          condition.notify();
          condition.release();
        })) {
      return;
    }
    told([&] { condition.acquire(); });
    EXPECT_FALSE(condition.wait(1ms));
    std::atomic<bool> woken{false};
    std::thread sleeper([&] {
      condition.acquire();
      woken = condition.wait(soon);
      condition.release();
    });
    // What sleeps while this thread has the lock is told apart by nothing else.
    const std::string one = condition.repr();
    while (condition.repr() == one) {
      condition.release();
      std::this_thread::yield();
      condition.acquire();
    }
    condition.notify();
    condition.release();
    sleeper.join();
    EXPECT_TRUE(woken);
  });
}

TEST_F(EveryWrite, OfAnEventWakesWhoWaits) {
  for_each([](const auto& kill) {
    const Event event;
    if (!kill([&] {
          event.set();
          event.clear();
          event.wait(0ms);
          event.set();
        })) {
      return;
    }
    event.set();
    EXPECT_TRUE(event.wait(soon));
  });
}

// Of two that come to a barrier after a death nobody waits for the dead.
void meet(const Barrier& barrier) {
  const auto begin = std::chrono::steady_clock::now();
  const auto come = [&] {
    try {
      barrier.wait(patience);
    } catch (const BrokenBarrierError&) {
    }
  };
  std::thread other(come);
  come();
  other.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, soon);
}

TEST_F(EveryWrite, OfABarrierThatBreaksHoldsNobody) {
  for_each([](const auto& kill) {
    const Barrier barrier(2);
    if (!kill([&] {
          try {
            barrier.wait(0ms);
          } catch (const BrokenBarrierError&) {
          }
        })) {
      return;
    }
    meet(barrier);
    barrier.reset();
    meet(barrier);
    EXPECT_FALSE(barrier.broken());
  });
}

TEST_F(EveryWrite, OfABarrierThatLetsPassHoldsNobody) {
  for_each([](const auto& kill) {
    const Barrier barrier(1);
    if (!kill([&] {
          for (int i = 0; i < 2; ++i) barrier.wait();
        })) {
      return;
    }
    meet(barrier);
    barrier.reset();
    EXPECT_EQ(barrier.wait(patience), 0);
  });
}

TEST_F(EveryWrite, OfPutLeavesTheItemOrNot) {
  for_each([](const auto& kill) {
    JoinableQueue<int> queue;
    queue.put(1);
    if (!kill([&] {
          queue.put(2);
          queue.put(3);
        })) {
      return;
    }
    queue.put(4, soon);
    std::vector<int> seen;
    while (!queue.empty()) {
      seen.push_back(queue.get(soon));
      queue.task_done();
    }
    seen.pop_back();
    EXPECT_TRUE(queue.join(0ms));
    const std::vector<int> all{1, 2, 3};
    ASSERT_LE(seen.size(), all.size());
    EXPECT_TRUE(!seen.empty() && std::equal(seen.begin(), seen.end(), all.begin()));
  });
}

TEST_F(EveryWrite, OfGetTakesTheItemOrNot) {
  for_each([](const auto& kill) {
    JoinableQueue<int> queue;
    for (int i = 1; i <= 3; ++i) queue.put(i);
    if (!kill([&] {
          for (int i = 1; i <= 2; ++i) {
            queue.get();
            queue.task_done();
          }
        })) {
      return;
    }
    const auto size = static_cast<int>(queue.qsize());
    EXPECT_GE(size, 1);
    for (int i = 4 - size; i <= 3; ++i) EXPECT_EQ(queue.get(soon), i);
    queue.put(4);
    EXPECT_EQ(queue.get(soon), 4);
  });
}

}  // namespace
}  // namespace mp
