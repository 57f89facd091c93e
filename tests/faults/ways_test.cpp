#include <dlfcn.h>
#include <gtest/gtest.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <mp/mp.hpp>

#include "forked.hpp"
#include "leftovers.hpp"

namespace {

std::atomic<time_t> clock_is_off{0};

}  // namespace

// In place of the C library's: in this program the clock that can be set is off by as much as a
// test says.
extern "C" int clock_gettime(clockid_t clock, struct timespec* time) noexcept {
  using Function = int (*)(clockid_t, struct timespec*);
  static const auto original = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "clock_gettime"));
  const int result = original(clock, time);
  if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += clock_is_off;
  return result;
}

namespace {

using namespace std::chrono_literals;
using mp::test::Forked;

class WallClockFaults : public testing::TestWithParam<std::chrono::seconds> {
 protected:
  void SetUp() override { clock_is_off = GetParam().count(); }
  void TearDown() override { clock_is_off = 0; }

  template <class Wait>
  static void expect_in_time(Wait wait) {
    const auto begin = std::chrono::steady_clock::now();
    wait();
    const auto took = std::chrono::steady_clock::now() - begin;
    EXPECT_GE(took, 50ms);
    EXPECT_LT(took, mp::test::patience);
  }
};

// Neither an hour more, when the clock is behind, nor at once, when it is ahead.
TEST_P(WallClockFaults, TimeOutsDoNotFollowTheClockThatCanBeSet) {
  const auto off = std::chrono::system_clock::now().time_since_epoch();
  clock_is_off = 0;
  const auto right = std::chrono::system_clock::now().time_since_epoch();
  ASSERT_GT(std::chrono::abs(off - right), 30min) << "the clock is not off";
  clock_is_off = GetParam().count();

  const mp::Lock lock;
  lock.acquire();
  expect_in_time([&] { EXPECT_FALSE(lock.acquire(50ms)); });
  const mp::Semaphore none(0);
  expect_in_time([&] { EXPECT_FALSE(none.acquire(50ms)); });
  mp::Event event;
  expect_in_time([&] { EXPECT_FALSE(event.wait(50ms)); });
  mp::Queue<int> queue;
  expect_in_time([&] { EXPECT_THROW(queue.get(50ms), mp::Empty); });
  auto [here, there] = mp::Pipe();
  expect_in_time([&, &here = here] { EXPECT_FALSE(here.poll(50ms)); });
}
INSTANTIATE_TEST_SUITE_P(OffByAnHour, WallClockFaults, testing::Values(3600s, -3600s));

TEST(BoundedSemaphoreFaults, OfTwoReleasesAtOnceOneIsRefused) {
  constexpr int rounds = 2000;
  const mp::BoundedSemaphore unit(1);
  mp::RawValue<int> refused(0);
  const auto release_in_step = [&](mp::Barrier& step) {
    for (int i = 0; i < rounds; ++i) {
      step.wait();
      try {
        unit.release();
      } catch (const mp::ValueError&) {
        refused.fetch_add(1);
      }
      step.wait();
    }
  };
  mp::Barrier step(3);
  std::thread first(release_in_step, std::ref(step));
  std::thread second(release_in_step, std::ref(step));
  for (int i = 0; i < rounds; ++i) {
    unit.acquire();
    step.wait();
    step.wait();
    EXPECT_EQ(unit.get_value(), 1);
  }
  first.join();
  second.join();
  EXPECT_EQ(refused.value, rounds);
}

TEST(NamesFaults, AKilledProgramLeavesNoNameBehind) {
  const auto before = mp::test::Belongings::now();
  auto [here, there] = mp::Pipe();
  Forked program([&there = there] {
    mp::Lock lock;
    mp::Condition condition;
    mp::Barrier barrier(2);
    mp::Queue<int> queue;
    mp::Value<int> value(1);
    queue.put(1);
    there.send(1);
    for (;;) ::pause();
    return 0;
  });
  here.recv<int>();
  program.kill();
  here.close();
  there.close();
  EXPECT_EQ(mp::test::leftovers(before), std::vector<std::string>());
}

}  // namespace
