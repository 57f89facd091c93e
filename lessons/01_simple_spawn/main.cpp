// What does it take to run a function in a process of its own?
//
// Python:  p = multiprocessing.Process(target=worker); p.start()
// Watch:   main has nothing left to do long before the workers have.
// Run:     ./learn simple_spawn

#include <mp/mp.hpp>

#include <chrono>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

// [farewell]
// Destroyed after everything else: what it says is the program's last word.
// The workers leave without destroying it, so it is said once.
struct Farewell {
  ~Farewell() { mp::println("The program ends."); }
};
const Farewell farewell;
// [/farewell]

// [worker]
// An ordinary function. It is busy for a moment, so that main() is through
// before it is.
void worker() {
  std::this_thread::sleep_for(200ms);
  mp::println("Worker");
}
// [/worker]

int main() {
  // [start]
  // A Process is a plan until start() is called; then there is a child, and
  // start() has returned. Five children run from here on, side by side.
  std::vector<mp::Process> jobs;
  for (int i = 0; i < 5; ++i) {
    mp::Process p(worker);
    p.start();
    jobs.push_back(std::move(p));
  }
  // [/start]

  // [join]
  // A lambda that captures nothing is a function, too. This one gets two
  // arguments, and join() waits until its process has ended.
  auto add = [](int a, int b) {
    std::this_thread::sleep_for(50ms);
    mp::println("{}", a + b);
  };
  mp::Process workerproc(add, 1, 2);
  workerproc.start();
  workerproc.join();
  // [/join]

  // [end]
  // Nobody joins the other five. A Process is a handle: when `jobs` goes, the
  // children stay; and the program does not end before its children have.
  mp::println("main: nothing left to do");
  // [/end]
}
