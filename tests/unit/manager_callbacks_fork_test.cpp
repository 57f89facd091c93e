#include <gtest/gtest.h>

#include <atomic>
#include <mp/mp.hpp>

#include "forked.hpp"
#include "processes.hpp"

namespace {

using mp::by_name;
using mp::test::comes_true;
using mp::test::Forked;
using mp::test::other_threads_sleep;
using mp::test::patience;

int square(int x) { return x * x; }
void wait_for(const mp::EventProxy& event) { event.wait(); }

TEST(ManagerCallbacksFork, AForkedChildHasCallbacksOfItsOwn) {
  auto manager = mp::Manager();
  auto pool = manager.Pool(2);
  auto gate = manager.Event();
  std::atomic<int> calls{0};
  const auto of_parent = pool.apply_async({.callback = [&] { ++calls; }}, by_name<wait_for>, gate);
  // Its thread has its connection, and sleeps until there is more: a sanitizer's allocator, unlike
  // glibc's, does not survive a fork while another thread is in it.
  EXPECT_EQ(pool.apply_async({.callback = [](int) {}}, by_name<square>, 2).get(patience), 4);
  ASSERT_TRUE(comes_true(other_threads_sleep));
  Forked child([&] {
    int value = 0;
    const auto result =
        pool.apply_async({.callback = [&](int x) { value = x; }}, by_name<square>, 5);
    if (result.get(patience) != 25 || value != 25) return 1;
    gate.set();
    // Its parent's: it need not wait for a thread that it does not have.
    of_parent.get(patience);
    return calls == 0 ? 7 : 2;
  });
  EXPECT_EQ(child.wait(), 7);
  of_parent.get(patience);
  EXPECT_EQ(calls, 1);
}

}  // namespace
