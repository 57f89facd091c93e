// How is a list of work divided among a few processes?
//
// Python:  with Pool(n, initializer) as pool: pool.map(do_calculation, inputs)
// Watch:   who starts, and whose process id is on which line.
// Run:     ./learn pool_map

#include <fmt/ranges.h>
#include <unistd.h>
#include <mp/mp.hpp>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <numeric>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

// [functions]
int do_calculation(int data) { return data * 2; }

// Called once in each worker, before its first task.
void start_process() {
  mp::println("Starting {}", mp::current_process().name());
}
// [/functions]

// [squares]
// A moment of work, so that one worker alone is not through with all of it
// before the others have begun.
int compute_squares(int num) {
  mp::println("Process {} calculating square of {}", ::getpid(), num);
  std::this_thread::sleep_for(20ms);
  return num * num;
}
// [/squares]

int main() {
  // [builtin]
  std::vector<int> inputs(10);
  std::iota(inputs.begin(), inputs.end(), 0);
  mp::println("Input   : {}", inputs);

  std::vector<int> builtin_outputs;
  std::ranges::transform(inputs, std::back_inserter(builtin_outputs),
                         do_calculation);
  mp::println("Built-in: {}", builtin_outputs);
  // [/builtin]

  // [pool]
  // The workers start here, all of them, and wait for something to do. map()
  // sends them the items and returns when all results are back, each in its
  // item's place.
  int pool_size = mp::cpu_count();
  mp::Pool pool(pool_size, start_process);
  std::vector<int> pool_outputs = pool.map(do_calculation, inputs);

  // No more tasks: the workers may go. Then wait until they have gone.
  pool.close();
  pool.join();
  mp::println("Pool    : {}", pool_outputs);
  // [/pool]

  // [four]
  // Twelve tasks and four workers: whoever is free takes the next one.
  mp::Pool p(4);
  auto result = p.map(compute_squares,
                      std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 1);
  p.close();
  mp::println("Result is: {}", result);
  // [/four]
}
