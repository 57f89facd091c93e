#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <mp/detail/ring.hpp>
#include <mp/errors.hpp>
#include <mp/pickle.hpp>

#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::detail::Deadline;
using mp::detail::Ring;
using mp::detail::RingResult;
using mp::test::Forked;

const Deadline never;
const Deadline at_once{mp::Timeout(0ns)};

RingResult put(Ring& ring, std::string_view text, const Deadline& deadline = never) {
  const std::array pieces{std::as_bytes(std::span(text))};
  return ring.put(pieces, deadline);
}

std::optional<std::string> get(Ring& ring, const Deadline& deadline = never) {
  std::string text;
  const auto take = [&](std::span<const std::byte> bytes) {
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  if (ring.get(take, deadline) != RingResult::ok) return std::nullopt;
  return text;
}

// A record that says which it is, and whose every byte can be checked.
std::string numbered(std::uint32_t producer, std::uint32_t number, std::size_t size) {
  std::string text(std::max(size, sizeof(std::uint32_t) * 2), '\0');
  std::uint32_t state = producer * 2654435761U + number;
  for (char& c : text) c = static_cast<char>((state = state * 1664525U + 1013904223U) >> 24);
  std::memcpy(text.data(), &producer, sizeof producer);
  std::memcpy(text.data() + sizeof producer, &number, sizeof number);
  return text;
}

std::pair<std::uint32_t, std::uint32_t> name_of(const std::string& record) {
  std::pair<std::uint32_t, std::uint32_t> name;
  std::memcpy(&name.first, record.data(), sizeof name.first);
  std::memcpy(&name.second, record.data() + sizeof name.first, sizeof name.second);
  return name;
}

bool intact(const std::string& record) {
  const auto [producer, number] = name_of(record);
  return record == numbered(producer, number, record.size());
}

// Bytes of memory behind this process's newest memfd of that name.
std::uint64_t memory_of(const std::string& name) {
  std::uint64_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
    struct stat info {};
    if (target.starts_with("/memfd:" + name) && ::stat(entry.path().c_str(), &info) == 0) {
      found = static_cast<std::uint64_t>(info.st_blocks) * 512;
    }
  }
  return found;
}

TEST(RingTest, RecordsComeOutAsTheyWentInAndInOrder) {
  Ring ring;
  for (const char* text : {"one", "", "three"}) EXPECT_EQ(put(ring, text), RingResult::ok);
  EXPECT_EQ(ring.count(), 3U);
  EXPECT_EQ(get(ring), "one");
  EXPECT_EQ(get(ring), "");
  EXPECT_EQ(get(ring), "three");
  EXPECT_EQ(ring.count(), 0U);
  EXPECT_EQ(get(ring, at_once), std::nullopt);
}

TEST(RingTest, AnyMixtureOfSizesAndOfPutsAndGetsKeepsTheOrder) {
  for (const unsigned seed : {1U, 2U, 3U, 4U}) {
    Ring ring;
    std::mt19937 random(seed);
    std::deque<std::string> expected;
    std::uint32_t number = 0;
    for (int step = 0; step < 3000; ++step) {
      // Long phases of mostly putting and of mostly getting, so that the ring
      // wraps, overflows into the spill and runs empty again.
      const bool filling = (step / 300) % 2 == 0;
      if (random() % 10 < (filling ? 7U : 3U)) {
        const unsigned kind = random() % 100;
        const std::size_t size = kind == 0   ? random() % (9 << 20)
                                 : kind < 10 ? random() % (300 << 10)
                                             : random() % 5000;
        expected.push_back(numbered(7, number++, size));
        ASSERT_EQ(put(ring, expected.back()), RingResult::ok);
      } else if (!expected.empty()) {
        ASSERT_EQ(get(ring), expected.front());
        expected.pop_front();
      } else {
        ASSERT_EQ(get(ring, at_once), std::nullopt);
      }
      ASSERT_EQ(ring.count(), expected.size());
    }
    for (; !expected.empty(); expected.pop_front()) ASSERT_EQ(get(ring), expected.front());
  }
}

TEST(RingTest, ABacklogFarBeyondTheRingIsKeptAndItsMemoryGivenBack) {
  Ring ring;
  constexpr std::uint32_t count = 1500;
  constexpr std::size_t size = 100'000;
  for (std::uint32_t i = 0; i < count; ++i) put(ring, numbered(1, i, size));
  EXPECT_GT(memory_of("mp.spill"), count * size - (20U << 20));
  for (std::uint32_t i = 0; i < count; ++i) ASSERT_EQ(get(ring), numbered(1, i, size));
  EXPECT_LT(memory_of("mp.spill"), 1U << 20);
  EXPECT_LE(memory_of("mp.ring"), (16U << 20) + 4096);
}

