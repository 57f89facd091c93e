#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <mp/pool.hpp>

#include <mp/connection.hpp>
#include <mp/process.hpp>

#include <atomic>
#include <deque>
#include <list>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "children.hpp"
#include "forked.hpp"
#include "pools.hpp"

using namespace std::chrono_literals;
using mp::test::has_workers;
using mp::test::numbers;
using mp::test::patience;
using mp::test::squares;

namespace {

int square(int x) { return x * x; }
int add(int a, int b) { return a + b; }
int pid_of_worker(int) { return ::getpid(); }
std::string repeat(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}
int refuse_three(int x) {
  if (x == 3) throw std::out_of_range("three");
  return x;
}
void nothing(int) {}
bool is_even(int x) { return x % 2 == 0; }
int kill_at(int x, int fatal) {
  if (x == fatal) ::raise(SIGKILL);
  return x;
}
int sleep_then(int x, int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return x;
}
std::vector<std::byte> same_bytes(std::vector<std::byte> bytes) { return bytes; }

struct Unsendable {
  int number = 0;
  void pickle(mp::Encoder& out) const {
    if (number == 3) throw mp::PicklingError("three is not sent");
    mp::encode(out, number);
  }
  static Unsendable unpickle(mp::Decoder& in) { return {mp::decode<int>(in)}; }
};
int number_of(const Unsendable& value) { return value.number; }
bool is_open(const mp::DupFd& fd) { return ::fcntl(fd.fileno(), F_GETFD) >= 0; }

class PoolTest : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(PoolTest);

TEST_P(PoolTest, ArgumentsThatCannotBePickledAreTheResultsErrorNotTheCalls) {
  mp::Pool pool(1);
  std::exception_ptr told;
  const auto tell = [&](const std::exception_ptr& error) { told = error; };
  const std::vector<Unsendable> items{{1}, {2}, {3}, {4}};
  const auto mapped = pool.map_async({.error_callback = tell}, number_of, items);
  EXPECT_TRUE(mapped.ready());
  EXPECT_EQ(mapped.progress().failed, 4U);
  EXPECT_THROW(mapped.get(patience), mp::PicklingError);
  EXPECT_THROW(std::rethrow_exception(told), mp::PicklingError);
  const auto applied = pool.apply_async(number_of, Unsendable{3});
  EXPECT_THROW(applied.get(patience), mp::PicklingError);
  auto results = pool.imap(number_of, items);
  EXPECT_EQ(results.next(patience), 1);
  EXPECT_EQ(results.next(patience), 2);
  EXPECT_THROW(results.next(patience), mp::PicklingError);
  EXPECT_EQ(results.next(patience), std::nullopt);
  EXPECT_EQ(pool.map(number_of, std::vector<Unsendable>{{5}, {6}}), (std::vector{5, 6}));
  // Before it, and instead of it, what the range itself throws.
  EXPECT_THROW((void)pool.map_async(square, mp::test::ThrowingRange{9, 2}), mp::KeyError);
}

TEST_P(PoolTest, DescriptorsTravelNeitherWithTasksNorWithResults) {
  mp::Pool pool(1);
  const std::vector<mp::DupFd> items{mp::DupFd(STDIN_FILENO), mp::DupFd(STDIN_FILENO)};
  const auto expect_refusal = [](auto call) {
    try {
      call();
      FAIL();
    } catch (const mp::PicklingError& error) {
      EXPECT_NE(std::string(error.what()).find("a task cannot carry descriptors"),
                std::string::npos);
    }
  };
  expect_refusal([&] { pool.apply(is_open, items[0]); });
  expect_refusal([&] { pool.map(is_open, items); });
  expect_refusal([&] { pool.starmap(is_open, std::vector{std::tuple(items[0])}); });
  expect_refusal([&] { pool.imap(is_open, items).next(patience); });
  expect_refusal(
      [&] { pool.map(mp::partial([](const mp::DupFd&, int) {}, items[0]), numbers(2)); });
  try {
    pool.apply([] { return mp::DupFd(STDIN_FILENO); });
    FAIL();
  } catch (const mp::MaybeEncodingError& error) {
    EXPECT_NE(error.exc().find("a result cannot carry descriptors"), std::string::npos);
    EXPECT_EQ(error.value(), "mp::DupFd");
  }
}

TEST_P(PoolTest, ApplyGivesWhatTheFunctionReturns) {
  mp::Pool pool(2);
  EXPECT_EQ(pool.apply(square, 7), 49);
  EXPECT_EQ(pool.apply(repeat, "ab", 3), "ababab");
  pool.apply(nothing, 1);
}

TEST_P(PoolTest, MapKeepsTheOrderForEveryChunkSize) {
  mp::Pool pool(2);
  EXPECT_EQ(pool.map(square, numbers(5000)), squares(5000));
  for (const int chunk : {1, 2, 7, 5000, 10000}) {
    EXPECT_EQ(pool.map(square, numbers(5000), chunk), squares(5000));
  }
  EXPECT_TRUE(pool.map(square, std::vector<int>()).empty());
}

TEST_P(PoolTest, ItemsAndResultsMayHaveEverySize) {
  mp::Pool pool(2);
  std::vector<std::tuple<std::string, int>> items;
  std::vector<std::string> expected;
  for (int i = 0; i < 300; ++i) {
    items.emplace_back("x" + std::to_string(i), i * i);
    expected.push_back(repeat("x" + std::to_string(i), i * i));
  }
  EXPECT_EQ(pool.starmap(repeat, items), expected);
  EXPECT_EQ(pool.starmap(repeat, items, 10), expected);
}

TEST_P(PoolTest, BytesLargerThanALaneCross) {
  mp::Pool pool(2);
  std::vector<std::byte> bytes(20U << 20U);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
  std::vector<mp::AsyncResult<std::vector<std::byte>>> results;
  for (int i = 0; i < 4; ++i) results.push_back(pool.apply_async(same_bytes, bytes));
  for (const auto& result : results) EXPECT_TRUE(result.get() == bytes);
}

TEST_P(PoolTest, AnExceptionKeepsItsTypeAndTheOtherItemsTheirResults) {
  mp::Pool pool(2);
  try {
    pool.map(refuse_three, numbers(100));
    FAIL();
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "three");
    try {
      std::rethrow_if_nested(error);
      FAIL();
    } catch (const mp::RemoteTraceback& remote) {
      EXPECT_EQ(remote.origin().type, "std::out_of_range");
      EXPECT_NE(remote.origin().where.find("refuse_three"), std::string::npos);
      EXPECT_NE(remote.origin().process_name.find("PoolWorker-"), std::string::npos);
    }
  }
  auto results = pool.imap(refuse_three, numbers(10), 4);
  for (int i = 0; i < 10; ++i) {
    if (i == 3) {
      EXPECT_THROW(results.next(), std::out_of_range);
    } else {
      EXPECT_EQ(results.next(), i);
    }
  }
  EXPECT_EQ(results.next(), std::nullopt);
}

