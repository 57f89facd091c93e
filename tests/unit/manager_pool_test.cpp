#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <forked.hpp>
#include <mp/mp.hpp>
#include <processes.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace {

using namespace std::chrono_literals;
using mp::by_name;
using mp::test::patience;

int square(int x) { return x * x; }
int multiply(int a, int b) { return a * b; }
std::string twice(const std::string& text) { return text + text; }
std::vector<int> up_to(int n) {
  std::vector<int> all;
  for (int i = 0; i < n; ++i) all.push_back(i);
  return all;
}
void nothing(int) {}
int refuse(int x) {
  if (x % 2 != 0) throw std::out_of_range("odd: " + std::to_string(x));
  return x;
}
int die(int) {
  ::kill(::getpid(), SIGKILL);
  return 0;
}
void sleep_until_ended(int) {
  for (;;) ::pause();
}
void append_to(const mp::ListProxy<int>& list, int value) { list.append(value); }

int prepared = 0;
void prepare(int value) { prepared = value; }
int look(int) { return prepared; }
int worker_of(int) { return ::getpid(); }
void refuse_to_start() { throw std::runtime_error("not today"); }
int die_the_first_time(const mp::ListProxy<int>& tries) {
  tries.append(::getpid());
  if (tries.size() == 1) ::kill(::getpid(), SIGKILL);
  return static_cast<int>(tries.size());
}

std::size_t processes_of(pid_t server) {
  return mp::test::descendants(mp::test::process_table(), server).size();
}

class ManagerPoolTest : public testing::TestWithParam<mp::StartMethod> {
 protected:
  mp::SyncManager manager = mp::Manager({.start_method = GetParam()});
};

INSTANTIATE_TEST_SUITE_P(Methods, ManagerPoolTest,
                         testing::Values(mp::StartMethod::fork, mp::StartMethod::spawn,
                                         mp::StartMethod::forkserver),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST_P(ManagerPoolTest, FunctionsRunInWorkersOfTheServers) {
  auto pool = manager.Pool(2);
  EXPECT_EQ(pool.apply(by_name<square>, 7), 49);
  EXPECT_EQ(pool.apply(by_name<twice>, "ab"), "abab");
  EXPECT_EQ(pool.apply(by_name<up_to>, 3), (std::vector{0, 1, 2}));
  EXPECT_EQ(pool.apply([](int a, int b) { return a - b; }, 5, 3), 2);
  EXPECT_EQ(pool.map(by_name<square>, {1, 2, 3}), (std::vector{1, 4, 9}));
  EXPECT_EQ(pool.map(by_name<twice>, std::vector<std::string>{"a", "b"}, 1),
            (std::vector<std::string>{"aa", "bb"}));
  const std::vector<std::tuple<int, int>> pairs{{2, 3}, {4, 5}};
  EXPECT_EQ(pool.starmap(by_name<multiply>, pairs), (std::vector{6, 20}));
  EXPECT_EQ(pool.starmap(by_name<multiply>, {std::pair(2, 3)}), std::vector{6});
  EXPECT_EQ(pool.starmap_async(by_name<multiply>, {std::pair(2, 3)}).get(), std::vector{6});
  EXPECT_EQ(pool.map_async(by_name<square>, {2, 3}).get(), (std::vector{4, 9}));
  EXPECT_EQ(pool.map(by_name<square>, std::vector<int>()), std::vector<int>());
  pool.map(by_name<nothing>, {1, 2});
  pool.apply(by_name<nothing>, 1);
  const auto worker = pool.apply([] { return ::getpid(); });
  EXPECT_NE(worker, ::getpid());
  EXPECT_NE(worker, *manager.pid());
}

TEST_P(ManagerPoolTest, NoByteFromOutsideBecomesTheAddressOfAFunction) {
  auto pool = manager.Pool(1);
  EXPECT_THROW((void)pool.apply([](int (*f)(int), int x) { return f(x); }, &square, 3),
               mp::PicklingError);
  auto list = manager.list<int (*)(int)>();
  list.append(&square);
  EXPECT_THROW((void)list.update_item(
                   0, [](int (*&f)(int), int x) { return f(x); }, 3),
               mp::PicklingError);
}

TEST_P(ManagerPoolTest, TheServerServesWhileTasksRun) {
  auto pool = manager.Pool(1);
  auto gate = manager.Event();
  auto list = manager.list<int>();
  const auto waiting = pool.apply_async(
      [](const mp::EventProxy& event, const mp::ListProxy<int>& seen) {
        seen.append(1);
        event.wait();
        return seen.size();
      },
      gate, list);
  while (list.empty()) std::this_thread::yield();
  EXPECT_FALSE(waiting.ready());
  EXPECT_FALSE(waiting.wait(1ms));
  EXPECT_THROW((void)waiting.get(1ms), mp::TimeoutError);
  EXPECT_THROW((void)waiting.successful(), mp::ValueError);
  list.append(2);
  gate.set();
  EXPECT_EQ(waiting.get(patience), 2U);
  EXPECT_EQ(waiting.get(), 2U);
  EXPECT_TRUE(waiting.ready());
  EXPECT_TRUE(waiting.successful());
}

TEST_P(ManagerPoolTest, TasksUseTheManagersOwnObjects) {
  auto pool = manager.Pool(2);
  auto list = manager.list<int>();
  std::vector<std::tuple<mp::ListProxy<int>, int>> tasks;
  for (int i = 0; i < 20; ++i) tasks.emplace_back(list, i);
  pool.starmap(by_name<append_to>, tasks);
  list.sort();
  EXPECT_EQ(list.getvalue(), up_to(20));
}

using PoolOfAManagerTest = ManagerPoolTest;
INSTANTIATE_TEST_SUITE_P(, PoolOfAManagerTest, testing::Values(mp::StartMethod::fork));

TEST_P(PoolOfAManagerTest, WhatATaskThrowsIsThrownByGet) {
  auto pool = manager.Pool(2);
  try {
    (void)pool.map(by_name<refuse>, {0, 2, 3, 5});
    FAIL();
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "odd: 3");
  }
  const auto failed = pool.apply_async(by_name<refuse>, 1);
  EXPECT_TRUE(failed.wait(patience));
  EXPECT_FALSE(failed.successful());
  EXPECT_THROW((void)failed.get(), std::out_of_range);
}

