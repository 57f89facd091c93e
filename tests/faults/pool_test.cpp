// Workers that die, hang and misbehave: every result or an error arrives, the
// pool goes on, nothing is left.

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <mp/mp.hpp>

#include "children.hpp"
#include "forked.hpp"
#include "pools.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::Forked;
using mp::test::goes_away;
using mp::test::has_workers;
using mp::test::is_gone;
using mp::test::numbers;
using mp::test::patience;

// What the issue of a death is to be known within.
constexpr auto known_within = 1s;

int same(int x) { return x; }
int wait_a_while(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return milliseconds;
}

enum class End { kill, segfault, abort, exit_3, out_of_memory };
constexpr std::array ends{End::kill, End::segfault, End::abort, End::exit_3, End::out_of_memory};

// Ends the calling process in one of five ways.
void end_by(End how) {
  ::prctl(PR_SET_DUMPABLE, 0);
  switch (how) {
    case End::kill:
      ::raise(SIGKILL);
      break;
    case End::segfault:
      ::signal(SIGSEGV, SIG_DFL);
      ::raise(SIGSEGV);
      break;
    case End::abort:
      std::abort();
    case End::exit_3:
      ::_exit(3);
    case End::out_of_memory: {
      const rlimit little{1U << 20U, 1U << 20U};
      ::setrlimit(RLIMIT_AS, &little);
      // What a program does that cannot do without the memory. Volatile, as memory that
      // nobody uses need not be asked for.
      void* volatile memory = std::malloc(64U << 20U);
      if (memory == nullptr) std::abort();
      break;
    }
  }
  ::_exit(98);
}

enum class When { computing, reading, writing };

// An argument whose arrival, or a result whose departure, is the end.
struct Fatal {
  End how = End::kill;
  When when = When::computing;
  std::vector<std::byte> bulk;

  void pickle(mp::Encoder& out) const {
    if (when == When::writing && inside) end_by(how);
    mp::encode(out, how);
    mp::encode(out, when);
    mp::encode(out, bulk);
  }
  static Fatal unpickle(mp::Decoder& in) {
    Fatal fatal;
    fatal.how = mp::decode<End>(in);
    fatal.when = mp::decode<When>(in);
    if (fatal.when == When::reading && inside) end_by(fatal.how);
    fatal.bulk = mp::decode<std::vector<std::byte>>(in);
    return fatal;
  }
  static inline bool inside = false;  // In a worker.
};

void go_inside() { Fatal::inside = true; }
Fatal meet(Fatal fatal) {
  if (fatal.when == When::computing) end_by(fatal.how);
  return fatal;
}

