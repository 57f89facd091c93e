// Queues and connections whose users are killed, at every numbered step and at
// ten thousand random moments.

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
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
using mp::test::Shared;

// What no survivor may wait longer for.
constexpr auto soon = 1s;
// For a GiB, on a machine that does much else.
constexpr auto longer = 5 * mp::test::patience;

// --- every step ------------------------------------------------------------------

struct Step {
  const char* place;
  std::size_t size;      // Of the items: small ones lie in the ring, large ones in the spill.
  bool spilled = false;  // Small ones in the spill, behind a large one.
};

std::string step_name(const testing::TestParamInfo<Step>& info) {
  std::string name = info.param.place;
  for (char& c : name) c = c == '.' ? '_' : c;
  return name + (info.param.size > 1000 ? "_large" : info.param.spilled ? "_spilled" : "_small");
}

constexpr std::size_t too_large_for_the_ring = 9 << 20;

std::string item(int number, std::size_t size) {
  std::string text = std::to_string(number) + ' ';
  text.resize(std::max(text.size(), size), static_cast<char>('a' + number % 26));
  return text;
}

int number_of(const std::string& text) { return std::stoi(text); }

void expect_whole(const std::string& text, std::size_t size) {
  EXPECT_EQ(text, item(number_of(text), size));
}

class ProducerKilled : public testing::TestWithParam<Step> {};

TEST_P(ProducerKilled, InsidePutItHasPutItsItemOrNot) {
  const std::string place = GetParam().place;
  const std::size_t size = GetParam().size;
  Queue<std::string> queue;
  if (GetParam().spilled) queue.put(std::string(too_large_for_the_ring, 'x'));
  Shared<std::atomic<int>> returned;
  Forked producer([&] {
    if (!set_fault_step(place + ":3")) return 1;
    for (int i = 0; i < 10; ++i) {
      queue.put(item(i, size));
      ++*returned;
    }
    return 0;
  });
  ASSERT_EQ(producer.wait(), -SIGKILL) << "the place was not passed";
  const auto start = Clock::now();
  queue.put(item(100, size));
  if (GetParam().spilled) queue.get(soon);
  int count = 0;
  std::string text = queue.get(soon);
  for (; number_of(text) != 100; text = queue.get(soon)) {
    EXPECT_EQ(number_of(text), count++);
    expect_whole(text, size);
  }
  EXPECT_LT(Clock::now() - start, soon);
  EXPECT_GE(count, *returned);
  EXPECT_LE(count, *returned + 1);
  EXPECT_TRUE(queue.empty());
}

constexpr auto producer_steps = std::to_array<Step>({
    {"ring.put.locked", 10},
    {"ring.put.written", 10},
    {"ring.put.committed", 10},
    {"ring.put.told", 10},
    {"owned_lock.try.taken", 10},
    {"owned_lock.release.before", 10},
    {"owned_lock.release.freed", 10},
    {"owned_lock.release.done", 10},
    {"ring.put.locked", 9 << 20},
    {"ring.put.spilling", 9 << 20},
    {"ring.put.written", 9 << 20},
    {"ring.put.committed", 9 << 20},
    {"ring.put.spilling", 10, true},
    {"ring.put.written", 10, true},
    {"ring.put.committed", 10, true},
});
INSTANTIATE_TEST_SUITE_P(, ProducerKilled, testing::ValuesIn(producer_steps), step_name);

class ConsumerKilled : public testing::TestWithParam<Step> {};

TEST_P(ConsumerKilled, InsideGetItHasTakenItsItemOrNot) {
  const std::string place = GetParam().place;
  const std::size_t size = GetParam().size;
  Queue<std::string> queue;
  if (GetParam().spilled) queue.put(std::string(too_large_for_the_ring, 'x'));
  for (int i = 0; i < 10; ++i) queue.put(item(i, size));
  if (GetParam().spilled) queue.get(soon);
  Shared<std::atomic<int>> returned;
  Forked consumer([&] {
    if (!set_fault_step(place + ":3")) return 1;
    for (int i = 0; i < 10; ++i) {
      queue.get();
      ++*returned;
    }
    return 0;
  });
  ASSERT_EQ(consumer.wait(), -SIGKILL) << "the place was not passed";
  const auto start = Clock::now();
  const std::string first = queue.get(soon);
  EXPECT_LT(Clock::now() - start, soon);
  EXPECT_GE(number_of(first), *returned);
  EXPECT_LE(number_of(first), *returned + 1);
  for (int i = number_of(first) + 1; i < 10; ++i) {
    const std::string text = queue.get(soon);
    EXPECT_EQ(number_of(text), i);
    expect_whole(text, size);
  }
  queue.put(item(100, size));
  EXPECT_EQ(number_of(queue.get(soon)), 100);
}

