// How much faster is a pool, and how many workers should it have?
//
// Python:  with Pool(5) as p: p.map(calc_cubes, range(100000))
// Watch:   the speed-up, and where it ends: at the number of processors.
// Run:     ./learn pool_benchmark

#include <mp/mp.hpp>

#include <chrono>
#include <cstdint>
#include <numeric>
#include <vector>

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// [cubes]
// The optimiser drops what nobody can see. An empty line of assembly that
// takes the list's address might look at it, so the list has to be made.
void keep(const std::vector<std::int64_t>& list) {
  asm volatile("" : : "g"(list.data()) : "memory");
}

// The cubes of the numbers up to 1000, and what they add up to.
std::int64_t calc_cubes(int) {
  std::vector<std::int64_t> cubes(1000);
  for (std::int64_t n = 0; n < 1000; ++n) cubes[n] = n * n * n;
  keep(cubes);
  return std::accumulate(cubes.begin(), cubes.end(), std::int64_t{0});
}
// [/cubes]

std::int64_t total(const std::vector<std::int64_t>& sums) {
  return std::accumulate(sums.begin(), sums.end(), std::int64_t{0});
}

int main() {
  const std::vector<int> calls(100'000);

  // [serial]
  mp::println("Starting Serial Processing");
  const auto t2 = Clock::now();
  std::vector<std::int64_t> sums;
  for (int call : calls) sums.push_back(calc_cubes(call));
  const Seconds serial = Clock::now() - t2;
  mp::println("Sequential Processing Time Taken: {:.4f} s", serial.count());
  mp::println("{} calls, sum of all cubes {}", sums.size(), total(sums));
  // [/serial]

  // [parallel]
  // A bar on stderr, drawn as the results come in.
  mp::ProgressBar bar("calc_cubes");
  {
    mp::Pool p({.processes = 5,
                .on_progress = [&bar](const auto& now) { bar.update(now); }});
    const auto t1 = Clock::now();
    const auto result = p.map(calc_cubes, calls);
    const Seconds parallel = Clock::now() - t1;
    mp::println("Parallel Processing Time Taken: {:.4f} s", parallel.count());
    mp::println("{} calls, sum of all cubes {}", result.size(), total(result));
    // The last that the bar is told may come after the result.
    p.close();
    p.join();
  }
  // [/parallel]

  // [workers]
  // A fifth of the calls is enough to compare. Before it counts, a pool has
  // its workers at work for a moment.
  const std::vector<int> fifth(calls.size() / 5);
  mp::println("on {} processors, a fifth of the calls:", mp::cpu_count());
  for (int workers : {1, 2, 3, 4, 5}) {
    mp::Pool p(workers);
    p.map(calc_cubes, std::vector<int>(1000));
    const auto begin = Clock::now();
    p.map(calc_cubes, fifth);
    const Seconds time = Clock::now() - begin;
    mp::println("{} workers: {:.4f} s, speed-up {:.2f}", workers, time.count(),
                serial / 5 / time);
  }
  // [/workers]
}
