// When does each result arrive, and in which order?
//
// Python:  pool.map, pool.map_async, pool.imap, pool.imap_unordered
// Watch:   result 0, the slow one: who waits for it, and who does not.
// Run:     ./learn imap

#include <mp/mp.hpp>

#include <chrono>
#include <cstddef>
#include <iterator>
#include <thread>

#include "arrivals.hpp"

using namespace std::chrono_literals;

// [work]
// Two workers: while one is at task 0, the other does all the rest.
int work(int task) {
  std::this_thread::sleep_for(task == 0 ? 300ms : 30ms);
  return task;
}

int first_never_ends(int task) {
  if (task == 0) std::this_thread::sleep_for(1h);
  return task;
}
// [/work]

// [numbers]
// 0, 1, 2 and so on without an end, and how many of them were read.
struct Numbers {
  struct iterator {
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    Numbers* all = nullptr;
    int operator*() const { return all->read++; }
    iterator& operator++() { return *this; }
    void operator++(int) {}
  };
  iterator begin() { return {this}; }
  std::unreachable_sentinel_t end() const { return {}; }
  int read = 0;
};
// [/numbers]

int main() {
  mp::Pool pool(2);
  const auto tasks = {0, 1, 2, 3, 4, 5, 6, 7};

  // [lists]
  // The whole list at once, when the last result is there. map_async() lets
  // main do something else meanwhile, but get() gives the same list.
  Arrivals map{"map"};
  for (int result : pool.map(work, tasks, 1)) map.note(result);

  Arrivals map_async{"map_async"};
  auto promised = pool.map_async(work, tasks, 1);
  mp::println("map_async: main goes on");
  for (int result : promised.get()) map_async.note(result);
  // [/lists]

  // [one_by_one]
  // One by one. In order: 1 to 7 are done and wait for 0. Or as they come.
  Arrivals imap{"imap"};
  for (int result : pool.imap(work, tasks)) imap.note(result);

  Arrivals unordered{"imap_unordered"};
  for (int result : pool.imap_unordered(work, tasks)) unordered.note(result);
  // [/one_by_one]
  draw({map, map_async, imap, unordered});

  // [endless]
  // Input without an end. It is read as results are taken, here never more
  // than 8 items ahead. Five results will do.
  Numbers numbers;
  int taken = 0;
  for (int result :
       pool.imap_unordered({.buffersize = 8}, first_never_ends, numbers)) {
    mp::println("endless: result {}", result);
    if (++taken == 5) break;
  }
  mp::println("endless: {} items read for {} results", numbers.read, taken);
  pool.terminate();  // One worker is still at task 0.
  // [/endless]
}
