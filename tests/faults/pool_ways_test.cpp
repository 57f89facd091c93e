#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <latch>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <mp/mp.hpp>

#include "children.hpp"
#include "forked.hpp"
#include "gate.hpp"

namespace {

using namespace std::chrono_literals;
using mp::futures::Future;
using mp::futures::ProcessPoolExecutor;
using mp::test::patience;

int square(int x) { return x * x; }
void wait_long() { std::this_thread::sleep_for(10min); }
void leave() { std::_Exit(3); }
void take_and_leave(const std::string&) { std::_Exit(3); }
void ignore_sigterm() { ::signal(SIGTERM, SIG_IGN); }

// An exception that is made of two things, and unknown to the parent.
class TwoArguments : public std::exception {
 public:
  TwoArguments(int one, int two) : sum_(one + two) {}
  [[nodiscard]] int sum() const { return sum_; }
  [[nodiscard]] const char* what() const noexcept override { return "two arguments"; }

 private:
  int sum_;
};
void throw_two() { throw TwoArguments(1, 2); }

// Goes, and its worker with it, when the pool has been told of it.
class LastWords : public std::runtime_error {
 public:
  LastWords() : std::runtime_error("last words") {}
  LastWords(const LastWords&) = delete;
  LastWords& operator=(const LastWords&) = delete;
  ~LastWords() override { ::raise(SIGKILL); }
};
void throw_last_words() { throw LastWords(); }

TEST(PoolWays, AnExceptionThatCannotBeRebuiltFailsItsOwnTask) {
  mp::Pool pool(1);
  try {
    pool.apply(throw_two);
    FAIL();
  } catch (const mp::RemoteError& error) {
    EXPECT_EQ(error.origin().text, "two arguments");
  }
  EXPECT_EQ(pool.apply(square, 3), 9);
}

TEST(PoolWays, ACallbackThatThrowsHurtsNobody) {
  mp::Pool pool(1);
  auto result = pool.apply_async(
      {.callback = [](const int&) { throw std::runtime_error("from a callback"); }}, square, 2);
  EXPECT_EQ(result.get(patience), 4);
  EXPECT_EQ(pool.apply_async(square, 3).get(patience), 9);
}

TEST(PoolWays, ATaskThatLeavesTheProcessIsADeath) {
  mp::Pool pool(1);
  try {
    pool.apply_async(leave).get(patience);
    FAIL();
  } catch (const mp::WorkerDied& error) {
    EXPECT_EQ(error.death().exitcode, 3);
  }
  EXPECT_EQ(pool.apply_async(square, 3).get(patience), 9);
}

TEST(PoolWays, AWorkerThatDiesBehindItsResultCostsNoOtherTask) {
  mp::Pool pool(1);
  for (int round = 0; round < 20; ++round) {
    auto last = pool.apply_async(throw_last_words);
    auto behind = pool.apply_async(square, round);
    EXPECT_THROW(last.get(patience), mp::RemoteError);
    EXPECT_EQ(behind.get(patience), round * round);
  }
}

// A call lies on its caller's stack: nobody may look at it once it is answered.
TEST(PoolWays, CallsOfManyThreadsAreAnsweredEachWithItsOwn) {
  mp::Pool pool(2);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&pool, caller] {
      for (int round = 0; round < 300; ++round) {
        EXPECT_EQ(pool.apply(square, caller + round), (caller + round) * (caller + round));
        EXPECT_THROW(pool.apply(throw_two), mp::RemoteError);
        if (round % 100 == caller) {
          EXPECT_THROW(pool.apply(leave), mp::WorkerDied);
        }
      }
    });
  }
  for (auto& caller : callers) caller.join();
}

TEST(PoolWays, WorkersKilledWhileIdleAreReplaced) {
  mp::Pool pool(2);
  EXPECT_EQ(pool.apply(square, 2), 4);
  for (int i = 0; i < 20; ++i) {
    for (int pid : pool.pids()) ::kill(pid, SIGKILL);
    // A task may be handed to a worker that is just dying; that one is told.
    for (;;) {
      try {
        EXPECT_EQ(pool.apply_async(square, 3).get(patience), 9);
        break;
      } catch (const mp::WorkerDied&) {
      }
    }
  }
}

TEST(PoolWays, FiveHundredReplacedWorkersLoseNoTask) {
  mp::Pool pool({.processes = 2, .maxtasksperchild = 1});
  std::vector<int> items(500);
  std::iota(items.begin(), items.end(), 0);
  auto results = pool.map_async({.chunksize = 1}, square, items).get(3 * patience);
  ASSERT_EQ(results.size(), items.size());
  for (int i : items) EXPECT_EQ(results[static_cast<std::size_t>(i)], i * i);
}

TEST(PoolWays, TerminateEndsWorkersThatIgnoreSigterm) {
  mp::Pool pool({.processes = 2, .grace = 100ms}, ignore_sigterm);
  EXPECT_EQ(pool.apply(square, 2), 4);
  auto result = pool.apply_async(wait_long);
  pool.terminate();
  EXPECT_TRUE(pool.join(patience));
  EXPECT_THROW(result.get(patience), mp::PoolTerminated);
}

