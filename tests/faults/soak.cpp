// Runs every kind of object with processes that are killed at random moments, for as long as asked.
// Every round says what must be true of it in the end; a wait that outlives the patience is a hang,
// and what a round leaves over is a leak. The first such finding ends the program with 1.

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <mp/detail/forkserver.hpp>
#include <mp/detail/heap.hpp>

#include "leftovers.hpp"
#include "soak.hpp"

namespace soak {
namespace {

std::mt19937 dice;

}  // namespace

long kills = 0;

int random_number(int least, int most) {
  return std::uniform_int_distribution<int>(least, most)(dice);
}

void some_time() { std::this_thread::sleep_for(std::chrono::microseconds(random_number(0, 3000))); }

void require(bool truth, const std::string& what) {
  if (!truth) throw std::runtime_error(what);
}

void kill(mp::Process& process) {
  ++kills;
  process.kill();
  process.join(patience);
  require(!process.is_alive(), "a killed process does not end");
}

void expect_end(mp::Process& process, const char* who) {
  process.join(patience);
  require(process.exitcode().has_value(), fmt::format("{} hangs", who));
  require(process.exitcode() == 0, fmt::format("{} ended with {}", who, *process.exitcode()));
}

namespace {

// ---- queues and pipes

constexpr int items = 300;

struct Item {
  int producer = 0;
  int number = 0;
  std::string load = {};
};

template <class Queue>
void produce(Queue queue, int producer) {
  for (int i = 0; i < items; ++i) {
    queue.put({producer, i, std::string(static_cast<std::size_t>(i % 7 * 100), 'x')});
  }
}

template <class Queue>
void wait_at(Queue queue, mp::Connection ready) {
  ready.send(0);
  queue.get();
}

// A killed producer has put its first items, without a gap; the other one all of them.
template <class Queue>
void queue_round(Queue queue) {
  constexpr bool joinable = requires { queue.task_done(); };
  auto [here, there] = mp::Pipe();
  auto waiting = start(wait_at<Queue>, queue, there);
  require(here.poll(patience), "a consumer does not begin");
  some_time();
  kill(waiting);
  auto survivor = start(produce<Queue>, queue, 0);
  auto victim = start(produce<Queue>, queue, 1);
  some_time();
  kill(victim);
  std::map<int, int> next;
  const auto take = [&](const Item& item) {
    require(item.number == next[item.producer]++, "an item is lost, doubled or out of order");
    require(item.load.size() == static_cast<std::size_t>(item.number % 7 * 100), "a torn item");
    if constexpr (joinable) queue.task_done();
  };
  while (next[0] < items) take(queue.get(patience));
  expect_end(survivor, "a producer");
  while (!queue.empty()) take(queue.get(patience));
  if constexpr (joinable) require(queue.join(patience), "a task is never done");
}

void bounded_queue_round() { queue_round(mp::Queue<Item>(5)); }
void simple_queue_round() { queue_round(mp::SimpleQueue<Item>()); }
void joinable_queue_round() { queue_round(mp::JoinableQueue<Item>()); }

void send_numbers(mp::Connection out) {
  for (int i = 0; i < items; ++i) {
    out.send(std::vector<int>(static_cast<std::size_t>(i * 10), i));
  }
}

void pipe_round() {
  auto [in, out] = mp::Pipe(false);
  auto sender = start(send_numbers, out);
  out.close();
  const int last = random_number(0, items - 1);
  try {
    for (int i = 0; i < items; ++i) {
      require(in.poll(patience), "a pipe hangs");
      const auto message = in.recv<std::vector<int>>();
      require(message == std::vector<int>(static_cast<std::size_t>(i * 10), i), "a torn message");
      if (i == last) kill(sender);
    }
  } catch (const mp::EOFError&) {
    return;
  }
  require(last == items - 1 || !sender.is_alive(), "the sender is still there");
}

// ---- locks

template <class Lock>
void lock_round() {
  change_round(Lock(), mp::RawArray<int>(2), 500);
}

void array_round() {
  const mp::Array<int> both(2);
  change_round(both, both, 500);
}

template <class Semaphore>
void use_units(Semaphore units, int times) {
  for (int i = 0; i < times; ++i) {
    try {
      require(units.acquire(patience), "a semaphore hangs");
    } catch (const mp::OwnerDied&) {
    }
    units.release();
  }
}

template <class Semaphore>
void semaphore_round() {
  Semaphore units(2);
  auto victim = start(use_units<Semaphore>, units, 1'000'000'000);
  auto survivor = start(use_units<Semaphore>, units, 300);
  some_time();
  kill(victim);
  expect_end(survivor, "a user of a semaphore");
  for (int i = 0; i < 2; ++i) {
    try {
      require(units.acquire(patience), "a unit of a semaphore is lost");
    } catch (const mp::OwnerDied&) {
    }
  }
  require(units.get_value() == 0, "a semaphore has a unit too many");
}

void add(mp::Value<long> value, int times) {
  for (int i = 0; i < times;) {
    try {
      value.fetch_add(1);
      ++i;
    } catch (const mp::OwnerDied&) {
    }
  }
}

void value_round() {
  const mp::Value<long> value(0);
  auto victim = start(add, value, 1000);
  auto survivor = start(add, value, 1000);
  some_time();
  kill(victim);
  expect_end(survivor, "a user of a value");
  add(value, 1);
  require(value.value >= 1001 && value.value <= 2001, "an addition is lost");
}

// ---- signals

void sleep_at_event(mp::Event event) { require(event.wait(patience), "an event hangs"); }

void event_round() {
  mp::Event event;
  auto victim = start(sleep_at_event, event);
  auto survivor = start(sleep_at_event, event);
  some_time();
  kill(victim);
  event.set();
  expect_end(survivor, "a sleeper at an event");
}

void sleep_at_condition(mp::Condition condition, mp::RawValue<int> open) {
  try {
    condition.acquire();
  } catch (const mp::OwnerDied&) {
  }
  const auto is_open = [&] { return open.value == 1; };
  for (;;) {
    try {
      require(condition.wait_for(is_open, patience), "a condition hangs");
      break;
    } catch (const mp::OwnerDied&) {
    }
  }
  condition.release();
}

void condition_round() {
  mp::Condition condition;
  mp::RawValue<int> open(0);
  auto victim = start(sleep_at_condition, condition, open);
  auto survivor = start(sleep_at_condition, condition, open);
  some_time();
  kill(victim);
  try {
    condition.acquire();
  } catch (const mp::OwnerDied&) {
  }
  open.value = 1;
  condition.notify_all();
  condition.release();
  expect_end(survivor, "a sleeper at a condition");
}

void meet(mp::Barrier barrier, mp::Connection report) {
  try {
    barrier.wait();
    report.send(0);
    for (;;) barrier.wait();
  } catch (const mp::BrokenBarrierError&) {
  }
}

// Who has passed once is a party, and missed when it dies.
void barrier_round() {
  const mp::Barrier barrier(2);
  auto [here, there] = mp::Pipe();
  auto victim = start(meet, barrier, there);
  auto survivor = start(meet, barrier, there);
  for (int i = 0; i < 2; ++i) {
    require(here.poll(patience), "a barrier hangs");
    here.recv<int>();
  }
  some_time();
  kill(victim);
  expect_end(survivor, "a party of a barrier");
}

// ---- pools

int square(int x) { return x * x; }

void kill_one(const std::vector<int>& pids) {
  if (pids.empty()) return;
  ++kills;
  ::kill(pids[static_cast<std::size_t>(random_number(0, static_cast<int>(pids.size()) - 1))],
         SIGKILL);
}

void pool_round() {
  mp::Pool pool(2);
  std::vector<mp::AsyncResult<int>> results;
  for (int i = 0; i < items; ++i) results.push_back(pool.apply_async(square, i));
  some_time();
  kill_one(pool.pids());
  int lost = 0;
  for (int i = 0; i < items; ++i) {
    try {
      require(results[static_cast<std::size_t>(i)].get(patience) == i * i, "a wrong result");
    } catch (const mp::WorkerDied&) {
      ++lost;
    }
  }
  require(lost <= 1, fmt::format("one death cost {} tasks", lost));
}

void executor_round() {
  mp::futures::ProcessPoolExecutor executor(
      {.max_workers = 2, .on_worker_death = mp::on_worker_death::retry(3)});
  std::vector<mp::futures::Future<int>> futures;
  for (int i = 0; i < items; ++i) futures.push_back(executor.submit(square, i));
  some_time();
  kill_one(executor.pids());
  for (int i = 0; i < items; ++i) {
    require(futures[static_cast<std::size_t>(i)].result(patience) == i * i, "a wrong result");
  }
}

// ---- the program

struct Kind {
  const char* name;
  void (*round)();
  long rounds = 0;
};

const char* volatile at_work = "";

// All waits end by themselves; this is for one that does not.
void on_alarm(int) {
  constexpr char text[] = "soak: a round does not end: ";
  (void)!::write(STDERR_FILENO, text, sizeof text - 1);
  std::size_t size = 0;
  while (at_work[size] != '\0') ++size;
  (void)!::write(STDERR_FILENO, at_work, size);
  (void)!::write(STDERR_FILENO, "\n", 1);
  ::_exit(3);
}

void tidy() {
  mp::detail::end_forkserver();
  mp::detail::heap_trim();
}

void check_leftovers(const mp::test::Belongings& before) {
  tidy();
  std::string all;
  for (const auto& sentence : mp::test::leftovers(before)) all += sentence + "; ";
  require(all.empty(), all);
}

void run(Kind& kind) {
  at_work = kind.name;
  ::alarm(300);
  kind.round();
  ++kind.rounds;
}

void run_all(std::vector<Kind>& kinds, std::chrono::seconds time) {
  // What a process keeps for life is there before anything is counted.
  for (auto& kind : kinds) run(kind);
  tidy();
  const auto before = mp::test::Belongings::now();
  const auto end = std::chrono::steady_clock::now() + time;
  do {
    for (auto& kind : kinds) run(kind);
    at_work = "leftovers";
    check_leftovers(before);
  } while (std::chrono::steady_clock::now() < end);
  ::alarm(0);
}

}  // namespace
}  // namespace soak

int main(int argc, char** argv) {
  using namespace soak;
  mp::freeze_support();
  int seconds = 600;
  unsigned seed = std::random_device()();
  CLI::App app("Runs every kind of object under random kills");
  app.add_option("--seconds", seconds, "for how long")->capture_default_str();
  app.add_option("--seed", seed, "of the random numbers");
  CLI11_PARSE(app, argc, argv);
  ::signal(SIGALRM, on_alarm);
  dice.seed(seed);
  fmt::print("seed {}\n", seed);
  std::fflush(stdout);

  std::vector<Kind> kinds = {
      {"bounded queue", bounded_queue_round},
      {"simple queue", simple_queue_round},
      {"joinable queue", joinable_queue_round},
      {"pipe", pipe_round},
      {"lock", lock_round<mp::Lock>},
      {"recursive lock", lock_round<mp::RLock>},
      {"semaphore", semaphore_round<mp::Semaphore>},
      {"bounded semaphore", semaphore_round<mp::BoundedSemaphore>},
      {"value", value_round},
      {"array", array_round},
      {"event", event_round},
      {"condition", condition_round},
      {"barrier", barrier_round},
      {"pool", pool_round},
      {"executor", executor_round},
      {"shared memory", memory_round},
      {"shareable list", list_round},
      {"listener", listener_round},
      {"manager", manager_round},
      {"manager's lock", manager_lock_round},
      {"manager's queue", manager_queue_round},
  };
  int result = 0;
  try {
    run_all(kinds, std::chrono::seconds(seconds));
  } catch (const std::exception& error) {
    fmt::print(stderr, "soak: {}: {}\n", static_cast<const char*>(at_work), error.what());
    result = 1;
  }
  for (const auto& kind : kinds) fmt::print("{:18} {:8} rounds\n", kind.name, kind.rounds);
  fmt::print("{} kills: {}\n", kills,
             result == 0 ? "nothing hangs, is lost or left over" : "FAILED");
  return result;
}
