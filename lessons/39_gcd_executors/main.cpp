// What does a pool of processes do, and what does it buy?
//
// Python:  ThreadPoolExecutor, ProcessPoolExecutor, pool.map(gcd, numbers)
// Watch:   three times; ten steps; and who survives a crash.
// Run:     ./learn gcd_executors

#include <fmt/ranges.h>
#include <mp/mp.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ranges>
#include <vector>

#include "ten_steps.hpp"

using Seconds = std::chrono::duration<double>;

// [gcd]
// A slow way to the greatest common divisor: something to compute.
int gcd(const Pair& pair) {
  auto [a, b] = pair;
  for (int i = std::min(a, b); i > 0; --i)
    if (a % i == 0 && b % i == 0) return i;
  return 1;
}
// [/gcd]

const std::vector<Pair> numbers = {{1963309, 2265973},
                                   {2030677, 3814172},
                                   {1551645, 2229620},
                                   {2039045, 2020802}};

void took(const char* who, const auto& run) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<int> results = run();
  const Seconds time = std::chrono::steady_clock::now() - start;
  mp::println("{}: {}", who, results);
  mp::println("Took {:.3f} seconds.", time.count());
}

// [three]
std::vector<int> in_serial() {
  std::vector<int> results;
  for (const Pair& pair : numbers) results.push_back(gcd(pair));
  return results;
}

// The same lines for threads and for processes; one word is different.
template <class Executor>
std::vector<int> with() {
  Executor pool(2);
  std::vector<int> results;
  for (int result : pool.map(gcd, numbers)) results.push_back(result);
  return results;
}
// [/three]

// [crash]
int crash(int) { std::abort(); }

// A thread that does this takes the program along.
void isolation() {
  mp::futures::ProcessPoolExecutor pool(2);
  try {
    pool.submit(crash, 0).result();
  } catch (const mp::futures::BrokenProcessPool&) {
    mp::println("a worker has crashed: BrokenProcessPool; main goes on");
  }
}
// [/crash]

int main() {
  took("serial", in_serial);
  took("threads", with<mp::futures::ThreadPoolExecutor>);
  took("processes", with<mp::futures::ProcessPoolExecutor>);
  ten_steps(numbers[0]);
  isolation();
}
