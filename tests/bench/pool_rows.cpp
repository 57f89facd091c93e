#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#ifdef MP_BENCH_TBB
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#endif

#include "mp/futures.hpp"
#include "mp/pool.hpp"
#include "partner.hpp"
#include "raw.hpp"
#include "row.hpp"

namespace bench {

namespace {

using Bytes = std::vector<std::byte>;
using mp::futures::ProcessPoolExecutor;

constexpr int workers = 2;
constexpr std::size_t mib = std::size_t{1} << 20;
constexpr std::size_t outstanding = 10'000;

// --- tasks ---

int increment(int number) { return number + 1; }
Bytes same_bytes(const Bytes& bytes) { return bytes; }

// The cubes of 0 to 999, made in memory so that they are really made.
std::int64_t cubes(int /*item*/) {
  std::vector<std::int64_t> all(1000);
  std::iota(all.begin(), all.end(), 0);
  for (auto& number : all) number = number * number * number;
  return std::accumulate(all.begin(), all.end(), std::int64_t{0});
}

bool is_prime(std::int64_t number) {
  if (number < 2 || number % 2 == 0) return number == 2;
  for (std::int64_t divisor = 3; divisor * divisor <= number; divisor += 2) {
    if (number % divisor == 0) return false;
  }
  return true;
}

// Works for so long, whatever the processor's speed.
int work_for(int microseconds) {
  const Stopwatch watch;
  while (watch.ns() < 1000.0 * microseconds) {
  }
  return microseconds;
}

std::vector<int> numbers(std::size_t count) {
  std::vector<int> all(count);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// --- many small tasks ---

Run pool_map(std::optional<int> chunksize) {
  return [chunksize](std::size_t count) -> Timing {
    mp::Pool pool(workers);
    pool.map(increment, numbers(workers));
    const auto items = numbers(count);
    const Stopwatch watch;
    const auto results = pool.map(increment, items, chunksize);
    const Timing timing{watch.ns_per(count)};
    if (results.back() != static_cast<int>(count)) throw std::runtime_error("a wrong result");
    return timing;
  };
}

// Two children that add one to what comes through a pipe; the parent keeps
// both busy.
Timing raw_workers(std::size_t count) {
  constexpr std::size_t window = 500;
  const std::array<FdPair, 2> there{FdPair::pipe(), FdPair::pipe()};
  const std::array<FdPair, 2> back{FdPair::pipe(), FdPair::pipe()};
  const std::size_t rounds = count / (2 * window) + 1;
  const auto serve = [&](std::size_t worker) {
    return [&, worker] {
      for (std::size_t i = 0; i < rounds * window; ++i) {
        int item = 0;
        read_fully(there[worker].read, &item, sizeof item);
        item = increment(item);
        write_fully(back[worker].write, &item, sizeof item);
      }
    };
  };
  Child first(serve(0));
  Child second(serve(1));
  const Stopwatch watch;
  for (std::size_t round = 0; round < rounds; ++round) {
    int item = 0;
    for (std::size_t i = 0; i < window; ++i) {
      for (const FdPair& pipe : there) write_fully(pipe.write, &item, sizeof item);
    }
    for (std::size_t i = 0; i < window; ++i) {
      for (const FdPair& pipe : back) read_fully(pipe.read, &item, sizeof item);
    }
  }
  const Timing timing{watch.ns_per(rounds * window * 2)};
  first.join();
  second.join();
  return timing;
}

Timing serial_map(std::size_t count) {
  const auto items = numbers(count);
  std::vector<int> results(count);
  const Stopwatch watch;
  std::ranges::transform(items, results.begin(), [](int item) {
    asm volatile("" : "+r"(item));
    return increment(item);
  });
  return {watch.ns_per(count)};
}

Timing pool_imap_unordered(std::size_t count) {
  mp::Pool pool(workers);
  pool.map(increment, numbers(workers));
  const auto items = numbers(count);
  std::size_t results = 0;
  const Stopwatch watch;
  for ([[maybe_unused]] const int result : pool.imap_unordered(increment, items)) ++results;
  const Timing timing{watch.ns_per(count)};
  if (results != count) throw std::runtime_error("results are missing");
  return timing;
}

Timing executor_map(std::size_t count) {
  ProcessPoolExecutor executor(workers);
  executor.submit(increment, 1).result();
  const auto items = numbers(count);
  std::size_t results = 0;
  const Stopwatch watch;
  for ([[maybe_unused]] const int result : executor.map(increment, items)) ++results;
  const Timing timing{watch.ns_per(count)};
  if (results != count) throw std::runtime_error("results are missing");
  return timing;
}

// --- one at a time, and many at once ---

Timing pool_apply(std::size_t count) {
  mp::Pool pool(workers);
  pool.apply(increment, 1);
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) pool.apply(increment, 1);
  return {watch.ns_per(count)};
}

Timing executor_submit(std::size_t count) {
  ProcessPoolExecutor executor(workers);
  executor.submit(increment, 1).result();
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) executor.submit(increment, 1).result();
  return {watch.ns_per(count)};
}

Timing executor_submit_10k(std::size_t count) {
  ProcessPoolExecutor executor(workers);
  executor.submit(increment, 1).result();
  const std::size_t rounds = count / outstanding + 1;
  std::vector<mp::futures::Future<int>> futures;
  futures.reserve(outstanding);
  const Stopwatch watch;
  for (std::size_t round = 0; round < rounds; ++round) {
    futures.clear();
    for (std::size_t i = 0; i < outstanding; ++i) futures.push_back(executor.submit(increment, 1));
    for (auto& future : futures) future.result();
  }
  return {watch.ns_per(rounds * outstanding)};
}

// --- large ones ---

// One item, again and again.
struct Repeated {
  struct Iterator {
    using value_type = Bytes;
    using difference_type = std::ptrdiff_t;
    const Bytes* item;
    std::size_t left;
    const Bytes& operator*() const { return *item; }
    Iterator& operator++() {
      --left;
      return *this;
    }
    void operator++(int) { --left; }
    bool operator==(std::default_sentinel_t) const { return left == 0; }
  };
  const Bytes& item;
  std::size_t count;
  Iterator begin() const { return {&item, count}; }
  std::default_sentinel_t end() const { return {}; }
};

Timing pool_bytes(std::size_t count) {
  mp::Pool pool(workers);
  pool.map(increment, numbers(workers));
  const Bytes item(mib);
  std::size_t results = 0;
  const Stopwatch watch;
  for (const Bytes& result : pool.imap_unordered(same_bytes, Repeated{item, count})) {
    results += result.size();
  }
  const Timing timing{watch.ns_per(count)};
  if (results != count * mib) throw std::runtime_error("results are missing");
  return timing;
}

Timing pipe_bytes(std::size_t count) {
  const FdPair there = FdPair::sockets();
  const FdPair back = FdPair::sockets();
  return time_pair(
      count,
      [&] {
        Bytes item(mib);
        for (std::size_t i = 0; i < count; ++i) {
          read_fully(there.read, item.data(), mib);
          write_fully(back.write, item.data(), mib);
        }
      },
      [&] {
        Bytes item(mib);
        for (std::size_t i = 0; i < count; ++i) {
          write_fully(there.write, item.data(), mib);
          read_fully(back.read, item.data(), mib);
        }
      });
}

// --- work ---

const std::vector<std::int64_t>& candidates() {
  static const std::vector<std::int64_t> all{112272535095293, 112582705942171, 112272535095293,
                                             115280095190773, 115797848077099, 1099726899285419};
  return all;
}

// Runs body(i) for i below `count`, by threads that take the next in turn.
void run_by_threads(std::size_t count, std::size_t chunk,
                    const std::function<void(std::size_t)>& body) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t from = next.fetch_add(chunk); from < count; from = next.fetch_add(chunk)) {
      for (std::size_t i = from; i < std::min(from + chunk, count); ++i) body(i);
    }
  };
  std::thread other(work);
  work();
  other.join();
}

