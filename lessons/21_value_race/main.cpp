// Why do two processes that count up and down not end where they began?
//
// Python:  val = Value('i', 1); val.value += 1, 10000 times; val.value -= 1
// Watch:   as many steps up as down, from 1. The end is not 1, in any run.
// Run:     ./learn value_race

#include <mp/mp.hpp>

// An odd number of rounds. Why it matters is on the lesson's page.
constexpr int rounds = 10'001;

// [add]
// `val.value += 1` is three steps: read, add, write. Between the first and the
// last the other process may read, too; then both write a sum that knows
// nothing of the other's. Left to itself that happens now and then. The
// barrier, at which each waits until both have read, makes it happen always.
void add(mp::Value<int> val, mp::Barrier both_have_read) {
  for (int i = 0; i < rounds; ++i) {
    int seen = val.value;
    both_have_read.wait();
    val.value = seen + 1;
  }
}

void subtract(mp::Value<int> val, mp::Barrier both_have_read) {
  for (int i = 0; i < rounds; ++i) {
    int seen = val.value;
    both_have_read.wait();
    val.value = seen - 1;
  }
}
// [/add]

int main() {
  // [main]
  mp::Value<int> val(1);  // One int, in memory that both processes have.
  mp::Barrier both_have_read(2);
  mp::Process p1(add, val, both_have_read);
  mp::Process p2(subtract, val, both_have_read);
  p1.start();
  p2.start();
  p1.join();
  p2.join();

  mp::println("Value is {}", val.value);
  mp::println("{}",
              val.value == 1 ? "no update was lost" : "updates were lost");
  // [/main]
}