constexpr auto consumer_steps = std::to_array<Step>({
    {"ring.get.locked", 10},
    {"ring.get.copied", 10},
    {"ring.get.committed", 10},
    {"ring.get.told", 10},
    {"owned_lock.try.taken", 10},
    {"owned_lock.release.before", 10},
    {"owned_lock.release.freed", 10},
    {"ring.get.locked", 9 << 20},
    {"ring.get.copied", 9 << 20},
    {"ring.get.committed", 9 << 20},
    {"ring.get.copied", 10, true},
    {"ring.get.committed", 10, true},
});
INSTANTIATE_TEST_SUITE_P(, ConsumerKilled, testing::ValuesIn(consumer_steps), step_name);

class SleeperKilled : public testing::TestWithParam<Step> {};

constexpr auto sleeper_steps = std::to_array<Step>({
    {"ring.sleep.announced", 10},
    {"ring.sleep.woken", 10},
});
INSTANTIATE_TEST_SUITE_P(, SleeperKilled, testing::ValuesIn(sleeper_steps), step_name);

TEST_P(SleeperKilled, AtAnEmptyQueueItCostsNobodyAWakeUp) {
  Queue<int> queue;
  Forked victim([&] {
    set_fault_step(GetParam().place);
    queue.get();
    return 0;
  });
  Shared<std::atomic<int>> got;
  Forked survivor([&] {
    *got = queue.get();
    return 0;
  });
  // Without an item the victim wakes up by itself, looks, and dies of it.
  ASSERT_EQ(victim.wait(), -SIGKILL);
  const auto start = Clock::now();
  queue.put(5);
  EXPECT_EQ(survivor.wait(), 0);
  EXPECT_LT(Clock::now() - start, soon);
  EXPECT_EQ(*got, 5);
}

TEST_P(SleeperKilled, AtAFullQueueItCostsNobodyAWakeUp) {
  Queue<int> queue(1);
  queue.put(1);
  Forked victim([&] {
    set_fault_step(GetParam().place);
    queue.put(2);
    return 0;
  });
  Forked survivor([&] {
    queue.put(3);
    return 0;
  });
  ASSERT_EQ(victim.wait(), -SIGKILL);
  const auto start = Clock::now();
  EXPECT_EQ(queue.get(), 1);
  EXPECT_EQ(queue.get(soon), 3);
  EXPECT_LT(Clock::now() - start, soon);
  EXPECT_EQ(survivor.wait(), 0);
}

// The wake-up is the victim's, which slept first, and dies of it.
TEST(SleeperKilledTest, AWakeUpThatDiedWithItsSleeperDelaysTheNextByLessThanASecond) {
  Queue<int> queue;
  Forked victim([&] {
    set_fault_step("ring.sleep.woken");
    queue.get();
    return 0;
  });
  ASSERT_TRUE(victim.settles());
  Forked survivor([&] { return queue.get() == 5 ? 0 : 1; });
  ASSERT_TRUE(survivor.settles());
  const auto start = Clock::now();
  queue.put(5);
  EXPECT_EQ(survivor.wait(), 0);
  EXPECT_LT(Clock::now() - start, soon);
  EXPECT_EQ(victim.wait(), -SIGKILL);
}