#ifdef MP_BENCH_TBB
void run_by_tbb(std::size_t count, const std::function<void(std::size_t)>& body) {
  using oneapi::tbb::global_control;
  const global_control limit(global_control::max_allowed_parallelism, workers);
  oneapi::tbb::parallel_for(std::size_t{0}, count, body);
}
#endif

enum class By { pool, threads, tbb, nobody_else };

// `task` of each item, in one of four ways; the results are summed, so that
// none can be left out.
template <class Task, class Item>
Timing time_work(By by, Task task, const std::vector<Item>& items, std::size_t chunk) {
  const std::size_t count = items.size();
  std::vector<std::int64_t> results(count);
  const auto body = [&](std::size_t i) { results[i] = task(items[i]); };
  std::optional<mp::Pool> pool;
  if (by == By::pool) {
    pool.emplace(workers);
    pool->map(increment, numbers(workers));
  }
  const Stopwatch watch;
  switch (by) {
    case By::pool:
      std::ranges::copy(pool->map(task, items), results.begin());
      break;
    case By::threads:
      run_by_threads(count, chunk, body);
      break;
    case By::tbb:
#ifdef MP_BENCH_TBB
      run_by_tbb(count, body);
#endif
      break;
    case By::nobody_else:
      for (std::size_t i = 0; i < count; ++i) body(i);
      break;
  }
  const Timing timing{watch.ns_per(count)};
  if (std::ranges::count(results, 0) > 1) throw std::runtime_error("results are missing");
  return timing;
}

