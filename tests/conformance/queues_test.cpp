// What CPython's own suite checks of Queue, JoinableQueue and SimpleQueue, one
// test an id.

#include <gtest/gtest.h>

#include <chrono>
#include <mp/connection.hpp>
#include <mp/process.hpp>
#include <mp/queues.hpp>
#include <optional>
#include <string>
#include <vector>

#include "children.hpp"

namespace {

using namespace std::chrono_literals;
using mp::Connection;
using mp::JoinableQueue;
using mp::Process;
using mp::Queue;
using mp::SimpleQueue;

using Clock = std::chrono::steady_clock;

class QueueConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(QueueConformance);

void drain_six(Queue<int> queue) {
  for (int i = 1; i <= 6; ++i) {
    if (queue.get() != i) mp::exit(1);
  }
}

TEST_P(QueueConformance, queue__put_until_full) {
  Queue<int> queue(6);
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.full());
  queue.put(1);
  queue.put(2, std::nullopt);
  queue.put(3, 10s);
  queue.put(4, 0s);
  queue.put_nowait(5);
  queue.put(6);
  EXPECT_FALSE(queue.empty());
  EXPECT_TRUE(queue.full());
  auto begin = Clock::now();
  EXPECT_THROW(queue.put(7, 0s), mp::Full);
  EXPECT_THROW(queue.put_nowait(7), mp::Full);
  EXPECT_LT(Clock::now() - begin, 100ms);
  begin = Clock::now();
  EXPECT_THROW(queue.put(7, 100ms), mp::Full);
  EXPECT_GE(Clock::now() - begin, 100ms);
  Process child = start(drain_six, queue);
  EXPECT_EQ(mp::test::ended(child), 0);
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.full());
}

void put_two_to_five(Queue<int> queue) {
  for (int i = 2; i <= 5; ++i) queue.put(i);
}

TEST_P(QueueConformance, queue__get_until_empty) {
  Queue<int> queue;
  EXPECT_TRUE(queue.empty());
  Process child = start(put_two_to_five, queue);
  EXPECT_EQ(queue.get(std::nullopt), 2);
  EXPECT_EQ(queue.get(), 3);
  EXPECT_EQ(queue.get(mp::test::patience), 4);
  EXPECT_EQ(mp::test::ended(child), 0);
  EXPECT_EQ(queue.get_nowait(), 5);
  EXPECT_TRUE(queue.empty());
  auto begin = Clock::now();
  EXPECT_THROW(queue.get(0s), mp::Empty);
  EXPECT_THROW(queue.get_nowait(), mp::Empty);
  EXPECT_LT(Clock::now() - begin, 100ms);
  begin = Clock::now();
  EXPECT_THROW(queue.get(100ms), mp::Empty);
  EXPECT_GE(Clock::now() - begin, 100ms);
}

void put_second_ten(Queue<int> queue) {
  for (int i = 10; i < 20; ++i) queue.put(i);
}

TEST_P(QueueConformance, queue__fork_with_running_feeder) {
  Queue<int> queue;
  for (int i = 0; i < 10; ++i) queue.put(i);
  Process child = start(put_second_ten, queue);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(queue.get(mp::test::patience), i);
  EXPECT_THROW(queue.get_nowait(), mp::Empty);
  EXPECT_EQ(mp::test::ended(child), 0);
}

TEST(QueueConformanceOnce, queue__qsize) {
  Queue<int> queue;
  EXPECT_EQ(queue.qsize(), 0U);
  queue.put(1);
  EXPECT_EQ(queue.qsize(), 1U);
  queue.put(5);
  EXPECT_EQ(queue.qsize(), 2U);
  queue.get();
  EXPECT_EQ(queue.qsize(), 1U);
  queue.get();
  EXPECT_EQ(queue.qsize(), 0U);
}

void work(JoinableQueue<std::optional<int>> queue, Queue<int> results) {
  while (const auto item = queue.get()) {
    results.put(*item);
    queue.task_done();
  }
  queue.task_done();
}

