// Waits with time-outs while somebody sets the machine's clock: an hour ahead
// or back at each look. Nobody may look, neither libmp nor the kernel for it.

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <mp/mp.hpp>

#include "children.hpp"

namespace {
std::atomic<int> looks{0};
}

// In place of the C library's, for the whole program: the wall clock jumps.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const long result = ::syscall(SYS_clock_gettime, clock, time);
  if (clock == CLOCK_REALTIME) time->tv_sec += looks++ % 2 == 0 ? 3600 : -3600;
  return static_cast<int>(result);
}

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto asked = 50ms;

// From here on a sleep on a futex until a time of the wall clock ends the
// process, with SIGSYS.
bool forbid_wall_clock_sleeps() {
  const auto load = [](std::size_t offset) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
  };
  std::array program{
      load(offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 0, 7),
      load(offsetof(seccomp_data, args[1])),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, FUTEX_CLOCK_REALTIME, 0, 5),
      // Without a time, in both halves of the pointer, the flag means nothing.
      load(offsetof(seccomp_data, args[3])),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2),
      load(offsetof(seccomp_data, args[3]) + 4),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{program.size(), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// Exit codes: 0 right, 1 no filter, 2 too early, 3 too late, 4 a look at the wall clock.
int in_time(const std::function<void()>& wait) {
  if (!forbid_wall_clock_sleeps()) return 1;
  looks = 0;
  const auto begin = Clock::now();
  wait();
  const auto took = Clock::now() - begin;
  if (took < asked) return 2;
  if (took > mp::test::patience / 2) return 3;
  return looks == 0 ? 0 : 4;
}

template <class Error>
std::function<void()> throws(std::function<void()> call) {
  return [call = std::move(call)] {
    try {
      call();
    } catch (const Error&) {
      return;
    }
    throw std::logic_error("nothing was thrown");
  };
}

TEST(ClockConformance, survive__clock_step) {
  const mp::Lock lock;
  lock.acquire();
  const mp::RLock rlock;
  const mp::Semaphore semaphore(0);
  const mp::Condition condition;
  const mp::Event event;
  mp::Queue<int> empty;
  mp::Queue<int> full(1);
  full.put(1);
  mp::JoinableQueue<int> unfinished;
  unfinished.put(1);
  auto [a, b] = mp::Pipe();
  const std::vector<std::pair<std::string, std::function<void()>>> waits{
      {"Lock.acquire", [&] { (void)lock.acquire(true, asked); }},
      {"Semaphore.acquire", [&] { (void)semaphore.acquire(true, asked); }},
      {"Condition.wait",
       [&] {
         const std::scoped_lock guard(condition);
         condition.wait(asked);
       }},
      {"Event.wait", [&] { event.wait(asked); }},
      {"Barrier.wait", throws<mp::BrokenBarrierError>([&] { mp::Barrier(2).wait(asked); })},
      {"Queue.get", throws<mp::Empty>([&] { empty.get(asked); })},
      {"Queue.put", throws<mp::Full>([&] { full.put(2, asked); })},
      {"JoinableQueue.join", [&] { unfinished.join(asked); }},
      {"Connection.poll", [&, &a = a] { (void)a.poll(asked); }},
      {"Connection.recv", throws<mp::TimeoutError>([&, &a = a] { a.recv<int>(asked); })},
      {"wait",
       [&, &a = a] {
         mp::connection::wait({a, empty}, asked);
       }},
      {"AsyncResult.get",
       [] {
         mp::ThreadPool pool(1);
         const mp::Event release;
         auto result = pool.apply_async([release] { release.wait(); });
         throws<mp::TimeoutError>([&] { result.get(asked); })();
         release.set();
         pool.close();
         pool.join();
       }},
  };
  for (const auto& [name, wait] : waits) {
    mp::Process waiter({.start_method = mp::StartMethod::fork},
                       [&wait = wait] { mp::exit(in_time(wait)); });
    waiter.start();
    EXPECT_EQ(mp::test::ended(waiter), 0) << name;
  }
}

TEST(ClockConformance, survive__clock_step__while_joining) {
  mp::test::Forked waiter([] {
    mp::Process sleeper({.daemon = true, .start_method = mp::StartMethod::fork}, [] { ::pause(); });
    sleeper.start();
    const int result = in_time([&] { sleeper.join(asked); });
    mp::test::crash(sleeper);
    return result;
  });
  EXPECT_EQ(waiter.wait(), 0);
}

TEST(ClockConformance, survive__clock_step__and_the_test_sees_who_looks) {
  mp::test::Forked looker([] {
    return in_time([] {
      const mp::detail::Deadline end(asked);
      while (std::chrono::system_clock::now().time_since_epoch() > 0s && !end.passed()) {
      }
    });
  });
  EXPECT_EQ(looker.wait(), 4);
  mp::test::Forked sleeper([] {
    return in_time([] {
      std::mutex mutex;
      std::condition_variable condition;
      std::unique_lock lock(mutex);
      timespec now{};
      ::syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
      const auto end = std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
      condition.wait_until(lock, std::chrono::system_clock::time_point(end + asked));
    });
  });
  EXPECT_EQ(sleeper.wait(), -SIGSYS);
}

}  // namespace
