#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <mp/queues.hpp>

#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::Queue;
using mp::test::Forked;

struct Task {
  int number = 0;
  std::vector<std::string> words = {};
  friend bool operator==(const Task&, const Task&) = default;
};

struct Stubborn {
  bool refuse = false;
  template <class Archive>
  void serialize(Archive& ar) {
    if (refuse) throw mp::PicklingError("not today");
    ar(refuse);
  }
};

TEST(QueueTest, ItemsOfAllKindsComeOutAsTheyWentIn) {
  Queue<int> numbers;
  numbers.put(-5);
  EXPECT_EQ(numbers.get(), -5);
  Queue<std::string> texts;
  texts.put("text");
  texts.put("");
  texts.put(std::string(1 << 20, 'x'));
  EXPECT_EQ(texts.get(), "text");
  EXPECT_EQ(texts.get(), "");
  EXPECT_EQ(texts.get(), std::string(1 << 20, 'x'));
  Queue<std::optional<Task>> tasks;
  const Task task{3, {"a", std::string(2000, 'b')}};
  tasks.put(task);
  tasks.put(std::nullopt);
  EXPECT_EQ(tasks.get(), task);
  EXPECT_EQ(tasks.get(), std::nullopt);
  Queue<std::vector<double>> vectors;
  vectors.put({1, 2, 3});
  EXPECT_EQ(vectors.get(), (std::vector<double>{1, 2, 3}));
}

TEST(QueueTest, CopiesAndPickledCopiesAreTheSameQueue) {
  Queue<int> queue;
  Queue<int> copy = queue;
  EXPECT_EQ(copy, queue);
  auto [a, b] = mp::Pipe();
  a.send(queue);
  auto other = b.recv<Queue<int>>();
  EXPECT_NE(other, queue);
  other.put(1);
  EXPECT_EQ(copy.get(), 1);
}

TEST(QueueTest, FullAndEmptyComeInTime) {
  Queue<int> queue(1);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(queue.get(20ms), mp::Empty);
  queue.put(1);
  EXPECT_THROW(queue.put(2, 20ms), mp::Full);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 40ms);
  EXPECT_THROW(queue.put_nowait(2), mp::Full);
  EXPECT_EQ(queue.get(-1s), 1);
  EXPECT_THROW(queue.get_nowait(), mp::Empty);
}

TEST(QueueTest, BlockAndTimeoutAreArgumentsAsInPython) {
  Queue<int> queue(1);
  queue.put(1, false);
  EXPECT_THROW(queue.put(2, false), mp::Full);
  EXPECT_THROW(queue.put(2, false, 1h), mp::Full);
  EXPECT_THROW(queue.put(2, true, 1ms), mp::Full);
  EXPECT_EQ(queue.get(true), 1);
  EXPECT_THROW(queue.get(false), mp::Empty);
  EXPECT_THROW(queue.get(true, 1ms), mp::Empty);
}

TEST(QueueTest, ABoundInBytesMakesItFull) {
  Queue<std::string> queue({.max_bytes = 1000});
  queue.put(std::string(600, 'x'));
  EXPECT_THROW(queue.put_nowait(std::string(600, 'x')), mp::Full);
  EXPECT_EQ(queue.qsize(), 1U);
}

TEST(QueueTest, WhatCannotBePickledIsAnErrorOfPutThatConsumesNothing) {
  Queue<Stubborn> queue(1);
  EXPECT_THROW(queue.put({.refuse = true}), mp::PicklingError);
  queue.put_nowait({});
  EXPECT_EQ(queue.qsize(), 1U);
}

TEST(QueueTest, DescriptorsDoNotLieInQueues) {
  auto [a, b] = mp::Pipe();
  Queue<mp::Connection> queue;
  EXPECT_THROW(queue.put(a), mp::PicklingError);
  EXPECT_TRUE(queue.empty());
}

TEST(QueueTest, AfterCloseThisProcessHasDoneWithIt) {
  Queue<int> queue;
  Queue<int> copy = queue;
  EXPECT_THROW(queue.join_thread(), mp::AssertionError);
  queue.cancel_join_thread();
  Forked other([&] {
    copy.put(4);
    return 0;
  });
  queue.close();
  queue.close();
  queue.join_thread();
  EXPECT_THROW(copy.put(1), mp::ValueError);
  EXPECT_THROW(copy.get(), mp::ValueError);
  EXPECT_EQ(other.wait(), 0);
  EXPECT_FALSE(queue.empty());
}