TEST_P(QueueConformance, queue__task_done_and_join) {
  JoinableQueue<std::optional<int>> queue;
  Queue<int> results;
  std::vector<Process> workers;
  for (int i = 0; i < 4; ++i) workers.push_back(start(work, queue, results));
  for (int i = 0; i < 10; ++i) queue.put(i);
  EXPECT_TRUE(queue.join(mp::test::patience));
  EXPECT_EQ(results.qsize(), 10U);
  for (int i = 0; i < 4; ++i) queue.put(std::nullopt);
  EXPECT_TRUE(queue.join(mp::test::patience));
  for (Process& worker : workers) EXPECT_EQ(mp::test::ended(worker), 0);
}

// Made before main(), as Python's is made during an import.
Queue<std::string> early = [] {
  Queue<std::string> queue;
  queue.put("put before main");
  return queue;
}();

TEST(QueueConformanceOnce, queue__works_during_import) {
  EXPECT_EQ(early.get(1s), "put before main");
}

TEST(QueueConformanceOnce, queue__get_timeout_waits) {
  Queue<int> queue;
  const auto begin = Clock::now();
  EXPECT_THROW(queue.get(200ms), mp::Empty);
  EXPECT_GE(Clock::now() - begin, 200ms);
}

struct NotPicklable {
  bool refuse = false;
  template <class Archive>
  void serialize(Archive& ar) {
    if (refuse) throw mp::PicklingError("refused");
    ar(refuse);
  }
};

TEST(QueueConformanceOnce, queue__feeder_survives_serialise_error) {
  Queue<NotPicklable> queue(1);
  EXPECT_THROW(queue.put({.refuse = true}), mp::PicklingError);
  queue.put({}, 1s);
  EXPECT_EQ(queue.qsize(), 1U);
  EXPECT_FALSE(queue.get(1s).refuse);
  EXPECT_TRUE(queue.empty());
}

TEST(QueueConformanceOnce, queue__closed_unused_empty_ok) {
  Queue<int> queue;
  queue.close();
  queue.join_thread();
  EXPECT_TRUE(queue.empty());
  JoinableQueue<int> joinable;
  joinable.close();
  joinable.join_thread();
  EXPECT_TRUE(joinable.empty());
}

template <class Call>
bool is_shut_down(Call call) {
  try {
    call();
  } catch (const mp::ShutDown&) {
    return true;
  }
  return false;
}

bool refuses_all(JoinableQueue<int>& queue) {
  return is_shut_down([&] { queue.put(1); }) && is_shut_down([&] { queue.put_nowait(1); }) &&
         is_shut_down([&] { queue.get(); }) && is_shut_down([&] { queue.get_nowait(); });
}

void join_it(JoinableQueue<int> queue) { queue.join(); }
void expect_refusal(JoinableQueue<int> queue) { mp::exit(refuses_all(queue) ? 0 : 1); }

TEST_P(QueueConformance, queue__shutdown_empty) {
  JoinableQueue<int> queue;
  Process joiner = start(join_it, queue);
  queue.shutdown();
  EXPECT_EQ(queue.qsize(), 0U);
  EXPECT_EQ(mp::test::ended(joiner), 0);
  EXPECT_TRUE(refuses_all(queue));
  Process other = start(expect_refusal, queue);
  EXPECT_EQ(mp::test::ended(other), 0);
}

TEST_P(QueueConformance, queue__shutdown_nonempty) {
  JoinableQueue<int> queue;
  queue.put(1);
  queue.shutdown();
  EXPECT_EQ(queue.qsize(), 1U);
  Process joiner = start(join_it, queue);
  EXPECT_THROW(queue.put(2), mp::ShutDown);
  EXPECT_EQ(queue.get(), 1);
  EXPECT_THROW(queue.get(), mp::ShutDown);
  EXPECT_FALSE(queue.join(10ms));
  EXPECT_TRUE(joiner.is_alive());
  queue.task_done();
  EXPECT_EQ(mp::test::ended(joiner), 0);
}

TEST_P(QueueConformance, queue__shutdown_immediate) {
  JoinableQueue<int> queue;
  queue.put(1);
  Process joiner = start(join_it, queue);
  EXPECT_FALSE(queue.join(10ms));
  queue.shutdown(true);
  EXPECT_EQ(queue.qsize(), 0U);
  EXPECT_EQ(mp::test::ended(joiner), 0);
  EXPECT_TRUE(refuses_all(queue));
  EXPECT_THROW(queue.task_done(), mp::ValueError);
}