TEST(RingTest, SmallRecordsBeyondTheRingAreKeptInOrderToo) {
  Ring ring;
  put(ring, std::string(9 << 20, 'x'));  // All that follows goes to the spill.
  for (std::uint32_t i = 0; i < 200'000; ++i) put(ring, numbered(2, i, i % 40));
  EXPECT_EQ(get(ring)->size(), 9U << 20);
  for (std::uint32_t i = 0; i < 200'000; ++i) ASSERT_EQ(get(ring), numbered(2, i, i % 40));
  put(ring, "in the ring again");
  EXPECT_EQ(get(ring), "in the ring again");
}

TEST(RingTest, WhoOnlyLooksWaitsForALockThatIsHeldForLong) {
  Ring ring;
  put(ring, "long");
  put(ring, "short");
  mp::test::Gate taking;
  std::thread slow([&] {
    // A record that takes longer to read than any patience for a lock.
    const auto take = [&](std::span<const std::byte>) {
      taking.open();
      std::this_thread::sleep_for(600ms);
    };
    EXPECT_EQ(ring.get(take, never), RingResult::ok);
  });
  ASSERT_TRUE(taking.wait());
  EXPECT_EQ(get(ring, at_once), "short");
  slow.join();
  EXPECT_EQ(get(ring, at_once), std::nullopt);
}

TEST(RingTest, ABoundInItemsHolds) {
  Ring ring({.max_items = 2});
  EXPECT_FALSE(ring.full());
  put(ring, "a");
  put(ring, "b");
  EXPECT_TRUE(ring.full());
  EXPECT_EQ(put(ring, "c", at_once), RingResult::timed_out);
  EXPECT_EQ(put(ring, "c", Deadline(10ms)), RingResult::timed_out);
  EXPECT_EQ(get(ring), "a");
  EXPECT_EQ(put(ring, "c", at_once), RingResult::ok);
}

TEST(RingTest, ABoundInBytesHoldsButOneRecordIsAlwaysTaken) {
  Ring ring({.max_bytes = 10});
  EXPECT_EQ(put(ring, std::string(100, 'x'), at_once), RingResult::ok);
  EXPECT_EQ(put(ring, "", at_once), RingResult::timed_out);
  get(ring);
  EXPECT_EQ(put(ring, "12345", at_once), RingResult::ok);
  EXPECT_EQ(put(ring, "123456", at_once), RingResult::timed_out);
  EXPECT_EQ(put(ring, "12345", at_once), RingResult::ok);
}

TEST(RingTest, ARecordWhoseTakerThrowsStaysUnlessItsBytesAreWrong) {
  Ring ring;
  put(ring, "first");
  put(ring, "second");
  EXPECT_THROW(ring.get([](auto) { throw std::bad_alloc(); }, never), std::bad_alloc);
  EXPECT_EQ(ring.count(), 2U);
  EXPECT_THROW(ring.get([](auto) { throw mp::PicklingError("corrupt"); }, never),
               mp::PicklingError);
  EXPECT_EQ(get(ring), "second");
}

TEST(RingTest, WaitsEndWhenTheOtherSideActs) {
  Ring ring({.max_items = 1});
  std::thread consumer([&] {
    for (int i = 0; i < 300; ++i) EXPECT_EQ(get(ring), std::to_string(i));
  });
  for (int i = 0; i < 300; ++i) EXPECT_EQ(put(ring, std::to_string(i)), RingResult::ok);
  consumer.join();
}

TEST(RingTest, ManyProducersAndConsumersLoseAndDoubleNothing) {
  constexpr std::uint32_t producers = 3;
  constexpr std::uint32_t each = 20'000;
  Ring ring;
  mp::test::Shared<std::array<std::atomic<std::uint32_t>, producers * each>> taken;
  std::vector<Forked> children;
  for (std::uint32_t p = 0; p < producers; ++p) {
    children.emplace_back([&, p] {
      for (std::uint32_t i = 0; i < each; ++i) put(ring, numbered(p, i, (i * 37) % 3000));
      return 0;
    });
  }
  for (int c = 0; c < 2; ++c) {
    children.emplace_back([&] {
      std::array<std::int64_t, producers> last{-1, -1, -1};
      for (;;) {
        const auto record = get(ring);
        if (!record) return 0;
        if (!intact(*record)) return 1;
        const auto [p, i] = name_of(*record);
        if (last.at(p) >= i) return 2;
        last.at(p) = i;
        if ((*taken)[p * each + i].fetch_add(1) != 0) return 3;
      }
    });
  }
  for (std::uint32_t p = 0; p < producers; ++p) ASSERT_EQ(children[p].wait(), 0);
  ring.shut_down(false);
  for (std::size_t c = producers; c < children.size(); ++c) EXPECT_EQ(children[c].wait(), 0);
  for (const auto& count : *taken) ASSERT_EQ(count, 1U);
}

TEST(RingTest, AnotherProcessTakesItUpFromItsDescriptors) {
  Ring ring({.max_items = 5});
  put(ring, "here");
  mp::Encoder out;
  ring.pickle(out);
  std::vector<mp::detail::UniqueFd> fds;
  for (const auto& fd : out.descriptors()) fds.push_back(fd.duplicate());
  mp::Decoder in(out.view(), fds);
  Ring other(in);
  EXPECT_EQ(other.limits().max_items, 5U);
  EXPECT_EQ(get(other), "here");
  put(other, "there");
  EXPECT_EQ(get(ring), "there");
}

TEST(RingTest, MemoryThatIsNoRingIsRefused) {
  const auto refused = [](mp::detail::SharedMapping memory) {
    mp::Encoder out;
    for (int i = 0; i < 3; ++i) out.descriptor(memory.fd());
    std::vector<mp::detail::UniqueFd> fds;
    for (const auto& fd : out.descriptors()) fds.push_back(fd.duplicate());
    mp::Decoder in(out.view(), fds);
    EXPECT_THROW(Ring{in}, mp::PicklingError);
  };
  refused(mp::detail::SharedMapping::create("short", 4096));
  refused(mp::detail::SharedMapping::create("zero", (16U << 20) + 4096));
}

TEST(RingTest, ShutDownEndsWaitsAndLetsWhatIsInsideOut) {
  Ring ring({.max_items = 1});
  put(ring, "inside");
  std::thread producer([&] { EXPECT_EQ(put(ring, "late"), RingResult::shut_down); });
  ring.shut_down(false);
  producer.join();
  EXPECT_EQ(get(ring), "inside");
  EXPECT_EQ(get(ring), std::nullopt);
  EXPECT_TRUE(ring.ready());
}

TEST(RingTest, ImmediateShutDownDropsWhatIsInside) {
  Ring ring;
  put(ring, "dropped");
  ring.shut_down(true);
  EXPECT_EQ(ring.count(), 0U);
  EXPECT_EQ(get(ring), std::nullopt);
  EXPECT_TRUE(ring.join(at_once));
}

TEST(RingTest, WhatIsUnfinishedIsCounted) {
  Ring ring;
  EXPECT_TRUE(ring.join(at_once));
  EXPECT_FALSE(ring.task_done());
  put(ring, "a");
  put(ring, "b");
  get(ring);
  EXPECT_TRUE(ring.task_done());
  EXPECT_FALSE(ring.join(Deadline(5ms)));
  std::thread joiner([&] { EXPECT_TRUE(ring.join(never)); });
  EXPECT_TRUE(ring.task_done());
  joiner.join();
  EXPECT_FALSE(ring.task_done());
}

TEST(RingTest, AnArmedDescriptorTellsOfARecord) {
  Ring ring;
  const int fd = ring.arm();
  EXPECT_FALSE(mp::detail::wait_fd(fd, POLLIN, at_once));
  put(ring, "x");
  EXPECT_TRUE(mp::detail::wait_fd(fd, POLLIN, at_once));
  ring.arm();
  EXPECT_FALSE(mp::detail::wait_fd(fd, POLLIN, at_once));
  EXPECT_TRUE(ring.ready());
}

TEST(RingTest, WhereMemoryEndsPutFailsAndTheRingLives) {
  Ring ring;
  Forked child([&] {
    const rlimit limit{32 << 20, 32 << 20};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    const std::string large(9 << 20, 'l');
    int refused = 0;
    for (int i = 0; i < 8; ++i) {
      try {
        put(ring, i < 6 ? large : "small");
      } catch (const std::system_error& error) {
        if (error.code().value() != EFBIG) return 2;
        ++refused;
      }
    }
    return refused >= 3 && refused < 8 ? 0 : 3;
  });
  EXPECT_EQ(child.wait(), 0);
  std::uint64_t left = ring.count();
  EXPECT_EQ(put(ring, "from the other end"), RingResult::ok);
  for (; left > 0; --left) EXPECT_GE(get(ring)->size(), 5U);
  EXPECT_EQ(get(ring), "from the other end");
}

}  // namespace