TEST(QueueTest, PutMeansVisibleToEveryProcess) {
  Queue<int> queue;
  auto [a, b] = mp::Pipe();
  Forked child([&, &b = b] {
    for (int i = 0; i < 2000; ++i) {
      b.recv<int>();
      if (queue.get_nowait() != i) return 1;
    }
    return 0;
  });
  for (int i = 0; i < 2000; ++i) {
    queue.put(i);
    a.send(i);
  }
  EXPECT_EQ(child.wait(), 0);
}

TEST(QueueTest, ThreadsAndProcessesMix) {
  constexpr int each = 3000;
  Queue<int> queue(50);
  const auto produce = [queue]() mutable {
    for (int i = 1; i <= each; ++i) queue.put(i);
    return 0;
  };
  Forked first(produce);
  Forked second(produce);
  std::thread third(produce);
  std::atomic<long> sum = 0;
  const auto consume = [&sum, queue]() mutable {
    while (const int item = queue.get()) sum += item;
  };
  std::thread one(consume);
  std::thread two(consume);
  third.join();
  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  queue.put(0);
  queue.put(0);
  one.join();
  two.join();
  EXPECT_EQ(sum, 3L * each * (each + 1) / 2);
}

TEST(QueueTest, WaitTellsWhichQueuesAndConnectionsAreReady) {
  Queue<int> first;
  Queue<int> second;
  auto [a, b] = mp::Pipe();
  EXPECT_TRUE(mp::connection::wait({first, second, b}, 5ms).empty());
  Forked child([&] {
    second.put(1);
    return 0;
  });
  const auto ready = mp::connection::wait({first, second, b}, 20s);
  ASSERT_EQ(ready.size(), 1U);
  EXPECT_TRUE(ready[0] == second);
  a.send(1);
  EXPECT_EQ(mp::connection::wait({first, second, b}).size(), 2U);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(mp::connection::wait(std::vector{first, second}), std::vector{second});
  first.close();
  EXPECT_THROW(mp::connection::wait(std::vector{first}), mp::ValueError);
}

TEST(QueueTest, TextFormsSayHowMuchIsInIt) {
  Queue<int> queue;
  queue.put(1);
  EXPECT_EQ(fmt::format("{}", queue), "<Queue size=1>");
  mp::SimpleQueue<int> simple;
  std::ostringstream text;
  text << mp::JoinableQueue<int>() << simple;
  EXPECT_EQ(text.str(), "<JoinableQueue size=0><SimpleQueue size=0>");
  queue.close();
  EXPECT_EQ(queue.repr(), "<Queue closed>");
}

TEST(JoinableQueueTest, JoinReturnsWhenAllIsDone) {
  mp::JoinableQueue<int> queue;
  EXPECT_TRUE(queue.join());
  queue.put(1);
  queue.put(2);
  EXPECT_FALSE(queue.join(5ms));
  Forked worker([&] {
    for (int i = 0; i < 2; ++i) {
      queue.get();
      queue.task_done();
    }
    return 0;
  });
  EXPECT_TRUE(queue.join());
  EXPECT_EQ(worker.wait(), 0);
  EXPECT_THROW(queue.task_done(), mp::ValueError);
}

TEST(JoinableQueueTest, ItTravelsAsWhatItIs) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  auto [a, b] = mp::Pipe();
  a.send(queue);
  auto other = b.recv<mp::JoinableQueue<int>>();
  other.get();
  other.task_done();
  EXPECT_TRUE(queue.join(0ms));
}

TEST(SimpleQueueTest, PutsGetsAndTravels) {
  mp::SimpleQueue<Task> queue;
  EXPECT_TRUE(queue.empty());
  auto [a, b] = mp::Pipe();
  a.send(queue);
  auto other = b.recv<mp::SimpleQueue<Task>>();
  other.put({1, {"w"}});
  EXPECT_FALSE(queue.empty());
  EXPECT_EQ(queue.get(), (Task{1, {"w"}}));
  EXPECT_THROW(queue.get(1ms), mp::Empty);
}

}  // namespace