// A result larger than a pipe.
std::vector<std::byte> large_result(int) { return std::vector<std::byte>(100'000); }

class PoolFaults : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(PoolFaults);

// Sees when each of some processes ends.
class EndWatch {
 public:
  using Clock = std::chrono::steady_clock;
  explicit EndWatch(const std::vector<int>& pids) {
    for (const int pid : pids) {
      const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
      if (fd >= 0) ends_.push_back({pid, mp::detail::UniqueFd(fd), {}});
    }
    thread_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
  }
  // Of one that has ended; empty if it is none of these.
  std::optional<Clock::time_point> end_of(int pid) {
    thread_.request_stop();
    thread_.join();
    for (const End& one : ends_) {
      if (one.pid == pid) return one.at;
    }
    return std::nullopt;
  }

 private:
  struct End {
    int pid;
    mp::detail::UniqueFd fd;
    std::optional<Clock::time_point> at;
  };
  void watch(const std::stop_token& stop) {
    for (bool more = true; more;) {
      more = !stop.stop_requested();
      std::vector<pollfd> entries;
      for (const End& one : ends_) entries.push_back({one.at ? -1 : one.fd.get(), POLLIN, 0});
      ::poll(entries.data(), entries.size(), 1);
      for (std::size_t i = 0; i < ends_.size(); ++i) {
        if (entries[i].revents != 0) ends_[i].at = Clock::now();
      }
    }
  }
  std::vector<End> ends_;
  std::jthread thread_;
};

// What the error must say of an end by `how`.
void expect_end(const mp::WorkerDied& error, End how) {
  switch (how) {
    case End::kill:
      EXPECT_EQ(error.signal(), "SIGKILL");
      break;
    case End::segfault:
      EXPECT_EQ(error.signal(), "SIGSEGV");
      break;
    case End::abort:
    case End::out_of_memory:
      EXPECT_EQ(error.signal(), "SIGABRT");
      break;
    case End::exit_3:
      EXPECT_EQ(error.death().exitcode, 3);
  }
  EXPECT_FALSE(error.death().out_of_memory) << error.what();
}

// One death of each kind at each moment, again and again: over `submit`, which
// gives something with a get() that takes a time-out. `pids` are the workers'.
template <class Submit, class Pids>
void die_in_every_way(int rounds, Submit submit, Pids pids) {
  std::mt19937 random(1);
  int measured = 0;
  for (int i = 0; i < rounds; ++i) {
    Fatal fatal;
    fatal.how = ends[random() % ends.size()];
    fatal.when = static_cast<When>(random() % 3);
    fatal.bulk.resize(random() % 2 == 0 ? 10 : 100'000);
    EndWatch watch(pids());
    auto result = submit(fatal);
    try {
      result.get(patience);
      FAIL() << "round " << i;
    } catch (const mp::WorkerDied& error) {
      const auto told = EndWatch::Clock::now();
      expect_end(error, fatal.how);
      // A worker that came later than the watch is not seen by it.
      if (const auto ended = watch.end_of(error.death().pid)) {
        EXPECT_LT(told - *ended, known_within);
        ++measured;
      }
    }
  }
  EXPECT_GT(measured, rounds / 4);
}

TEST_P(PoolFaults, AThousandDeathsCostAPoolATaskEach) {
  mp::Pool pool({.processes = 2}, go_inside);
  die_in_every_way(
      1000, [&](const Fatal& fatal) { return pool.apply_async(meet, fatal); },
      [&] { return pool.pids(); });
  EXPECT_EQ(pool.map(same, numbers(1000), 1), numbers(1000));
  EXPECT_TRUE(has_workers(pool, 2));
}

TEST_P(PoolFaults, AThousandDeathsCostAnExecutorATaskEach) {
  mp::futures::ProcessPoolExecutor executor(
      {.max_workers = 2, .on_worker_death = mp::on_worker_death::fail}, go_inside);
  // The interface of an AsyncResult for a future.
  struct Result {
    mp::futures::Future<Fatal> future;
    Fatal get(mp::Timeout timeout) const { return future.result(timeout); }
  };
  die_in_every_way(
      1000, [&](const Fatal& fatal) { return Result{executor.submit(meet, fatal)}; },
      [&] {
        // There is a worker when there is a task.
        executor.submit(same, 1).result(patience);
        return executor.pids();
      });
  int next = 0;
  for (const int x : executor.map({.chunksize = 1}, same, numbers(1000))) EXPECT_EQ(x, next++);
  EXPECT_EQ(next, 1000);
  // It has as many as there are tasks at one time.
  const auto one = executor.submit(wait_a_while, 100);
  const auto other = executor.submit(wait_a_while, 100);
  EXPECT_TRUE(has_workers(executor, 2));
}

TEST_P(PoolFaults, WorkersKilledFromOutsideAtAnyMomentCostNoMoreThanWhatTheyHadInHand) {
  mp::Pool pool(2);
  std::atomic<int> kills{0};
  // Those that have begun to work: one that never gets so far is another matter.
  std::jthread killer([&](const std::stop_token& stop) {
    std::mt19937 random(7);
    while (kills < 300 && !stop.stop_requested()) {
      auto workers = pool.progress().workers;
      std::erase_if(workers, [](const auto& one) { return one.task == 0 && one.done == 0; });
      if (!workers.empty() && ::kill(workers[random() % workers.size()].pid, SIGKILL) == 0) ++kills;
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
    }
  });
  int errors = 0;
  int rounds = 0;
  while (kills < 300) {
    auto results = pool.imap_unordered(large_result, numbers(200));
    for (int got = 0; got < 200; ++got) {
      try {
        ASSERT_EQ(results.next(patience)->size(), 100'000U);
      } catch (const mp::WorkerDied&) {
        ++errors;
      }
    }
    EXPECT_EQ(results.next(), std::nullopt);
    ++rounds;
  }
  killer.join();
  EXPECT_LE(errors, kills);
  EXPECT_GT(rounds, 0);
  EXPECT_EQ(pool.map(same, numbers(1000), 1), numbers(1000));
}

TEST_P(PoolFaults, IdleWorkersThatAreKilledCostNothing) {
  mp::Pool pool(2);
  for (int i = 0; i < 100; ++i) {
    for (const int pid : pool.pids()) ::kill(pid, SIGKILL);
    ASSERT_EQ(pool.apply_async(same, i).get(patience), i);
  }
}

int kill_every_fiftieth(int x) {
  if (x % 50 == 0) ::raise(SIGKILL);
  return x;
}

TEST_P(PoolFaults, OfAThousandTasksTwentyKillTheirWorker) {
  for (const int chunk : {1, 10}) {
    mp::Pool pool(4);
    auto results = pool.imap(kill_every_fiftieth, numbers(1000), chunk);
    int errors = 0;
    for (int i = 0; i < 1000; ++i) {
      try {
        ASSERT_EQ(results.next(patience), i);
      } catch (const mp::WorkerDied& error) {
        EXPECT_EQ(error.signal(), "SIGKILL");
        EXPECT_EQ(i % 50, 0);
        ++errors;
      }
    }
    EXPECT_EQ(errors, 20);
    EXPECT_EQ(pool.map(same, numbers(100), 1), numbers(100));
    EXPECT_TRUE(has_workers(pool, 4));
  }
}

// --- time limits -------------------------------------------------------------

// Blocks all signals, lets a child of its own escape by setsid(), tells their
// pids, and never ends.
int hold_out(const std::string& file) {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    if (::fork() == 0) {
      std::ofstream(file + ".grandchild") << ::getpid();
    } else {
      std::ofstream(file + ".child") << ::getpid();
    }
    for (;;) ::pause();
  }
  std::ofstream(file) << ::getpid();
  for (volatile bool on = true; on;) {
  }
  return 0;
}

pid_t pid_in(const std::string& file) {
  pid_t pid = 0;
  const mp::detail::Deadline deadline(patience);
  while (!deadline.passed() && !(std::ifstream(file) >> pid)) std::this_thread::yield();
  std::filesystem::remove(file);
  return pid;
}

TEST_P(PoolFaults, ATimeLimitEndsATaskThatHoldsOutAndAllItsDescendants) {
  std::string folder = std::filesystem::temp_directory_path() / "mp-hold-out-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string file = folder + "/pid";
  mp::Pool pool(2);
  auto result = pool.apply_async({.timeout = 1s}, hold_out, file);
  auto others = pool.map_async(same, numbers(100), 1);
  const pid_t worker = pid_in(file);
  const pid_t child = pid_in(file + ".child");
  const pid_t grandchild = pid_in(file + ".grandchild");
  EXPECT_THROW(result.get(patience), mp::TimeoutError);
  for (const pid_t pid : {worker, child, grandchild}) {
    EXPECT_GT(pid, 0);
    EXPECT_TRUE(goes_away(pid));
  }
  EXPECT_EQ(others.get(patience), numbers(100));
  EXPECT_EQ(pool.apply_async(same, 5).get(patience), 5);
  std::filesystem::remove_all(folder);
}

// --- the parent's end ----------------------------------------------------------

TEST_P(PoolFaults, WorkersEndWithAParentThatWasKilled) {
  mp::test::Shared<std::array<std::atomic<int>, 2>> pids;
  mp::test::Shared<mp::test::Gate> ready;
  const auto method = GetParam();
  Forked parent([&] {
    mp::Pool pool({.processes = 2, .start_method = method});
    auto slow = pool.map_async(wait_a_while, std::vector<int>(2, 600'000), 1);
    const auto all = pool.pids();
    (*pids)[0] = all[0];
    (*pids)[1] = all[1];
    ready->open();
    slow.get();
    return 0;
  });
  ASSERT_TRUE(ready->wait());
  parent.kill();
  for (const auto& pid : *pids) {
    EXPECT_TRUE(goes_away(pid));
  }
}

}  // namespace
