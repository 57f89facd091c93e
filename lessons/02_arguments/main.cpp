// How does a process get something to work on?
//
// Python:  Process(target=calc_square, name="Process 1", args=(numbers,))
// Watch:   which worker is first, and what the two processes are called.
// Run:     ./learn arguments

#include <fmt/ranges.h>
#include <mp/mp.hpp>

#include <cmath>
#include <numeric>
#include <vector>

// [worker]
void worker(int num) { mp::println("Worker: {}", num); }
// [/worker]

// [functions]
// Each process works on a list of its own: it was copied when the Process was
// made, and whatever happens to it there, nobody here will see.
void calc_square(std::vector<int> numbers) {
  for (int& i : numbers) i *= i;
  mp::println("Squares: {}", numbers);
}

void calc_square_root(const std::vector<int>& numbers) {
  std::vector<double> roots;
  for (int i : numbers) roots.push_back(std::round(std::sqrt(i) * 100) / 100);
  mp::println("Square Roots: {::#}", roots);
}
// [/functions]

int main() {
  // [args]
  // What follows the function are its arguments. The five run at once; which
  // one prints first is for the system to decide.
  std::vector<mp::Process> jobs;
  for (int i = 0; i < 5; ++i) {
    jobs.emplace_back(worker, i);
    jobs.back().start();
  }
  for (auto& p : jobs) p.join();
  // [/args]

  // [options]
  // Python's keyword arguments stand first, in braces, by name. Those left
  // out have their defaults: p2 is called after its number.
  std::vector<int> number_set(10);
  std::iota(number_set.begin(), number_set.end(), 1);
  mp::Process p1({.name = "Process 1"}, calc_square, number_set);
  mp::Process p2(calc_square_root, number_set);
  p1.start();
  p2.start();
  // [/options]

  // [joined]
  p1.join();
  p2.join();
  mp::println("{} and {} worked on {} to {}", p1.name(), p2.name(),
              number_set.front(), number_set.back());
  // [/joined]
}