TEST_P(PoolOfAManagerTest, AWorkerThatDiesFailsItsTaskAndNoOther) {
  auto pool = manager.Pool(2);
  try {
    (void)pool.apply(by_name<die>, 1);
    FAIL();
  } catch (const mp::WorkerDied& died) {
    EXPECT_EQ(died.signal(), "SIGKILL");
    EXPECT_NE(died.death().function.find("die"), std::string::npos) << died.what();
  }
  EXPECT_EQ(pool.apply(by_name<square>, 3), 9);
}

TEST_P(PoolOfAManagerTest, EachWorkerIsInitializedThoseThatReplaceOthersToo) {
  auto list = manager.list<int>();
  auto pool = manager.Pool({.processes = 2}, by_name<append_to>, list, 5);
  pool.map(by_name<nothing>, up_to(100), 1);
  pool.close();
  EXPECT_TRUE(pool.join(patience));
  EXPECT_EQ(list.getvalue(), (std::vector{5, 5}));

  auto replaced = manager.Pool({.processes = 1, .maxtasksperchild = 2}, by_name<prepare>, 7);
  EXPECT_EQ(replaced.map(by_name<look>, up_to(10), 1), std::vector<int>(10, 7));
  auto pids = replaced.map(by_name<worker_of>, up_to(10), 1);
  std::sort(pids.begin(), pids.end());
  EXPECT_GT(std::unique(pids.begin(), pids.end()) - pids.begin(), 1);
  EXPECT_EQ(manager.Pool(1, by_name<prepare>, 3).apply(by_name<look>, 0), 3);
}

TEST_P(PoolOfAManagerTest, AnInitializerThatThrowsBreaksThePool) {
  auto pool = manager.Pool(1, by_name<refuse_to_start>);
  try {
    (void)pool.apply_async(by_name<square>, 1).get(patience);
    FAIL();
  } catch (const mp::BrokenProcessPool& error) {
    EXPECT_NE(std::string(error.what()).find("not today"), std::string::npos) << error.what();
  }
  EXPECT_THROW((void)pool.imap(by_name<square>, {1}), mp::BrokenProcessPool);
}

