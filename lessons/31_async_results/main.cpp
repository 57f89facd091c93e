// How do I go on working while a pool works for me?
//
// Python:  result = pool.apply_async(doubler, (25,)); result.get(timeout=10)
// Watch:   get() that is in time, get() that is not, and one that throws.
// Run:     ./learn async_results

#include <fmt/ranges.h>
#include <mp/mp.hpp>

#include <optional>
#include <vector>

using namespace std::chrono_literals;

// [functions]
int doubler(int number) { return number * 2; }
int multiply(int x, int y) { return x * y; }
int square(int x) { return x * x; }

// A gate for one of the tasks. What processes share is given to the workers
// when they start.
std::optional<mp::Event> gate;
void set_gate(const mp::Event& event) { gate = event; }

int behind_the_gate(int number) {
  gate->wait();
  return number;
}

int too_small(int number) {
  throw mp::ValueError(fmt::format("{} is too small", number));
}
// [/functions]

int main() {
  // [pool]
  mp::Event event;
  mp::Pool pool(2, set_gate, event);
  // [/pool]

  // [in_time]
  // apply_async() returns at once; what it returns is a promise of a result.
  // get() waits for it, here for at most ten seconds.
  auto result = pool.apply_async(doubler, 25);
  mp::println("{}", result.get(10s));

  // apply() is the two in one. map_async() is a map() that does not wait.
  mp::println("{}", pool.apply(multiply, 7, 7));
  mp::println("{}", pool.apply_async(multiply, 7, 7).get());
  mp::println("{}", pool.map_async(square, std::vector{0, 1, 2, 3}).get());
  // [/in_time]

  // [too_late]
  // This task cannot be done before the gate is open. Running out of time
  // harms nothing: the task goes on, and one may ask again.
  auto late = pool.apply_async(behind_the_gate, 42);
  try {
    late.get(100ms);
  } catch (const mp::TimeoutError&) {
    mp::println("not there within 0.1 s: TimeoutError");
  }
  mp::println("ready: {}", late.ready() ? "yes" : "no");

  event.set();
  late.wait();
  mp::println("ready: {}", late.ready() ? "yes" : "no");
  mp::println("successful: {}", late.successful() ? "yes" : "no");
  mp::println("{}", late.get());
  // [/too_late]

  // [failed]
  // What the task throws is thrown again by get(), in this process.
  auto failed = pool.apply_async(too_small, 3);
  failed.wait();
  mp::println("successful: {}", failed.successful() ? "yes" : "no");
  try {
    failed.get();
  } catch (const mp::ValueError& e) {
    mp::println("ValueError: {}", e.what());
  }
  // [/failed]
}
