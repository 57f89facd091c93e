// What CPython's own suite checks of executors that end, and of what must not make them hang, one
// test an id.

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mp/detail/exit_work.hpp>
#include <mp/mp.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "channel.hpp"
#include "children.hpp"
#include "executors.hpp"
#include "pools.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using namespace mp::futures;
using namespace mp::test;

// Goes wrong where it is told to, on its way.
struct Mined {
  enum class Where { nowhere, decoding_task, encoding_result, decoding_result };
  enum class How { error, exit, crash };
  Where where = Where::nowhere;
  How how = How::error;
  bool in_result = false;

  void explode() const {
    if (how == How::crash) crash(0);
    if (how == How::exit) mp::exit(1);
    throw std::runtime_error("mined");
  }
  void pickle(mp::Encoder& out) const {
    if (in_result && where == Where::encoding_result) explode();
    mp::encode(out, where);
    mp::encode(out, how);
    mp::encode(out, in_result);
  }
  static Mined unpickle(mp::Decoder& in) {
    Mined mined;
    mined.where = mp::decode<Where>(in);
    mined.how = mp::decode<How>(in);
    mined.in_result = mp::decode<bool>(in);
    if (!mined.in_result && mined.where == Where::decoding_task) mined.explode();
    if (mined.in_result && mined.where == Where::decoding_result) mined.explode();
    return mined;
  }
};
Mined carry(Mined mined) {
  mined.in_result = true;
  return mined;
}

class ExecutorConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ExecutorConformance);

// --- initializers and ends -------------------------------------------------------

TEST_P(ExecutorConformance, executor__initializer_failure) {
  const auto breaks = [](auto& executor) {
    EXPECT_THROW(executor.submit(same, 1).result(patience), BrokenExecutor);
    EXPECT_THROW(executor.submit(same, 1), BrokenExecutor);
  };
  const auto throwing = [] { throw mp::ValueError("error in initializer"); };
  ProcessPoolExecutor processes({.max_workers = 2}, throwing);
  breaks(processes);
  testing::internal::CaptureStderr();
  ThreadPoolExecutor threads({.max_workers = 2}, throwing);
  breaks(threads);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("mp::ValueError: error in initializer"),
            std::string::npos);
}

TEST_P(ExecutorConformance, executor__submit_after_shutdown) {
  over_both([](auto& executor) {
    executor.shutdown();
    EXPECT_THROW(executor.submit(power, 2, 5), mp::RuntimeError);
  });
}

// A child process as the program that ends.
template <class Body>
std::optional<int> code_of_program(mp::StartMethod method, Body body, const Channel& report) {
  mp::Process program({.start_method = method}, body, report);
  program.start();
  program.join(patience);
  const auto code = program.exitcode();
  if (!code) program.kill();
  program.join();
  return code;
}

struct Apple {
  static inline std::unique_ptr<Channel> report;
  static void take(const Channel& channel) { report = std::make_unique<Channel>(channel); }
  static int say(int milliseconds) {
    sleep_for(milliseconds);
    report->say("apple");
    return 1;
  }
};

TEST_P(ExecutorConformance, executor__drained_at_program_exit) {
  Channel report;
  const auto code = code_of_program(
      GetParam(),
      [](const Channel& out) {
        static auto* executor =
            new ProcessPoolExecutor(ProcessPoolOptions{.max_workers = 2}, Apple::take, out);
        executor->submit(Apple::say, 200);
      },
      report);
  EXPECT_EQ(code, 0);
  EXPECT_EQ(report.hear(), "apple");
}

TEST_P(ExecutorConformance, executor__submit_during_exit) {
  Channel report;
  const auto code = code_of_program(
      GetParam(),
      [](const Channel& out) {
        static auto* executor = new ThreadPoolExecutor(2);
        executor->submit(same, 1).result();
        static const Channel kept = out;
        // Older than the executor's own exit work, and so after it.
        mp::detail::add_exit_work(0, [] {
          try {
            executor->submit(same, 1);
          } catch (const mp::RuntimeError& error) {
            kept.say(error.what());
          }
        });
      },
      report);
  EXPECT_EQ(code, 0);
  const auto said = report.hear();
  ASSERT_TRUE(said);
  EXPECT_TRUE(said->starts_with("cannot schedule new futures"));
}

TEST_P(ExecutorConformance, executor__shutdown_waits_for_50) {
  over_both([](auto& executor) {
    std::vector<Future<int>> futures;
    for (int i = 0; i < 50; ++i) futures.push_back(executor.submit(sleep_for, 5));
    executor.shutdown();
    for (auto& future : futures) EXPECT_EQ(future.result(0s), 5);
  });
}

TEST_P(ExecutorConformance, executor__shutdown_nowait_at_exit) {
  Channel report;
  const auto code = code_of_program(
      GetParam(),
      [](const Channel& out) {
        ProcessPoolExecutor executor({.max_workers = 2}, Apple::take, out);
        executor.submit(Apple::say, 200);
        executor.shutdown(false);
      },
      report);
  EXPECT_EQ(code, 0);
  EXPECT_EQ(report.hear(), "apple");
}

