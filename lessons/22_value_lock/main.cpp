// How do two processes change one number and lose nothing?
//
// Python:  lock.acquire(); val.value += 1; lock.release()  or  with lock: ...
// Watch:   the last line, 1, although each gives way a hundred times.
// Run:     ./learn value_lock

#include <mp/mp.hpp>

#include <mutex>
#include <thread>

constexpr int rounds = 10'000;

// [add]
// Reading and writing belong together, so the lock is held over both. Now
// and then yield() lets the other one run at the worst moment: it must wait.
void add(mp::Value<int> val, mp::Lock lock, mp::Barrier start) {
  start.wait();
  for (int i = 0; i < rounds; ++i) {
    lock.acquire();
    int seen = val.value;
    if (i % 100 == 0) std::this_thread::yield();
    val.value = seen + 1;
    lock.release();
  }
  mp::println("Value in add: {}", val.value);
}
// [/add]

// [subtract]
// The other way to write the same.
void subtract(mp::Value<int> val, mp::Lock lock, mp::Barrier start) {
  start.wait();
  for (int i = 0; i < rounds; ++i) {
    std::lock_guard guard(lock);
    int seen = val.value;
    if (i % 100 == 0) std::this_thread::yield();
    val.value = seen - 1;
  }
  mp::println("Value in subtract: {}", val.value);
}
// [/subtract]

int main() {
  // [main]
  mp::Lock lock;
  mp::Value<int> val(1);
  mp::Barrier start(2);  // Neither begins before the other is there.
  mp::Process p1(add, val, lock, start);
  mp::Process p2(subtract, val, lock, start);
  p1.start();
  p2.start();
  p1.join();
  p2.join();

  mp::println("Value is {}", val.value);
  // [/main]
}
