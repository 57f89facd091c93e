// Queues and connections where the system gives no more: memory, file sizes, descriptors.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>

#include <chrono>
#include <cstddef>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include <mp/connection.hpp>
#include <mp/queues.hpp>

#include "forked.hpp"
#include "probe.hpp"

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using mp::Queue;
using mp::detail::set_fault_step;
using mp::test::Forked;

// What nobody may wait longer for.
constexpr auto soon = 1s;
// For a GiB, on a machine that does much else.
constexpr auto longer = 5 * mp::test::patience;

TEST(QueueLimits, WithoutMemoryPutFailsAndTheOtherEndLives) {
  Queue<std::vector<char>> queue;
  Forked child([&] {
    std::vector<char> large(64 << 20);
    const rlimit limit{256 << 20, 256 << 20};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    try {
      for (int i = 0; i < 10; ++i) queue.put(large);
    } catch (const std::system_error& error) {
      return error.code().value() == EFBIG ? 0 : 2;
    }
    return 3;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(queue.qsize(), 3U);
  queue.put({'x'});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.get(soon).size(), 64U << 20);
  EXPECT_EQ(queue.get(soon).size(), 1U);
}

TEST(QueueLimits, BeyondTheLimitOnFilesNoQueueIsMade) {
  Forked child([] {
    const rlimit limit{1 << 20, 1 << 20};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    try {
      Queue<int> queue;
    } catch (const std::system_error& error) {
      return error.code().value() == EFBIG ? 0 : 2;
    }
    return 3;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(QueueLimits, WithoutMemoryGetFailsAndTheItemStays) {
  Queue<std::string> queue;
  queue.put(std::string(512 << 20, 'x'));
  Forked child([&] {
    const rlimit limit{256 << 20, 256 << 20};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return 1;
    try {
      queue.get();
    } catch (const std::bad_alloc&) {
      return 0;
    }
    return 2;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(queue.get_nowait().size(), 512U << 20);
}

TEST(ConnectionLimits, WithoutMemoryRecvFailsAndTheNextOneHasTheMessage) {
  constexpr std::size_t size = 512 << 20;
  auto [a, b] = mp::Pipe();
  Forked receiver([&, &b = b] {
    rlimit limit{};
    ::getrlimit(RLIMIT_AS, &limit);
    const rlimit little{256 << 20, limit.rlim_max};
    if (::setrlimit(RLIMIT_AS, &little) != 0) return 1;
    try {
      b.recv_bytes();
      return 2;
    } catch (const std::bad_alloc&) {
    }
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return 3;
    const auto bytes = b.recv_bytes();
    b.send(bytes.size());
    return bytes == std::vector(size, std::byte{'m'}) ? 0 : 4;
  });
  b.close();
  a.send_bytes(std::string(size, 'm'));
  EXPECT_EQ(a.recv<std::size_t>(), size);
  EXPECT_EQ(receiver.wait(longer), 0);
}

TEST(QueueLimits, WithoutDescriptorsWaitsGoOnAndTheDeadAreNoticed) {
  Queue<int> queue;
  const auto get_without_descriptors = [&] {
    const rlimit limit{3, 3};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return -1;
    return queue.get();
  };
  Forked waiting(get_without_descriptors);
  ASSERT_TRUE(waiting.settles());
  queue.put(1);
  EXPECT_EQ(waiting.wait(), 1);
  queue.put(2);
  Forked victim([&] {
    set_fault_step("ring.get.locked");
    return queue.get();
  });
  // Dead, and not reaped: its name is there still.
  const auto pidfd = mp::detail::open_pidfd(victim.pid());
  ASSERT_TRUE(mp::detail::wait_fd(pidfd.get(), POLLIN, mp::detail::Deadline(mp::test::patience)));
  const auto start = Clock::now();
  Forked next(get_without_descriptors);
  EXPECT_EQ(next.wait(), 2);
  EXPECT_LT(Clock::now() - start, soon);
}

TEST(QueueLimits, WithoutDescriptorsNoQueueIsMadeAndOldOnesWork) {
  Queue<int> old;
  Forked child([&] {
    const rlimit limit{3, 3};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    try {
      Queue<int> queue;
    } catch (const std::system_error& error) {
      if (error.code().value() != EMFILE) return 2;
      old.put(1);
      return 0;
    }
    return 3;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(old.get_nowait(), 1);
}

}  // namespace
