// What does it cost to hand a task to another process?
//
// Python:  pool.map(add2, number_list, chunksize=10)
// Watch:   the time per item as the chunks grow; then, as the work grows,
//          where a pool begins to win over a loop.
// Run:     ./learn chunksize

#include <mp/mp.hpp>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "figure.hpp"

// [functions]
int add2(int i) { return i + 2; }

// Work that can be made as much as one likes.
unsigned stir(unsigned rounds) {
  unsigned x = rounds;
  for (unsigned i = 0; i < rounds; ++i) x = x * 1664525 + 1013904223;
  return x;
}
// [/functions]

// [measure]
// The best of five, as everything else on the machine only adds to it.
double us_per_item(const auto& items, const auto& run) {
  double best = 1e9;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double, std::micro> passed =
        std::chrono::steady_clock::now() - begin;
    best = std::min(best, passed.count() / static_cast<double>(items.size()));
  }
  return best;
}
// [/measure]

int main() {
  mp::Pool pool(2);

  // [chunks]
  // The same 50,000 sums: in a loop, then by the pool, in chunks of so many.
  std::vector<int> numbers(50'000);
  std::iota(numbers.begin(), numbers.end(), 0);
  std::vector<int> sums(numbers.size());
  const double loop = us_per_item(
      numbers, [&] { std::ranges::transform(numbers, sums.begin(), add2); });
  mp::println("loop: {:.4f} µs per item", loop);

  std::vector<std::pair<int, double>> points;
  bool same = true;
  for (int chunk : {1, 10, 100, 1000}) {
    const double us = us_per_item(
        numbers, [&] { same &= pool.map(add2, numbers, chunk) == sums; });
    points.emplace_back(chunk, us);
    mp::println("chunksize {}: {:.4f} µs per item", chunk, us);
  }
  // And when nobody says how many.
  const double automatic =
      us_per_item(numbers, [&] { same &= pool.map(add2, numbers) == sums; });
  mp::println("chunksize not given: {:.4f} µs per item", automatic);
  draw(points, loop);
  // [/chunks]

  // [work]
  // Now more and more work per item: what the messages cost weighs less.
  std::optional<unsigned> wins;
  for (unsigned rounds : {10U, 100U, 1000U, 10'000U, 100'000U}) {
    const std::vector<unsigned> items(200, rounds);
    std::vector<unsigned> results(items.size());
    const double alone = us_per_item(
        items, [&] { std::ranges::transform(items, results.begin(), stir); });
    const double pooled =
        us_per_item(items, [&] { same &= pool.map(stir, items) == results; });
    if (!wins && pooled < alone) wins = rounds;
    mp::println("{} rounds per item: loop {:.3f} µs, pool {:.3f} µs", rounds,
                alone, pooled);
  }
  mp::println("the pool wins {}",
              wins ? fmt::format("from {} rounds on", *wins) : "nowhere here");
  mp::println("the same results each time: {}", same ? "yes" : "no");
  // [/work]
}