TEST(SleeperKilledTest, ARoomThatWasToldToTheDeadIsFoundByTheNext) {
  Queue<int> queue(1);
  queue.put(1);
  Forked victim([&] {
    set_fault_step("ring.sleep.woken");
    queue.put(2);
    return 0;
  });
  ASSERT_TRUE(victim.settles());
  Forked survivor([&] {
    queue.put(3);
    return 0;
  });
  ASSERT_TRUE(survivor.settles());
  const auto start = Clock::now();
  EXPECT_EQ(queue.get(), 1);
  EXPECT_EQ(survivor.wait(), 0);
  EXPECT_LT(Clock::now() - start, soon);
  EXPECT_EQ(queue.get(soon), 3);
  EXPECT_EQ(victim.wait(), -SIGKILL);
}

TEST(TellerKilled, BeforeItTellsWhoPollsThatOneLooksByItself) {
  Queue<int> queue;
  Forked poller([&] {
    const std::vector<mp::Waitable> queues{queue};
    return mp::connection::wait(queues, mp::test::patience).size() == 1 ? 0 : 1;
  });
  ASSERT_TRUE(poller.settles());
  const auto start = Clock::now();
  Forked teller([&] {
    set_fault_step("ring.put.poll_taken");
    queue.put(1);
    return 0;
  });
  EXPECT_EQ(teller.wait(), -SIGKILL);
  EXPECT_EQ(poller.wait(), 0);
  EXPECT_LT(Clock::now() - start, soon);
}

TEST(TellerKilled, BeforeItTellsThatAllIsDoneTheJoinEndsYet) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  Forked joiner([&] {
    queue.join();
    return 0;
  });
  ASSERT_TRUE(joiner.settles());
  const auto start = Clock::now();
  Forked teller([&] {
    set_fault_step("ring.done.counted");
    queue.get();
    queue.task_done();
    return 0;
  });
  EXPECT_EQ(teller.wait(), -SIGKILL);
  EXPECT_EQ(joiner.wait(), 0);
  EXPECT_LT(Clock::now() - start, soon);
}

TEST(TellerKilled, InsideShutdownEverybodyIsToldOfItYet) {
  Queue<int> queue;
  Forked getter([&] {
    try {
      queue.get();
    } catch (const mp::ShutDown&) {
      return 0;
    }
    return 1;
  });
  ASSERT_TRUE(getter.settles());
  const auto start = Clock::now();
  Forked teller([&] {
    set_fault_step("ring.shutdown.marked");
    queue.shutdown();
    return 0;
  });
  EXPECT_EQ(teller.wait(), -SIGKILL);
  EXPECT_THROW(queue.put(1), mp::ShutDown);
  EXPECT_EQ(getter.wait(), 0);
  EXPECT_LT(Clock::now() - start, soon);
}

class SenderKilled : public testing::TestWithParam<Step> {};

constexpr auto sender_steps = std::to_array<Step>({
    {"channel.send.begun", 10},
    {"channel.send.sent", 10},
    {"channel.send.sent", 4 << 20},
});
INSTANTIATE_TEST_SUITE_P(, SenderKilled, testing::ValuesIn(sender_steps), step_name);

TEST_P(SenderKilled, TheReceiverGetsWholeMessagesAndThenTheEnd) {
  const std::string place = GetParam().place;
  const std::size_t size = GetParam().size;
  auto [a, b] = mp::Pipe();
  Forked sender([&, &a = a] {
    set_fault_step(place + ":2");
    for (int i = 0; i < 10; ++i) a.send(item(i, size));
    return 0;
  });
  a.close();
  int received = 0;
  bool ended = false;
  auto last = Clock::now();
  while (!ended) {
    try {
      expect_whole(b.recv<std::string>(mp::test::patience), size);
      ++received;
      last = Clock::now();
    } catch (const mp::EOFError&) {
      ended = true;
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), ECONNRESET);
      ended = true;
    }
  }
  EXPECT_LT(Clock::now() - last, soon);
  EXPECT_LE(received, 2);
  EXPECT_EQ(sender.wait(), -SIGKILL);
}

class ReceiverKilled : public testing::TestWithParam<Step> {};

constexpr auto receiver_steps = std::to_array<Step>({
    {"channel.recv.framed", 10},
    {"channel.recv.received", 10},
    {"channel.recv.framed", 4 << 20},
});
INSTANTIATE_TEST_SUITE_P(, ReceiverKilled, testing::ValuesIn(receiver_steps), step_name);