TEST_P(ExecutorConformance, survive__executor_shutdown_nowait_exit) {
  Channel report;
  const auto code = code_of_program(
      GetParam(),
      [](const Channel& out) {
        static auto* executor =
            new ProcessPoolExecutor(ProcessPoolOptions{.max_workers = 1}, Apple::take, out);
        for (int i = 0; i < 5; ++i) executor->submit(Apple::say, 20);
        executor->shutdown(false);
      },
      report);
  EXPECT_EQ(code, 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(report.hear(), "apple");
}

TEST_P(ExecutorConformance, executor__cancel_then_shutdown) {
  over_both([](auto& executor) {
    executor.submit(same, 1).cancel();
    executor.shutdown();
  });
}

// --- what must not hang --------------------------------------------------------

// Of two workers, with the policy that a death costs its own task only.
ProcessPoolOptions two_workers() {
  return {.max_workers = 2, .on_worker_death = mp::on_worker_death::fail};
}
void carry_on(ProcessPoolExecutor& executor) {
  EXPECT_EQ(executor.submit(power, 2, 8).result(patience), 256);
}

TEST_P(ExecutorConformance, deadlock__error_deserialising_task) {
  ProcessPoolExecutor executor(2);
  auto future = executor.submit(carry, Mined{Mined::Where::decoding_task, Mined::How::error});
  EXPECT_THROW(future.result(patience), std::runtime_error);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__crash_deserialising_task) {
  ProcessPoolExecutor executor(two_workers());
  auto future = executor.submit(carry, Mined{Mined::Where::decoding_task, Mined::How::crash});
  EXPECT_THROW(future.result(patience), BrokenProcessPool);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__exit_in_task) {
  ProcessPoolExecutor executor(two_workers());
  EXPECT_THROW(executor.submit([](int code) { mp::exit(code); }, 1).result(patience),
               mp::SystemExit);
  EXPECT_THROW(executor.submit(leave, 1).result(patience), BrokenProcessPool);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__error_in_task) {
  ProcessPoolExecutor executor(2);
  EXPECT_THROW(executor.submit(fail, 1).result(patience), std::runtime_error);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__crash_serialising_result) {
  ProcessPoolExecutor executor(two_workers());
  auto future = executor.submit(carry, Mined{Mined::Where::encoding_result, Mined::How::crash});
  EXPECT_THROW(future.result(patience), BrokenProcessPool);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__exit_serialising_result) {
  ProcessPoolExecutor executor(2);
  auto future = executor.submit(carry, Mined{Mined::Where::encoding_result, Mined::How::exit});
  EXPECT_THROW(future.result(patience), mp::SystemExit);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__error_serialising_result) {
  ProcessPoolExecutor executor(2);
  auto future = executor.submit(carry, Mined{Mined::Where::encoding_result, Mined::How::error});
  EXPECT_THROW(future.result(patience), mp::PicklingError);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__error_deserialising_result) {
  ProcessPoolExecutor executor(2);
  auto future = executor.submit(carry, Mined{Mined::Where::decoding_result, Mined::How::error});
  EXPECT_THROW(future.result(patience), std::runtime_error);
  carry_on(executor);
}

TEST_P(ExecutorConformance, deadlock__worker_dies_after_shutdown) {
  Channel gate;
  ProcessPoolExecutor executor({.max_workers = 2}, Held::take, gate);
  auto future = executor.submit(
      [](int x) {
        Held::wait(x);
        return crash(x);
      },
      1);
  ASSERT_TRUE(comes_true([&] { return future.running(); }));
  executor.shutdown(false);
  gate.stop_writing();
  executor.shutdown();
  EXPECT_THROW(future.result(0s), BrokenProcessPool);
}

TEST_P(ExecutorConformance, deadlock__serialise_error_after_shutdown_nowait) {
  const auto before = threads_of_this_process();
  {
    ProcessPoolExecutor executor(2);
    auto future = executor.submit(carry, Mined{Mined::Where::encoding_result, Mined::How::error});
    executor.shutdown(false);
    EXPECT_THROW(future.result(patience), mp::PicklingError);
  }
  EXPECT_TRUE(comes_true([&] { return threads_of_this_process() == before; }));
}

int crash_with(const std::vector<std::byte>&) { return crash(0); }

TEST_P(ExecutorConformance, deadlock__crash_with_big_arguments) {
  ProcessPoolExecutor executor(two_workers());
  std::vector<Future<int>> futures;
  for (int i = 0; i < 10; ++i) {
    futures.push_back(executor.submit(crash_with, std::vector<std::byte>(10U << 20U)));
  }
  for (auto& future : futures) EXPECT_THROW(future.result(patience), BrokenProcessPool);
  executor.shutdown();
}

TEST_P(ExecutorConformance, deadlock__wakeup_channel_full) {
  // The thread that would read results is held up in a callback, while many
  // are submitted.
  ProcessPoolExecutor executor(2);
  mp::test::Gate gate;
  auto first = executor.submit(same, 0);
  first.add_done_callback([&](const Future<int>&) { gate.wait(); });
  std::vector<Future<int>> futures;
  for (int i = 0; i < 1000; ++i) futures.push_back(executor.submit(same, i));
  gate.open();
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(patience), i);
  }
}

TEST(ExecutorConformanceOnce, survive__executor_nested_submit) {
  // A worker that was forked has a copy of its own executor; it says so.
  static ProcessPoolExecutor* own = nullptr;
  ProcessPoolExecutor executor({.max_workers = 1, .start_method = mp::StartMethod::fork});
  own = &executor;
  auto future = executor.submit([](int x) { return own->submit(same, x).result(); }, 1);
  EXPECT_THROW(future.result(patience), mp::AssertionError);
}

}  // namespace
