// May I wait for a process before I read what it sent?
//
// Python:  p.start(); p.join(); while not q.empty(): print(q.get())
// Watch:   join() comes before the first get(), with 8 MB in the queue, too.
// Run:     ./learn queue_even

#include <mp/mp.hpp>

#include <fmt/ranges.h>

#include <vector>

// [get_even]
// All even numbers below `end`, as one message.
void get_even(int end, mp::Queue<std::vector<int>> q) {
  std::vector<int> even;
  for (int n = 0; n < end; ++n) {
    if (n % 2 == 0) even.push_back(n);
  }
  q.put(even);
}
// [/get_even]

int main() {
  mp::Queue<std::vector<int>> q;

  // [small]
  mp::Process p(get_even, 100, q);
  p.start();
  p.join();

  // The child is gone, its message is not: put() returned when it was in
  // memory that belongs to the queue. So empty() cannot be wrong here.
  while (!q.empty()) mp::println("Queue: {}", q.get());
  // [/small]

  // [large]
  // The same order with a message that no pipe would hold.
  mp::Process large(get_even, 4'000'000, q);
  large.start();
  large.join();
  auto numbers = q.get();
  mp::println("Queue: {} numbers, the last {}", numbers.size(), numbers.back());
  // [/large]
}