TEST_P(ReceiverKilled, TheSenderIsTold) {
  const std::string place = GetParam().place;
  const std::size_t size = GetParam().size;
  auto [a, b] = mp::Pipe();
  Forked receiver([&, &b = b] {
    set_fault_step(place + ":2");
    for (;;) b.recv<std::string>();
    return 0;
  });
  b.close();
  int error = 0;
  auto last = Clock::now();
  try {
    for (int i = 0;; ++i, last = Clock::now()) a.send(item(i, size), mp::test::patience);
  } catch (const std::system_error& failure) {
    error = failure.code().value();
  }
  EXPECT_LT(Clock::now() - last, soon);
  EXPECT_EQ(error, EPIPE);
  EXPECT_EQ(receiver.wait(), -SIGKILL);
}

TEST(StepsTest, EveryPlaceOfQueuesAndConnectionsIsWalked) {
  std::set<std::string_view> walked{"ring.put.poll_taken", "ring.done.counted",
                                    "ring.shutdown.marked"};
  for (const auto steps :
       {std::span<const Step>(producer_steps), std::span<const Step>(consumer_steps),
        std::span<const Step>(sleeper_steps), std::span<const Step>(sender_steps),
        std::span<const Step>(receiver_steps)}) {
    for (const Step& step : steps) walked.insert(step.place);
  }
  for (const auto place : mp::detail::probe_places) {
    if (!place.starts_with("ring.") && !place.starts_with("channel.")) continue;
    EXPECT_TRUE(walked.contains(place)) << place;
  }
}

// --- random moments ------------------------------------------------------------

constexpr int kills = 10'000;
constexpr std::uint32_t most_items = 512;  // Of one producer's life.

struct Item {
  std::uint32_t producer = 0;
  std::uint32_t number = 0;
  std::string body = {};
  std::uint64_t sum = 0;
};

std::uint64_t checksum(const Item& item) {
  std::uint64_t hash = item.producer * 31U + item.number;
  for (const char c : item.body) hash = hash * 1099511628211U + static_cast<unsigned char>(c);
  return hash;
}

struct Book {
  std::array<std::atomic<std::uint32_t>, kills + 2> returned;  // put() calls, by producer.
  std::array<std::array<std::atomic<std::uint8_t>, most_items>, kills + 2> taken;
  std::atomic<int> wrong;
};

int produce(Queue<Item>& queue, Book& book, std::uint32_t producer) {
  for (std::uint32_t i = 0; i < most_items; ++i) {
    Item item{producer, i, std::string((producer * 7 + i * 13) % 2000, static_cast<char>(i))};
    item.sum = checksum(item);
    queue.put(item);
    book.returned.at(producer)++;
  }
  return 0;
}

int consume(Queue<Item>& queue, Book& book) {
  std::vector<std::int64_t> last(kills + 2, -1);
  for (;;) {
    try {
      const Item item = queue.get();
      if (item.sum != checksum(item)) book.wrong++;                                 // Torn,
      if (last.at(item.producer) >= item.number) book.wrong++;                      // reordered,
      if (book.taken.at(item.producer).at(item.number).fetch_add(1)) book.wrong++;  // doubled.
      last.at(item.producer) = item.number;
    } catch (const mp::ShutDown&) {
      return 0;
    }
  }
}

