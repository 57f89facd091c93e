// What CPython's own suite checks of pools, here of a manager's: one test an id.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <mp/mp.hpp>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "children.hpp"
#include "pool_checks.hpp"
#include "pools.hpp"

namespace {

using namespace std::chrono_literals;
using mp::by_name;
using mp::test::Counted;
using mp::test::expect_some_results_and_an_error;
using mp::test::expect_squares_up_to_an_item_that_throws;
using mp::test::numbers;
using mp::test::patience;
using mp::test::squares;
using mp::test::ThrowingRange;
using Clock = std::chrono::steady_clock;

class ManagerPoolConformance : public mp::test::EachMethod {
 protected:
  mp::SyncManager manager = mp::Manager({.start_method = GetParam()});
};
MP_TEST_EACH_METHOD(ManagerPoolConformance);

int square(int x) { return x * x; }
int multiply(int a, int b) { return a * b; }
int refuse(int x) {
  if (x == 3) throw mp::ValueError("not three");
  return x;
}
void wait_for(const mp::EventProxy& event) { event.wait(); }
void wait_for_ever(int) {
  for (;;) ::pause();
}

TEST_P(ManagerPoolConformance, pool__apply__manager) {
  auto pool = manager.Pool(4);
  EXPECT_EQ(pool.apply(by_name<square>, 5), 25);
  EXPECT_EQ(pool.apply(by_name<multiply>, 5, 3), 15);
}

TEST_P(ManagerPoolConformance, pool__map__manager) {
  auto pool = manager.Pool(4);
  EXPECT_EQ(pool.map(by_name<square>, numbers(10)), squares(10));
  EXPECT_EQ(pool.map(by_name<square>, numbers(100), 20), squares(100));
}

TEST_P(ManagerPoolConformance, pool__starmap__manager) {
  auto pool = manager.Pool(4);
  std::vector<std::tuple<int, int>> pairs;
  for (int i = 0; i < 100; ++i) pairs.emplace_back(i, i);
  EXPECT_EQ(pool.starmap(by_name<multiply>, pairs), squares(100));
  EXPECT_EQ(pool.starmap(by_name<multiply>, pairs, 20), squares(100));
}

TEST_P(ManagerPoolConformance, pool__starmap_async__manager) {
  auto pool = manager.Pool(4);
  const std::vector<std::tuple<int, int>> pairs{{1, 1}, {2, 2}};
  EXPECT_EQ(pool.starmap_async(by_name<multiply>, pairs).get(patience), (std::vector{1, 4}));
}

TEST_P(ManagerPoolConformance, pool__map_async__manager) {
  auto pool = manager.Pool(4);
  EXPECT_EQ(pool.map_async(by_name<square>, numbers(10)).get(patience), squares(10));
  const auto failing = pool.map_async(by_name<refuse>, numbers(10), 1);
  EXPECT_THROW((void)failing.get(patience), mp::ValueError);
  EXPECT_FALSE(failing.successful());
}

TEST_P(ManagerPoolConformance, pool__map_async_callbacks__manager) {
  auto pool = manager.Pool(4);
  std::vector<std::vector<int>> values;
  pool.map_async({.callback = [&](const std::vector<int>& all) { values.push_back(all); }},
                 by_name<square>, numbers(2))
      .wait();
  EXPECT_EQ(values, (std::vector<std::vector<int>>{{0, 1}}));
  int failures = 0;
  pool.map_async({.error_callback =
                      [&](const std::exception_ptr& error) {
                        ++failures;
                        EXPECT_THROW(std::rethrow_exception(error), mp::ValueError);
                      }},
                 by_name<refuse>, std::vector<int>{3})
      .wait();
  EXPECT_EQ(failures, 1);
}

TEST_P(ManagerPoolConformance, pool__map_empty_with_chunksize__manager) {
  auto pool = manager.Pool(2);
  EXPECT_EQ(pool.map_async(by_name<square>, std::vector<int>(), 1).get(patience),
            std::vector<int>());
}

TEST_P(ManagerPoolConformance, pool__apply_async_result__manager) {
  auto pool = manager.Pool(2);
  auto gate = manager.Event();
  const auto result = pool.apply_async(by_name<wait_for>, gate);
  EXPECT_FALSE(result.ready());
  gate.set();
  result.get(patience);
  EXPECT_TRUE(result.ready());
}

TEST_P(ManagerPoolConformance, pool__get_timeout__manager) {
  auto pool = manager.Pool(2);
  auto gate = manager.Event();
  const auto result = pool.apply_async(by_name<wait_for>, gate);
  const auto begin = Clock::now();
  EXPECT_THROW(result.get(50ms), mp::TimeoutError);
  EXPECT_GE(Clock::now() - begin, 50ms);
  gate.set();
}

TEST_P(ManagerPoolConformance, pool__imap__manager) {
  auto pool = manager.Pool(4);
  auto results = pool.imap(by_name<square>, numbers(10));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(results.next(), i * i);
  EXPECT_EQ(results.next(), std::nullopt);
  std::vector<int> all;
  for (const int x : pool.imap(by_name<square>, numbers(1000), 100)) all.push_back(x);
  EXPECT_EQ(all, squares(1000));
}

TEST_P(ManagerPoolConformance, pool__imap_iterable_throws__manager) {
  auto pool = manager.Pool(4);
  expect_squares_up_to_an_item_that_throws(
      [&](ThrowingRange items, int chunk) { return pool.imap(by_name<square>, items, chunk); });
}

TEST_P(ManagerPoolConformance, pool__imap_unordered__manager) {
  auto pool = manager.Pool(4);
  for (const int chunk : {1, 100}) {
    std::vector<int> all;
    for (const int x : pool.imap_unordered(by_name<square>, numbers(1000), chunk)) {
      all.push_back(x);
    }
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, squares(1000));
  }
}