TEST_P(PoolTest, ADeathCostsExactlyTheItemInHand) {
  mp::Pool pool(2);
  auto results = pool.imap(mp::partial([](int fatal, int x) { return kill_at(x, fatal); }, 37),
                           numbers(100), 10);
  for (int i = 0; i < 100; ++i) {
    if (i != 37) {
      EXPECT_EQ(results.next(), i);
      continue;
    }
    try {
      results.next();
      FAIL();
    } catch (const mp::WorkerDied& error) {
      EXPECT_EQ(error.signal(), "SIGKILL");
      EXPECT_EQ(error.death().exitcode, -SIGKILL);
      EXPECT_NE(error.death().worker.find("PoolWorker-"), std::string::npos);
      EXPECT_GT(error.death().pid, 0);
    }
  }
  EXPECT_EQ(pool.map(square, numbers(1000)), squares(1000));
  EXPECT_TRUE(has_workers(pool, 2));
}

std::size_t leave_with(int code) {
  std::this_thread::sleep_for(20ms);
  ::_exit(code);
}

TEST_P(PoolTest, ADeathIsToldInFull) {
  mp::Pool pool(1);
  const int pid = pool.pids()[0];
  EXPECT_EQ(pool.apply(square, 2), 4);
  try {
    pool.map([](int x) { return x == 2 ? leave_with(3) : 0; }, {0, 1, 2, 3}, 4);
    FAIL();
  } catch (const mp::WorkerDied& error) {
    const mp::WorkerDeath& death = error.death();
    EXPECT_EQ(death.pid, pid);
    EXPECT_EQ(death.exitcode, 3);
    EXPECT_EQ(error.signal(), "");
    EXPECT_EQ(death.task, 2U);
    EXPECT_EQ(death.item, 2U);
    EXPECT_GE(death.ran, 20ms);
    EXPECT_LT(death.ran, patience);
    EXPECT_GT(death.peak_rss, 1U << 20U);
    EXPECT_FALSE(death.core_dumped);
    EXPECT_FALSE(death.out_of_memory);
    const std::string text = error.what();
    EXPECT_NE(text.find("exited with code 3 while it ran task 2, item 2"), std::string::npos)
        << text;
  }
  try {
    pool.apply(leave_with, 4);
    FAIL();
  } catch (const mp::WorkerDied& error) {
    EXPECT_NE(error.death().function.find("leave_with"), std::string::npos)
        << error.death().function;
    EXPECT_EQ(error.death().item, 0U);
  }
}