TEST_P(PoolOfAManagerTest, APoolsOptionsAreThoseOfTheServersPool) {
  auto list = manager.list<int>();
  auto retrying = manager.Pool({.processes = 1, .on_worker_death = mp::on_worker_death::retry(1)});
  EXPECT_EQ(retrying.apply(by_name<die_the_first_time>, list), 2);
  auto limited = manager.Pool({.processes = 1, .timeout = 100ms, .grace = 10ms});
  const auto stuck = limited.apply_async(by_name<sleep_until_ended>, 1);
  EXPECT_TRUE(stuck.wait(patience));
  EXPECT_THROW(stuck.get(), mp::TimeoutError);
  auto stream = limited.imap(by_name<sleep_until_ended>, {1});
  EXPECT_THROW(stream.next(patience), mp::TimeoutError);
  EXPECT_EQ(limited.apply(by_name<square>, 3), 9);
}

TEST_P(PoolOfAManagerTest, ItSaysWhatIsWrong) {
  EXPECT_THROW((void)manager.Pool(0), mp::ValueError);
  EXPECT_THROW((void)manager.Pool({.maxtasksperchild = 0}), mp::ValueError);
  auto pool = manager.Pool(1);
  EXPECT_THROW((void)pool.map(by_name<square>, {1}, 0), mp::ValueError);
  EXPECT_THROW((void)pool.join(), mp::ValueError);
  EXPECT_EQ(pool.repr(), fmt::format("<PoolProxy object, typeid 'Pool' at {:#x}>", pool.id()));
  EXPECT_NE(manager.debug_info().find("state=RUN pool_size=1"), std::string::npos);
  pool.close();
  EXPECT_THROW((void)pool.apply(by_name<square>, 1), mp::ValueError);
  EXPECT_TRUE(pool.join(patience));
  EXPECT_EQ(processes_of(*manager.pid()), 0U);
}

TEST_P(PoolOfAManagerTest, TerminateEndsWhatWaits) {
  auto pool = manager.Pool(1);
  const auto stuck = pool.map_async(by_name<sleep_until_ended>, std::vector{1, 2});
  pool.close();
  EXPECT_FALSE(pool.join(1ms));
  std::thread joiner([&] { EXPECT_TRUE(pool.join(patience)); });
  pool.terminate();
  EXPECT_THROW(stuck.get(patience), mp::PoolTerminated);
  joiner.join();
}

TEST_P(PoolOfAManagerTest, ItEndsWithItsLastProxyAndItsResults) {
  {
    const auto result = manager.Pool(2).map_async(by_name<square>, std::vector{1, 2});
    EXPECT_EQ(result.get(patience), (std::vector{1, 4}));
    EXPECT_EQ(manager.number_of_objects(), 1U);
  }
  (void)manager.Pool(1).apply_async(by_name<sleep_until_ended>, 1);
  EXPECT_EQ(manager.number_of_objects(), 0U);
  const mp::detail::Deadline deadline(patience);
  while (processes_of(*manager.pid()) > 0 && !deadline.passed()) std::this_thread::yield();
  EXPECT_EQ(processes_of(*manager.pid()), 0U);
}

TEST_P(PoolOfAManagerTest, WorkersEndWithAKilledServer) {
  auto pool = manager.Pool(2);
  const int worker = pool.apply([] { return ::getpid(); });
  const auto stuck = pool.apply_async(by_name<sleep_until_ended>, 1);
  const auto pidfd = mp::detail::open_pidfd(worker);
  std::thread killer([&] { ::kill(*manager.pid(), SIGKILL); });
  EXPECT_THROW(stuck.get(), mp::EOFError);
  killer.join();
  EXPECT_TRUE(mp::detail::wait_fd(pidfd.get(), POLLIN, mp::detail::Deadline(patience)));
}

TEST_P(PoolOfAManagerTest, ManyClientsShareIt) {
  auto pool = manager.Pool(2);
  std::vector<mp::Process> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back(
        mp::ProcessOptions{.daemon = true},
        [](const mp::PoolProxy& p, int first) {
          std::vector<int> items(100, first);
          for (const int each : p.map(by_name<square>, items)) {
            if (each != first * first) mp::exit(1);
          }
        },
        pool, i);
  }
  for (auto& client : clients) client.start();
  for (auto& client : clients) {
    client.join(patience);
    EXPECT_EQ(client.exitcode(), 0);
  }
}

}  // namespace
