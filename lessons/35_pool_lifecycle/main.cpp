// How does a worker's life begin, and in which ways can it end?
//
// Python:  Pool(n, initializer, initargs, maxtasksperchild), close, join
// Watch:   the process ids of six tasks; and which task is never heard of.
// Run:     ./learn pool_lifecycle

#include <unistd.h>
#include <mp/mp.hpp>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

// [initializer]
// What all tasks of a worker share is made once, when it starts. Each worker
// has a copy of its own.
std::string greeting;
int tasks_done = 0;

void initialize(const std::string& text, int from) {
  greeting = text;
  tasks_done = from;
}

std::string greet(const std::string& name) {
  return fmt::format("{} {} ({})", greeting, name, ++tasks_done);
}
// [/initializer]

// [tasks]
int my_pid(int) { return ::getpid(); }

void take_an_hour() {
  std::this_thread::sleep_for(1h);
  mp::println("an hour has passed");
}

void take_a_moment(int i) {
  std::this_thread::sleep_for(20ms);
  mp::println("task {} is done", i);
}
// [/tasks]

int main() {
  // [initialize]
  {
    mp::Pool pool(1, initialize, "Hello", 100);
    for (auto& text : pool.map(greet, std::vector<std::string>{"Ann", "Bob"}))
      mp::println("{}", text);
  }
  // [/initialize]

  // [recycle]
  // One worker, and every worker does two tasks: then it goes, with all that
  // it has taken and not given back, and another takes its place.
  {
    mp::Pool pool({.processes = 1, .maxtasksperchild = 2});
    for (int i = 0; i < 6; ++i)
      mp::println("task {} was done by {}", i, pool.apply(my_pid, i));
  }
  // [/recycle]

  // [terminate]
  // At the end of its scope a pool is terminated, whatever it is at. If there
  // is work that nobody will do now, a warning says so.
  {
    mp::Pool pool(2);
    pool.apply_async(take_an_hour);
    mp::println("leaving {} workers", mp::active_children().size());
  }
  mp::println("left: {} workers", mp::active_children().size());
  // [/terminate]

  // [close]
  // So whoever wants the work done says so: close(), no more tasks, and
  // join(), wait for those that are there.
  {
    mp::Pool pool(2);
    for (int i = 0; i < 5; ++i) pool.apply_async(take_a_moment, i);
    pool.close();
    pool.join();
    mp::println("all tasks are done");
  }
  // [/close]
}