TEST_P(ManagerPoolConformance, pool__imap_unordered_iterable_throws__manager) {
  auto pool = manager.Pool(4);
  expect_some_results_and_an_error(pool.imap_unordered(by_name<square>, ThrowingRange{100, 7}, 2));
}

TEST_P(ManagerPoolConformance, pool__invalid_sizes__manager) {
  EXPECT_THROW((void)manager.Pool(0), mp::ValueError);
  EXPECT_THROW((void)manager.Pool(-1), mp::ValueError);
}

TEST_P(ManagerPoolConformance, pool__unserialisable_argument_raises__manager) {
  auto pool = manager.Pool(1);
  auto [here, there] = mp::Pipe();
  EXPECT_THROW((void)pool.apply([](mp::Connection c) { return c.closed(); }, here),
               mp::PicklingError);
  EXPECT_EQ(pool.apply(by_name<square>, 5), 25);
}

TEST_P(ManagerPoolConformance, pool__map_iterable_throws__manager) {
  auto pool = manager.Pool(2);
  for (const int fatal : {0, 3}) {
    EXPECT_THROW((void)pool.map(by_name<square>, ThrowingRange{10, fatal}), mp::KeyError);
  }
  EXPECT_EQ(pool.map(by_name<square>, ThrowingRange{10, -1}), squares(10));
}

TEST_P(ManagerPoolConformance, pool__context_exit_terminates__manager) {
  pid_t worker = 0;
  {
    auto pool = manager.Pool(1);
    worker = pool.apply([] { return ::getpid(); });
    const auto result = pool.map_async(by_name<wait_for_ever>, numbers(10), 1);
    EXPECT_FALSE(result.ready());
  }
  const mp::detail::Deadline deadline(patience);
  while (::kill(worker, 0) == 0 && !deadline.passed()) std::this_thread::yield();
  EXPECT_EQ(::kill(worker, 0), -1);
}

TEST_P(ManagerPoolConformance, pool__remote_traceback__manager) {
  auto pool = manager.Pool(1);
  const auto worker = pool.apply([] { return ::getpid(); });
  try {
    (void)pool.apply(by_name<refuse>, 3);
    FAIL();
  } catch (const mp::ValueError& error) {
    EXPECT_STREQ(error.what(), "not three");
    try {
      std::rethrow_if_nested(error);
      FAIL();
    } catch (const mp::RemoteTraceback& remote) {
      EXPECT_EQ(remote.origin().type, "mp::ValueError");
      // The server passes on what its worker has said.
      EXPECT_EQ(remote.origin().pid, *manager.pid());
      EXPECT_NE(remote.origin().trace.find(std::to_string(worker)), std::string::npos)
          << remote.origin().trace;
    }
  }
}

Counted pass_on(const Counted& counted) { return counted; }
int counted_in_worker() { return Counted::alive; }

TEST_P(ManagerPoolConformance, pool__task_objects_released__manager) {
  auto pool = manager.Pool(1);
  const auto before = manager.number_of_objects();
  {
    const std::vector<Counted> items(10);
    EXPECT_EQ(pool.map(by_name<pass_on>, items).size(), 10U);
    auto results = pool.imap(by_name<pass_on>, items);
    EXPECT_TRUE(results.next(patience));
  }
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_EQ(pool.apply(by_name<counted_in_worker>), 0);
  // What the server has had of them are results, and these are gone.
  EXPECT_EQ(manager.number_of_objects(), before);
}

TEST_P(ManagerPoolConformance, pool__reenter_raises__manager) {
  auto pool = manager.Pool(1);
  pool.terminate();
  EXPECT_THROW((void)pool.apply(by_name<square>, 1), mp::ValueError);
  EXPECT_THROW((void)pool.map(by_name<square>, numbers(3)), mp::ValueError);
  EXPECT_TRUE(pool.join(patience));
}

// The server's word: of one in this process, so as to hear it.
TEST_P(ManagerPoolConformance, pool__unclosed_warning__manager) {
  const auto stderr_of = [](bool with_work) {
    testing::internal::CaptureStderr();
    {
      mp::SyncManager local({.authkey = "k"});
      auto server = local.get_server();
      std::thread serving([&] { server.serve_forever(); });
      mp::SyncManager client({.address = server.address(), .authkey = "k"});
      client.connect();
      {
        auto pool = client.Pool(1);
        const auto result = pool.apply_async(by_name<wait_for_ever>, 1);
        if (!with_work) {
          pool.terminate();
          result.wait(patience);
        }
      }
      EXPECT_EQ(client.number_of_objects(), 0U);
      server.stop();
      serving.join();
    }
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_NE(stderr_of(true).find("unclosed running multiprocessing pool"), std::string::npos);
  EXPECT_EQ(stderr_of(false).find("unclosed"), std::string::npos);
}

TEST_P(ManagerPoolConformance, pool__terminate_drops_10000_tasks__manager) {
  auto pool = manager.Pool(4);
  const auto result = pool.map_async(by_name<wait_for_ever>, numbers(10'000), 1);
  pool.terminate();
  EXPECT_TRUE(pool.join(patience));
  EXPECT_THROW(result.get(patience), mp::PoolTerminated);
}

}  // namespace
