// Is it worth the trouble, for work that only computes?
//
// Python:  pool.imap_unordered(_do_work, tasks, chunksize=chunksize)
// Watch:   the two averages, of three samples each.
// Run:     ./learn cpu_bound

#include <mp/mp.hpp>

#include <chrono>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr int sample_size = 3;
constexpr int workers = 10;
constexpr int task_count = 12;
constexpr int chunksize = 4;
constexpr std::uint32_t rounds = 2'000'000;

// [work]
// Burns some CPU. The empty line of assembly might read the product, as far
// as the optimiser knows: without it, the loop would be gone.
int do_work(int) {
  // Not rand(): forked workers would all go on from the same state.
  std::random_device random;
  const int cycles = std::uniform_int_distribution(1, 100)(random);
  for (std::uint32_t i = 0; i < rounds; ++i) {
    std::uint32_t product = i * i * static_cast<std::uint32_t>(cycles);
    asm volatile("" : : "r"(product));
  }
  return cycles;
}
// [/work]

// [samples]
// Three times, as one time is no time; the average.
double average_of(const auto& run) {
  std::vector<double> samples;
  for (int sample = 0; sample < sample_size; ++sample) {
    const auto t0 = Clock::now();
    run();
    const Seconds elapsed = Clock::now() - t0;
    mp::println("Elapsed: {:.4f} s", elapsed.count());
    samples.push_back(elapsed.count());
  }
  return std::accumulate(samples.begin(), samples.end(), 0.0) / sample_size;
}
// [/samples]

int main() {
  // [single]
  mp::println("Starting single process test");
  const double single = average_of([] {
    for (int task = 0; task < task_count; ++task)
      mp::println("Cycles: {}", do_work(task));
  });
  mp::println(
      "Average processing time for single process for {} samples of {} tasks: "
      "{:.4f} s",
      sample_size, task_count, single);
  // [/single]

  // [multi]
  mp::println("Starting multiprocessing test");
  const double multi = average_of([] {
    mp::Pool pool(workers);
    std::vector<int> tasks(task_count);
    std::iota(tasks.begin(), tasks.end(), 0);
    for (int cycles : pool.imap_unordered(do_work, tasks, chunksize))
      mp::println("Cycles: {}", cycles);
  });
  mp::println(
      "Average processing time for {} samples with {} workers for {} tasks: "
      "{:.4f} s",
      sample_size, workers, task_count, multi);
  mp::println("Speed-up: {:.2f} on {} processors", single / multi,
              mp::cpu_count());
  // [/multi]
}
