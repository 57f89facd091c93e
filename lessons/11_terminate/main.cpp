// How is a process ended that does not end by itself?
//
// Python:  p.terminate(); p.join(); p.exitcode
// Watch:   the object's text: initial, started, stopped; and "Finished".
// Run:     ./learn terminate

#include <mp/mp.hpp>

#include <chrono>
#include <thread>

using namespace std::chrono_literals;

// [worker]
void slow_worker() {
  mp::println("Starting worker");
  std::this_thread::sleep_for(20s);
  mp::println("Finished worker");
}
// [/worker]

int main() {
  // [before]
  // A Process is printed as in Python: its name, the pids of its child and of
  // its maker, and how far it has got.
  mp::Process p(slow_worker);
  mp::println("BEFORE: {} {}", p, p.is_alive());

  p.start();
  mp::println("DURING: {} {}", p, p.is_alive());
  // [/before]

  // [terminate]
  // A signal is sent, no more than that. It ends the child where it stands,
  // perhaps before its first line. Whether it is gone when we ask: perhaps.
  p.terminate();
  mp::println("TERMINATED: {} {}", p, p.is_alive());
  // [/terminate]

  // [join]
  // join() makes certain: the child has ended, and we know by what.
  p.join();
  mp::println("JOINED: {} {}", p, p.is_alive());
  mp::println("Process exit code: {}", *p.exitcode());
  // [/join]
}