TEST(QueueFaults, TenThousandKillsTearDoubleAndReorderNothing) {
  Queue<Item> queue;
  Shared<Book> book;
  std::mt19937 random(20);
  std::uint32_t producers = 0;
  std::vector<std::unique_ptr<Forked>> at_work;
  const auto start_one = [&](std::size_t seat) {
    at_work[seat].reset();  // Killed and reaped, if it is still there.
    if (seat < 2) {
      const std::uint32_t name = producers++;
      at_work[seat] = std::make_unique<Forked>([&, name] { return produce(queue, *book, name); });
    } else {
      at_work[seat] = std::make_unique<Forked>([&] { return consume(queue, *book); });
    }
  };
  at_work.resize(4);
  for (std::size_t seat = 0; seat < 4; ++seat) start_one(seat);
  int consumers_killed = 0;
  for (int i = 0; i < kills; ++i) {
    const std::size_t seat = random() % 4;
    const mp::detail::UniqueFd pidfd = mp::detail::open_pidfd(at_work[seat]->pid());
    // A random moment of its work; a producer may have come to its end.
    mp::detail::wait_fd(pidfd.get(), POLLIN,
                        mp::detail::Deadline(std::chrono::microseconds(random() % 800)));
    if (seat >= 2) ++consumers_killed;
    if (producers >= kills) break;
    start_one(seat);
  }
  for (std::size_t seat = 0; seat < 2; ++seat) EXPECT_EQ(at_work[seat]->wait(), 0);
  queue.shutdown();
  for (std::size_t seat = 2; seat < 4; ++seat) EXPECT_EQ(at_work[seat]->wait(), 0);
  EXPECT_EQ(book->wrong, 0);
  int missing = 0;
  std::uint64_t all = 0;
  for (std::uint32_t p = 0; p < producers; ++p) {
    const std::uint32_t returned = book->returned[p];
    all += returned;
    for (std::uint32_t i = 0; i < returned; ++i) missing += book->taken[p][i] == 0 ? 1 : 0;
    for (std::uint32_t i = returned + 1; i < most_items; ++i) EXPECT_EQ(book->taken[p][i], 0);
  }
  // Only what a consumer held in its hands when it was killed.
  EXPECT_LE(missing, consumers_killed);
  EXPECT_GT(all, 1000U) << "the kills left no time to work";
}

// --- ends of processes that are no fault -----------------------------------------

class JoinBeforeDrain : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(, JoinBeforeDrain,
                         testing::Values(1, 64 << 10, (64 << 10) + 1, 16 << 20, 1 << 30),
                         testing::PrintToStringParamName());

TEST_P(JoinBeforeDrain, IsNoDeadlockAtAnySize) {
  Queue<std::string> queue;
  Queue<std::string> never_read;
  Forked child([&] {
    const std::string text(GetParam(), 'j');
    queue.put(text);
    return 0;
  });
  ASSERT_EQ(child.wait(longer), 0);
  {
    const std::string text = queue.get_nowait();
    EXPECT_EQ(text.size(), GetParam());
    EXPECT_EQ(text.find_first_not_of('j'), std::string::npos);
  }
  Forked unheard([&] {
    never_read.put(std::string(GetParam(), 'n'));
    return 0;
  });
  EXPECT_EQ(unheard.wait(longer), 0);
  EXPECT_EQ(never_read.qsize(), 1U);
}

TEST(QueueFaults, AnItemSurvivesAnExitStraightAfterPut) {
  Queue<std::string> queue;
  for (int i = 0; i < 200; ++i) {
    Forked child([&] {
      queue.put("last words");
      ::_exit(0);
      return 1;
    });
    ASSERT_EQ(child.wait(), 0);
    ASSERT_EQ(queue.get_nowait(), "last words");
  }
}

TEST(QueueFaults, WhatWasPutIsThereForWhoHearsOfItAMillionTimes) {
  constexpr int rounds = 1'000'000;
  Queue<int> queue;
  Shared<std::atomic<int>> told;
  Forked reader([&] {
    for (int i = 0; i < rounds; ++i) {
      while (*told <= i) ::sched_yield();
      if (queue.get_nowait() != i) return 1;
    }
    return 0;
  });
  for (int i = 0; i < rounds; ++i) {
    queue.put(i);
    *told = i + 1;
  }
  EXPECT_EQ(reader.wait(longer), 0);
}

TEST(QueueFaults, AJoinForATaskOfADeadConsumerEndsWithItsTimeOut) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  Forked consumer([&] {
    queue.get();
    ::kill(::getpid(), SIGKILL);
    return 0;
  });
  ASSERT_EQ(consumer.wait(), -SIGKILL);
  EXPECT_FALSE(queue.join(50ms));
  queue.task_done();
  EXPECT_TRUE(queue.join(soon));
}

}  // namespace