TEST_P(QueueConformance, queue__shutdown_immediate_unfinished) {
  JoinableQueue<int> queue;
  queue.put(1);
  queue.put(2);
  EXPECT_EQ(queue.get(), 1);
  Process joiner = start(join_it, queue);
  queue.shutdown(true);
  EXPECT_FALSE(queue.join(10ms));
  EXPECT_TRUE(joiner.is_alive());
  queue.task_done();
  EXPECT_EQ(mp::test::ended(joiner), 0);
  EXPECT_THROW(queue.task_done(), mp::ValueError);
}

void get_through(Connection connection) { connection.recv<Queue<int>>().put(7); }

// Python refuses: "should only be shared between processes through inheritance".
TEST_P(QueueConformance, extra__queue_shared_only_by_inheritance) {
  auto [here, there] = mp::Pipe();
  Process child = start(get_through, there);
  Queue<int> queue;
  here.send(queue);
  EXPECT_EQ(queue.get(mp::test::patience), 7);
  EXPECT_EQ(mp::test::ended(child), 0);
}

TEST(QueueConformanceOnce, extra__join_thread_before_close) {
  Queue<int> queue;
  try {
    queue.join_thread();
    ADD_FAILURE() << "it is not closed";
  } catch (const mp::AssertionError& error) {
    EXPECT_STREQ(error.what(), "Queue <Queue size=0> not closed");
  }
}

TEST(QueueConformanceOnce, extra__task_done_too_often) {
  JoinableQueue<int> queue;
  queue.put(1);
  queue.task_done();
  try {
    queue.task_done();
    ADD_FAILURE() << "there is no task";
  } catch (const mp::ValueError& error) {
    EXPECT_STREQ(error.what(), "task_done() called too many times");
  }
}

void get_for_ever(Queue<int> queue, Connection ready) {
  ready.send(true);
  for (;;) queue.get();
}

TEST_P(QueueConformance, survive__queue_reader_killed) {
  Queue<int> queue;
  auto [here, there] = mp::Pipe();
  Process reader = start(get_for_ever, queue, there);
  here.recv<bool>();
  queue.put(0);
  mp::test::crash(reader);
  while (!queue.empty()) queue.get();
  queue.put(1);
  EXPECT_EQ(queue.get(1s), 1);
}

void put_for_ever(Queue<std::string> queue) {
  for (;;) queue.put(std::string(1 << 20, 'w'));
}

TEST_P(QueueConformance, survive__queue_writer_killed) {
  Queue<std::string> queue({.maxsize = 20});
  Process writer = start(put_for_ever, queue);
  const std::string whole(1 << 20, 'w');
  for (int i = 0; i < 50; ++i) EXPECT_EQ(queue.get(mp::test::patience), whole);
  mp::test::crash(writer);
  if (queue.full()) queue.get();
  queue.put("from another", 1s);
  std::string text = queue.get(1s);
  for (; text != "from another"; text = queue.get(1s)) EXPECT_EQ(text, whole);
}

TEST(SimpleQueueConformance, simple_queue__closed_empty_raises) {
  SimpleQueue<int> queue;
  queue.close();
  try {
    (void)queue.empty();
    ADD_FAILURE() << "it is closed";
  } catch (const mp::ValueError& error) {
    EXPECT_STREQ(error.what(), "Queue <SimpleQueue closed> is closed");
  }
}

void report_empty(SimpleQueue<bool> queue) {
  queue.put(queue.empty());
  queue.put(queue.empty());
}

TEST_P(QueueConformance, simple_queue__empty) {
  SimpleQueue<bool> queue;
  Process child = start(report_empty, queue);
  EXPECT_EQ(mp::test::ended(child), 0);
  EXPECT_FALSE(queue.empty());
  EXPECT_TRUE(queue.get());
  EXPECT_FALSE(queue.get());
  EXPECT_TRUE(queue.empty());
}

TEST(SimpleQueueConformance, simple_queue__close_twice) {
  SimpleQueue<int> queue;
  queue.close();
  queue.close();
}

TEST(SimpleQueueConformance, simple_queue__close_closes_ends) {
  SimpleQueue<int> queue;
  queue.put(1);
  queue.close();
  EXPECT_THROW(queue.put(1), mp::ValueError);
  EXPECT_THROW(queue.get(), mp::ValueError);
}

}  // namespace
