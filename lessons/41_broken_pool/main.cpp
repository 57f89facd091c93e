// What if a worker dies?
//
// Python:  concurrent.futures.process.BrokenProcessPool
// Watch:   every wait ends; the error names who died, and of what.
// Run:     ./learn broken_pool

#include <signal.h>
#include <mp/mp.hpp>

#include <exception>
#include <stdexcept>
#include <vector>

using mp::futures::BrokenProcessPool;
using mp::futures::ProcessPoolExecutor;

// [functions]
int double_or_die(int number) {
  if (number == 3) ::raise(SIGKILL);  // Nobody gets to say a last word.
  return number * 2;
}

void cannot_start() { throw std::runtime_error("no licence found"); }
// [/functions]

// [killed]
// Python's executor is of no more use when a worker has died: the work that
// was under way fails, and later calls fail, too. But they do not hang.
void killed_worker() {
  ProcessPoolExecutor executor(2);
  try {
    executor.submit(double_or_die, 3).result();
  } catch (const mp::WorkerDied& e) {
    mp::println("BrokenProcessPool: {}", e.what());
  }
  try {
    executor.submit(double_or_die, 4);
  } catch (const BrokenProcessPool&) {
    mp::println("submit: BrokenProcessPool");
  }
}
// [/killed]

// [fail]
// It need not be so. With this policy the death is one task's error, the
// worker is replaced, and all others are done. A Pool does it unasked.
void one_task_fails() {
  ProcessPoolExecutor executor(
      {.max_workers = 2, .on_worker_death = mp::on_worker_death::fail});
  std::vector<mp::futures::Future<int>> futures;
  for (int number : {1, 2, 3, 4, 5})
    futures.push_back(executor.submit(double_or_die, number));
  for (auto& future : futures) {
    try {
      mp::println("result: {}", future.result());
    } catch (const mp::WorkerDied& e) {
      mp::println("died: {} of {}", e.death().worker, e.signal());
    }
  }
}
// [/fail]

// [initializer]
// Nor is a worker started again and again that cannot start.
void failing_initializer() {
  ProcessPoolExecutor executor({.max_workers = 2}, cannot_start);
  try {
    executor.submit(double_or_die, 1).result();
  } catch (const BrokenProcessPool& e) {
    mp::println("initializer: {}", e.what());
  }
}
// [/initializer]

// [none]
void no_workers() {
  try {
    ProcessPoolExecutor executor(0);
  } catch (const mp::ValueError& e) {
    mp::println("ValueError: {}", e.what());
  }
}
// [/none]

int main() {
  killed_worker();
  one_task_fails();
  failing_initializer();
  no_workers();
}
