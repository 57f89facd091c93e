#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <mp/pool.hpp>
#include <mp/progress.hpp>

#include "channel.hpp"
#include "children.hpp"
#include "forked.hpp"
#include "pools.hpp"

namespace {

using mp::Progress;
using mp::test::Channel;
using mp::test::comes_true;
using mp::test::numbers;
using mp::test::patience;

int same(int x) { return x; }
int refuse_tens(int x) {
  if (x % 10 == 0) throw std::invalid_argument("a ten");
  return x;
}

// What tasks wait for: a gate that crosses by every start method.
std::unique_ptr<Channel> gate;
void take_gate(const Channel& channel) {
  gate = std::make_unique<Channel>(channel);
  gate->stop_writing();
}
int tell_and_wait(double fraction) {
  mp::report_progress(fraction, "half way");
  gate->ended();
  return 1;
}

class ProgressTest : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ProgressTest);

TEST_P(ProgressTest, ItemsAreCountedOneByOneWhateverChunksTheyTravelIn) {
  for (const std::optional<int> chunk :
       {std::optional<int>(), std::optional(1), std::optional(7)}) {
    std::mutex mutex;
    std::vector<Progress> told;
    mp::Pool pool({.processes = 2, .on_progress = [&](const Progress& now) {
                     const std::lock_guard guard(mutex);
                     told.push_back(now);
                   }});
    auto result = pool.map_async(refuse_tens, numbers(1000), chunk);
    EXPECT_THROW(result.get(), std::invalid_argument);
    const Progress end = result.progress();
    EXPECT_EQ(end.total, 1000U);
    EXPECT_EQ(end.done, 900U);
    EXPECT_EQ(end.failed, 100U);
    pool.close();
    EXPECT_TRUE(pool.join(patience));
    ASSERT_FALSE(told.empty());
    std::size_t finished = 0;
    for (const Progress& now : told) {
      EXPECT_EQ(now.done + now.failed + now.running + now.queued, now.total);
      EXPECT_GE(now.done + now.failed, finished);
      finished = now.done + now.failed;
    }
    const Progress whole = pool.progress();
    EXPECT_EQ(whole.done, 900U);
    EXPECT_EQ(whole.failed, 100U);
    EXPECT_EQ(whole.running + whole.queued, 0U);
  }
}

TEST_P(ProgressTest, WhatATaskSaysOfItselfIsSeenWhileItRuns) {
  Channel channel;
  mp::Pool pool({.processes = 1}, take_gate, channel);
  auto result = pool.apply_async(tell_and_wait, 0.5);
  auto queued = pool.apply_async(same, 1);
  EXPECT_TRUE(comes_true([&] {
    const auto workers = pool.progress().workers;
    return workers.size() == 1 && workers[0].fraction == 0.5 && workers[0].text == "half way" &&
           workers[0].task == 1;
  }));
  const Progress now = pool.progress();
  EXPECT_EQ(now.running, 1U);
  EXPECT_EQ(now.queued, 1U);
  EXPECT_EQ(result.progress().running, 1U);
  EXPECT_EQ(queued.progress().queued, 1U);
  EXPECT_FALSE(result.ready());
  channel.stop_writing();
  EXPECT_EQ(result.get(patience), 1);
  EXPECT_EQ(queued.get(patience), 1);
  EXPECT_EQ(pool.progress().done, 2U);
}

TEST_P(ProgressTest, EachWorkerHasItsNameItsPidAndItsCount) {
  mp::Pool pool(2);
  pool.map(same, numbers(100), 1);
  const auto workers = pool.progress().workers;
  ASSERT_EQ(workers.size(), 2U);
  EXPECT_EQ(workers[0].done + workers[1].done, 100U);
  const auto pids = pool.pids();
  for (const auto& worker : workers) {
    EXPECT_EQ(std::count(pids.begin(), pids.end(), worker.pid), 1);
    EXPECT_NE(worker.name.find("PoolWorker-"), std::string::npos);
  }
}

TEST(ProgressOfThreadsTest, IsTheSame) {
  mp::ThreadPool pool(1);
  mp::test::Gate opened;
  auto result = pool.apply_async([&] {
    mp::report_progress(0.25, "begun");
    opened.wait();
  });
  EXPECT_TRUE(comes_true([&] {
    const auto workers = pool.progress().workers;
    return !workers.empty() && workers[0].fraction == 0.25 && workers[0].text == "begun";
  }));
  opened.open();
  result.get(patience);
  EXPECT_TRUE(comes_true([&] { return pool.progress().done == 1; }));
}

TEST(ReportProgressTest, DoesNothingOutsideAWorker) { mp::report_progress(0.5, "nobody asked"); }

// --- the bar -----------------------------------------------------------------

// What comes out of `fd` until its other end is closed.
std::string all_from(int fd) {
  std::string text;
  std::array<char, 4096> letters{};
  for (;;) {
    const ssize_t size = ::read(fd, letters.data(), letters.size());
    if (size <= 0) return text;
    text.append(letters.data(), static_cast<std::size_t>(size));
  }
}

TEST(ProgressBarTest, OnATerminalOneLineIsDrawnOverAndOver) {
  int screen = -1;
  int terminal = -1;
  ASSERT_EQ(::openpty(&screen, &terminal, nullptr, nullptr, nullptr), 0);
  {
    mp::ProgressBar bar("work", terminal);
    for (std::size_t done : {0, 250, 500, 499, 1000}) bar.update(done, 1000);
  }
  ::close(terminal);
  const std::string text = all_from(screen);
  ::close(screen);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_TRUE(text.ends_with("\n"));
  EXPECT_NE(text.find("\rwork: [####################"), std::string::npos) << text;
  EXPECT_NE(text.find("100% 1000/1000"), std::string::npos) << text;
  EXPECT_EQ(text.find("499/1000"), std::string::npos) << "it has moved back: " << text;
}

TEST(ProgressBarTest, ElsewhereATenthIsALine) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  {
    mp::ProgressBar bar("work", ends[1]);
    for (std::size_t done = 0; done <= 1000; ++done) bar.update(done, 1000);
  }
  ::close(ends[1]);
  const std::string text = all_from(ends[0]);
  ::close(ends[0]);
  std::string expected;
  for (int tenth = 1; tenth <= 10; ++tenth) {
    expected +=
        "work: " + std::to_string(tenth * 10) + "% " + std::to_string(tenth * 100) + "/1000\n";
  }
  EXPECT_EQ(text, expected);
}

TEST(ProgressBarTest, ABarThatCannotBeShownStopsNothing) {
  mp::ProgressBar bar("work", -1);
  bar.update(500, 1000);
  bar.update(0, 0);
  bar.finish();
}

TEST(ProgressBarTest, ShowsAPoolAtWork) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  {
    mp::ProgressBar bar("", ends[1]);
    mp::Pool pool({.processes = 2, .on_progress = [&](const Progress& now) { bar.update(now); }});
    pool.map(same, numbers(500), 1);
    pool.close();
    EXPECT_TRUE(pool.join(patience));
  }
  ::close(ends[1]);
  const std::string text = all_from(ends[0]);
  ::close(ends[0]);
  EXPECT_TRUE(text.ends_with("100% 500/500\n")) << text;
}

}  // namespace