Run time_cubes(By by) {
  return [by](std::size_t count) { return time_work(by, cubes, numbers(count), 100); };
}

Run time_primes(By by) {
  return [by](std::size_t /*count*/) { return time_work(by, is_prime, candidates(), 1); };
}

std::vector<Contender> by_all(Run (*run)(By), const char* python) {
  std::vector<Contender> contenders{{"libmp", "Pool(2), map", run(By::pool)},
                                    {"floor", "two std::threads", run(By::threads)},
                                    cpython(python)};
#ifdef MP_BENCH_TBB
  contenders.push_back({"onetbb", "oneTBB's parallel_for", run(By::tbb)});
#endif
  contenders.push_back({"serial", "a loop", run(By::nobody_else)});
  return contenders;
}

// --- a pool's life, and its tail ---

Timing pool_start(std::size_t count) {
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) mp::Pool pool(workers);
  return {watch.ns_per(count)};
}

Timing two_forks(std::size_t count) {
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) {
    Child first([] {});
    Child second([] {});
    first.join();
    second.join();
  }
  return {watch.ns_per(count)};
}

constexpr int short_task = 100;  // Microseconds.
constexpr int long_task = 10'000;

// Short tasks with a few long ones among them, the last of them late.
std::vector<int> uneven_tasks() {
  std::vector<int> tasks(1000, short_task);
  for (const std::size_t at : {200, 450, 700, 950}) tasks[at] = long_task;
  return tasks;
}

Timing pool_tail(std::size_t count) {
  mp::Pool pool(workers);
  pool.map(increment, numbers(workers));
  const auto tasks = uneven_tasks();
  const Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) pool.map(work_for, tasks);
  return {watch.ns_per(count)};
}

// Half of the work for each of two: it can be split so, and no better.
Timing best_schedule(std::size_t count) {
  const auto tasks = uneven_tasks();
  const int half = std::accumulate(tasks.begin(), tasks.end(), 0) / workers;
  const Body body = [&] {
    for (std::size_t i = 0; i < count; ++i) work_for(half);
  };
  const Shared<StartingLine> line;
  Child other([&] {
    line->meet(2);
    body();
  });
  line->meet(2);
  const Stopwatch watch;
  body();
  other.join();
  return {watch.ns_per(count)};
}

}  // namespace