TEST(PoolWays, APoolThatIsDroppedInItsWorkEndsWithIt) {
  const auto begin = std::chrono::steady_clock::now();
  auto result = [] {
    mp::Pool pool(2);
    return pool.apply_async(wait_long);
  }();
  EXPECT_THROW(result.get(patience), mp::PoolTerminated);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, patience);
}

std::vector<Future<int>> submit_many(ProcessPoolExecutor& executor, int count) {
  std::vector<Future<int>> futures;
  for (int i = 0; i < count; ++i) futures.push_back(executor.submit(square, i));
  return futures;
}

void expect_squares(const std::vector<Future<int>>& futures) {
  int i = 0;
  for (const auto& future : futures) {
    EXPECT_EQ(future.result(patience), i * i);
    ++i;
  }
}

// In a process of its own, as the executor goes on after its handle has gone.
void leave_an_executor_behind(mp::Connection report, std::optional<int> max_tasks) {
  ProcessPoolExecutor executor({.max_workers = 2, .max_tasks_per_child = max_tasks});
  const auto futures = submit_many(executor, 50);
  executor.shutdown(false);
  std::vector<int> results;
  for (const auto& future : futures) results.push_back(future.result(patience));
  report.send(results);
}

void expect_that_it_works_and_ends(std::optional<int> max_tasks) {
  auto [here, there] = mp::Pipe();
  mp::Process program(leave_an_executor_behind, there, max_tasks);
  program.start();
  ASSERT_TRUE(here.poll(patience));
  const auto results = here.recv<std::vector<int>>();
  ASSERT_EQ(results.size(), 50U);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)], i * i);
  EXPECT_EQ(mp::test::ended(program), 0);
}

TEST(ExecutorWays, AProgramEndsAfterAShutdownThatDoesNotWait) {
  expect_that_it_works_and_ends(std::nullopt);
}

TEST(ExecutorWays, WorkersThatRetireAfterShutdownAreReplacedWhileThereIsWork) {
  expect_that_it_works_and_ends(1);
}

TEST(ExecutorWays, WorkersThatRetireBeforeTheBacklogIsDoneAreReplaced) {
  ProcessPoolExecutor executor({.max_workers = 1, .max_tasks_per_child = 2});
  expect_squares(submit_many(executor, 50));
}

TEST(ExecutorWays, TwentyThousandSubmitsBlockNobody) {
  ProcessPoolExecutor executor(2);
  expect_squares(submit_many(executor, 20'000));
}

// The callback is over when they are: else both would wait for ever.
TEST(ExecutorWays, SubmitsDoNotWaitForACallback) {
  const mp::Event open;
  ProcessPoolExecutor executor({.max_workers = 2}, mp::test::bring_gate, open);
  std::latch calling_back(1);
  std::latch over(1);
  executor.submit(mp::test::wait_at_gate).add_done_callback([&](const auto&) {
    calling_back.count_down();
    over.wait();
  });
  open.set();
  calling_back.wait();
  const auto futures = submit_many(executor, 20'000);
  over.count_down();
  expect_squares(futures);
}

TEST(ExecutorWays, ForkedWorkersAreReplacedWhileThreadsRun) {
  std::jthread busy([](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const std::vector<std::string> garbage(10, std::string(100, 'x'));
      mp::get_logger().debug("busy");
      EXPECT_EQ(garbage.size(), 10U);
    }
  });
  ProcessPoolExecutor executor(
      {.max_workers = 2, .start_method = mp::StartMethod::fork, .max_tasks_per_child = 1});
  expect_squares(submit_many(executor, 100));
}

TEST(ExecutorWays, WorkersThatDieUnderLargeArgumentsFailTheirOwnTasks) {
  ProcessPoolExecutor executor({.max_workers = 2, .on_worker_death = mp::on_worker_death::fail});
  std::vector<Future<void>> futures;
  for (int i = 0; i < 10; ++i) {
    futures.push_back(executor.submit(take_and_leave, std::string(4'000'000, 'a')));
  }
  for (const auto& future : futures) EXPECT_THROW(future.result(patience), mp::WorkerDied);
  EXPECT_EQ(executor.submit(square, 3).result(patience), 9);
}

// Can be sent, and not be received.
struct OneWay {
  int number = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number);
    if constexpr (std::is_same_v<Archive, mp::Decoder>) {
      throw mp::PicklingError("no number");
    }
  }
};
int take(const OneWay& argument) { return argument.number; }

TEST(ExecutorWays, AnArgumentThatCannotBeReadFailsItsOwnTask) {
  ProcessPoolExecutor executor(1);
  auto bad = executor.submit(take, OneWay{});
  auto good = executor.submit(square, 3);
  EXPECT_THROW(bad.result(patience), mp::PicklingError);
  EXPECT_EQ(good.result(patience), 9);
}

ProcessPoolExecutor* outer = nullptr;
int wait_for_own_executor() { return outer->submit(square, 1).result(); }

TEST(ExecutorWays, ATaskThatWaitsForItsOwnExecutorIsToldThatItCannot) {
  ProcessPoolExecutor executor({.max_workers = 1, .start_method = mp::StartMethod::fork});
  outer = &executor;
  EXPECT_THROW(executor.submit(wait_for_own_executor).result(patience), mp::AssertionError);
}

}  // namespace
