// What keeps two processes from writing into one another's lines?
//
// Python:  with lock: ...  and  lock.acquire() ... lock.release()
// Watch:   the same two writers, without a lock and with one.
// Run:     ./learn locks

#include <mp/mp.hpp>

#include <iostream>
#include <mutex>

using namespace std::chrono_literals;
using std::cout;

// [write]
// A line in two pieces. Between them the writer gives the other one time to
// come just as far: what happens rarely, and to others, happens now.
void write_in_two(const char* end, mp::Barrier halfway) {
  cout << "Lock acquired " << std::flush;
  try {
    halfway.wait();
  } catch (const mp::BrokenBarrierError&) {
    // The other one did not come: it is kept out.
  }
  cout << end << std::endl;
}
// [/write]

// [nolock]
void unlocked_with(mp::Barrier halfway) { write_in_two("via with", halfway); }

void unlocked_no_with(mp::Barrier halfway) {
  write_in_two("directly", halfway);
}
// [/nolock]

// [lock]
// Python's `with lock:`. Whatever ends the scope releases the lock.
void worker_with(mp::Lock lock, mp::Barrier halfway) {
  std::lock_guard guard(lock);
  write_in_two("via with", halfway);
}

// The same by hand; nothing between the two lines may throw.
void worker_no_with(mp::Lock lock, mp::Barrier halfway) {
  lock.acquire();
  write_in_two("directly", halfway);
  lock.release();
}
// [/lock]

int main() {
  {
    // [without]
    // No time-out: each waits until the other is in the middle, too.
    mp::println("without a lock:");
    mp::Barrier halfway(2);
    mp::Process w(unlocked_with, halfway);
    mp::Process nw(unlocked_no_with, halfway);
    w.start();
    nw.start();
    w.join();
    nw.join();
    // [/without]
  }
  {
    // [with]
    // The first in would wait for ever for the one it locks out, so it gives
    // up after 0.1 s. Its line is whole, and so is the next.
    mp::println("with a lock:");
    mp::Lock lock;
    mp::Barrier halfway(2, 100ms);
    mp::Process w(worker_with, lock, halfway);
    mp::Process nw(worker_no_with, lock, halfway);
    w.start();
    nw.start();
    w.join();
    nw.join();
    // [/with]
  }
}