TEST_P(PoolTest, RetryRunsTheTaskAgainUpToItsLimit) {
  mp::Pool pool({.processes = 2, .on_worker_death = mp::on_worker_death::retry(2)});
  EXPECT_THROW(pool.apply(kill_at, 1, 1), mp::WorkerDied);
  EXPECT_EQ(pool.apply(kill_at, 1, 2), 1);
  EXPECT_TRUE(has_workers(pool, 2));
}

TEST_P(PoolTest, BreakPoolFailsEverything) {
  mp::Pool pool({.processes = 2, .on_worker_death = mp::on_worker_death::break_pool});
  auto slow = pool.apply_async(sleep_then, 1, 600'000);
  EXPECT_THROW(pool.apply(kill_at, 1, 1), mp::BrokenProcessPool);
  EXPECT_THROW(slow.get(patience), mp::BrokenProcessPool);
  EXPECT_THROW(pool.apply(square, 1), mp::BrokenProcessPool);
}

TEST_P(PoolTest, CallbacksComeBeforeTheResult) {
  mp::Pool pool(2);
  std::atomic<int> told{0};
  auto result = pool.apply_async({.callback = [&](int value) { told = value; }}, square, 7);
  EXPECT_EQ(result.get(), 49);
  EXPECT_EQ(told, 49);
  std::atomic<bool> failed{false};
  auto bad = pool.apply_async({.error_callback = [&](const std::exception_ptr&) { failed = true; }},
                              refuse_three, 3);
  EXPECT_THROW(bad.get(), std::out_of_range);
  EXPECT_TRUE(failed);
}

TEST_P(PoolTest, ATimeLimitKillsTheTaskAndReplacesTheWorker) {
  mp::Pool pool(1);
  auto slow = pool.apply_async({.timeout = 50ms}, sleep_then, 1, 600'000);
  // The task's end, not that of the patience.
  ASSERT_TRUE(slow.wait(patience));
  EXPECT_THROW(slow.get(), mp::TimeoutError);
  EXPECT_EQ(pool.apply(square, 3), 9);
}

TEST_P(PoolTest, ATimeLimitIsKeptByAPoolThatWasIdle) {
  mp::Pool pool(1);
  EXPECT_EQ(pool.apply(square, 3), 9);
  // By now the service thread sleeps until something happens.
  std::this_thread::sleep_for(50ms);
  auto first = pool.apply_async({.timeout = 10s}, square, 2);
  auto slow = pool.apply_async({.timeout = 50ms}, sleep_then, 1, 600'000);
  ASSERT_TRUE(slow.wait(patience));
  EXPECT_THROW(slow.get(), mp::TimeoutError);
  EXPECT_EQ(first.get(), 4);
}

TEST_P(PoolTest, WorkersAreReplacedAfterTheirTasks) {
  mp::Pool pool({.processes = 2, .maxtasksperchild = 3});
  const auto pids = pool.map(pid_of_worker, numbers(30), 1);
  EXPECT_GE(std::set<int>(pids.begin(), pids.end()).size(), 10U);
}

TEST_P(PoolTest, CloseAndJoinFinishTheWork) {
  mp::Pool pool(2);
  auto all = pool.map_async(square, numbers(1000));
  pool.close();
  EXPECT_THROW(pool.apply(square, 1), mp::ValueError);
  EXPECT_TRUE(pool.join(patience));
  EXPECT_TRUE(all.ready());
  EXPECT_EQ(all.get(), squares(1000));
}

TEST_P(PoolTest, TerminateEndsWhatWaits) {
  mp::Pool pool(2);
  auto slow = pool.map_async(mp::partial(add, 1), numbers(10));
  auto never = pool.apply_async(sleep_then, 1, 600'000);
  pool.terminate();
  EXPECT_THROW(never.get(patience), mp::PoolTerminated);
  EXPECT_TRUE(pool.join(patience));
}

TEST_P(PoolTest, ImapReadsAnEndlessInputLazily) {
  struct Endless {
    struct iterator {
      using value_type = int;
      using difference_type = std::ptrdiff_t;
      int value = 0;
      int* pulled = nullptr;
      int operator*() const { return value; }
      iterator& operator++() {
        ++value;
        ++*pulled;
        return *this;
      }
      void operator++(int) { ++*this; }
      bool operator==(std::default_sentinel_t) const { return false; }
    };
    int* pulled;
    iterator begin() { return {0, pulled}; }
    std::default_sentinel_t end() { return {}; }
  };
  int pulled = 0;
  mp::Pool pool(2);
  auto results = pool.imap({.buffersize = 5}, square, Endless{&pulled});
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(results.next(), i * i);
    EXPECT_LE(pulled, i + 7);
  }
}

struct Moved {
  explicit Moved(int x = 0) : value(std::make_unique<int>(x)) {}
  std::unique_ptr<int> value;
  void pickle(mp::Encoder& out) const { mp::encode(out, *value); }
  static Moved unpickle(mp::Decoder& in) { return Moved(mp::decode<int>(in)); }
};

TEST_P(PoolTest, ResultsThatCannotBeCopiedAreMovedOut) {
  mp::Pool pool(2);
  const auto all = pool.map([](int x) { return Moved(x); }, {1, 2, 3});
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(*all[2].value, 3);
  EXPECT_EQ(*pool.apply([](int x) { return Moved(x); }, 4).value, 4);
}

TEST_P(PoolTest, ResultsOfEveryKindCross) {
  mp::Pool pool(2);
  const auto even = pool.map(is_even, {1, 2, 3, 4});
  EXPECT_EQ(even, (std::vector<bool>{false, true, false, true}));
  pool.map(nothing, numbers(100));
  const std::list<int> list{1, 2, 3};
  EXPECT_EQ(pool.map(square, list), (std::vector<int>{1, 4, 9}));
  EXPECT_EQ(pool.starmap(add, {std::tuple(1, 2), std::tuple(3, 4)}), (std::vector<int>{3, 7}));
}

TEST_P(PoolTest, AnInitializerThatThrowsBreaksThePoolAndSaysWhy) {
  mp::Pool pool({.processes = 2}, [] { throw std::runtime_error("no licence"); });
  try {
    pool.apply(square, 1);
    FAIL();
  } catch (const mp::BrokenProcessPool& error) {
    EXPECT_NE(std::string(error.what()).find("no licence"), std::string::npos);
  }
  EXPECT_THROW(pool.apply(square, 1), mp::BrokenProcessPool);
}

TEST_P(PoolTest, MisuseIsRefused) {
  EXPECT_THROW(mp::Pool(0), mp::ValueError);
  EXPECT_THROW(mp::Pool(-1), mp::ValueError);
  EXPECT_THROW(mp::Pool({.maxtasksperchild = 0}), mp::ValueError);
  mp::Pool pool(1);
  EXPECT_THROW(pool.map(square, numbers(3), 0), mp::ValueError);
  EXPECT_THROW(pool.imap(square, numbers(3), 0), mp::ValueError);
  EXPECT_THROW(pool.join(), mp::ValueError);
}

}  // namespace