std::vector<Row> pool_rows() {
  const auto workers_by_pipe = "two children, a pipe to each and one back";
  const auto round_trip = "an int through one pipe and back through another";
  return {
      {.name = "pool.map",
       .operation = "a trivial item of 10⁶, default chunks",
       .contenders = {{"libmp", "Pool(2), map", pool_map({})},
                      {"floor", "a loop", serial_map},
                      cpython("Pool(2), map"),
                      {"libmp_chunk1", "Pool(2), map, chunksize 1", pool_map(1)}},
       .reaches = {at_least(5, "cpython"), at_most(1, "libmp_chunk1")},
       .count = FixedCount{.full = 1'000'000, .quick = 100'000}},
      {.name = "pool.map_chunk1",
       .operation = "a trivial item, chunksize 1",
       .contenders = {{"libmp", "Pool(2), map", pool_map(1)},
                      {"floor", workers_by_pipe, raw_workers},
                      cpython("Pool(2), map")},
       .reaches = {at_least(20, "cpython")}},
      {.name = "pool.apply",
       .operation = "a trivial task, one at a time",
       .contenders = {{"libmp", "Pool(2), apply", pool_apply},
                      {"floor", round_trip, pipe_ping_pong},
                      cpython("Pool(2), apply"),
                      {"queue_roundtrip", "libmp's queue.roundtrip", libmp_queue_roundtrip}},
       .reaches = {at_least(5, "cpython"), at_most(1.5, "queue_roundtrip")},
       .shows_cpu = true},
      {.name = "pool.imap_unordered",
       .operation = "a trivial item, chunksize 1",
       .contenders = {{"libmp", "Pool(2), imap_unordered", pool_imap_unordered},
                      {"floor", workers_by_pipe, raw_workers},
                      cpython("Pool(2), imap_unordered")},
       .reaches = {at_least(20, "cpython")}},
      {.name = "pool.bytes",
       .operation = "1 MiB in and out",
       .contenders = {{"libmp", "Pool(2), imap_unordered", pool_bytes},
                      {"floor", "sockets to one child and back, in turns", pipe_bytes},
                      cpython("Pool(2), imap_unordered")},
       .reaches = {at_least(5, "cpython")}},
      {.name = "pool.cpu",
       .operation = "a task of lesson 37: the cubes of 0 to 999",
       .contenders = by_all(time_cubes, "Pool(2), map"),
       .reaches = {at_most(1 / 0.97, "floor")},
       .count = FixedCount{.full = 200'000, .quick = 50'000}},
      {.name = "pool.cpu_primes",
       .operation = "a task of lesson 40: is it a prime?",
       .contenders = by_all(time_primes, "Pool(2), map"),
       .reaches = {at_most(1 / 0.97, "floor")},
       .count = FixedCount{.full = 6, .quick = 6}},
      {.name = "pool.start",
       .operation = "a pool of two made and ended",
       .contenders = {{"libmp", "Pool(2), its end", pool_start},
                      {"floor", "two forks, _exit, waitpid", two_forks},
                      cpython("Pool(2), its with-block's end")},
       .reaches = {at_least(5, "cpython")}},
      {.name = "pool.tail",
       .operation = "1000 tasks of 0.1 ms and of 10 ms, four of them",
       .contenders = {{"libmp", "Pool(2), map", pool_tail},
                      {"floor", "half of the work for each of two processes", best_schedule},
                      cpython("Pool(2), map")},
       .reaches = {at_most(1.1, "floor")},
       .count = FixedCount{.full = 1, .quick = 1}},
      {.name = "executor.submit",
       .operation = "a trivial task, one at a time",
       .contenders = {{"libmp", "ProcessPoolExecutor(2), submit and result", executor_submit},
                      {"floor", round_trip, pipe_ping_pong},
                      cpython("ProcessPoolExecutor(2), submit and result")},
       .reaches = {at_least(5, "cpython")},
       .shows_cpu = true},
      {.name = "executor.submit_10k",
       .operation = "a trivial task, 10⁴ outstanding",
       .contenders = {{"libmp", "ProcessPoolExecutor(2), submit", executor_submit_10k},
                      {"floor", workers_by_pipe, raw_workers},
                      cpython("ProcessPoolExecutor(2), submit")},
       .reaches = {at_least(50, "cpython")},
       .count = FixedCount{.full = 100'000, .quick = 9'999}},
      {.name = "executor.map",
       .operation = "a trivial item, default chunks",
       .contenders = {{"libmp", "ProcessPoolExecutor(2), map", executor_map},
                      {"floor", "a loop", serial_map},
                      cpython("ProcessPoolExecutor(2), map")},
       .reaches = {at_least(50, "cpython")}},
  };
}

}  // namespace bench
